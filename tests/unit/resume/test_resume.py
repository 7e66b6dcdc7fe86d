"""A run that is interrupted and goes on equals the run that was not, value for value."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import runstore
from runstore.errors import CheckpointError
from runstore.train.checkpoint import read_payload

# The first training of a process imports scikit-learn, and torch.
EPOCHS = 3


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny layers: a second thread costs more than it does, the more so on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Crash(Exception):
    """What interrupts the trainings here; kills are in tests/integration."""


class Training:
    """A small training that reports each of its moments to `at`, which may raise."""

    def __init__(self, at: Callable[[str], None] = lambda _moment: None) -> None:
        self.at = at
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(50, 6, generator=generator)
        y = (x.sum(1) > 0).long()
        self.train_set, self.val_set = TensorDataset(x[:35], y[:35]), TensorDataset(x[35:], y[35:])
        self.model = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 2)
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 1, gamma=0.9)

    def run(self, root: Path, *, epochs: int = EPOCHS, **options: Any) -> runstore.Run:
        loader = DataLoader(self.train_set, 5, shuffle=True)
        val_loader = DataLoader(self.val_set, 5)
        options = {"save_every": "3st", **options}
        with runstore.init({"lr": 0.01}, root=root, **options) as run:
            run.register(model=self.model, optimizer=self.optimizer, scheduler=self.scheduler)
            run.log({"prelude": 1.0})
            for epoch in run.epochs(epochs):
                self.model.train()
                for x, y in run.train(loader):
                    loss = nn.functional.cross_entropy(self.model(x), y)
                    self.optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]  # torch types it so
                    self.optimizer.step()
                    run.track(loss=loss, n=len(y))
                    self.at(f"step {run.step}")
                self.at(f"trained {epoch}")
                self.scheduler.step()
                run.log({"lr": self.scheduler.get_last_lr()[0]})
                self.model.eval()
                with torch.no_grad():
                    for x, y in run.val(val_loader):
                        logits = self.model(x)
                        run.track(loss=nn.functional.cross_entropy(logits, y), n=len(y))
                        run.track_classification(logits, y)
                        self.at(f"val {epoch}")
                self.at(f"body {epoch}")
            self.at("end")
        return run

    def weights(self) -> str:
        tensors = self.model.state_dict().values()
        return hashlib.sha256(b"".join(t.numpy().tobytes() for t in tensors)).hexdigest()


def crash_at(moment: str) -> Callable[[str], None]:
    def at(now: str) -> None:
        if now == moment:
            raise Crash

    return at


def visible(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the rows that count, without the times in them."""
    data = runstore.load(path)
    rows = {"metrics": data.metrics(), "epochs": data.epochs(), "reports": data.reports()}
    return {stream: [timeless(row) for row in found] for stream, found in rows.items()}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def timeless(row: dict[str, Any]) -> dict[str, Any]:
    ends = ("duration_s", "samples_per_s")
    return {key: value for key, value in row.items() if key != "time" and not key.endswith(ends)}


def crash_and_resume(root: Path, *moments: str, **options: Any) -> tuple[Path, Training]:
    path = None
    for moment in moments:
        with pytest.raises(Crash):
            resumed: dict[str, Any] = {} if path is None else {"resume": path}
            Training(crash_at(moment)).run(root, **resumed, **options)
        path = path or next(root.iterdir())
    last = Training()
    last.run(root, resume=path, **options)
    assert path is not None
    return path, last


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    training = Training()
    run = training.run(tmp_path_factory.mktemp("whole"))
    return visible(run.path), training.weights()


MOMENTS = [
    *(f"step {step}" for step in (1, 3, 4, 6, 7, 8, 9, 14, 15, 20, 21)),
    *("trained 1", "val 2", "body 1", "body 3", "end"),
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_rows_and_weights_equal_those_of_the_uninterrupted_run(
    tmp_path: Path, uninterrupted: tuple[dict[str, Any], str], moment: str
) -> None:
    path, training = crash_and_resume(tmp_path, moment)
    rows, weights = uninterrupted
    assert visible(path) == rows
    assert training.weights() == weights


@pytest.mark.parametrize("every", ["1st", "2ep", "1h"])
def test_rows_equal_however_often_checkpoints_are_written(
    tmp_path: Path, uninterrupted: tuple[dict[str, Any], str], every: str
) -> None:
    path, training = crash_and_resume(tmp_path, "step 5", "step 17", "body 3", save_every=every)
    assert (visible(path), training.weights()) == uninterrupted


def test_several_interruptions_leave_one_history(
    tmp_path: Path, uninterrupted: tuple[dict[str, Any], str]
) -> None:
    path, training = crash_and_resume(tmp_path, "step 2", "step 8", "step 8", "val 2", "step 20")
    assert (visible(path), training.weights()) == uninterrupted
    assert runstore.load(path).status == "finished"
    assert len(list(path.glob("events-*.jsonl"))) == 6


def test_attempt_says_where_it_goes_on(tmp_path: Path) -> None:
    path, _ = crash_and_resume(tmp_path, "step 8")
    events = lines(path / "events-0002.jsonl")
    assert events[0]["resumed_from"] == "step-00000006-0001.pt"
    assert events[0]["cuts"]["metrics-0001.jsonl"] > 0
    resume = next(event for event in events if event["event"] == "resume")
    assert (resume["step"], resume["exact"]) == (6, True)


def test_manifest_and_events_are_what_the_format_says(tmp_path: Path) -> None:
    path, _ = crash_and_resume(tmp_path, "step 8", keep_best="val/loss:min")
    schemas = Path(runstore.__file__).parents[1] / "docs" / "format"
    for name, file in (("manifest", "checkpoints/manifest.jsonl"), ("events", "events-0002.jsonl")):
        schema = json.loads((schemas / f"{name}.schema.json").read_text())
        for row in lines(path / file):
            Draft202012Validator(schema).validate(row)


def test_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, uninterrupted: tuple[dict[str, Any], str]
) -> None:
    with pytest.raises(Crash):
        Training(crash_at("step 8")).run(tmp_path)
    (path,) = tmp_path.iterdir()
    newest = sorted((path / "checkpoints").glob("step-*.pt"))[-1]
    data = bytearray(newest.read_bytes())
    data[1000] ^= 4
    newest.write_bytes(data)
    training = Training()
    training.run(tmp_path, resume=path)
    assert (visible(path), training.weights()) == uninterrupted
    warnings = (path / "events-0002.jsonl").read_text()
    assert "sha256 differs" in warnings


def test_resume_without_register_is_refused_before_it_trains(tmp_path: Path) -> None:
    with pytest.raises(Crash):
        Training(crash_at("step 8")).run(tmp_path)
    (path,) = tmp_path.iterdir()
    with (
        pytest.raises(CheckpointError, match=r"call run\.register"),
        runstore.init(root=tmp_path, resume=path) as run,
    ):
        next(run.epochs(3))


def test_objects_that_were_not_saved_are_told(tmp_path: Path) -> None:
    with pytest.raises(Crash):
        Training(crash_at("step 8")).run(tmp_path)
    (path,) = tmp_path.iterdir()
    with (
        pytest.raises(CheckpointError, match="has no 'ema', only model, optimizer, scheduler"),
        runstore.init(root=tmp_path, resume=path) as run,
    ):
        run.register(ema=nn.Linear(2, 2))


def test_best_epoch_is_kept_by_its_name(tmp_path: Path) -> None:
    run = Training().run(tmp_path, keep_best="val/loss:min", keep_last=1)
    epochs = visible(run.path)["epochs"]
    best = min(epochs, key=lambda row: float(row["val/loss"]))
    assert read_payload(run.path / "checkpoints" / "best.pt")["step"] == best["step"]


def test_resumed_run_knows_that_the_best_metric_has_come(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is evaluated in the first epoch alone, and the last one is done by another attempt."""

    def train(epochs: int, **options: Any) -> Path:
        with runstore.init(
            root=tmp_path, best="val/acc:max", keep_best="val/f1:max", save_every="1ep", **options
        ) as run:
            run.register(model=nn.Linear(1, 1))
            for epoch in run.epochs(epochs):
                for _ in run.train(range(2)):
                    run.track(loss=1.0)
                if epoch == 1:
                    run.log({"val/acc": 0.5, "val/f1": 0.5})
        return run.path

    train(4, resume=train(2))
    assert not caplog.records


@pytest.mark.parametrize("is_resumed", [False, True])
def test_best_that_could_not_be_written_is_not_taken_for_kept(
    tmp_path: Path, is_resumed: bool
) -> None:
    """The disk is full in the best epoch: of those to come, the best is kept."""
    path: Path | None = None

    def train(losses: list[float], full_in: int, **options: Any) -> None:
        nonlocal path
        with runstore.init(
            root=tmp_path, save_every="1ep", keep_last=1, keep_best="val/loss:min", **options
        ) as run:
            run.register(model=nn.Linear(1, 1))
            path = run.path
            for epoch in run.epochs(len(losses)):
                run.count_step()
                run.log({"val/loss": losses[epoch - 1]})
                if epoch == full_in:
                    (path / "checkpoints").rename(path / "away")
                    (path / "checkpoints").write_text("a file where the directory should be")
                elif epoch == full_in + 1:
                    (path / "checkpoints").unlink()
                    (path / "away").rename(path / "checkpoints")

    losses = [5.0, 1.0, 4.0, 3.0, 3.5]
    if is_resumed:
        train(losses[:3], 2)
        train(losses, -9, resume=path)
    else:
        train(losses, 2)
    assert path is not None
    best = read_payload(path / "checkpoints" / "best.pt")
    assert (best["epoch"], best["kept_best"]) == (4, 3.0)


def test_last_epoch_is_saved_whatever_the_clock_says(tmp_path: Path) -> None:
    run = Training().run(tmp_path, save_every="1h")
    names = [path.name for path in (run.path / "checkpoints").glob("*.pt")]
    assert names == ["step-00000021-0001.pt"]


def test_more_epochs_continue_a_finished_run(tmp_path: Path) -> None:
    whole = Training().run(tmp_path / "whole", epochs=4)
    first = Training().run(tmp_path / "parts", epochs=3)
    Training().run(tmp_path / "parts", epochs=4, resume=first.path)
    assert visible(first.path) == visible(whole.path)


@pytest.mark.parametrize("epochs", [2, 3])
def test_finished_run_says_that_nothing_is_left_and_how_to_go_on(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    epochs: int,
) -> None:
    """`epochs` is what the script asks for when it is resumed."""
    first = Training().run(tmp_path)
    capsys.readouterr()
    Training().run(tmp_path, epochs=epochs, resume=first.path)
    _, goes_on, nothing_left, finished = capsys.readouterr().err.splitlines()
    assert goes_on == "runstore: attempt 2 goes on at step 21, after epoch 3"
    assert nothing_left == (
        "runstore: nothing was left to train behind epoch 3; for more, give run.epochs(…) a number "
        "above 3 (not by run.params, which `runstore resume` takes from the record)"
    )
    assert finished.startswith("runstore: finished after")
    Training().run(tmp_path, epochs=4, resume=first.path)
    assert "nothing was left" not in capsys.readouterr().err


def test_loops_one_after_another_are_found_again(tmp_path: Path) -> None:
    def train(root: Path, fail_at: int, **options: Any) -> Path:
        model = nn.Linear(2, 1)
        with runstore.init(root=root, save_every="1st", **options) as run:
            run.register(model=model)
            for loop in (2, 3):
                for epoch in run.epochs(loop):
                    for _ in run.train(range(2)):
                        run.track(loss=float(run.step))
                        if run.step == fail_at:
                            raise Crash
                    run.log({"loop": loop, "seen": epoch})
        return run.path

    whole = train(tmp_path / "whole", -1)
    with pytest.raises(Crash):
        train(tmp_path / "parts", 7)
    (path,) = (tmp_path / "parts").iterdir()
    train(tmp_path / "parts", -1, resume=path)
    assert visible(path) == visible(whole)


def test_save_in_the_body_is_written_when_the_epoch_is_done(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path, save_every="1h") as run:
        run.register(model=nn.Linear(1, 1))
        for epoch in run.epochs(3):
            for _ in run.train(range(2)):
                run.track(loss=1.0)
            if epoch == 1:
                run.save(is_best=True)
                assert not (run.path / "checkpoints").exists()
    assert sorted(path.name for path in (run.path / "checkpoints").glob("*.pt")) == [
        "best.pt",
        "step-00000002-0001.pt",
        "step-00000006-0001.pt",
    ]


def test_plain_loop_saves_where_it_asks_and_goes_on_by_step(tmp_path: Path) -> None:
    def train(until: int, **options: Any) -> runstore.Run:
        model = nn.Linear(1, 1)
        torch.manual_seed(0)
        run = runstore.init(root=tmp_path, **options)
        run.register(model=model)
        for step in range(run.step + 1, until + 1):
            run.log({"train/loss": float(torch.rand(()))}, step=step)
            if step % 2 == 0:
                run.save()
        run.end("failed", "as if killed")
        return run

    first = train(5)
    again = train(8, resume=first.path)
    assert again.resumed_from == 4
    rows = visible(first.path)["metrics"]
    assert [row["step"] for row in rows] == list(range(1, 9))
    torch.manual_seed(0)
    assert [row["train/loss"] for row in rows] == [float(torch.rand(())) for _ in range(8)]


def test_save_without_register_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = runstore.init(root=tmp_path)
    run.save()
    run.save()
    run.finish()
    assert caplog.text.count("nothing is registered") == 1


def test_object_without_a_state_is_refused(tmp_path: Path) -> None:
    with (
        runstore.init(root=tmp_path) as run,
        pytest.raises(TypeError, match=r"register\(lr=…\): float has no state_dict"),
    ):
        run.register(lr=0.1)


def test_checkpoint_that_does_not_fit_on_the_disk_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with runstore.init(root=tmp_path, save_every="1st") as run:
        run.register(model=nn.Linear(1, 1))
        (run.path / "checkpoints").write_text("a file where the directory should be")
        for _ in run.train(range(3)):
            run.track(loss=1.0)
    assert "training goes on" in caplog.text
    assert len(visible(run.path)["metrics"]) == 3


def test_exact_refuses_another_number_of_processes(tmp_path: Path) -> None:
    with pytest.raises(Crash):
        Training(crash_at("step 8")).run(tmp_path)
    (path,) = tmp_path.iterdir()
    (newest,) = list((path / "checkpoints").glob("step-00000006*.pt"))
    _pretend_two_processes(path, newest)
    with pytest.raises(CheckpointError, match="processes: 2 then, 1 now"):
        Training().run(tmp_path, resume=path, exact=True)
    Training().run(tmp_path, resume=path)
    events = lines(path / "events-0003.jsonl")
    resume = next(event for event in events if event["event"] == "resume")
    assert (resume["exact"], resume["not_exact"]) == (False, ["processes: 2 then, 1 now"])


def _pretend_two_processes(run_dir: Path, checkpoint: Path) -> None:
    payload = read_payload(checkpoint)
    payload["where"]["world_size"] = 2
    torch.save(payload, checkpoint)
    manifest = run_dir / "checkpoints" / "manifest.jsonl"
    rows = lines(manifest)
    rows[-1] |= {
        "bytes": checkpoint.stat().st_size,
        "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
    }
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_script_that_does_not_come_back_says_what_it_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Crash):
        Training(crash_at("step 8")).run(tmp_path)
    (path,) = tmp_path.iterdir()
    training = Training()
    with runstore.init(root=tmp_path, resume=path) as run:
        run.register(
            model=training.model, optimizer=training.optimizer, scheduler=training.scheduler
        )
        run.log({"a": 1.0})
    assert "before it came to where the checkpoint was made; 1 rows were not written" in caplog.text


# ---- scripts of other shapes ---------------------------------------------------------------------


def interrupted_and_whole(
    tmp_path: Path, train: Callable[..., Any], *steps: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what counts of a run that crashed at some steps, and of one that did not.

    `train(root, crash_at, **options)` is a script; its return value is compared too.
    """
    result = train(tmp_path / "whole", -1, save_every="1st")
    whole = {**visible(next((tmp_path / "whole").iterdir())), "result": result}
    options: dict[str, Any] = {"save_every": "1st"}
    for step in steps:
        with pytest.raises(Crash):
            train(tmp_path / "parts", step, **options)
        options["resume"] = next((tmp_path / "parts").iterdir())
    result = train(tmp_path / "parts", -1, **options)
    return {**visible(options["resume"]), "result": result}, whole


class Counter:
    """Something of the script's own that is saved: a scheduler, a curriculum."""

    def __init__(self) -> None:
        self.value = 0

    def state_dict(self) -> dict[str, int]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.value = state["value"]


def crash_behind(run: runstore.Run, step: int) -> None:
    if run.step == step:
        raise Crash


def test_what_the_script_changes_on_its_way_back_is_put_right(tmp_path: Path) -> None:
    def train(root: Path, crash_at: int, **options: Any) -> int:
        counter = Counter()
        with runstore.init(root=root, **options) as run:
            run.register(counter=counter)
            for epoch in run.epochs(3):
                if epoch > 1:
                    counter.value += 1
                for _ in run.train(range(3)):
                    run.track(value=float(counter.value))
                    crash_behind(run, crash_at)
        return counter.value

    parts, whole = interrupted_and_whole(tmp_path, train, 5, 8)
    assert parts == whole


def test_object_of_a_later_phase_is_registered_there(tmp_path: Path) -> None:
    def train(root: Path, crash_at: int, **options: Any) -> int:
        first, second = Counter(), Counter()
        with runstore.init(root=root, **options) as run:
            for counter, name in ((first, "first"), (second, "second")):
                run.register(**{name: counter})
                for _ in run.epochs(2):
                    for _ in run.train(range(3)):
                        counter.value += 1
                        run.track(value=float(counter.value))
                        crash_behind(run, crash_at)
        return first.value * 100 + second.value

    parts, whole = interrupted_and_whole(tmp_path, train, 4, 8, 11)
    assert parts == whole


def test_save_behind_the_epochs_does_not_train_them_again(tmp_path: Path) -> None:
    def train(root: Path, crash_at: int, **options: Any) -> int:
        counter = Counter()
        with runstore.init(root=root, **options) as run:
            run.register(counter=counter)
            for _ in run.epochs(2):
                for _ in run.train(range(3)):
                    counter.value += 1
                    run.track(value=float(counter.value))
            run.save()
            for batch in run.test(range(4)):
                run.track(value=float(batch))
                if crash_at >= 0:
                    raise Crash
        return counter.value

    parts, whole = interrupted_and_whole(tmp_path, train, 0)
    assert parts == whole
    assert parts["result"] == 6


def test_logging_by_epoch_does_not_turn_the_steps_back(tmp_path: Path) -> None:
    def train(root: Path, crash_at: int, **options: Any) -> int:
        with runstore.init(root=root, **options) as run:
            run.register(counter=Counter())
            for epoch in run.epochs(3):
                run.log({"seen": float(epoch)}, step=epoch)
                for _ in run.train(range(3)):
                    run.track(value=1.0)
                    crash_behind(run, crash_at)
        return run.step

    parts, whole = interrupted_and_whole(tmp_path, train, 6, 7)
    assert parts == whole


def test_two_train_splits_of_an_epoch_are_told_apart(tmp_path: Path) -> None:
    def train(root: Path, crash_at: int, **options: Any) -> int:
        counter = Counter()
        with runstore.init(root=root, **options) as run:
            run.register(counter=counter)
            for _ in run.epochs(3):
                for weight in (1, 100):
                    for _ in run.train(range(2)):
                        counter.value += weight
                        run.track(value=float(counter.value))
                        crash_behind(run, crash_at)
        return counter.value

    parts, whole = interrupted_and_whole(tmp_path, train, 3, 6, 12)
    assert parts == whole


def test_explicit_stages_save_and_go_on(tmp_path: Path) -> None:
    def train(root: Path, crash_at: int, **options: Any) -> int:
        counter = Counter()
        with runstore.init(root=root, **options) as run:
            run.register(counter=counter)
            while (run.epoch or 0) < 4:
                run.begin_epoch(4)
                run.begin_split("train")
                for _ in range(2):
                    counter.value += 1
                    run.track(value=float(counter.value))
                    crash_behind(run, crash_at)
                run.end_split()
                run.end_epoch()
        return counter.value

    parts, whole = interrupted_and_whole(tmp_path, train, 3, 8)
    assert parts == whole


def test_epochs_that_are_broken_out_of_are_saved(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path, save_every="1h") as run:
        run.register(counter=Counter())
        for epoch in run.epochs(10):
            for _ in run.train(range(2)):
                run.track(loss=1.0)
            if epoch == 3:
                run.save(is_best=True)
                break
    assert (run.path / "checkpoints" / "best.pt").exists()


def test_stepper_that_is_not_registered_is_saved_all_the_same(tmp_path: Path) -> None:
    def train(root: Path, crash_at: int, **options: Any) -> list[float]:
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with runstore.init(root=root, **options) as run:
            stepper = runstore.Stepper(run, model, optimizer, mixed_precision="fp16")
            stepper.scaler.set_growth_interval(2)
            run.register(model=model, optimizer=optimizer)
            for _ in run.epochs(2):
                for x in run.train(torch.ones(4, 2, 3)):
                    with stepper.forward():
                        loss = model(x).square().mean()
                    stepper.backward(loss)
                    stepper.step()
                    run.track(loss=loss)
                    crash_behind(run, crash_at)
        return [*model.weight.flatten().tolist(), stepper.scaler.get_scale()]

    parts, whole = interrupted_and_whole(tmp_path, train, 4, 7)
    assert parts == whole


def train_with_schedule(
    root: Path, crash_at: int, register: Callable[..., dict[str, Any]], **options: Any
) -> list[Any]:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
    batches = torch.randn(4, 2, 3)
    with runstore.init(root=root, **options) as run:
        stepper = runstore.Stepper(run, model, optimizer, scheduler)
        run.register(model=model, **register(stepper, optimizer, scheduler))
        for _ in run.epochs(2):
            for x in run.train(batches):
                with stepper.forward():
                    loss = model(x).square().mean()
                stepper.backward(loss)
                stepper.step()
                run.track(loss=loss)
                crash_behind(run, crash_at)
    return [*model.weight.flatten().tolist(), optimizer.param_groups[0]["lr"], scheduler.last_epoch]


@pytest.mark.parametrize(
    "register",
    [
        lambda stepper, optimizer, scheduler: {},
        lambda stepper, optimizer, scheduler: {"stepper": stepper},
        lambda stepper, optimizer, scheduler: {"optimizer": optimizer, "stepper": stepper},
        lambda stepper, optimizer, scheduler: {"scheduler": scheduler},
    ],
    ids=["nothing", "stepper", "no scheduler", "no optimizer"],
)
def test_what_a_stepper_knows_resumes_though_it_is_not_registered(
    tmp_path: Path, register: Callable[..., dict[str, Any]]
) -> None:
    def train(root: Path, crash_at: int, **options: Any) -> list[Any]:
        return train_with_schedule(root, crash_at, register, **options)

    parts, whole = interrupted_and_whole(tmp_path, train, 3, 7)
    assert parts == whole


def test_stepper_made_behind_register_goes_on_in_a_loop_of_the_script(tmp_path: Path) -> None:
    def train(root: Path, crash_at: int, **options: Any) -> list[Any]:
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        with runstore.init(root=root, **options) as run:
            run.register(model=model)
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
            stepper = runstore.Stepper(run, model, optimizer, scheduler)
            while run.step < 8:
                with stepper.forward():
                    loss = model(torch.full((2, 3), float(run.step))).square().mean()
                stepper.backward(loss)
                stepper.step()
                run.save()
                crash_behind(run, crash_at)
        return [*model.weight.flatten().tolist(), scheduler.last_epoch]

    parts, whole = interrupted_and_whole(tmp_path, train, 3)
    assert parts == whole


class Halving:
    """A scheduler of the user's own, without a state."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def step(self) -> None:
        self.optimizer.param_groups[0]["lr"] /= 2


def test_scheduler_that_cannot_be_held_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with runstore.init(root=tmp_path) as run:
        runstore.Stepper(run, model, optimizer, Halving(optimizer))
        run.register(model=model, optimizer=optimizer)
        for _ in run.epochs(2):
            for _ in run.train(range(2)):
                run.track(loss=1.0)
    assert [record.getMessage() for record in caplog.records] == [
        "runstore: the Stepper's scheduler is not in the checkpoints, so a resume is not exact: "
        f"Halving has no state_dict; register an object that holds its state ({run.id})"
    ]
    assert (run.path / "checkpoints" / "manifest.jsonl").exists()


def test_script_that_catches_ctrl_c_goes_on_with_its_test(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path, save_every="1h") as run:
        run.register(counter=Counter())
        try:
            for _ in run.epochs(10):
                for batch in run.train(range(5)):
                    run.track(loss=1.0)
                    if batch == 3:
                        signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pass
        for _ in run.test(range(2)):
            run.track(loss=2.0)
    data = runstore.load(run.path)
    assert data.status == "finished"
    assert data.metrics()[-1]["test/loss"] == 2.0
    assert list((run.path / "checkpoints").glob("step-00000004*.pt"))


def test_save_behind_the_end_writes_nothing(tmp_path: Path) -> None:
    run = runstore.init(root=tmp_path)
    run.register(counter=Counter())
    run.finish()
    run.save()
    assert not (run.path / "checkpoints").exists()
