"""Checkpoint files: whole or not there, loadable without running code."""

from __future__ import annotations

import collections
import os
import resource
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from runstore.errors import CheckpointError
from runstore.files.checkpoints import find_resume_point, read_manifest
from runstore.train.checkpoint import (
    CheckpointStore,
    load_state,
    read_payload,
    state_of,
    write_payload,
)
from runstore.train.plain_state import plain, with_arrays
from runstore.train.where import differences


def payload(step: int = 1, **objects: Any) -> dict[str, Any]:
    return {"format": 1, "step": step, "objects": objects}


def files(run_dir: Path) -> list[str]:
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir())


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may grow beyond 64 KiB: writes fail as on a full disk (EFBIG)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "x.pt"
    model = nn.Linear(3, 2)
    size, _ = write_payload(path, payload(model=state_of("model", model)))
    assert path.stat().st_size == size
    read = read_payload(path)
    assert torch.equal(read["objects"]["model"]["weight"], model.weight)


def test_checkpoint_is_synced_before_it_has_its_name_and_its_name_before_it_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, int]] = []
    fsync, replace = os.fsync, os.replace

    def syncing(descriptor: int) -> None:
        calls.append(("sync", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def renaming(source: Path, target: Path) -> None:
        calls.append(("rename", source.stat().st_ino))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "replace", renaming)
    CheckpointStore(tmp_path, 1, keep_last=1).write(payload(), {}, best=False, facts={})
    directory = tmp_path / "checkpoints"
    checkpoint, manifest, folder = (
        path.stat().st_ino
        for path in (directory / "step-00000001-0001.pt", directory / "manifest.jsonl", directory)
    )
    named = [("sync", checkpoint), ("rename", checkpoint), ("sync", folder)]
    assert calls == [*named, ("sync", manifest), ("sync", folder)]


def test_full_disk_leaves_nothing_behind(tmp_path: Path, small_disk: None) -> None:
    big = payload(model=torch.zeros(1 << 20))
    with pytest.raises(OSError, match="File too large"):
        write_payload(tmp_path / "checkpoints" / "x.pt", big)
    assert files(tmp_path) == []


def test_earlier_checkpoints_outlive_one_that_fails(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, 1, keep_last=1)
    store.write(payload(1), {}, best=False, facts={})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            store.write(payload(2, model=torch.zeros(1 << 20)), {}, best=False, facts={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files(tmp_path) == ["manifest.jsonl", "step-00000001-0001.pt"]


def test_older_ones_go_when_the_new_one_is_there(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, 3, keep_last=2)
    for step in (1, 2, 3, 4):
        store.write(payload(step), {"metrics-0003.jsonl": step}, best=step == 2, facts={})
    assert files(tmp_path) == [
        "best.pt",
        "manifest.jsonl",
        "step-00000002-0003.pt",
        "step-00000003-0003.pt",
        "step-00000004-0003.pt",
    ]
    assert read_payload(tmp_path / "checkpoints" / "best.pt")["step"] == 2
    assert [row.cuts for row in read_manifest(tmp_path)][-1] == {"metrics-0003.jsonl": 4}


def test_what_a_killed_attempt_left_half_done_is_removed(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".step-00000001-0001.pt.77.tmp").write_bytes(b"half")
    CheckpointStore(tmp_path, 2, keep_last=2)
    assert files(tmp_path) == []


def test_second_checkpoint_of_a_step_leaves_the_first_alone(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, 1, keep_last=1)
    for _ in range(3):
        store.write(payload(7), {}, best=False, facts={})
    # Pruned ones keep their names.
    assert [row.file for row in read_manifest(tmp_path)] == [
        "step-00000007-0001.pt",
        "step-00000007-0001.1.pt",
        "step-00000007-0001.2.pt",
    ]
    assert files(tmp_path) == ["manifest.jsonl", "step-00000007-0001.2.pt"]
    again = CheckpointStore(tmp_path, 1, keep_last=1).write(payload(7), {}, best=False, facts={})
    assert again.file == "step-00000007-0001.3.pt"


def test_kill_between_file_and_row_costs_only_the_new_one(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, 1, keep_last=1)
    store.write(payload(7, note="batch"), {}, best=False, facts={})
    code = textwrap.dedent(
        f"""
        import os, pathlib
        from runstore.train import checkpoint
        checkpoint.append_to_manifest = lambda *_: os.kill(os.getpid(), 9)
        store = checkpoint.CheckpointStore(pathlib.Path({str(tmp_path)!r}), 1, keep_last=1)
        payload = {{"format": 1, "step": 7, "objects": {{"note": "epoch"}}}}
        store.write(payload, {{}}, best=False, facts={{}})
        """
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert "step-00000007-0001.1.pt" in files(tmp_path)
    point, problems = find_resume_point(tmp_path)
    assert point is not None
    assert (point.row.file, problems) == ("step-00000007-0001.pt", [])
    CheckpointStore(tmp_path, 2, keep_last=1)
    assert files(tmp_path) == ["manifest.jsonl", "step-00000007-0001.pt"]


def test_best_that_cannot_be_linked_does_not_undo_the_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # A directory in the place of the name: no rename replaces it.
    (tmp_path / "checkpoints" / "best.pt").mkdir(parents=True)
    store = CheckpointStore(tmp_path, 1, keep_last=1)
    for step in (1, 2):
        row = store.write(payload(step), {}, best=True, facts={})
    assert "best.pt is not step-00000002-0001.pt" in caplog.text
    assert [one.file for one in read_manifest(tmp_path)][-1] == row.file
    assert files(tmp_path) == ["best.pt", "manifest.jsonl", row.file]


def test_row_that_cannot_be_written_takes_its_file_along(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, 1, keep_last=1)
    (tmp_path / "checkpoints" / "manifest.jsonl").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        store.write(payload(1), {}, best=False, facts={})
    assert files(tmp_path) == ["manifest.jsonl"]


def test_state_that_would_run_code_when_loaded_is_refused_by_name(tmp_path: Path) -> None:
    class Odd:
        def __init__(self) -> None:
            self.path = tmp_path

        def state_dict(self) -> dict[str, object]:
            return {"where": self.path}

        def load_state_dict(self, state: object) -> None: ...

    store = CheckpointStore(tmp_path, 1, keep_last=2)
    with pytest.raises(
        CheckpointError, match=r"odd: its state holds a PosixPath \(at \['where'\]\)"
    ):
        store.write(payload(odd=state_of("odd", Odd())), {}, best=False, facts={})
    assert files(tmp_path) == []


def test_numpy_scalars_and_default_dicts_become_plain(tmp_path: Path) -> None:
    state = collections.defaultdict(list, {"best": np.float64(0.5), "seen": [np.int64(3)]})
    path = tmp_path / "checkpoints" / "x.pt"
    write_payload(path, payload(own=plain(state)))
    assert read_payload(path)["objects"]["own"] == {"best": 0.5, "seen": [3]}


class Own:
    """An object with a state of its own kind."""

    def __init__(self, state: object = None) -> None:
        self.state = state

    def state_dict(self) -> object:
        return self.state

    def load_state_dict(self, state: object) -> None:
        self.state = state


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3)[:, ::-1],
        np.array(3, dtype=np.int16),
        np.zeros((0, 4), dtype=np.bool_),
        np.array(["a", "long"]),
        np.array(["2026-01-02"], dtype="datetime64[D]"),
        np.arange(3, dtype=">i4"),
        np.zeros((0,), dtype="<U3"),
        np.broadcast_to(np.float32(2), (2, 2)),
    ],
    ids=lambda array: array.dtype.str,
)
@pytest.mark.filterwarnings("error")
def test_numpy_arrays_come_back_as_they_were(tmp_path: Path, array: np.ndarray) -> None:
    store = CheckpointStore(tmp_path, 1, keep_last=1)
    state = {"deep": [(array, 1)], "best": np.float32(0.5)}
    row = store.write(payload(own=state_of("own", Own(state))), {}, best=False, facts={})
    own = Own()
    saved = read_payload(tmp_path / "checkpoints" / row.file)["objects"]["own"]
    load_state("own", own, saved)
    assert isinstance(own.state, dict)
    ((found, one),) = own.state["deep"]
    assert (found.dtype, found.shape, one) == (array.dtype, array.shape, 1)
    np.testing.assert_array_equal(found, array)
    assert found.flags.writeable
    assert type(own.state["best"]) is float


def test_numpy_values_anywhere_in_a_checkpoint_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "x.pt"
    write_payload(
        path, payload() | {"ranks": [{"tokens": np.int64(5), np.str_("k"): np.arange(2)}]}
    )
    (read,) = read_payload(path)["ranks"]
    assert (read["tokens"], read["k"].tolist()) == (5, [0, 1])
    assert isinstance(read["k"], np.ndarray)


def test_types_that_load_are_kept(tmp_path: Path) -> None:
    state = [
        {1, np.int64(2)},
        (1, [2]),
        collections.OrderedDict(a=1),
        collections.Counter("aab"),
        torch.Size([2]),
        torch.float16,
    ]
    path = tmp_path / "checkpoints" / "x.pt"
    write_payload(path, payload(own=state))
    read = with_arrays(read_payload(path)["objects"]["own"])
    assert read == state
    assert [type(item) for item in read] == [type(item) for item in state]


Pair = collections.namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"f": lambda: 1}, r"own: its state holds a function \(at \['f'\]\)"),
        ({"a": [threading.Lock()]}, r"own: its state holds a lock \(at \['a'\]\[0\]\)"),
        (sys.stdout, "own: its state holds a "),
        (Pair(1, 2), "own: its state holds a Pair,"),
        ({"q": collections.deque([1])}, "holds a deque"),
        ({"o": np.array([None])}, "holds a ndarray"),
        ({Path("x"): 1}, r"holds a PosixPath \(at key\)"),
    ],
)
def test_state_that_cannot_be_kept_is_told_in_one_line(
    tmp_path: Path, state: object, told: str
) -> None:
    store = CheckpointStore(tmp_path, 1, keep_last=1)
    with pytest.raises(CheckpointError, match=told) as caught:
        store.write(payload(model={"w": torch.ones(1)}, own=state), {}, best=False, facts={})
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == []


def test_state_that_holds_itself_is_refused(tmp_path: Path) -> None:
    state: list[object] = []
    state.append(state)
    store = CheckpointStore(tmp_path, 1, keep_last=1)
    with pytest.raises(CheckpointError, match="own: its state holds itself"):
        store.write(payload(own=state), {}, best=False, facts={})


def test_what_torch_says_of_a_file_is_one_line_without_colours(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"format": 1, "where": tmp_path}, path)
    with pytest.raises(CheckpointError, match="Unsupported global: GLOBAL pathlib") as caught:
        read_payload(path)
    assert not {"\n", "\x1b"} & set(str(caught.value))


def test_versions_of_modules_survive() -> None:
    state = nn.BatchNorm1d(2).state_dict()
    assert with_arrays(plain(state))._metadata == state._metadata  # type: ignore[attr-defined]  # torch sets it


def test_view_does_not_take_its_storage_along(tmp_path: Path) -> None:
    view = torch.zeros(1 << 20)[:4]
    path = tmp_path / "checkpoints" / "x.pt"
    size, _ = write_payload(path, payload(view=plain(view)))
    assert size < 10_000


def test_tied_weights_stay_one_storage(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(200, 200, bias=False), nn.Linear(200, 200, bias=False))
    model[1].weight = model[0].weight
    path = tmp_path / "checkpoints" / "x.pt"
    size, _ = write_payload(path, payload(model=state_of("model", model)))
    assert size < 1.5 * 200 * 200 * 4


def test_generator_is_saved_and_put_back() -> None:
    generator = torch.Generator().manual_seed(3)
    state = state_of("noise", generator)
    first = torch.rand(3, generator=generator)
    load_state("noise", generator, state)
    assert torch.equal(first, torch.rand(3, generator=generator))


# torch warns of itself while it gets its compiler ready.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_compiled_and_plain_models_share_checkpoints() -> None:
    model = nn.Linear(2, 2)
    assert list(state_of("model", torch.compile(model))) == ["weight", "bias"]


def test_shapes_that_do_not_fit_are_told_with_the_name() -> None:
    with pytest.raises(CheckpointError, match=r"register\(model=…\) does not fit the checkpoint"):
        load_state("model", nn.Linear(3, 3), nn.Linear(2, 2).state_dict())


def test_checkpoint_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "x.pt"
    write_payload(path, {"format": 2})
    with pytest.raises(CheckpointError, match="format 2, this runstore reads 1"):
        read_payload(path)


def test_differences_are_told_in_words() -> None:
    then = {"world_size": 4, "devices": ["H100", "H200"], "torch": "2.9.0"}
    now = {"world_size": 2, "devices": ["cpu"], "torch": "2.9.0"}
    assert differences(then, now) == [
        "processes: 4 then, 2 now",
        "devices: H100, H200 then, cpu now",
    ]
