"""The formats that are read, and what is known of each before its module is imported.

Most directories hold runs of one format. The modules of the others, half of all that `runstore ls`
would import, are left alone until a directory has a name that may be theirs.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runstore.sources.reading import RunReader


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One format of runs, of which the module `runstore.sources.<module>` has two functions.

    `recognises(directory, names)` tells whether a directory with these entries is a run, and
    `open_run(directory, patient=…)` returns a reader that has read nothing yet.
    """

    name: str
    """Shown beside a run that is not native."""
    module: str
    marks: tuple[str, ...]
    """Texts of which a run has at least one in the names of its entries, …"""
    looked_for: tuple[str, ...]
    """What makes a directory a run of this format, in words for whoever finds none."""
    folder_mark: str = "\0"
    """… or in its own name."""
    own_folders: tuple[str, ...] = ()
    """Patterns of folders in a run that are a part of it, and no runs besides."""
    is_by_chance: bool = False
    """One stray file (an export, say) makes any directory look like a run of this format."""

    def load(self) -> ModuleType:
        """Return the module, imported."""
        return importlib.import_module(f"runstore.sources.{self.module}")

    def recognises(self, directory: Path, names: Sequence[str], listing: str) -> bool:
        """Tell whether a directory is a run; a file that the module stumbles over makes none.

        Args:
            directory: which; its name may tell.
            names: its entries.
            listing: the same, joined.
        """
        if self.folder_mark not in directory.name and not any(m in listing for m in self.marks):
            return False
        try:
            return bool(self.load().recognises(directory, names))
        except (OSError, ValueError):
            return False

    def open_run(self, directory: Path, *, patient: bool = True) -> RunReader:
        """Return a reader; nothing is read yet."""
        reader: RunReader = self.load().open_run(directory, patient=patient)
        return reader


NATIVE = Source(
    "native",
    "native",
    marks=("run.json", "events-0001.jsonl", "exec-0001.jsonl"),
    looked_for=("run.json", "events-0001.jsonl"),
    folder_mark="-",
)
WANDB = Source(
    "wandb",
    "wandb",
    marks=(".wandb",),
    looked_for=("run-*.wandb",),
    folder_mark="run-",
    own_folders=("files", "logs", "tmp"),
)
MLFLOW = Source(
    "mlflow",
    "mlflow",
    marks=("meta.yaml",),
    looked_for=("mlruns/*/*/meta.yaml",),
    own_folders=("*",),
)
TRANSFORMERS = Source(
    "transformers",
    "huggingface",
    marks=("trainer_state.json", "checkpoint-"),
    looked_for=("trainer_state.json", "checkpoint-N/trainer_state.json"),
    own_folders=("checkpoint-*", "runs", "logs"),
)
LIGHTNING = Source(
    "lightning",
    "lightning",
    marks=("metrics.csv",),
    looked_for=("metrics.csv beside hparams.yaml", "version_N/metrics.csv"),
    own_folders=("checkpoints",),
)
TENSORBOARD = Source(
    "tensorboard",
    "tensorboard",
    # Keras has a folder for each split.
    marks=("tfevents", "train"),
    looked_for=("*tfevents*",),
)
PLAIN = Source(
    "jsonl",
    "plain",
    marks=(".json", ".log"),
    looked_for=("*.jsonl", "metrics.json", "scalars.json"),
    is_by_chance=True,
)
CSV = Source(
    "csv",
    "csv_rows",
    marks=(".csv", ".tsv"),
    looked_for=("*.csv with a step or epoch column",),
    is_by_chance=True,
)

SOURCES = (NATIVE, WANDB, MLFLOW, TRANSFORMERS, LIGHTNING, TENSORBOARD, PLAIN, CSV)
"""In the order in which they are asked: the first that recognises a directory has it."""
