"""A pass over a loader, taken up again in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import runstore
from runstore import ResumableSampler, SeededDataset
from runstore.train.feed import Feed
from runstore.train.loaders import resumes_exactly
from runstore.train.rng import get_rng_state, set_rng_state

N = 23


class Augmented(Dataset[torch.Tensor]):
    """Takes from the global generator for each sample, as transforms do."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> torch.Tensor:
        return index + torch.rand(())


class Stream(IterableDataset[torch.Tensor]):
    """Samples that come in one order only."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (index + torch.rand(()) for index in range(N))


class OwnState:
    """A loader that keeps its own place, as torchdata's StatefulDataLoader does."""

    def __init__(self) -> None:
        self.position = 0

    def __iter__(self) -> Iterator[torch.Tensor]:
        while self.position < 6:
            self.position += 1
            yield self.position + torch.rand(())
        self.position = 0

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]


def generators() -> Iterable[Any]:
    for index in range(5):
        yield index + torch.rand(())


class Each:
    """An iterable that begins anew each time."""

    def __iter__(self) -> Iterator[Any]:
        return iter(generators())


class Doubling(DataLoader[Any]):
    """A loader that makes something of its batches, as those that move them to a device do."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in super().__iter__():
            yield 2 * batch


class Bar:
    """What tqdm makes of a loader."""

    def __init__(self, iterable: Iterable[Any]) -> None:
        self.iterable = iterable

    def __iter__(self) -> Iterator[Any]:
        yield from self.iterable


LOADERS: dict[str, Callable[[], Iterable[Any]]] = {
    "shuffle": lambda: DataLoader(Augmented(), 4, shuffle=True),
    "own generator": lambda: DataLoader(
        Augmented(), 4, shuffle=True, generator=torch.Generator().manual_seed(5)
    ),
    "resumable": lambda: DataLoader(Augmented(), 4, sampler=ResumableSampler(N)),
    "no batches": lambda: DataLoader(Augmented(), batch_size=None, shuffle=True),
    "drop last": lambda: DataLoader(Augmented(), 4, shuffle=True, drop_last=True),
    "stream": lambda: DataLoader(Stream(), 4),
    "a list": lambda: list(torch.arange(20.0).view(5, 4)),
    "an iterable": Each,
    "own state": OwnState,
    "a bar": lambda: Bar(
        DataLoader(Augmented(), 4, shuffle=True, generator=torch.Generator().manual_seed(5))
    ),
    "a bar around workers": lambda: Bar(DataLoader(Augmented(), 4, shuffle=True, num_workers=2)),
    "own iter": lambda: Doubling(Augmented(), 4, shuffle=True),
    "own iter and workers": lambda: Doubling(Augmented(), 4, shuffle=True, num_workers=2),
    "workers": lambda: DataLoader(
        SeededDataset(Augmented()), 4, sampler=ResumableSampler(N), num_workers=2
    ),
    "workers that shuffle": lambda: DataLoader(
        TensorDataset(torch.arange(N)), 4, shuffle=True, num_workers=2
    ),
}


def consume(batches: Iterator[Any], count: int | None = None) -> list[Any]:
    """Take batches as a training does, which draws numbers of its own for each."""
    found = []
    for batch in batches:
        values = torch.stack(batch) if isinstance(batch, list) else torch.as_tensor(batch)
        found.append([*values.reshape(-1).tolist(), float(torch.rand(()))])
        if len(found) == count:
            break
    return found


@pytest.mark.parametrize("done", [0, 1, 3, 5])
@pytest.mark.parametrize("kind", LOADERS)
def test_batches_and_numbers_behind_a_resume_are_those_without_one(kind: str, done: int) -> None:
    torch.manual_seed(11)
    whole = consume(Feed(LOADERS[kind](), 2).start())

    torch.manual_seed(11)
    feed = Feed(LOADERS[kind](), 2)
    batches = feed.start()
    head = consume(batches, done) if done else []
    saved, rng = feed.state(), get_rng_state()
    if not done:
        # Between epochs: iter() has not drawn yet.
        torch.manual_seed(11)
        rng = get_rng_state()
        saved["drawn_from"] = rng
    del batches

    torch.manual_seed(99)
    again = Feed(LOADERS[kind](), 2)
    if done:
        tail = consume(again.resume(saved, lambda: set_rng_state(rng), done))
    else:
        set_rng_state(rng)
        tail = consume(again.start())
    assert head + tail == whole
    assert again.batches == len(whole)


def test_epoch_reaches_the_sampler_wherever_it_sits() -> None:
    sampler = ResumableSampler(N)
    batches = torch.utils.data.BatchSampler(sampler, 4, drop_last=False)
    Feed(DataLoader(Augmented(), batch_sampler=batches), 7)
    assert sampler.epoch == 7


def test_passing_over_loads_no_sample() -> None:
    loaded: list[int] = []

    class Counting(Augmented):
        def __getitem__(self, index: int) -> torch.Tensor:
            loaded.append(int(index))
            return torch.tensor(float(index))

    loader = DataLoader(Counting(), 4, shuffle=True)
    feed = Feed(loader, 1)
    consume(feed.start(), 4)
    state, rng = feed.state(), get_rng_state()
    loaded.clear()
    consume(Feed(loader, 1).resume(state, lambda: set_rng_state(rng), 4))
    assert len(loaded) == N - 16


def test_loader_is_left_as_it_was_given() -> None:
    loader = DataLoader(Augmented(), 4, num_workers=1)
    consume(Feed(loader, 1).start(), 1)
    assert loader.worker_init_fn is None


def test_persistent_workers_are_known_to_be_inexact() -> None:
    def why(dataset: Dataset[Any]) -> str:
        loader = DataLoader(dataset, 4, num_workers=1, persistent_workers=True)
        return resumes_exactly(loader, inside=False)

    assert "persistent workers" in why(Augmented())
    assert why(TensorDataset(torch.arange(N))) == ""
    assert resumes_exactly(DataLoader(Augmented(), 4), inside=True) == ""


def test_epoch_reaches_the_sampler_through_a_progress_bar() -> None:
    sampler = ResumableSampler(N)
    Feed(Bar(Bar(DataLoader(Augmented(), 4, sampler=sampler))), 7)
    assert sampler.epoch == 7


@pytest.mark.parametrize("wrap", [enumerate, iter, lambda loader: Bar(zip(loader, strict=True))])
def test_iterators_are_known_to_be_inexact(wrap: Callable[[Any], Iterable[Any]]) -> None:
    assert "iterator" in resumes_exactly(wrap(DataLoader(Augmented(), 4)), inside=True)
    assert resumes_exactly([1, 2], inside=True) == ""


def test_random_datasets_in_workers_are_known_to_be_inexact() -> None:
    def why(dataset: Dataset[Any], **options: Any) -> str:
        return resumes_exactly(DataLoader(dataset, 4, num_workers=1, **options), inside=True)

    tensors, seeded = TensorDataset(torch.arange(N)), SeededDataset(Augmented())
    assert "SeededDataset" in why(Augmented())
    assert "SeededDataset" in why(seeded)
    assert why(seeded, sampler=ResumableSampler(N)) == ""
    assert [why(tensors), why(Subset(tensors, [1]))] == [""] * 2
    # Loaded and thrown away: the tests of passes show that these are exact.
    assert resumes_exactly(Bar(DataLoader(Augmented(), 4, num_workers=1)), inside=True) == ""
    assert resumes_exactly(Doubling(Augmented(), 4, num_workers=1), inside=True) == ""


LEAVES_WORKERS = """
import os, signal, sys, time
import torch
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm
from runstore.train.feed import Feed

class OwnIter(DataLoader):
    def __iter__(self):
        yield from super().__iter__()

def main(method, wrapping):
    data = TensorDataset(torch.arange(40.0))
    loader = (OwnIter if wrapping == "own iter" else DataLoader)(
        data, 4, num_workers=2, persistent_workers=True, multiprocessing_context=method
    )
    if wrapping == "bar":
        loader = tqdm(loader, disable=True)
    seen = 0
    for _ in Feed(loader, 1).start():
        seen += 1
        if seen == 2:
            print("drawn", flush=True)
            sys.stdin.readline()
    print("seen", seen, flush=True)

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    main(*sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("method", "wrapping"),
    [
        ("fork", "none"),
        ("spawn", "none"),
        ("forkserver", "none"),
        ("fork", "bar"),
        ("spawn", "own iter"),
    ],
)
def test_workers_outlive_a_sigterm_to_the_job_but_not_the_training(
    method: str, wrapping: str, tmp_path: Path
) -> None:
    script = tmp_path / "leaves_workers.py"
    script.write_text(LEAVES_WORKERS)
    command = [sys.executable, str(script), method, wrapping]
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(runstore.__file__).parents[1]),
        # Its tracker may miss, in the moment of the end, that a semaphore is gone already.
        "PYTHONWARNINGS": "ignore::UserWarning:multiprocessing.resource_tracker",
    }
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment,
    ) as training:
        assert training.stdout is not None
        assert training.stdout.readline() == "drawn\n"
        os.killpg(training.pid, signal.SIGTERM)
        try:
            out, err = training.communicate("\n", timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(training.pid, signal.SIGKILL)
            raise
    assert (training.returncode, out, err) == (0, "seen 10\n", ""), err
