"""What of a directory of runs is copied, and how: the options of rsync, for each kind of file.

Measured with files that grow, shrink and are replaced while they are copied:

- Logs are rewritten `--inplace`: the copy is a beginning of the original at any moment. `--append`
  made valid JSON of wrong bytes where a torn line was cut off and the file went on, and
  `--append-verify` left a shorter file stale.
- Documents are replaced as a whole, so that nobody reads half of one.
- `--modify-window=-1` compares times to the nanosecond: within one second rsync otherwise misses
  most changes that keep a file's size, such as those of `progress.json`.

Documents come first: a directory is a run by its `run.json`. Of the logs, a run's events come
before its metrics, by the names: where the end of a run has come, so have its rows, unless the pull
was cut short.
"""

from __future__ import annotations

from runstore.hosts.pulled import NAME

Rules = tuple[str, ...]

COMMON: Rules = ("-rt", "--no-links", "--modify-window=-1", "--timeout=30", "--prune-empty-dirs")
REPORT: Rules = ("--out-format=%i %n", "--stats", "--no-human-readable", "--8-bit-output")
# Not wider than the originals, but so that the next pull can go on with them.
MODES: Rules = ("--chmod=Du+rwx,Fu+rw,F-x",)
NEVER: Rules = (
    f"--exclude=/{NAME}",
    # Of git, environments, caches; and the halves of checkpoints that a pull was cut short in.
    "--exclude=.*/",
    # A request is for the original; a copy of one would never be taken away.
    "--exclude=requests/",
)
LARGEST_DOCUMENT = "1g"
CHECKPOINT_FOLDERS = ("checkpoints", "checkpoint-*")


def _only(*patterns: str) -> Rules:
    return ("--include=*/", *(f"--include={pattern}" for pattern in patterns), "--exclude=*")


_PICTURES = tuple(
    f"{folder}/**.{kind}"
    for folder in ("samples", "media/images")
    for kind in ("png", "gif", "jpg", "jpeg")
)
_DOCUMENTS = ("*.json", "*.yaml", "*.yml", "*.diff", "params/**", "tags/**")
_LOGS = ("*.jsonl", "*.log", "*.csv", "*.tsv", "*tfevents*", "*.wandb", "metrics/**")
"""Besides our own, those that `runstore.sources` reads. `metrics/` and the like are MLflow's."""

DOCUMENTS: Rules = (
    f"--max-size={LARGEST_DOCUMENT}",
    *NEVER,
    *_only(*_DOCUMENTS, *_PICTURES),
)
NEWEST_DOCUMENTS: Rules = (f"--max-size={LARGEST_DOCUMENT}", *NEVER, *_only(*_DOCUMENTS))
"""Without pictures, for runs that are looked at every few seconds."""
LOGS: Rules = ("--inplace", *NEVER, *_only(*_LOGS))
CHECKPOINTS: Rules = (
    # best.pt is another name of a checkpoint's file: once over the wire, and once on the disk.
    "--hard-links",
    "--partial-dir=.runstore-partial",
    *NEVER,
    *_only(*(f"{folder}/**" for folder in CHECKPOINT_FOLDERS)),
)


def passes(*, checkpoints: bool, only_newest: bool) -> list[Rules]:
    """Return the options of each call of rsync, in order.

    Checkpoints come before the logs: the manifest, a log, names no file that is not here.
    """
    documents = NEWEST_DOCUMENTS if only_newest else DOCUMENTS
    kinds = [documents, *([CHECKPOINTS] if checkpoints else []), LOGS]
    return [(*COMMON, *REPORT, *MODES, *kind) for kind in kinds]
