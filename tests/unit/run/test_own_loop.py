"""Epochs of ours around batches of the script's own: only the stepper tells where the loop is."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import runstore
from runstore.files.checkpoints import read_manifest
from runstore.run.stops import Terminated

BATCHES, EPOCHS = 6, 3


def train(
    root: Path,
    at: Callable[[runstore.Run], object] = lambda _run: None,
    behind_step: Callable[[runstore.Run], object] = lambda _run: None,
    **options: Any,
) -> tuple[runstore.Run, list[tuple[int, int]]]:
    """Train on batches of an own loop; return which were trained on: (epoch, batch)."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    done = []
    options = {"resume": "never", **options}
    with runstore.init({}, root=root, **options) as run:
        stepper = runstore.Stepper(run, model, optimizer, gradient_accumulation_steps=2)
        run.register(model=model, optimizer=optimizer)
        for epoch in run.epochs(EPOCHS):
            for batch in range(BATCHES):
                with stepper.forward():
                    loss = model(torch.ones(4, 3)).square().mean()
                stepper.backward(loss)
                at(run)
                if stepper.step():
                    behind_step(run)
                done.append((epoch, batch))
    return run, done


def at_step(step: int, do: Callable[[runstore.Run], object]) -> Callable[[runstore.Run], None]:
    """Call `do` once, inside of the window behind `step`."""
    asked: list[int] = []

    def at(run: runstore.Run) -> None:
        if run.step == step and not asked:
            asked.append(step)
            do(run)

    return at


def events(path: Path, attempt: int) -> list[dict[str, Any]]:
    lines = (path / f"events-{attempt:04d}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_sigterm_finishes_the_window_saves_and_leaves(tmp_path: Path) -> None:
    with pytest.raises(Terminated):
        train(tmp_path, at_step(4, lambda _run: os.kill(os.getpid(), signal.SIGTERM)))
    (path,) = tmp_path.iterdir()
    end = events(path, 1)[-1]
    assert (end["status"], end["reason"]) == ("interrupted", "preempted by SIGTERM")
    row = read_manifest(path)[-1]
    assert (row.step, row.facts["kind"]) == (end["step"], "step") == (5, "step")


def test_resumed_run_begins_the_epoch_again_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Terminated):
        train(tmp_path, at_step(4, lambda _run: os.kill(os.getpid(), signal.SIGTERM)))
    (path,) = tmp_path.iterdir()
    run, done = train(tmp_path, resume=path)
    told = capsys.readouterr().err
    assert "goes on at step 5, in epoch 2\n" in told
    assert f"go on with: runstore resume {path}\n" in told
    assert done == [(epoch, batch) for epoch in (2, 3) for batch in range(BATCHES)]
    assert run.step == 5 + 2 * BATCHES // 2
    (inexact,) = (event for event in events(path, 2) if event["event"] == "resume_not_exact")
    assert "inside of epoch 2" in inexact["reason"]
    assert [row["epoch"] for row in runstore.load(path).epochs()] == [1, 2, 3]


def test_exact_goes_back_to_the_end_of_the_epoch_before(tmp_path: Path) -> None:
    stop = at_step(4, lambda _run: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Terminated):
        train(tmp_path, stop, save_every="1ep")
    (path,) = tmp_path.iterdir()
    run, done = train(tmp_path, resume=path, exact=True)
    assert done == [(epoch, batch) for epoch in (2, 3) for batch in range(BATCHES)]
    assert run.step == EPOCHS * BATCHES // 2
    assert "its epoch would begin again" in (path / "events-0002.jsonl").read_text()


def test_stop_leaves_behind_all_that_the_loop_does_for_a_step(tmp_path: Path) -> None:
    logged = []

    def behind(run: runstore.Run) -> None:
        logged.append(run.step)
        run.log({"ema": 1.0})

    with pytest.raises(Terminated):
        train(
            tmp_path,
            at_step(4, lambda _run: os.kill(os.getpid(), signal.SIGTERM)),
            behind_step=behind,
        )
    (path,) = tmp_path.iterdir()
    assert logged[-1] == 5
    assert [row["step"] for row in runstore.load(path).metrics() if "ema" in row] == logged


def test_window_that_the_end_of_the_epoch_cuts_short_is_taken(tmp_path: Path) -> None:
    model = nn.Linear(1, 1, bias=False)
    before = model.weight.item()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with runstore.init({}, root=tmp_path, save_every="1ep", keep_last=9) as run:
        stepper = runstore.Stepper(run, model, optimizer, gradient_accumulation_steps=4)
        run.register(model=model, optimizer=optimizer)
        for _ in run.epochs(2):
            for _ in range(5):
                with stepper.forward():
                    loss = model(torch.ones(1, 1)).mean()  # whose gradient is 1
                stepper.backward(loss, n=1)
                stepper.step()
    assert before - model.weight.item() == pytest.approx(4.0)
    assert [row.step for row in read_manifest(run.path)] == [2, 4]


@pytest.mark.parametrize(("every", "steps"), [("2st", [3, 6, 9]), ("2ep", [6, 9]), ("1h", [9])])
def test_what_is_due_by_the_clock_waits_for_the_end_of_the_epoch(
    tmp_path: Path, every: str, steps: list[int]
) -> None:
    run, _ = train(tmp_path, save_every=every, keep_last=9)
    assert [row.step for row in read_manifest(run.path)] == steps


def test_save_waits_for_the_end_of_the_window(tmp_path: Path) -> None:
    run, _ = train(tmp_path, at_step(3, lambda run: run.save()), keep_last=9)
    assert [row.step for row in read_manifest(run.path)] == [4, 9]


def test_steps_behind_a_train_split_of_ours_wait_for_an_exact_place(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with runstore.init({}, root=tmp_path, save_every="1st", keep_last=99) as run:
        stepper = runstore.Stepper(run, model, optimizer)
        run.register(model=model, optimizer=optimizer)
        for _ in run.epochs(2):
            batches = list(run.train([torch.ones(4, 3)] * 2))
            for batch in batches:
                with stepper.forward():
                    loss = model(batch).square().mean()
                stepper.backward(loss)
                stepper.step()
    assert {row.facts["kind"] for row in read_manifest(run.path)} == {"epoch"}
    assert [row.step for row in read_manifest(run.path)] == [2, 4]


def test_save_in_an_epoch_without_a_stepper_is_led_back_to_the_epoch(tmp_path: Path) -> None:
    class Crash(Exception):
        pass

    def count(**options: Any) -> list[int]:
        seen = []
        with runstore.init({}, root=tmp_path, **options) as run:
            run.register(model=nn.Linear(1, 1))
            for epoch in run.epochs(EPOCHS):
                seen.append(epoch)
                run.log({"x": epoch}, step=epoch)
                if epoch == 2 and "resume" not in options:
                    run.save()
                    raise Crash
        return seen

    with pytest.raises(Crash):
        count()
    (path,) = tmp_path.iterdir()
    assert count(resume=path) == [2, 3]
