"""The badges of a run: what they are for, and that noise and short runs get none."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from runstore.files.paths import StreamFile
from runstore.numbers import metric
from runstore.state.run_state import RunState
from runstore.state.status import Status
from tui.renderables import badges
from tui.renderables.text import width_of

EPOCHS = StreamFile(1, 0, "epochs")
METRICS = StreamFile(1, 0, "metrics")

Epoch = Callable[[int], dict[str, float]]


def trained(epochs: int, values: Epoch, best: str = "") -> RunState:
    """Return a run whose epochs have the values that a function gives."""
    state = RunState(Path("run"))
    state.info = {"best": best} if best else {}
    for epoch in range(1, epochs + 1):
        state.apply(EPOCHS, {"epoch": epoch, "step": epoch, **values(epoch)})
    return state


def words(state: RunState) -> list[str]:
    return [badge.word for badge in badges.of(state, whole=True)]


def losses(train: float, val: float) -> dict[str, float]:
    return {"train/loss": train, "val/loss": val}


def overfitting(epoch: int) -> dict[str, float]:
    return losses(1 / epoch, 1.0 - 0.1 * epoch if epoch < 5 else 0.5 + 0.05 * (epoch - 5))


def test_run_without_rows_has_no_badge() -> None:
    state = RunState(Path("run"))
    assert badges.of(state, whole=True) == []
    assert badges.short(state).text == ""


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_newest_value_that_is_no_number_gives_nan_until_a_later_one_is(value: float) -> None:
    state = RunState(Path("run"))
    for step, loss in enumerate((1.0, value)):
        state.apply(METRICS, {"step": step, "time": float(step), "train/loss": loss})
    (badge,) = badges.of(state, whole=False)
    assert badge.word == "nan"
    assert "train/loss" in badge.why
    assert "since step 1" in badge.why
    assert badges.short(state).text.endswith("nan")
    state.apply(METRICS, {"step": 3, "time": 3.0, "train/loss": 0.5})
    assert words(state) == []


def test_gradients_of_mixed_precision_and_bookkeeping_may_be_infinite() -> None:
    state = RunState(Path("run"))
    row = {"step": 1, "time": 1.0, "grad_norm": math.inf, "train/samples_per_s": math.inf}
    state.apply(METRICS, row)
    assert words(state) == []


def test_stall_is_what_the_status_says() -> None:
    state = RunState(Path("run"))
    state.status = Status("stalled", "process 7 is there, no step for 4 min\x1b[2J")
    (badge,) = badges.of(state, whole=False)
    assert (badge.word, badge.why) == ("stall", r"process 7 is there, no step for 4 min\x1b[2J")


def test_losses_that_part_ways_give_overfit() -> None:
    state = trained(24, overfitting)
    (badge,) = badges.of(state, whole=True)
    assert badge.word == "overfit"
    assert "val/loss" in badge.why and "train/loss" in badge.why


@pytest.mark.parametrize("epochs", [24, 2 * badges.SAMPLED_EPOCHS + 24])
def test_overfit_tells_the_newest_and_the_lowest_value_of_the_table(epochs: int) -> None:
    def parting(epoch: int) -> dict[str, float]:
        rise = 0.5 if epoch == 7 else 0.6 + 0.01 * epoch
        return losses(1 / (epoch + 1), rise)

    state = trained(epochs, parting)
    (badge,) = badges.of(state, whole=True)
    values = [row["val/loss"] for row in state.epoch_rows]
    newest, lowest = values[-1], min(values)
    told = f"val/loss {metric(newest)}, lowest {metric(lowest)} ({newest / lowest - 1:+.0%})"
    assert badge.why.startswith(told)


@pytest.mark.parametrize("epochs", range(1, 12))
def test_few_epochs_give_no_badge_of_a_trend(epochs: int) -> None:
    assert "overfit" not in words(trained(epochs, overfitting))
    assert "plateau" not in words(trained(epochs, lambda _: losses(1.0, 1.0)))


def test_both_losses_that_rise_are_no_overfitting() -> None:
    assert "overfit" not in words(trained(40, lambda epoch: losses(epoch / 9, epoch / 10)))


def test_nothing_gained_for_a_quarter_of_the_run_gives_plateau_and_names_its_first_epoch() -> None:
    state = trained(40, lambda epoch: losses(1.0, max(0.2, 1 - epoch / 20)))
    (badge,) = badges.of(state, whole=True)
    assert (badge.word, badge.why) == ("plateau", "val/loss hardly better since epoch 31")


def test_plateau_is_of_the_metric_that_makes_the_best_epoch_in_its_direction() -> None:
    def values(epoch: int) -> dict[str, float]:
        return {"val/accuracy": min(0.9, epoch / 20), "val/loss": 1 / epoch}

    assert words(trained(40, values)) == []
    assert words(trained(40, values, best="val/accuracy:max")) == ["plateau"]
    assert words(trained(40, values, best="val/other:max")) == []


def test_improvement_under_noise_gives_no_badge() -> None:
    """Of 200 trainings that get better, none to speak of is blamed, at any length."""
    blamed = 0
    for seed in range(200):
        noise = random.Random(seed)
        epochs = noise.randrange(3, 120)

        def values(epoch: int, noise: random.Random = noise, n: int = epochs) -> dict[str, float]:
            fall = math.exp(-3 * epoch / n)
            speed = {"train/samples_per_s": 100 * noise.gauss(1, 0.1)}
            return losses(fall + noise.gauss(0, 0.02), 0.3 + fall + noise.gauss(0, 0.03)) | speed

        blamed += bool(words(trained(epochs, values)))
    assert blamed <= 2


def test_speed_that_stays_low_gives_slow_and_one_slow_epoch_does_not() -> None:
    def speeds(slow: set[int]) -> Epoch:
        return lambda epoch: {"train/samples_per_s": 40.0 if epoch in slow else 100.0}

    assert words(trained(12, speeds({1}))) == []
    assert words(trained(12, speeds({12}))) == []
    assert words(trained(12, speeds({8, 12}))) == []
    (badge,) = badges.of(trained(12, speeds({10, 11, 12})), whole=True)
    assert (badge.word, badge.why) == ("slow", "40.00 samples/s, 60% below the usual 100.00")


def test_glance_at_a_run_tells_no_trends() -> None:
    state = trained(24, overfitting)
    assert badges.of(state, whole=False) == []


def test_thousands_of_epochs_are_judged_as_a_whole() -> None:
    state = trained(5000, lambda epoch: losses(1 / epoch, 1 + abs(epoch - 1000) / 1000))
    assert words(state) == ["overfit"]


def test_short_form_fits_a_column() -> None:
    for state in (trained(24, overfitting), trained(40, lambda _: losses(1.0, 1.0))):
        span = badges.short(state, whole=True)
        assert 0 < width_of(span.text) <= 9
