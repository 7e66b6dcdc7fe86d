"""Generators that loaders have of their own go on in a resumed run as they would have."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler, TensorDataset

import runstore
from runstore.train.loaders import resumes_exactly

N, EPOCHS = 12, 4
DATA = TensorDataset(torch.arange(float(N)))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shuffled(generator: torch.Generator, batch: int = 4) -> DataLoader[Any]:
    return DataLoader(DATA, batch, shuffle=True, generator=generator)


class Crash(Exception):
    """What interrupts the trainings here."""


class Loop:
    """A run whose rows tell in which order its loaders gave their samples."""

    def __init__(self, run: runstore.Run, crash_at: int) -> None:
        self.run, self.crash_at = run, crash_at
        self.passes = 0
        run.register(model=nn.Linear(1, 1))

    def train(self, loader: Iterable[Any]) -> Iterator[None]:
        for (x,) in self.run.train(loader):
            self.run.track(first=float(x[0]), last=float(x[-1]))
            yield
            if self.run.step == self.crash_at:
                raise Crash

    def val(self, loader: Iterable[Any]) -> None:
        self.passes += 1
        order = [value for (x,) in self.run.val(loader) for value in x.tolist()]
        self.run.log({f"order/{place}": value for place, value in enumerate(order)})


def several_loaders_of_one_split(loop: Loop) -> None:
    train, one, other = (shuffled(seeded(0)) for _ in range(3))
    for _ in loop.run.epochs(EPOCHS):
        for _ in loop.train(train):
            pass
        loop.val(one)
        loop.val(other)


def evaluation_before_the_training(loop: Loop) -> None:
    train, val = shuffled(seeded(1)), shuffled(seeded(2))
    loop.val(val)
    for _ in loop.run.epochs(EPOCHS):
        for _ in loop.train(train):
            pass
        loop.val(val)


def evaluation_inside_of_the_training(loop: Loop) -> None:
    train, one, other = shuffled(seeded(1), 2), shuffled(seeded(2)), shuffled(seeded(3))
    for _ in loop.run.epochs(EPOCHS):
        for _ in loop.train(train):
            if loop.run.step % 2 == 0:
                loop.val(other)
            if loop.run.step % 3 == 0:
                loop.val(one)


def one_generator_for_all(loop: Loop) -> None:
    generator = seeded(4)
    train, val = shuffled(generator), shuffled(generator)
    for _ in loop.run.epochs(EPOCHS):
        for _ in loop.train(train):
            if loop.run.step % 2 == 0:
                loop.val(val)


def loaders_made_anew_with_the_same_seed(loop: Loop) -> None:
    for _ in loop.run.epochs(EPOCHS):
        for _ in loop.train(shuffled(seeded(5))):
            pass
        loop.val(shuffled(seeded(6)))


def named_loaders_made_anew(loop: Loop) -> None:
    """Their names keep them alive until the next epoch's are there."""
    for _ in loop.run.epochs(EPOCHS):
        train, val = shuffled(seeded(5)), shuffled(seeded(6))
        for _ in loop.train(train):
            pass
        loop.val(val)


def loaders_made_anew_with_the_epoch_as_seed(loop: Loop) -> None:
    for epoch in loop.run.epochs(EPOCHS):
        loader = shuffled(seeded(epoch))
        for _ in loop.train(loader):
            pass
        loop.val(shuffled(seeded(epoch)))


class Rotating(Sampler[int]):
    """A sampler whose generator has a name of its own."""

    def __init__(self) -> None:
        self.rng = seeded(7)

    def __iter__(self) -> Iterator[int]:
        start = int(torch.randint(N, (), generator=self.rng))
        yield from ((start + index) % N for index in range(N))

    def __len__(self) -> int:
        return N


def sampler_of_the_users_own(loop: Loop) -> None:
    train, val = DataLoader(DATA, 4, sampler=Rotating()), DataLoader(DATA, 4, sampler=Rotating())
    for _ in loop.run.epochs(EPOCHS):
        for _ in loop.train(train):
            pass
        loop.val(val)


def two_train_loaders_of_the_same_seed(loop: Loop) -> None:
    short = DataLoader(TensorDataset(torch.arange(8.0)), 4, shuffle=True, generator=seeded(0))
    other = shuffled(seeded(0))
    for _ in loop.run.epochs(3):
        for _ in loop.train(short):
            pass
        for _ in loop.train(other):
            pass


def generator_seeded_again_by_the_script(loop: Loop) -> None:
    train_generator, val_generator = seeded(8), seeded(9)
    train, val = shuffled(train_generator), shuffled(val_generator)
    for epoch in loop.run.epochs(EPOCHS):
        train_generator.manual_seed(epoch)
        for _ in loop.train(train):
            pass
        val_generator.manual_seed(9)
        loop.val(val)


def curriculum_of_loaders_of_the_same_seed(loop: Loop) -> None:
    easy = DataLoader(TensorDataset(torch.arange(8.0)), 4, shuffle=True, generator=seeded(0))
    hard = shuffled(seeded(0))
    for epoch in loop.run.epochs(EPOCHS):
        for _ in loop.train(easy if epoch < 3 else hard):
            pass


class Held(Sampler[list[int]]):
    """A batch sampler that keeps the one it draws from under a name of its own."""

    def __init__(self) -> None:
        self.base = torch.utils.data.RandomSampler(DATA, generator=seeded(3))

    def __iter__(self) -> Iterator[list[int]]:
        order = list(self.base)
        yield from (order[start : start + 4] for start in range(0, N, 4))

    def __len__(self) -> int:
        return N // 4


class Wrapped:
    """What moves batches to a device, as some libraries do."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        yield from self.loader


def samplers_and_loaders_within_others(loop: Loop) -> None:
    train, val = DataLoader(DATA, batch_sampler=Held()), Wrapped(shuffled(seeded(4)))
    for _ in loop.run.epochs(EPOCHS):
        for _ in loop.train(train):
            pass
        loop.val(val)
        for _ in loop.train(val):
            pass


TRAININGS = [
    two_train_loaders_of_the_same_seed,
    curriculum_of_loaders_of_the_same_seed,
    samplers_and_loaders_within_others,
    several_loaders_of_one_split,
    evaluation_before_the_training,
    evaluation_inside_of_the_training,
    one_generator_for_all,
    loaders_made_anew_with_the_same_seed,
    named_loaders_made_anew,
    loaders_made_anew_with_the_epoch_as_seed,
    sampler_of_the_users_own,
]


def train(
    root: Path,
    training: Callable[[Loop], None],
    crash_at: int = -1,
    resume: Path | str = "never",
    every: str = "1st",
) -> Path:
    torch.manual_seed(0)
    run = runstore.init({}, root=root, save_every=every, resume=resume)
    with run:
        training(Loop(run, crash_at))
    return run.path


def visible(path: Path) -> list[dict[str, Any]]:
    """Return the rows without times."""
    return [
        {key: value for key, value in row.items() if key != "time" and "/s" not in key}
        for row in runstore.load(path).metrics()
    ]


def inexact(path: Path, attempt: int) -> list[str]:
    lines = (path / f"events-{attempt:04d}.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    return [event["reason"] for event in events if event["event"] == "resume_not_exact"]


@pytest.mark.parametrize("crashes", [(2,), (5,), (8,), (9,), (7, 10)])
@pytest.mark.parametrize("training", TRAININGS)
def test_every_loader_gives_the_order_of_the_uninterrupted_run(
    tmp_path: Path, training: Callable[[Loop], None], crashes: tuple[int, ...]
) -> None:
    whole = train(tmp_path / "whole", training)
    path: Path | None = None
    for crash in crashes:
        with pytest.raises(Crash):
            train(tmp_path / "runs", training, crash, path or "never")
        (path,) = (tmp_path / "runs").iterdir()
    assert path is not None
    train(tmp_path / "runs", training, resume=path)
    assert visible(path) == visible(whole)
    assert inexact(path, len(crashes) + 1) == []


@pytest.mark.parametrize("crash", [8, 9, 10])
def test_generator_that_the_script_seeds_again_is_left_alone(tmp_path: Path, crash: int) -> None:
    """Once it was seen: of two evaluations, the second one tells."""
    whole = train(tmp_path / "whole", generator_seeded_again_by_the_script)
    with pytest.raises(Crash):
        train(tmp_path / "runs", generator_seeded_again_by_the_script, crash)
    (path,) = (tmp_path / "runs").iterdir()
    train(tmp_path / "runs", generator_seeded_again_by_the_script, resume=path)
    assert visible(path) == visible(whole)
    assert inexact(path, 2) == []


def test_loader_taken_for_one_of_an_earlier_attempt_is_told(tmp_path: Path) -> None:
    """Between the first two epochs nobody can tell a loader made anew from one that is kept."""
    with pytest.raises(Crash):
        train(tmp_path, named_loaders_made_anew, 4, every="1ep")
    (path,) = tmp_path.iterdir()
    train(tmp_path, named_loaders_made_anew, resume=path)
    assert inexact(path, 2) == [
        f"the {split} loader begins with the same seed each time" for split in ("train", "val")
    ]


class Noise(Dataset[float]):
    """Samples from a generator that only NumPy knows of."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> float:
        return float(self.rng.normal())


@pytest.mark.parametrize("inside", [True, False])
def test_generators_that_nobody_holds_are_known_to_be_inexact(inside: bool) -> None:
    assert "Noise.rng" in resumes_exactly(DataLoader(Noise(), 4), inside=inside)
    assert "Noise.rng" in resumes_exactly(
        DataLoader(torch.utils.data.Subset(Noise(), [1, 2]), 4), inside=inside
    )


class WithTransform(Dataset[float]):
    """Samples from a transform that has a generator of its own."""

    def __init__(self) -> None:
        self.transform = Jitter()

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> float:
        return self.transform(index)


class Jitter:
    def __init__(self) -> None:
        self.random = random.Random(0)

    def __call__(self, value: float) -> float:
        return value + self.random.random()


def test_generators_deep_in_the_data_are_known_to_be_inexact() -> None:
    parts: Dataset[float] = torch.utils.data.ConcatDataset([Noise(), Noise()])
    assert "Noise.rng" in resumes_exactly(DataLoader(parts, 4), inside=False)
    assert "Jitter.random" in resumes_exactly(DataLoader(WithTransform(), 4), inside=False)
