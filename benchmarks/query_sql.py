"""The best `val/accuracy` per `lr` over 1,000 runs: `runstore query` beside SQL written by hand.

By hand there are two ways: DuckDB finds out the types from all rows, as docs/format.md has it, or
somebody writes down the columns. Each answer is that of a new process, all take turns, and all must
be equal. Modules are compiled beforehand, as they are where packages are installed. Exit status 1
above the budget, which is that of the faster one.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import orjson

RUNS = 1000
ROWS = 2000
EPOCHS = 10
ROUNDS = 9
BUDGET = 1.2
LEARNING_RATES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4)

QUESTION = """
    SELECT params.lr AS lr, max("val/accuracy") AS best
    FROM metrics JOIN params USING (run)
    GROUP BY params.lr ORDER BY best DESC
"""
BY_HAND = """
import duckdb, json, sys
duckdb.sql("SET enable_progress_bar = false")
rows = duckdb.sql('''
    SELECT params.lr AS lr, max("val/accuracy") AS best
    FROM read_json('ROOT/*/metrics-*.jsonl', format='newline_delimited', filename=true,
                   ignore_errors=true, OPTIONS) AS metrics
    JOIN read_json('ROOT/*/run.json') AS runs ON runs.id = parse_path(metrics.filename)[-2]
    GROUP BY params.lr ORDER BY best DESC
''').fetchall()
json.dump([{"lr": lr, "best": best} for lr, best in rows], sys.stdout)
"""
OPTIONS = {
    "by hand, types from all rows": "sample_size=-1, map_inference_threshold=-1",
    "by hand, columns written down": "columns={'step': 'BIGINT', 'val/accuracy': 'DOUBLE'}",
}
OURS = "runstore query"


def write_runs(root: Path) -> None:
    """Write the runs, each with its document, events, metrics and epochs."""
    random = Random(0)
    for number in range(RUNS):
        lr = LEARNING_RATES[number % len(LEARNING_RATES)]
        _write_run(root / f"20261120-{number:06d}-bench-abcdefgh", lr, random)


def _write_run(run: Path, lr: float, random: Random) -> None:
    run.mkdir()
    rows = list(_rows(lr, random))
    about = {"format": 1, "id": run.name, "name": "bench", "created": 1.79e9, "tags": []}
    _write(run / "run.json", [about | {"params": {"lr": lr, "seed": random.randrange(9)}}])
    _write(run / "metrics-0001.jsonl", rows)
    _write(run / "epochs-0001.jsonl", [row for row in rows if "val/accuracy" in row])
    place = {"time": 1.79e9, "attempt": 1}
    end = place | {"event": "end", "status": "finished"}
    _write(run / "events-0001.jsonl", [place | {"event": "open", "format": 1}, end])


def _rows(lr: float, random: Random) -> Iterator[dict[str, float | int]]:
    for step in range(1, ROWS + 1):
        place = {"step": step, "epoch": 1 + (step - 1) * EPOCHS // ROWS, "time": 1.79e9 + step}
        if step % (ROWS // EPOCHS):
            values = {name: random.random() for name in ("train/loss", "train/accuracy")}
            yield place | values | {"lr": lr, "grad_norm": random.random()}
        else:
            yield place | {name: random.random() for name in ("val/loss", "val/accuracy")}


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))


def main() -> int:
    """Ask in turn, compare the answers and print the table."""
    with (
        tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as directory,
        tempfile.TemporaryDirectory() as compiled,
    ):
        write_runs(Path(directory))
        os.environ["PYTHONPYCACHEPREFIX"] = compiled
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        commands = {
            name: [sys.executable, "-c", _filled(BY_HAND, directory, options)]
            for name, options in OPTIONS.items()
        }
        ours = [sys.executable, "-m", "runstore.cli", "query", "--json", QUESTION, directory]
        commands[OURS] = ours
        times: dict[str, list[float]] = {name: [] for name in commands}
        answers = {name: _timed(command, []) for name, command in commands.items()}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                answers[name] = _timed(command, times[name])
    if any(answer != answers[OURS] for answer in answers.values()):
        raise SystemExit(f"the answers differ: {answers}")
    return _report(times)


def _filled(text: str, directory: str, options: str) -> str:
    return text.replace("ROOT", directory).replace("OPTIONS", options)


def _timed(command: list[str], times: list[float]) -> object:
    """Return the answer of a new process, and note how long it took."""
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=True)
    times.append(time.perf_counter() - begun)
    return json.loads(done.stdout)


def _report(times: dict[str, list[float]]) -> int:
    ratios = {name: statistics.median(_pairwise(times[OURS], times[name])) for name in times}
    print(
        f"{RUNS:,} runs x {ROWS:,} rows, {ROUNDS} processes in turn  median s  min..max   ours is"
    )
    for name, values in times.items():
        spread = f"{min(values):.2f}..{max(values):.2f}"
        print(f"{name:42} {statistics.median(values):8.2f}  {spread:11} {ratios[name]:5.2f}")
    ratio = max(ratios.values())
    verdict = "ok" if ratio <= BUDGET else "TOO SLOW"
    print(f"budget: at most {BUDGET:g} times the faster one by hand: {ratio:.2f}, {verdict}")
    return 0 if ratio <= BUDGET else 1


def _pairwise(ours: list[float], theirs: list[float]) -> list[float]:
    """Return our time by theirs of the same round: a busy machine slows both."""
    return [our / their for our, their in zip(ours, theirs, strict=True)]


if __name__ == "__main__":
    sys.exit(main())
