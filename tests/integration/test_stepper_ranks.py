"""The Stepper on two processes: the same weights as one process has that sees every sample."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.nn.functional import mse_loss

HERE = Path(__file__).parent
RANKS = range(2)
Found = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stepper_on_ranks", HERE / "stepper_on_ranks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    """What each rank found; all ways in one pair of processes, because these start slowly."""
    folder = tmp_path_factory.mktemp("ranks")
    shared = {"PYTHONPATH": str(HERE.parents[1]), "WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "error", str(HERE / "stepper_on_ranks.py"), str(folder)],
            env={**os.environ, **shared, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in RANKS
    ]
    said = []
    for process in ranks:
        try:
            said.append(process.communicate(timeout=100)[0])
        except subprocess.TimeoutExpired:
            process.kill()
            said.append(f"killed after 100 s: {process.communicate()[0]}")
    assert [process.returncode for process in ranks] == [0, 0], "\n".join(said)
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in RANKS]


def reference(
    script: ModuleType, sizes: Sequence[Sequence[int]], steps: int, epochs: int = 1
) -> list[float]:
    """Train on all ranks' samples of each window at once, without any of ours."""
    model = script.model_of()
    optimizer = script.sgd(model)
    batches = [script.batches_of(of_rank, rank) for rank, of_rank in enumerate(sizes)]
    longest = max(map(len, sizes))
    for first in [*range(0, longest, steps)] * epochs:
        window = [batch for of_rank in batches for batch in of_rank[first : first + steps]]
        x, y = (torch.cat(parts) for parts in zip(*window, strict=True))
        if not len(x):
            continue
        optimizer.zero_grad()
        mse_loss(model(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    found: list[float] = script.weights(model)
    return found


def distance(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("way", ["with_known_length", "without_length", "inside_of_a_module"])
def test_two_ranks_with_different_counts_are_one_process(
    found: list[Found], script: ModuleType, way: str
) -> None:
    expected = reference(script, script.UNEVEN, script.STEPS, epochs=2)
    for rank in RANKS:
        assert distance(found[rank][way]["weights"], expected) < 1e-12
        assert found[rank][way]["step"] == 6
    assert found[0][way]["weights"] == found[1][way]["weights"]
    assert found[0][way]["grad_norm"] == found[1][way]["grad_norm"]


def test_a_window_communicates_once(found: list[Found]) -> None:
    assert [of_rank["with_known_length"]["all_reduces"] for of_rank in found] == [6, 6]
    assert [of_rank["inside_of_a_module"]["all_reduces"] for of_rank in found] == [6, 6]


def test_short_windows_of_unknown_length_communicate_behind_the_loop(found: list[Found]) -> None:
    """The model's own all-reduce ran for the four full windows only."""
    assert [of_rank["without_length"]["all_reduces"] for of_rank in found] == [4, 4]


def test_ranks_agree_on_what_is_saved(found: list[Found], script: ModuleType) -> None:
    for way in ("with_known_length", "with_holes", "with_overflow_on_one_rank"):
        assert found[0][way]["state"] == found[1][way]["state"]
    assert found[1]["with_known_length"]["state"]["usual_count"] == script.UNEVEN[0][0]


def test_ranks_without_samples_do_no_harm(found: list[Found], script: ModuleType) -> None:
    expected = reference(script, script.HOLES, steps=2)
    for rank in RANKS:
        assert distance(found[rank]["with_holes"]["weights"], expected) < 1e-12
        assert found[rank]["with_holes"]["step"] == 3


def test_a_rank_that_is_done_helps_to_finish(found: list[Found], script: ModuleType) -> None:
    expected = reference(script, script.LONGER, script.STEPS)
    for rank in RANKS:
        mine = found[rank]["with_one_rank_done"]
        assert distance(mine["weights"], expected) < 1e-12
        assert (mine["took"], mine["again"], mine["step"]) == (True, False, 3)


def test_parameters_that_no_rank_used_are_left_alone(found: list[Found]) -> None:
    assert [of_rank["with_unused_parameters"]["unused_moved"] for of_rank in found] == [False] * 2


def test_overflow_on_one_rank_skips_the_step_on_all(found: list[Found]) -> None:
    for of_rank in found:
        mine = of_rank["with_overflow_on_one_rank"]
        assert not mine["moved"]
        assert (mine["state"]["skipped_steps"], mine["step"]) == (1, 2)
    assert (
        found[0]["with_overflow_on_one_rank"]["weights"]
        == (found[1]["with_overflow_on_one_rank"]["weights"])
    )
