"""Loops as scripts have them, beside one of epochs: left, several, around them, kept by a bar."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

import runstore
from runstore import Run

DATA = TensorDataset(torch.arange(12.0))


class Crash(Exception):
    """What interrupts the trainings here."""


class Loop:
    """A run on whose rows depends what was drawn and how often the weight was moved."""

    def __init__(self, run: Run, crash_at: str) -> None:
        self.run, self.crash_at = run, crash_at
        self.model = nn.Linear(1, 1, bias=False)
        self.head = nn.Linear(1, 1)
        run.register(model=self.model, head=self.head)
        self.loader = DataLoader(DATA, 4, shuffle=True)

    def train(self, name: str = "") -> None:
        for (x,) in self.run.train(self.loader):
            with torch.no_grad():
                self.model.weight.add_(float(x[0]))
            self.run.track(first=float(x[0]), weight=self.model.weight.item())
            self.at(f"{name} step {self.run.step}".strip())

    def at(self, moment: str) -> None:
        if moment == self.crash_at:
            raise Crash


def early_stopping(loop: Loop) -> None:
    for epoch in loop.run.epochs(10):
        loop.train()
        if epoch == 2:
            break
    for _ in loop.run.test([1]):
        loop.at("test")
    for _ in loop.run.epochs(2):
        loop.train()
    for _ in loop.run.test([1]):
        loop.at("test 2")


def break_into_a_second_phase(loop: Loop) -> None:
    for epoch in loop.run.epochs(10):
        loop.train()
        if epoch == 2:
            break
    for _ in loop.run.epochs(2):
        loop.train()
    loop.run.log({"last": loop.run.summary["train/weight"]})
    loop.at("end")


def two_phases(loop: Loop) -> None:
    for _ in loop.run.epochs(2):
        loop.train()
    for _ in loop.run.epochs(2):
        loop.train()


def warm_up_and_fine_tuning(loop: Loop) -> None:
    loop.train("warm")
    loop.train("warm")
    for _ in loop.run.epochs(2):
        loop.train()
    loop.train("between")
    for _ in loop.run.epochs(1):
        loop.train()
        loop.train("second")
    loop.train("fine")
    loop.train("fine")


def optimizer_of_a_second_phase(loop: Loop) -> None:
    for lr in (0.1, 0.01):
        optimizer = torch.optim.SGD(loop.model.parameters(), lr=lr, momentum=0.9)
        stepper = runstore.Stepper(loop.run, loop.model, optimizer)
        for _ in loop.run.epochs(2):
            for (x,) in loop.run.train(loop.loader):
                with stepper.forward():
                    loss = (loop.model(x[:, None] / 12) - 1).square().mean()
                stepper.backward(loss, n=len(x))
                stepper.step()
                loop.run.track(loss=loss)
                loop.at(f"step {loop.run.step}")


def thawing(loop: Loop) -> None:
    frozen = loop.head.weight.requires_grad_(False)
    for epoch in loop.run.epochs(3):
        if epoch == 2:
            frozen.requires_grad_()
            loop.model.weight.requires_grad_(False)
        if frozen.requires_grad:
            with torch.no_grad():
                loop.model.weight.add_(0.5)
        loop.train()


MOMENTS = {
    optimizer_of_a_second_phase: ["step 2", "step 5", "step 7", "step 8", "step 11"],
    thawing: ["step 2", "step 5", "step 8"],
    early_stopping: ["step 2", "step 5", "test", "step 8", "step 12", "test 2"],
    break_into_a_second_phase: ["step 5", "step 6", "step 7", "step 10", "step 12", "end"],
    two_phases: ["step 4", "step 7", "step 10"],
    warm_up_and_fine_tuning: [
        *("warm step 2", "warm step 5", "step 8", "step 11", "between step 14", "between step 15"),
        *("step 17", "second step 20", "second step 21", "fine step 23", "fine step 26"),
    ],
}


def train(root: Path, training: Callable[[Loop], None], crash_at: str = "", **options: Any) -> Path:
    torch.manual_seed(0)
    with runstore.init({}, root=root, save_every="1st", **options) as run:
        training(Loop(run, crash_at))
    return run.path


def visible(path: Path) -> dict[str, list[dict[str, Any]]]:
    data = runstore.load(path)
    rows = {"metrics": data.metrics(), "epochs": data.epochs()}
    return {
        stream: [
            {k: v for k, v in row.items() if k != "time" and not k.endswith("_s")} for row in found
        ]
        for stream, found in rows.items()
    }


@pytest.mark.parametrize(
    ("training", "moment"),
    [(training, moment) for training, moments in MOMENTS.items() for moment in moments],
)
def test_resumed_run_leads_through_the_same_loops(
    tmp_path: Path, training: Callable[[Loop], None], moment: str
) -> None:
    whole = train(tmp_path / "whole", training)
    with pytest.raises(Crash):
        train(tmp_path / "runs", training, moment)
    (path,) = (tmp_path / "runs").iterdir()
    train(tmp_path / "runs", training, resume=path)
    assert visible(path) == visible(whole)
    assert "not_exact" not in (path / "events-0002.jsonl").read_text()


def test_loop_that_was_left_is_not_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop_early(loop: Loop) -> None:
        for epoch in loop.run.epochs(10):
            loop.train()
            if epoch == 2:
                break

    path = train(tmp_path, stop_early)
    rows = visible(path)
    train(tmp_path, stop_early, resume=path)
    assert visible(path) == rows
    assert "left by break in epoch 2" in capsys.readouterr().err


def test_loop_that_ctrl_c_has_left_is_gone_on_with(tmp_path: Path) -> None:
    def interrupted(loop: Loop, at: int = 5) -> None:
        try:
            for _ in loop.run.epochs(4):
                for (x,) in loop.run.train(loop.loader):
                    loop.run.track(first=float(x[0]))
                    if loop.run.step == at:
                        os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            for _ in loop.run.test([1]):
                pass

    path = train(tmp_path, interrupted)
    assert len(runstore.load(path).epochs()) == 2
    train(tmp_path, lambda loop: interrupted(loop, -1), resume=path)
    assert [row["epoch"] for row in runstore.load(path).epochs()] == [1, 2, 3, 4]


@pytest.mark.parametrize("wrap", [lambda batches: tqdm(batches, disable=True), iter])
def test_loop_that_something_else_keeps_may_be_left(
    tmp_path: Path, wrap: Callable[[Iterator[Any]], Any]
) -> None:
    kept = []
    with runstore.init(root=tmp_path) as run:
        for _ in run.epochs(2):
            for split in (run.train, run.train, run.val, run.val):
                kept.append(wrap(split([1.0, 2.0, 3.0])))
                for x in kept[-1]:
                    run.track(loss=x)
                    if x == 2.0:
                        break
    data = runstore.load(run.path)
    assert data.status == "finished"
    assert [row["train/loss"] for row in data.epochs()] == [1.5, 1.5]
    assert [row["val/loss"] for row in data.epochs()] == [1.5, 1.5]


@pytest.mark.parametrize("order", ["before", "behind", "both"])
def test_row_of_a_step_in_explicit_stages_has_what_is_tracked_around_it(
    tmp_path: Path, order: str
) -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with runstore.init(root=tmp_path) as run:
        stepper = runstore.Stepper(run, model, optimizer)
        run.begin_epoch()
        run.begin_split("train")
        for value in (1.0, 2.0, 3.0):
            with stepper.forward():
                loss = model(torch.ones(1, 1)).sum()
            stepper.backward(loss)
            if order != "behind":
                run.track(before=value)
            stepper.step()
            if order != "before":
                run.track(behind=value)
        run.end_split()
        run.end_epoch()
    rows = [row for row in runstore.load(run.path).metrics() if "lr" in row]
    names = {"before": ["before"], "behind": ["behind"], "both": ["before", "behind"]}[order]
    for name in names:
        assert [row[f"train/{name}"] for row in rows] == [1.0, 2.0, 3.0]
