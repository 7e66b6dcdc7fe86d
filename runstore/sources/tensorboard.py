"""Directories of TensorBoard's event files, whatever wrote them: torch, tensorboardX, Keras, JAX.

A directory with event files is a run, as TensorBoard has it, and so is each directory below it:
`add_scalars` and `add_hparams` make such. The files of one directory, in the order of their names,
are one run that was restarted; a value at a step that its metric had already voids what the metric
had from there on, as in TensorBoard's server (`rewinds`).

Keras has a directory for each split. Where there is `train` beside `validation`, and no event file
beside both, they are one run.

The format is read without tensorboard, TensorFlow or protobuf: nothing has to be installed, and
taking apart by hand the few messages that matter is faster than by their libraries.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from runstore.files.limits import FILES_PER_RUN
from runstore.sources.columns import SPLITS
from runstore.sources.event_log import EventLog
from runstore.sources.foreign import ForeignReader
from runstore.sources.formats import TENSORBOARD
from runstore.sources.hparams import HPARAMS_FILE, hparams_document
from runstore.sources.layout import Opener, names_in

NAME = TENSORBOARD.name
EVIDENCE = "TensorBoard's event files, no process on record"

_PROFILE = ".profile-empty"
"""Ends the name of an event file that only marks a profile."""
_LISTED = 1000
"""Names of a folder that are looked at for an event file: it may be a data set of millions."""


def recognises(directory: Path, names: Sequence[str]) -> bool:
    """Any event file makes the directory a run, or one of each split in a folder of its name."""
    return any(map(is_event_file, names)) or bool(_split_folders(directory, names))


def open_run(directory: Path, *, patient: bool = True) -> ForeignReader:
    """Return a reader; nothing is read yet."""
    return ForeignReader(directory, _LAYOUT, patient=patient)


def is_event_file(name: str) -> bool:
    """Tell whether TensorBoard takes a file of this name for an event file.

    Hidden ones are passed over: a copy tool is writing them.
    """
    return "tfevents" in name and not name.startswith(".") and not name.endswith(_PROFILE)


def folders_of_run(directory: Path, names: Sequence[str]) -> Sequence[str]:
    """Return the folders whose event files belong to the run in `directory` itself."""
    return () if any(map(is_event_file, names)) else _split_folders(directory, names)


def _split_folders(directory: Path, names: Sequence[str]) -> list[str]:
    """Return the folders of the splits, `train` first; none unless there is `train`."""
    if "train" not in names or not _has_event_file(directory / "train"):
        return []
    others = [name for name in names if name in SPLITS and name != "train"]
    others = [name for name in sorted(others) if _has_event_file(directory / name)]
    # Keras writes `validation` when the first epoch is over.
    is_alone = not others and not any(
        name != "train" and (directory / name).is_dir() for name in names
    )
    return ["train", *others] if others or is_alone else []


def _has_event_file(directory: Path) -> bool:
    try:
        with os.scandir(directory) as listing:
            return any(is_event_file(entry.name) for entry in islice(listing, _LISTED))
    except OSError:
        return False


class _EventFiles:
    """A directory of event files, or one of each split (a `Layout`)."""

    NAME = NAME
    EVIDENCE = EVIDENCE
    IS_ONE_SERIES = True

    def find(self, directory: Path) -> Mapping[str, Opener]:
        """Return the event files in the order of their names, those of a split together.

        Lightning's `hparams.yaml` beside them says more of the hyperparameters than they do.
        """
        names = names_in(directory)
        has_params = HPARAMS_FILE in names
        found = _event_files(directory, names, "", takes_params=not has_params)
        for folder in folders_of_run(directory, names):
            try:
                inside = names_in(directory / folder)
            except OSError:
                continue
            found |= _event_files(directory, inside, folder, takes_params=not has_params)
        newest = dict(islice(found.items(), max(0, len(found) - FILES_PER_RUN), None))
        if has_params:
            return {HPARAMS_FILE: partial(hparams_document, directory / HPARAMS_FILE), **newest}
        return newest


def _event_files(
    directory: Path, names: Sequence[str], folder: str, *, takes_params: bool
) -> dict[str, Opener]:
    before = f"{folder}/" if folder else ""
    split = SPLITS.get(folder, "")
    paths = [f"{before}{name}" for name in names if is_event_file(name)]
    return {
        path: partial(EventLog, directory / path, path, split, takes_params=takes_params)
        for path in paths
    }


_LAYOUT = _EventFiles()
