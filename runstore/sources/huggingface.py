"""Output folders of transformers' Trainer, and of what is built on it (TRL and many others).

    out/checkpoint-500/trainer_state.json    the whole log so far, written with each checkpoint
    out/trainer_state.json                   the same at the end

An output folder is one run; so is a checkpoint that is given as the path itself, as of then.
`training_args.bin` is a pickle, which is never opened. Trainer's TensorBoard files below the folder
(`runs/`) are the same training, and no run besides.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from runstore.files.limits import LISTED_DOCUMENT_BYTES
from runstore.files.records import JsonObject, RecordError, decode_document
from runstore.files.regular import read_regular
from runstore.sources.foreign import ForeignReader
from runstore.sources.formats import TRANSFORMERS
from runstore.sources.layout import Opener, names_in
from runstore.sources.trainer_log import CHECKPOINT, STATE, TrainerLog

NAME = TRANSFORMERS.name
EVIDENCE = "as of its newest checkpoint, no process on record"
PAUSE_S = 3600.0
"""Between two checkpoints, as long as none were seen to come."""
CHECKPOINTS_LOOKED_AT = 3
MODEL_KEYS = {
    "adapter_config.json": ("peft_type", "r", "lora_alpha", "lora_dropout"),
    "config.json": ("model_type",),
}
"""What is worth comparing, by the file beside a state that has it."""
MODEL_NAMES = ("base_model_name_or_path", "_name_or_path")


def recognises(directory: Path, names: Sequence[str]) -> bool:
    """A state, or one in a checkpoint, makes the directory a run."""
    if STATE in names:
        return True
    found = [name for name in names if CHECKPOINT.fullmatch(name)]
    newest = sorted(found, key=lambda name: int(name.rpartition("-")[2]), reverse=True)
    # While it is being saved, the newest one has no state yet.
    return any(os.path.lexists(directory / name / STATE) for name in newest[:CHECKPOINTS_LOOKED_AT])


def open_run(directory: Path, *, patient: bool = True) -> ForeignReader:
    """Return a reader; nothing is read yet."""
    return ForeignReader(directory, _Layout(), patient=patient, pause_s=PAUSE_S)


class _Layout:
    """One log, whatever states there are."""

    NAME = NAME
    EVIDENCE = EVIDENCE
    IS_ONE_SERIES = False

    def find(self, directory: Path) -> Mapping[str, Opener]:
        """Return the log, by the name of the document that has it."""
        names_in(directory)
        return {STATE: lambda patient: TrainerLog(directory, _model_params)}


def _model_params(directory: Path) -> JsonObject:
    """Return what a checkpoint says of its model: which it was, and the adapter that is trained."""
    params: JsonObject = {}
    for file, keys in MODEL_KEYS.items():
        found = _document(directory / file)
        for name in MODEL_NAMES:
            if isinstance(found.get(name), str) and found[name]:
                params.setdefault("model", found[name])
        params |= {key: found[key] for key in keys if isinstance(found.get(key), str | int | float)}
    return params


def _document(path: Path) -> JsonObject:
    try:
        return decode_document(read_regular(path, LISTED_DOCUMENT_BYTES), LISTED_DOCUMENT_BYTES)
    except (OSError, RecordError):
        return {}
