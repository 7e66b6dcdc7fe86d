"""The runs of a root: found, chosen, read, compared, and what people say and ask of them."""
