"""SQL over the files of runs where they lie; DuckDB is the engine, and nothing is imported.

A query sees five views: `runs`, `params`, `metrics`, `epochs` and `reports`. What a run's files
hold is judged first (`found`), then which views and columns the statement names (`statement`,
`keys`); DuckDB reads the files themselves (`views`, `database`), and only those of which a part
counts, or that are in another tool's format, by way of a temporary copy (`scratch`, `rows`).
"""
