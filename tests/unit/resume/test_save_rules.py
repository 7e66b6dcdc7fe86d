"""When a checkpoint is due."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import runstore
from runstore.files.checkpoints import read_manifest
from runstore.resume.save_rules import SaveClock, SaveEvery


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1ep", SaveEvery(epochs=1)),
        ("500st", SaveEvery(steps=500)),
        ("30s", SaveEvery(seconds=30)),
        ("10min", SaveEvery(seconds=600)),
        (" 1.5 h ", SaveEvery(seconds=5400)),
    ],
)
def test_epochs_steps_and_times_are_read(text: str, expected: SaveEvery) -> None:
    assert SaveEvery.parse(text) == expected


@pytest.mark.parametrize("text", ["", "10", "ep", "0st", "-1ep", "1.5ep", "10 minutes", "1d"])
def test_anything_else_is_refused_with_what_was_given(text: str) -> None:
    with pytest.raises(ValueError, match=r"save_every is .*expected epochs"):
        SaveEvery.parse(text)


@pytest.mark.parametrize("unit", ["ep", "st", "h"])
def test_count_beyond_all_floats_is_refused(unit: str) -> None:
    with pytest.raises(ValueError, match=r"save_every is .*expected epochs"):
        SaveEvery.parse("9" * 400 + unit)


def test_steps_are_due_at_their_multiples_wherever_the_counting_began() -> None:
    clock = SaveClock(SaveEvery(steps=5), 7)
    due = []
    for step in range(8, 21):
        if clock.is_due(step):
            due.append(step)
            clock.note_save(step)
    assert due == [10, 15, 20]


def test_a_checkpoint_in_between_does_not_move_the_next_one() -> None:
    clock = SaveClock(SaveEvery(steps=5), 0)
    clock.note_save(3)
    assert [step for step in range(4, 7) if clock.is_due(step)] == [5, 6]


def test_epochs_are_counted_since_the_last_one() -> None:
    clock = SaveClock(SaveEvery(epochs=2), 0)
    clock.note_epoch()
    assert not clock.is_due(100)
    clock.note_epoch()
    assert clock.is_due(100)
    clock.note_save(100)
    assert not clock.is_due(200)


def test_time_is_measured_since_the_last_one() -> None:
    clock = SaveClock(SaveEvery(seconds=0.05), 0)
    assert not clock.is_due(1)
    time.sleep(0.06)
    assert clock.is_due(1)
    clock.note_save(1)
    assert not clock.is_due(2)


def test_ten_minutes_are_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(
        "runstore.resume.save_rules.time", SimpleNamespace(monotonic=lambda: now[0])
    )
    with runstore.init(root=tmp_path, keep_last=9) as run:
        run.register(model=torch.nn.Linear(1, 1))
        for _ in run.epochs(1):
            for _ in run.train(range(25)):
                now[0] += 60
                run.track(loss=1.0)
    # The last one is of the epoch's end.
    assert [row.step for row in read_manifest(run.path)] == [10, 20, 25]
