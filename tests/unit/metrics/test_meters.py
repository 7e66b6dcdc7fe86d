"""Means in float64, and a pace that follows the loop."""

from __future__ import annotations

import math

import pytest

from runstore.metrics.meters import Mean, Meters, Pace


def test_mean_does_not_stop_growing_after_many_batches() -> None:
    mean = Mean()
    for _ in range(20_000):
        mean.add(0.1, 1e4)
    assert mean.value == pytest.approx(0.1, rel=1e-12)


def test_mean_of_nothing_finite_is_what_was_seen_last() -> None:
    mean = Mean()
    assert math.isnan(mean.value)
    mean.add(math.inf, 1)
    assert mean.value == math.inf


def test_metric_that_misses_batches_has_its_own_weight() -> None:
    meters = Meters()
    meters.add(1, {"a": 1.0, "b": 10.0}, 1)
    meters.add(2, {"a": 3.0}, 3)
    assert meters.values() == {"a": 2.5, "b": 10.0}
    assert meters.samples == 4


def test_batch_tracked_in_two_calls_is_counted_once() -> None:
    meters = Meters()
    for batch in (1, 2, 3):
        meters.add(batch, {"loss": math.nan if batch == 2 else 1.0}, 32)
        meters.add(batch, {"top5": math.nan if batch == 2 else 1.0}, 8)
    assert meters.samples == 96
    assert meters.nonfinite_batches == 1


@pytest.mark.parametrize("counts", [[None], [4, None], [None, 4], [4, None, 4]])
def test_samples_are_unknown_when_a_batch_came_without(counts: list[int | None]) -> None:
    meters = Meters()
    assert meters.samples is None
    for batch, n in enumerate(counts):
        meters.add(batch, {"loss": float(batch)}, n)
    assert meters.samples is None


def test_batch_without_a_sample_count_weighs_one() -> None:
    meters = Meters()
    for batch, value in enumerate([1.0, 2.0, 6.0]):
        meters.add(batch, {"loss": value}, None)
    assert meters.values() == {"loss": 3.0}


def test_pace_follows_a_loop_that_gets_slower() -> None:
    pace = Pace()
    now = 0.0
    pace.start(now)
    for _ in range(100):
        now += 0.1
        pace.tick(now)
    assert pace.it_per_s == pytest.approx(10, rel=0.01)
    for _ in range(20):
        now += 1.0
        pace.tick(now)
    assert pace.it_per_s == pytest.approx(1, rel=0.2)


def test_time_between_splits_does_not_count() -> None:
    pace = Pace()
    now = 0.0
    for _ in range(5):
        now += 100.0
        pace.start(now)
        for _ in range(20):
            now += 0.1
            pace.tick(now)
        pace.stop(now)
    assert pace.it_per_s == pytest.approx(10, rel=0.01)


def test_pace_is_unknown_at_first() -> None:
    pace = Pace()
    assert pace.it_per_s is None
    pace.start(0.0)
    pace.stop(0.0)
    assert pace.it_per_s is None


def test_tokens_are_summed() -> None:
    meters = Meters()
    assert meters.tokens == 0
    for tokens in (3, 40.0, 7):
        meters.add_tokens(tokens)
    assert meters.tokens == 50


def test_tokens_on_a_device_are_summed_there_and_exactly() -> None:
    torch = pytest.importorskip("torch")
    meters = Meters()
    for _ in range(600):
        meters.add_tokens(torch.ones((), dtype=torch.bfloat16))
    meters.add_tokens(torch.tensor([1, 2, 3]))
    assert isinstance(meters.tokens, torch.Tensor)
    assert meters.tokens.item() == 606
