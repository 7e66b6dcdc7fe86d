"""Checkpoints: the training's whole state in one file that is whole or not there.

Written under another name, synced, renamed, then listed in the manifest with its SHA-256; read
back before older ones go. `torch.load` takes a flipped bit without a word, hence the checksum.
Every file loads with `weights_only=True`, so that loading one runs no code.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch

from runstore.errors import CheckpointError
from runstore.files.atomic import sync_directory
from runstore.files.checkpoints import (
    CheckpointRow,
    append_to_manifest,
    files_to_prune,
    files_without_row,
    hash_file,
    open_checkpoint,
    read_manifest,
)
from runstore.files.paths import RunPaths
from runstore.files.records import RecordError
from runstore.train import ranks
from runstore.train.plain_state import find_unloadable, one_line, plain, with_arrays

_log = logging.getLogger("runstore")

FORMAT = 1

Payload = dict[str, Any]


def unwrapped(thing: Any) -> Any:
    """Return what DistributedDataParallel and torch.compile wrap: names without their prefix."""
    while True:
        if isinstance(thing, torch.nn.parallel.DistributedDataParallel):
            thing = thing.module
        elif isinstance(thing, torch.nn.Module) and hasattr(thing, "_orig_mod"):
            thing = thing._orig_mod
        else:
            return thing


def state_of(name: str, thing: Any) -> Any:
    """Return a registered object's state, as it is."""
    thing = unwrapped(thing)
    if isinstance(thing, torch.Generator):
        return thing.get_state()
    return thing.state_dict()


def load_state(name: str, thing: Any, state: Any) -> None:
    """Give a registered object its state back.

    Raises:
        CheckpointError: it does not take the state.
    """
    thing = unwrapped(thing)
    try:
        if isinstance(thing, torch.Generator):
            thing.set_state(state)
        else:
            thing.load_state_dict(with_arrays(state))
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"register({name}=…) does not fit the checkpoint: {error}") from error


def own_buffers(things: Mapping[str, Any]) -> dict[str, dict[str, torch.Tensor]]:
    """Return the buffers of the modules that are wrapped for several processes, by name.

    DistributedDataParallel makes them equal when a forward pass begins; behind one, each process
    has its own running statistics, and evaluates with them.
    """
    found = {}
    for name, thing in things.items():
        if isinstance(thing, torch.nn.Module) and ranks.is_distributed():
            buffers = dict(unwrapped(thing).named_buffers())
            if buffers:
                found[name] = {
                    key: buffer.detach().cpu().clone() for key, buffer in buffers.items()
                }
    return found


def load_buffers(thing: Any, buffers: Mapping[str, torch.Tensor]) -> None:
    """Give a module the buffers that it had in this process."""
    own = dict(unwrapped(thing).named_buffers())
    for key, buffer in buffers.items():
        own[key].copy_(buffer)


def frozen_parameters(things: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the parameters of the registered modules that are not trained, by name."""
    return {
        name: [key for key, one in unwrapped(thing).named_parameters() if not one.requires_grad]
        for name, thing in things.items()
        if isinstance(thing, torch.nn.Module)
    }


def freeze(thing: Any, frozen: Sequence[str]) -> None:
    """Let the `frozen` parameters of a module be the ones that are not trained.

    The epoch in which a script froze or thawed them may be passed over.
    """
    for key, parameter in unwrapped(thing).named_parameters():
        if parameter.requires_grad == (key in frozen):
            parameter.requires_grad_(key not in frozen)


def check_stateful(name: str, thing: Any) -> None:
    """Refuse what has no state.

    Raises:
        TypeError: it has neither `state_dict` and `load_state_dict` nor is a torch.Generator.
    """
    thing = unwrapped(thing)
    has_state = all(
        callable(getattr(thing, method, None)) for method in ("state_dict", "load_state_dict")
    )
    if not has_state and not isinstance(thing, torch.Generator):
        raise TypeError(
            f"register({name}=…): {type(thing).__name__} has no state_dict and load_state_dict"
        )


def why_not_saved(name: str, thing: Any) -> str | None:
    """Say in words why an object's state cannot be in a checkpoint; None when it can."""
    if not callable(getattr(thing, "state_dict", None)):
        return f"{name} has no state_dict"
    try:
        return find_unloadable(name, state_of(name, thing))
    except Exception as error:  # noqa: BLE001  # the object's own code may raise anything
        return f"{name}: its state_dict() raised {one_line(error)}"


class _HashingFile:
    """Takes what torch.save writes, and its SHA-256 on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hash = hashlib.sha256()
        self.bytes = 0

    def write(self, data: Any) -> int:
        self.hash.update(data)
        self.bytes += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def write_payload(path: Path, payload: Payload) -> tuple[int, str]:
    """Write a checkpoint that is whole or not there; return its bytes and SHA-256.

    Raises:
        OSError: the disk does not take it; nothing is left of the attempt.
        CheckpointError: something in it cannot be pickled; nothing is left either.
    """
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            hashing = _HashingFile(file)
            _save(payload, hashing)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
    return hashing.bytes, hashing.hash.hexdigest()


def _save(payload: Payload, file: _HashingFile) -> None:
    try:
        torch.save(plain(payload), file)  # type: ignore[arg-type]  # it needs no more than `write`
    except OSError:
        raise
    except Exception as error:
        # PyTorch wraps what `write` raised, and only sometimes as its cause.
        cause = error.__context__ or error.__cause__
        if isinstance(error, RuntimeError) and isinstance(cause, OSError):
            raise cause from error
        # Pickling runs the objects' own code: it may raise anything.
        raise CheckpointError(f"it cannot be saved: {one_line(error)}") from error


def read_payload(path: Path) -> Payload:
    """Return a checkpoint's content, on the CPU.

    Raises:
        CheckpointError: it cannot be loaded.
    """
    try:
        with open_checkpoint(path) as file:
            payload = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path}: cannot be loaded: {one_line(error)}") from error
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        found = payload.get("format") if isinstance(payload, dict) else type(payload).__name__
        raise CheckpointError(f"{path}: checkpoint format {found}, this runstore reads {FORMAT}")
    # The objects' arrays are given back one object at a time, by `load_state`.
    return {key: part if key == "objects" else with_arrays(part) for key, part in payload.items()}


class CheckpointStore:
    """Writes one attempt's checkpoints and prunes the older ones."""

    def __init__(self, run_dir: Path, attempt: int, *, keep_last: int) -> None:
        """Write below `run_dir`; what killed attempts left half done or unlisted is removed.

        The caller's attempt holds the run: nobody else writes there.
        """
        self.run_dir, self._attempt, self._keep_last = run_dir, attempt, keep_last
        self._paths = RunPaths(run_dir)
        self._loaded_once = False
        self._names = {row.file for row in read_manifest(run_dir)}
        """What the manifest lists, pruned or not: no other file gets such a name."""
        self._remove_leftovers()

    def write(
        self, payload: Payload, cuts: Mapping[str, int], *, best: bool, facts: Mapping[str, Any]
    ) -> CheckpointRow:
        """Write a checkpoint, list it, and prune.

        Raises:
            OSError: the disk does not take it; the earlier ones are untouched.
            CheckpointError: a state cannot be saved, or what was written is not what is read back.
        """
        began = time.monotonic()
        path = self._free_path(payload["step"])
        try:
            size, sha256 = write_payload(path, payload)
            self._verify(path, sha256)
        except CheckpointError as error:
            raise _naming_the_object(error, payload) from error
        record = {
            "file": path.name,
            "step": payload["step"],
            "attempt": self._attempt,
            "bytes": size,
            "sha256": sha256,
            "cuts": dict(cuts),
            **({"best": True} if best else {}),
            **facts,
            "duration_s": time.monotonic() - began,
        }
        self._list(path, record)
        self._tidy(path, best=best)
        row = CheckpointRow.from_record(record)
        assert row is not None  # made of the keys above
        return row

    def _remove_leftovers(self) -> None:
        left = [path.name for path in self._paths.checkpoints.glob(".*.tmp")]
        for name in left + files_without_row(self.run_dir):
            with contextlib.suppress(OSError):
                (self._paths.checkpoints / name).unlink()

    def _free_path(self, step: int) -> Path:
        # The one at the last batch and the one at the epoch's end are of one step. Were the second
        # to replace the first, a kill before its row would leave the first's row without its bytes.
        for again in itertools.count():
            path = self._paths.checkpoint(step, self._attempt, again)
            if path.name not in self._names and not os.path.lexists(path):
                return path
        raise AssertionError  # `count` does not end

    def _list(self, path: Path, record: Mapping[str, Any]) -> None:
        try:
            append_to_manifest(self.run_dir, record)
        except RecordError as error:
            path.unlink(missing_ok=True)
            raise CheckpointError(f"the manifest's row cannot be written: {error}") from error
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            # Also when it failed: some of the row may be there.
            self._names.add(path.name)

    def _verify(self, path: Path, sha256: str) -> None:
        if hash_file(path) != sha256:
            path.unlink(missing_ok=True)
            raise CheckpointError(f"{path}: what was read back is not what was written")
        if not self._loaded_once:
            # Once per attempt: what the user registered decides whether it loads.
            try:
                read_payload(path)
            except CheckpointError:
                path.unlink(missing_ok=True)
                raise
            self._loaded_once = True

    def _tidy(self, path: Path, *, best: bool) -> None:
        # The checkpoint is written and listed: what fails now does not make it undone.
        try:
            if best:
                self._name_best(path)
        except OSError as error:
            _log.warning("best.pt is not %s: %s", path.name, error)
        try:
            self._prune()
        except OSError as error:
            _log.warning("older checkpoints stay: %s", error)

    def _name_best(self, path: Path) -> None:
        best = self._paths.best_checkpoint
        temporary = best.with_name(f".{best.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        try:
            os.link(path, temporary)
        except OSError:
            # No hard links here (some FUSE and SMB mounts): a symbolic one.
            temporary.symlink_to(path.name)
        try:
            temporary.replace(best)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise

    def _prune(self) -> None:
        for name in files_to_prune(self._present(), self._keep_last):
            (self._paths.checkpoints / name).unlink(missing_ok=True)

    def _present(self) -> list[CheckpointRow]:
        rows = read_manifest(self.run_dir)
        return [row for row in rows if (self._paths.checkpoints / row.file).exists()]


def _naming_the_object(error: CheckpointError, payload: Payload) -> CheckpointError:
    """Return the error with the registered object that it comes from, if one is found."""
    for name, state in payload["objects"].items():
        found = find_unloadable(name, state)
        if found is not None:
            return CheckpointError(f"{found}, which torch.load(weights_only=True) does not take")
    return error
