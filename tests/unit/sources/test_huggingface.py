"""Output folders of transformers' Trainer."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import runstore
from runstore.cli import cli
from runstore.runs.lookup import find
from runstore.runs.store import discover
from runstore.sources import recognise
from runstore.sources.foreign import ForeignReader
from runstore.sources.huggingface import open_run
from runstore.sources.layout import Opener
from runstore.sources.reading import RunReader
from runstore.sources.trainer_log import GLANCE_EVALUATIONS_BYTES, TrainerLog
from runstore.sources.trainer_rows import metric_name
from runstore.state.pieces import Best
from runstore.state.status import Status

FIXTURES = Path(__file__).parents[2] / "fixtures" / "foreign" / "transformers"
Entry = dict[str, Any]


def save(
    out: Path, log: list[Entry], step: int, *, folder: str | None = None, **facts: Any
) -> Path:
    """Write a state as `TrainerState.save_to_json` does, into the checkpoint of its step."""
    path = out / (f"checkpoint-{step}" if folder is None else folder) / "trainer_state.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {"best_metric": None, "epoch": 1.0, "max_steps": 1000, "num_train_epochs": 3}
    state = {**known, "global_step": step, "log_history": log, **facts}
    path.write_text(json.dumps(state, indent=2, sort_keys=True) + "\n")
    return path


def trained(*steps: int, loss: float = 1.0) -> list[Entry]:
    return [{"step": n, "epoch": n / 100, "loss": loss + n, "learning_rate": 0.1} for n in steps]


def evaluated(step: int, loss: float) -> Entry:
    return {"step": step, "epoch": step / 100, "eval_loss": loss, "eval_runtime": 0.5}


def read(reader: RunReader) -> RunReader:
    reader.poll()
    while reader.behind:
        reader.poll()
    return reader


def fresh(out: Path) -> RunReader:
    return read(open_run(out, patient=False))


# ---- what it is ----------------------------------------------------------------------------------


def test_real_run_with_an_evaluation_per_epoch() -> None:
    state = fresh(FIXTURES / "epochs").state
    assert state.status == Status(
        "finished", "trainer_state.json was written at the end, at step 24 of 32"
    )
    assert (state.epoch, state.epochs, state.step) == (3, 4, 24)
    assert state.best == Best(1, "val/accuracy", 0.6875)
    assert state.duration_s == 10.7387
    losses = [(row["epoch"], row["train/loss"], row["val/loss"]) for row in state.epoch_rows]
    assert losses == [
        (1, 0.6982124447822571, 0.6513018012046814),
        (2, 0.6461877822875977, 0.643933117389679),
        (3, 0.6337877511978149, 0.6321715712547302),
    ]
    assert state.last["final/loss"] == 0.6513018012046814
    assert state.params == {
        "model_type": "bert", "max_steps": 32, "num_train_epochs": 4, "train_batch_size": 8,
        "logging_steps": 4, "eval_steps": 500, "save_steps": 500,
    }  # fmt: skip
    assert state.warnings == []


def test_rows_are_what_was_logged() -> None:
    logged = json.loads((FIXTURES / "ended" / "trainer_state.json").read_text())["log_history"]
    rows = runstore.load(FIXTURES / "ended").metrics()
    assert [row["step"] for row in rows] == [entry["step"] for entry in logged]
    assert [row.get("train/loss") for row in rows] == [entry.get("loss") for entry in logged]
    assert [row.get("val/loss") for row in rows] == [entry.get("eval_loss") for entry in logged]
    assert rows[-1]["train_loss"] == logged[-1]["train_loss"]


@pytest.mark.parametrize("name", ["ended", "epochs", "killed"])
def test_glance_and_full_reading_agree_on_real_runs(name: str) -> None:
    reader = open_run(FIXTURES / name)
    reader.glance()
    state = fresh(FIXTURES / name).state
    for fact in ("last", "best", "step", "epoch", "epochs", "status", "params", "epoch_rows"):
        assert getattr(reader.state, fact) == getattr(state, fact), fact


def test_folder_is_one_run_and_its_checkpoints_and_tensorboard_logs_are_none(
    tmp_path: Path,
) -> None:
    out = tmp_path / "runs" / "out"
    shutil.copytree(FIXTURES / "epochs", out)
    logs = out / "runs" / "Nov28_host"
    logs.mkdir(parents=True)
    (logs / "events.out.tfevents.1.host.1.0").touch()
    (logs / "metrics.jsonl").write_text('{"step":1,"loss":2}\n')
    for root in (tmp_path, out.parent, out):
        assert [ref.path for ref in discover([root])] == [out]
    assert find(str(out), tmp_path).path == out
    # A training whose output folder is the folder of others.
    save(out / "second", trained(10), 10)
    assert {ref.path for ref in discover([out])} == {out, out / "second"}


def test_checkpoint_that_is_named_is_the_run_as_of_then() -> None:
    state = fresh(FIXTURES / "ended" / "checkpoint-30").state
    assert state.step == 30
    assert state.status == Status("unknown", "as of its newest checkpoint, no process on record")


@pytest.mark.parametrize(
    ("names", "is_run"),
    [
        (["trainer_state.json"], True),
        (["checkpoint-9/", "checkpoint-10/trainer_state.json"], True),
        (["checkpoint-9/trainer_state.json", "checkpoint-10/"], True),
        (["checkpoint-10/model.safetensors"], False),
        (["checkpoint-last/trainer_state.json", "tmp-checkpoint-5/trainer_state.json"], False),
        (["checkpoint-10"], False),
    ],
)
def test_folder_is_known_by_a_state_in_it_or_in_a_checkpoint(
    tmp_path: Path, names: list[str], is_run: bool
) -> None:
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_text("{}")
    found = recognise(tmp_path, os.listdir(tmp_path))
    assert (found is not None and found.name == "transformers") is is_run


def test_what_lies_beside_a_state_tells_which_model_it_is(tmp_path: Path) -> None:
    path = save(tmp_path, trained(10), 10, trial_params={"lr": 0.5, "warm": True}, trial_name="t7")
    adapter = {"base_model_name_or_path": "org/base", "peft_type": "LORA", "r": 16, "bias": "none"}
    (path.parent / "adapter_config.json").write_text(json.dumps(adapter))
    state = fresh(tmp_path).state
    assert state.name == "t7"
    told = {"model": "org/base", "peft_type": "LORA", "r": 16, "lr": 0.5, "warm": True}
    assert {key: state.params.get(key) for key in told} == told


def test_data_set_without_a_length_has_no_number_of_epochs(tmp_path: Path) -> None:
    save(tmp_path, trained(10), 10, num_train_epochs=2**63 - 1)
    state = fresh(tmp_path).state
    assert state.epochs is None
    assert "num_train_epochs" not in state.params


# ---- how it ends ---------------------------------------------------------------------------------


def test_last_step_is_the_end(tmp_path: Path) -> None:
    save(tmp_path, trained(1000), 1000)
    assert fresh(tmp_path).state.status == Status(
        "finished", "trainer_state.json says step 1,000 of 1,000"
    )


def test_early_stop_is_the_end(tmp_path: Path) -> None:
    stop = {"TrainerControl": {"args": {"should_training_stop": True}}}
    save(tmp_path, trained(300), 300, stateful_callbacks=stop)
    assert fresh(tmp_path).state.status == Status(
        "finished", "trainer_state.json says that it was to stop at step 300 of 1,000"
    )


def test_training_that_goes_on_behind_its_end_is_not_over(tmp_path: Path) -> None:
    save(tmp_path, trained(300), 300, max_steps=300)
    save(tmp_path, trained(300), 300, folder="", max_steps=300)
    reader = read(open_run(tmp_path))
    assert reader.state.status.word == "finished"
    save(tmp_path, trained(300, 400), 400, max_steps=600)
    read(reader)
    assert reader.state.status == Status("running", "rows arrive")
    assert reader.state.row_count == 2
    assert fresh(tmp_path).state.status.word == "unknown"


def test_new_checkpoint_says_that_it_runs_also_when_nothing_was_logged(tmp_path: Path) -> None:
    save(tmp_path, trained(10, 20), 20)
    reader = read(open_run(tmp_path))
    reader.poll()
    assert reader.state.status == Status(
        "unknown", "as of its newest checkpoint, no process on record"
    )
    shutil.rmtree(tmp_path / "checkpoint-20")
    save(tmp_path, trained(10, 20), 30)
    reader.poll()
    assert reader.state.status == Status("running", "rows arrive")


def test_reading_a_glanced_folder_in_full_is_no_sign_of_life(tmp_path: Path) -> None:
    save(tmp_path, trained(*range(10_000)), 10_000, max_steps=20_000)
    reader = open_run(tmp_path)
    reader.glance()
    read(reader)
    assert reader.state.status.word == "unknown"
    assert reader.state.row_count == 10_000


# ---- growing -------------------------------------------------------------------------------------


def test_only_what_is_new_in_a_further_checkpoint_is_read(tmp_path: Path) -> None:
    log = trained(*range(1000))
    save(tmp_path, log, 1000)
    follower = TrainerLog(tmp_path, lambda _: {})
    first = follower.poll(1 << 20)
    assert len([row for row in first.rows if row.stream == "metrics"]) == 1000
    shutil.rmtree(tmp_path / "checkpoint-1000")
    path = save(tmp_path, [*log, *trained(1000, 1001)], 1002, best_metric=0.123)
    more = follower.poll(1 << 20)
    assert [row.row["step"] for row in more.rows] == [1000, 1001]
    assert [row.number for row in more.rows] == [1001, 1002]
    assert not more.restarted
    assert 0 < more.size_bytes < 300 < first.size_bytes < path.stat().st_size


def test_state_that_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    path = save(tmp_path, trained(10, 20), 20)
    reader = read(open_run(tmp_path))
    before, status = reader.state.version, path.stat()
    with path.open("r+b") as file:
        file.write(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    reader.poll()
    assert (reader.state.version, reader.state.warnings) == (before, [])


def test_resume_from_an_earlier_checkpoint_voids_what_was_behind_it(tmp_path: Path) -> None:
    save(tmp_path, trained(10, 20, 30, 40), 40)
    reader = read(open_run(tmp_path))
    save(tmp_path, [*trained(10, 20), *trained(30, 50, loss=7.0)], 50)
    read(reader)
    (curve,) = reader.state.series["train/loss"]
    assert (curve.count, curve.x_range, curve.y_range) == (4, (10.0, 50.0), (11.0, 57.0))
    assert reader.state.row_count == fresh(tmp_path).state.row_count == 4
    assert reader.state.warnings == []


def test_checkpoints_go_while_they_are_followed(tmp_path: Path) -> None:
    """`save_total_limit=1`: the reader never sees two of them at once."""
    reader = open_run(tmp_path)
    for step in range(10, 60, 10):
        shutil.rmtree(tmp_path / f"checkpoint-{step - 10}", ignore_errors=True)
        save(tmp_path, trained(*range(10, step + 10, 10)), step)
        reader.poll()
        assert reader.state.row_count == step // 10
        assert reader.state.step == step
    shutil.rmtree(tmp_path / "checkpoint-50")
    reader.poll()
    assert reader.state.row_count == 5
    tmp_path.rename(tmp_path.with_name("moved"))
    reader.poll()
    assert reader.unlisted == "no such file or directory"


def test_newest_state_is_that_of_the_highest_step_and_the_final_one_of_equals(
    tmp_path: Path,
) -> None:
    """Names do not sort by number."""
    save(tmp_path, trained(9), 9)
    save(tmp_path, trained(9, 10), 10)
    assert fresh(tmp_path).state.step == 10
    save(tmp_path, [*trained(9, 10), {"step": 10, "train_runtime": 5.0}], 10, folder="")
    assert fresh(tmp_path).state.last["train_runtime"] == 5.0
    save(tmp_path, trained(9), 9, folder="")
    state = fresh(tmp_path).state
    assert (state.step, state.status.word) == (10, "unknown")


# ---- damage --------------------------------------------------------------------------------------

HALF = "half a document: it is being written, or was cut off"


@given(data=st.data())
def test_half_a_state_is_being_written_and_what_was_known_stays(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    out = tmp_path_factory.mktemp("out")
    save(out, [*trained(10, 20), evaluated(20, 3.0)], 20)
    reader, before = read(open_run(out)), fresh(out).state
    path = save(out, [*trained(10, 20), evaluated(20, 3.0), *trained(30)], 30)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 2))])
    reader.poll()
    late = fresh(out).state
    for state in (reader.state, late):
        assert (state.last, state.epoch_rows) == (before.last, before.epoch_rows)
        assert state.bad_lines == before.bad_lines
    assert late.warnings == [f"checkpoint-30/trainer_state.json@{path.stat().st_size}: {HALF}"]
    path.write_bytes(whole)
    read(reader)
    assert reader.state.last == fresh(out).state.last != before.last
    assert reader.state.status.word == "running"
    assert reader.state.warnings == []


def test_half_a_state_of_a_training_that_was_seen_to_run_is_not_told(tmp_path: Path) -> None:
    save(tmp_path, trained(10), 10)
    reader = read(open_run(tmp_path))
    save(tmp_path, trained(10, 20), 20)
    reader.poll()
    (tmp_path / "checkpoint-30").mkdir()
    reader.poll()
    (tmp_path / "checkpoint-30" / "trainer_state.json").write_text("{")
    reader.poll()
    assert reader.state.status.word == "running"
    assert reader.state.warnings == []
    assert reader.state.last["train/loss"] == 21.0


def test_half_a_final_state_hides_no_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, trained(10), 10)
    (tmp_path / "trainer_state.json").write_text('{\n  "best_metric": null')
    state = fresh(tmp_path).state
    assert state.step == 10
    assert state.warnings == [f"trainer_state.json@23: {HALF}"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 5000,
        bytes(range(256)) * 100,
        b"[1,2]",
        b'{"log_history":' + b"[" * 100_000,
        b'{"global_step":30}',
    ],
    ids=["empty", "zeros", "garbage", "list", "deep", "no log"],
)
def test_odd_state_is_told_and_the_one_before_it_counts(tmp_path: Path, content: bytes) -> None:
    save(tmp_path, trained(10), 10)
    path = tmp_path / "checkpoint-30" / "trainer_state.json"
    path.parent.mkdir()
    path.write_bytes(content)
    for reader in (open_run(tmp_path), open_run(tmp_path)):
        reader.glance()
        read(reader)
        assert reader.state.last["train/loss"] == 11.0
        assert len(reader.state.warnings) == 1
        assert reader.state.warnings[0].startswith("checkpoint-30/trainer_state.json@")


@pytest.mark.parametrize("kind", ["fifo", "directory", "symlink", "long", "loop"])
def test_state_that_is_no_file_is_told(tmp_path: Path, kind: str) -> None:
    save(tmp_path, trained(10), 10)
    path = tmp_path / "checkpoint-30" / "trainer_state.json"
    path.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "loop":
        path.parent.rmdir()
        path.parent.symlink_to(path.parent)
    elif kind == "symlink":
        path.symlink_to(tmp_path / "checkpoint-10" / "trainer_state.json")
    else:
        with path.open("wb") as file:
            file.truncate(40 << 30)
    (tmp_path / "checkpoint-40").touch()
    state = fresh(tmp_path).state
    assert state.step == 10
    assert len(state.warnings) == 1


def test_damage_within_a_long_log_leaves_what_an_earlier_state_has(tmp_path: Path) -> None:
    log = trained(*range(20_000))
    save(tmp_path, log[:10_000], 10_000, max_steps=10**6)
    path = save(tmp_path, log, 20_000, max_steps=10**6)
    whole = path.read_bytes()
    at = len(whole) * 3 // 4
    path.write_bytes(whole[:at] + b"\0" * 4096 + whole[at + 4096 :])
    state = fresh(tmp_path).state
    assert (state.row_count, state.step) == (10_000, 9_999)
    assert len(state.warnings) == 1
    assert "checkpoint-20000/trainer_state.json@" in state.warnings[0]
    path.write_bytes(whole)
    assert fresh(tmp_path).state.row_count == 20_000


def test_folder_without_a_whole_state_is_an_empty_run(tmp_path: Path) -> None:
    (tmp_path / "trainer_state.json").write_text("{")
    state = fresh(tmp_path).state
    assert (state.row_count, state.step, state.status.word) == (0, None, "unknown")
    assert state.warnings == [f"trainer_state.json@1: {HALF}"]


# ---- long logs -----------------------------------------------------------------------------------

values = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53)
odd_values = (
    st.none()
    | st.text('{}[]",\n\\', max_size=9)
    | st.lists(st.dictionaries(st.sampled_from(["eval_loss", "}"]), st.none()), max_size=2)
)
logged = st.dictionaries(
    st.sampled_from(["loss", "eval_loss", "kl", "eval_b_acc", "x", "{", "grad_norm"]),
    values | odd_values,
    min_size=1,
    max_size=4,
)


class Short:
    """A layout whose logs are long from 2,000 bytes on."""

    NAME = "transformers"
    EVIDENCE = "nothing is known"
    IS_ONE_SERIES = False

    def find(self, directory: Path) -> Mapping[str, Opener]:
        return {"log": partial(self._open, directory)}

    def _open(self, directory: Path, patient: bool) -> TrainerLog:
        return TrainerLog(directory, lambda _: {}, whole_bytes=2000, last_bytes=2000)


@given(kinds=st.lists(logged, min_size=1, max_size=3), best=values)
def test_glance_at_a_long_log_agrees_with_all_of_it(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[Entry], best: float
) -> None:
    out = tmp_path_factory.mktemp("out")
    log = [{**kinds[n % len(kinds)], "step": n, "epoch": n / 50} for n in range(120)]
    log[60]["eval_loss"] = best
    save(out, log, 119, best_metric=best)
    reader, whole = ForeignReader(out, Short()), ForeignReader(out, Short())
    reader.glance()
    read(whole)
    assert not reader.state.series
    assert whole.state.row_count == 120
    for fact in ("best", "best_rule", "step", "epoch", "epochs", "status", "params"):
        assert getattr(reader.state, fact) == getattr(whole.state, fact), fact
    newest = reader.state.last
    assert newest.items() <= whole.state.last.items()
    assert {metric_name(name) for name in kinds[119 % len(kinds)]} & set(whole.state.last) <= set(
        newest
    )


def test_glance_follows_a_long_log(tmp_path: Path) -> None:
    log = trained(*range(20_000))
    log[100] = evaluated(100, 0.5)
    save(tmp_path, log[:10_000], 10_000, max_steps=10**6)
    reader = open_run(tmp_path)
    reader.glance()
    save(tmp_path, [*log, evaluated(20_000, 0.7)], 20_000, max_steps=10**6)
    reader.glance()
    assert reader.state.status.word == "running"
    assert reader.state.last["val/loss"] == 0.7
    assert reader.state.best == Best(1, "val/loss", 0.5)
    assert reader.state.step == 20_000
    read(reader)
    assert reader.state.row_count == 20_001


def test_glance_at_a_huge_log_reads_little_of_it(tmp_path: Path) -> None:
    log = trained(*range(GLANCE_EVALUATIONS_BYTES // 50))
    save(tmp_path, log, len(log), max_steps=10**6)
    batch = TrainerLog(tmp_path, lambda _: {}).glance()
    assert batch.size_bytes <= 64 << 10
    assert batch.rows[-2].row["step"] == len(log) - 1


def test_long_log_is_read_a_budget_at_a_time(tmp_path: Path) -> None:
    save(tmp_path, trained(*range(5000)), 5000, max_steps=10**6)
    reader = open_run(tmp_path)
    counts: list[int] = []
    while not counts or reader.behind:
        reader.poll(100_000)
        counts.append(reader.state.row_count)
    assert counts[-1] == 5000
    assert len(counts) > 5
    assert counts == sorted(set(counts))


# ---- as users see it -----------------------------------------------------------------------------


def run(*words: str | Path) -> str:
    result = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_commands(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES, tmp_path / "all")
    listed = run("ls", tmp_path / "all")
    assert {line.split()[0] for line in listed.splitlines()[1:]} == {"ended", "epochs", "killed"}
    assert "0.6875 @1" in listed
    shown = run("show", tmp_path / "all" / "epochs")
    assert "source    transformers" in shown
    assert "best      epoch 1, val/accuracy 0.6875" in shown
    rows = [
        json.loads(line) for line in run("cat", tmp_path / "all" / "ended", "metrics").splitlines()
    ]
    assert rows[0] == {
        "step": 10, "epoch": 2, "grad_norm": 1.4954619407653809, "learning_rate": 4.999955e-05,
        "train/loss": 3.374924087524414,
    }  # fmt: skip
    table = run("export", tmp_path / "all" / "ended", "--format", "csv").splitlines()
    assert len(table) == 10


def test_half_a_state_is_shown_to_who_looks(tmp_path: Path) -> None:
    save(tmp_path / "out", trained(10), 10)
    (tmp_path / "out" / "trainer_state.json").write_text("{")
    assert HALF in run("show", tmp_path / "out")
