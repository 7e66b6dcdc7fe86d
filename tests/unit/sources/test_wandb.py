"""W&B's local files: what the real library wrote, and what can become of it."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import runstore
from runstore.cli import cli
from runstore.runs.lookup import find
from runstore.runs.store import discover
from runstore.sources import columns, recognise, wandb
from runstore.sources.foreign import ForeignReader
from runstore.sources.formats import WANDB
from runstore.sources.leveldb_log import BlockTail
from runstore.sources.wandb_items import MOST_PARTS, items
from runstore.sources.wandb_records import HISTORY, kind_of
from runstore.state.pieces import Best
from runstore.state.status import Status
from tests.wandb_log import (
    BLOCK,
    HEADER,
    config,
    ended,
    field,
    framed,
    history,
    record,
    row,
    rows,
)

SAMPLES = Path(__file__).parents[2] / "fixtures" / "foreign" / "wandb"
VERSIONS = ["features", "features-0.19.11", "features-0.15.12"]
FILES = sorted(SAMPLES.glob("*/*/*.wandb"))


@pytest.fixture(autouse=True)
def usual_names() -> Iterator[None]:
    yield
    columns.choose({})


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The file of a run that is to be written."""
    path = tmp_path / "wandb" / "offline-run-20261128_120000-a1" / "run-a1.wandb"
    path.parent.mkdir(parents=True)
    return path


def sample(case: str) -> Path:
    return next((SAMPLES / case).glob("offline-run-*"))


def opened(directory: Path) -> ForeignReader:
    return wandb.open_run(directory, patient=False)


def read(directory: Path) -> ForeignReader:
    return poll(opened(directory))


def poll(reader: ForeignReader, budget: int = 1 << 20) -> ForeignReader:
    reader.poll(budget)
    while reader.behind:
        reader.poll(budget)
    return reader


def read_records(log: Path, *records: bytes) -> ForeignReader:
    log.write_bytes(framed(records))
    return read(log.parent)


def table(directory: Path, stream: Any = "metrics") -> list[dict[str, Any]]:
    return [line.row for line in opened(directory).rows(stream) if line.row and not line.superseded]


def steps(directory: Path, key: str) -> list[int]:
    return [row["step"] for row in table(directory) if key in row]


def payloads(path: Path) -> list[bytes]:
    return BlockTail(path, HEADER, wants=lambda _: True, patient=False).poll().payloads


# ---- the real library's files --------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SAMPLES).parent))
def test_writer_of_these_tests_writes_what_wandb_writes(path: Path) -> None:
    found = payloads(path)
    assert framed(found) == path.read_bytes()
    for number, payload in enumerate(found, 1):
        message = kind_of(payload)
        if message.number == HISTORY and "-" not in path.parent.parent.name:
            found_items = {item.keys: item.value for item in items(payload, message, 1)}
            if all(len(keys) == 1 for keys in found_items):
                written = {k[0]: v.decode() for k, v in found_items.items() if isinstance(v, bytes)}
                assert history(number, written) == payload


@pytest.mark.parametrize("case", VERSIONS)
def test_rows_are_those_that_wandb_itself_reads(case: str) -> None:
    """`wandb leet inspect --json` of 0.31 has printed the reference."""
    lines = (SAMPLES / case / "inspected.jsonl").read_text().splitlines()
    expected = [json.loads(line)["history"]["item"] for line in lines]
    found = sorted(table(sample(case)) + table(sample(case), "epochs"), key=lambda r: r["step"])
    found = [row for row in found if "best" not in row and "found.q" not in row]
    assert len(found) == len(expected) == 4
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["step"] == theirs["_step"]
        assert ours["time"] == theirs["_timestamp"]
        assert ours.get("epoch") == theirs.get("epoch")
        assert metrics_of(ours) == dict(their_metrics(theirs))


def metrics_of(row: Mapping[str, Any]) -> dict[str, str]:
    notes = row.get("_nonfinite", {})
    known = {"step", "epoch", "time", "_nonfinite"}
    return {key: notes.get(key) or repr(row[key]) for key in row if key not in known}


def their_metrics(items: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    words = {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}
    for key, value in items.items():
        if isinstance(value, dict) and "_type" not in value:
            yield from their_metrics(value, f"{before}{key}.")
        elif isinstance(value, str) and value in words:
            yield key, words[value]
        elif type(value) in (int, float) and not key.startswith(("_", "epoch", "hist.", "html.")):
            yield before + key.replace("val_acc", "val/acc"), repr(float(value))


@pytest.mark.parametrize("case", VERSIONS)
def test_facts_of_a_run(case: str) -> None:
    state = read(sample(case)).state
    assert (state.name, state.id) == ("second name", sample(case).name)
    assert state.tags == ["a", "b", "late", "project=samples"]
    assert state.params == {
        "lr": 0.1,
        "opt": {"name": "sgd"},
        "nan": None,
        "a/b": 1,
        "later": 5,
    }
    assert state.created == pytest.approx(1795898000, abs=300)
    assert state.info["command"] == ["/home/user/train.py", "features"]
    assert state.info["host"] == "node1"
    assert state.info["notes"] == "my notes"
    assert state.status == Status("finished")
    assert [w for w in state.warnings if "hidden" not in w] == ["Low accuracy: it fell"]
    assert state.bad_line_count == 0


@pytest.mark.parametrize("case", VERSIONS)
def test_what_the_script_puts_into_the_summary_is_the_newest_value(case: str) -> None:
    last = read(sample(case)).state.last
    assert (last["best"], last["found.q"]) == (0.9, 1.0)
    assert [row["best"] for row in table(sample(case)) if "best" in row] == [0.9]


@pytest.mark.parametrize("case", VERSIONS)
def test_rows_with_an_epoch_are_the_table_of_epochs(case: str) -> None:
    state = read(sample(case)).state
    assert [(row["epoch"], row["val/loss"]) for row in state.epoch_rows] == [(1, 0.7), (2, 0.8)]
    assert state.best == Best(1, "val/loss", 0.7)


@pytest.mark.parametrize(
    ("case", "status"),
    [
        ("features", Status("finished")),
        ("failed", Status("failed", "exit code 3")),
        ("interrupted", Status("interrupted", "Ctrl-C (exit code 255)")),
        ("preempted", Status("interrupted", "preempted (exit code 1)")),
    ],
)
def test_end_of_a_run(case: str, status: Status) -> None:
    assert read(sample(case)).state.status == status
    glanced = opened(sample(case))
    glanced.glance()
    assert glanced.state.status == status
    ended = glanced.state.ended or {}
    assert ended["time"] >= (glanced.state.created or 0) > 0


def test_step_is_what_the_training_logs_as_its_step() -> None:
    """nanochat logs `step`, and less often than it steps."""
    directory = sample("nanochat")
    assert steps(directory, "train/loss") == list(range(0, 100, 10))
    assert steps(directory, "val/bpb") == [0, 30, 60, 90]
    # A row without a step of its own belongs where the training was.
    assert steps(directory, "core") == [90]
    state = read(directory).state
    assert state.step == 90
    assert state.series["train/loss"][0].x_range == (0.0, 90.0)
    assert state.warnings == []


def test_step_that_begins_anew_with_each_epoch_is_no_step() -> None:
    directory = sample("batches")
    expected = [1 / (1 + n) for n in range(12)]
    assert steps(directory, "loss") == list(range(12))
    assert [row["loss"] for row in table(directory)] == expected
    state = read(directory).state
    assert (state.row_count, state.step, state.warnings) == (12, 11, [])
    glanced = opened(directory)
    glanced.glance()
    assert (glanced.state.step, glanced.state.last) == (11, state.last)


def test_parts_of_a_run_that_was_resumed_name_each_other() -> None:
    parts = sorted((SAMPLES / "resumed").iterdir())
    for part, other in (parts, parts[::-1]):
        (warning,) = read(part).state.warnings
        assert warning == f"the same run of W&B, begun or resumed, is also in {other.name}"


def test_resumed_run_without_other_parts_is_not_warned_of(tmp_path: Path) -> None:
    part = next((SAMPLES / "resumed").iterdir())
    shutil.copytree(part, tmp_path / part.name)
    assert read(tmp_path / part.name).state.warnings == []


# ---- how runs are found --------------------------------------------------------------------------


def test_each_run_is_listed_once_under_its_own_name(tmp_path: Path) -> None:
    for case in ("failed", "features"):
        shutil.copytree(sample(case), tmp_path / "wandb" / sample(case).name)
    (tmp_path / "wandb" / "latest-run").symlink_to(sample("features").name)
    (tmp_path / "wandb" / "debug.log").write_text("log")
    found = discover([tmp_path])
    assert {ref.name for ref in found} == {sample("failed").name, sample("features").name}
    assert {ref.source for ref in found} == {WANDB}
    assert find(str(tmp_path / "wandb" / "latest-run"), tmp_path).source is WANDB
    wanted = sample("features")
    assert find(wanted.name.rpartition("-")[2], tmp_path).name == wanted.name


def test_notes_are_on_the_page_of_a_run() -> None:
    page = CliRunner().invoke(cli, ["show", str(sample("features"))]).stdout
    assert re.search("^notes +my notes$", page, re.MULTILINE)


def test_what_lies_in_a_runs_folders_is_no_run(tmp_path: Path) -> None:
    """`wandb.save` copies any files there."""
    run = tmp_path / sample("failed").name
    shutil.copytree(sample("failed"), run)
    (run / "files" / "20260101-000000-other-aaaaaaaa").mkdir(parents=True)
    (run / "files" / "data.jsonl").write_text('{"step":1,"a":2}\n')
    assert [ref.path for ref in discover([run])] == [run]
    assert find(str(run), tmp_path).path == run


def test_run_is_there_before_its_log_is(tmp_path: Path) -> None:
    """W&B makes the folders first; what is in them is none of the runs."""
    run = tmp_path / "wandb" / "run-20261128_120000-a1"
    (run / "files").mkdir(parents=True)
    (found,) = discover([tmp_path])
    assert (found.path, found.source) == (run, WANDB)
    reader = poll(wandb.open_run(run))
    assert reader.state.status == Status("unknown", wandb.EVIDENCE)
    (run / "run-a1.wandb").write_bytes(framed([row(0, loss=1.0)]))
    assert poll(reader).state.last == {"loss": 1.0}


def test_mark_of_a_synced_run_is_no_log(tmp_path: Path) -> None:
    assert recognise(tmp_path, ["run-a1.wandb.synced", "files"]) is not WANDB
    assert recognise(tmp_path, ["run-a1.wandb.synced", "run-a1.wandb"]) is WANDB


# ---- growing, torn, replaced, damaged ------------------------------------------------------------


def test_log_of_which_nothing_is_flushed_yet_is_a_run(log: Path) -> None:
    """It is all that is left of a run that got SIGTERM in its first seconds."""
    log.write_bytes(HEADER)
    state = read(log.parent).state
    assert state.status == Status("unknown", wandb.EVIDENCE)
    assert (state.row_count, state.bad_line_count, state.warnings) == (0, 0, [])


def test_run_is_running_while_its_log_grows_and_only_new_bytes_are_read(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pread, sizes = os.pread, list[int]()

    def counted(descriptor: int, size: int, offset: int) -> bytes:
        found = pread(descriptor, size, offset)
        sizes.append(len(found))
        return found

    whole = framed([*rows(4000), ended(0)])
    log.write_bytes(whole[: 5 * BLOCK])
    reader = poll(wandb.open_run(log.parent))
    assert reader.state.status == Status("unknown", wandb.EVIDENCE)
    assert reader.state.warnings == []
    before = reader.state.row_count
    monkeypatch.setattr(os, "pread", counted)
    log.write_bytes(whole[: 6 * BLOCK])
    poll(reader)
    assert reader.state.status == Status("running", "rows arrive")
    assert reader.state.row_count > before
    assert BLOCK <= sum(sizes) < BLOCK + 20_000
    log.write_bytes(whole)
    poll(reader)
    assert (reader.state.row_count, reader.state.step) == (4000, 3999)
    assert reader.state.status == Status("finished")


@settings(max_examples=40)
@given(cuts=st.lists(st.integers(0, 3 * BLOCK), max_size=5), budget=st.integers(1, 3 * BLOCK))
def test_result_does_not_depend_on_where_the_log_was_cut(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], budget: int
) -> None:
    log = tmp_path_factory.mktemp("run") / "run-a1.wandb"
    whole = framed([config(lr=0.1), *rows(200, text="x" * 400), ended(1)])
    reader = wandb.open_run(log.parent)
    for end in (*sorted(cuts), len(whole)):
        log.write_bytes(whole[:end])
        poll(reader, budget)
    state = reader.state
    assert [row["loss"] for row in table(log.parent)] == [n / 8 for n in range(200)]
    assert (state.row_count, state.step, state.params) == (200, 199, {"lr": 0.1})
    assert (state.bad_line_count, state.warnings) == (0, [])
    assert state.status == Status("failed", "exit code 1")
    assert state.series["loss"][0].x_range == (0.0, 199.0)


def test_copy_that_ends_within_a_record_is_torn_and_a_killed_run_is_not(log: Path) -> None:
    whole = framed(rows(2000))
    log.write_bytes(whole[: 2 * BLOCK])
    assert read(log.parent).state.warnings == []
    log.write_bytes(whole[: 2 * BLOCK - 130])
    (warning,) = read(log.parent).state.warnings
    assert warning.startswith("run-a1.wandb@65")
    assert warning.endswith("the last record is torn")


def test_run_that_is_written_anew_is_read_anew(log: Path) -> None:
    reader = read_records(log, row(0, loss=1.0), row(1, loss=2.0), config(a=1), ended(0))
    log.write_bytes(framed([row(0, acc=0.5)]))
    poll(reader)
    assert (reader.state.last, reader.state.row_count) == ({"acc": 0.5}, 1)
    assert reader.state.status.word != "finished"


def test_what_was_learnt_of_a_log_is_forgotten_with_it(log: Path) -> None:
    batches = [row(n, step=n % 3, loss=1.0 * n) for n in range(9)]
    reader = read_records(log, *batches)
    assert reader.state.step == 8
    log.write_bytes(framed([row(n, step=10 * n, acc=1.0 * n) for n in range(9)]))
    poll(reader)
    assert reader.state.step == 80


def test_damaged_block_is_counted_with_its_place_and_the_rest_is_read(log: Path) -> None:
    content = bytearray(framed([*rows(2000), ended(0)]))
    content[BLOCK + 5000] ^= 1
    log.write_bytes(content)
    state = read(log.parent).state
    assert state.bad_line_count == 1
    (bad,) = state.bad_lines
    assert bad.reason == "a record whose checksum is not that of its data"
    assert BLOCK + 4800 < bad.offset <= BLOCK + 5000
    assert bad.place == f"run-a1.wandb@{bad.offset}"
    assert 1500 < state.row_count < 2000
    assert (state.step, state.status) == (1999, Status("finished"))
    left = [row["step"] for row in table(log.parent)]
    assert left == sorted(set(left))
    assert len(left) == state.row_count


def test_commands_print_the_rows_around_damage_and_tell_its_place(log: Path) -> None:
    content = bytearray(framed(rows(2000)))
    content[BLOCK + 5000] ^= 1
    log.write_bytes(content)
    done = CliRunner().invoke(cli, ["cat", str(log.parent), "metrics"])
    assert done.exit_code == 0
    assert 1500 < len(done.stdout.splitlines()) < 2000
    assert "1 bad line left out, first run-a1.wandb: a record whose checksum" in done.stderr
    assert "(at byte 37," in done.stderr
    assert len(runstore.load(log.parent).metrics()) == len(done.stdout.splitlines())


@pytest.mark.parametrize(
    "damaged",
    [
        b"\x08",
        b"\x08\x01\x12\xff\xff\xff\xff\x0f",
        b"\xff" * 40,
        record(1, 2, b"\x0a\x05\x12\x09abc"),
        record(1, 2, b"\x0b" * 9),
        record(1, 17, b"\x22\x7f"),
        record(1, 7, b"\x12\x02\x0a\x7f"),
    ],
    ids=["cut", "longer than all", "number", "item", "group", "run", "stats"],
)
def test_record_that_is_no_message_is_bad_and_the_others_count(log: Path, damaged: bytes) -> None:
    state = read_records(log, row(0, loss=1.0), damaged, row(1, loss=2.0), ended(0)).state
    assert (state.row_count, state.bad_line_count) == (2, 1)
    assert state.bad_lines[0].place == "run-a1.wandb:2"
    assert state.status == Status("finished")


ALL_RECORDS = [payload for path in FILES for payload in payloads(path)]


@given(data=st.data())
def test_no_bytes_bring_the_reader_down(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    log = tmp_path_factory.mktemp("run") / "run-a1.wandb"
    records = [row(0, loss=1.0)]
    for _ in range(data.draw(st.integers(1, 5))):
        broken = bytearray(data.draw(st.sampled_from(ALL_RECORDS)))
        for _ in range(data.draw(st.integers(0, 4))):
            broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
        records.append(bytes(broken))
    reader = read_records(log, *records, row(1 << 40, last=2.0))
    assert reader.state.last["last"] == 2.0
    for stream in ("metrics", "epochs", "system", "events"):
        table(log.parent, stream)


@given(records=st.lists(st.binary(max_size=60), max_size=5))
def test_no_record_brings_the_reader_down(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes]
) -> None:
    log = tmp_path_factory.mktemp("run") / "run-a1.wandb"
    assert read_records(log, *records, row(1, last=2.0)).state.last["last"] == 2.0


@pytest.mark.parametrize("count", [100, 600, 1300, 8000])
def test_glance_has_the_last_of_each_metric_and_the_rest_is_read_later(
    log: Path, count: int
) -> None:
    """It takes of records that are alike the last one only, in files of one block and of many."""
    written = [row(n, loss=n / 8, grad_norm=n / 3) for n in range(count)]
    written[count - 50] = row(count - 50, val_loss=0.25)
    log.write_bytes(framed([config(lr=0.1), *written]))
    glanced = opened(log.parent)
    glanced.glance()
    last = {"loss": (count - 1) / 8, "grad_norm": (count - 1) / 3, "val/loss": 0.25}
    assert (glanced.state.last, glanced.state.step) == (last, count - 1)
    assert poll(glanced).state.row_count == count
    assert glanced.state.last == last


@pytest.mark.parametrize("count", [100, 8000])
def test_no_epoch_is_the_best_one_while_some_were_passed_over(log: Path, count: int) -> None:
    losses = {n: 0.25 if n == 50 else 1 + n / count for n in range(1, count)}
    log.write_bytes(framed(row(n, epoch=n, val_loss=loss) for n, loss in losses.items()))
    reader = opened(log.parent)
    reader.glance()
    assert reader.state.best == (Best(50, "val/loss", 0.25) if count == 100 else None)
    assert poll(reader).state.best == Best(50, "val/loss", 0.25)


def test_long_log_is_glanced_at_in_two_places(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.write_bytes(framed([config(lr=0.1), *rows(8000), ended(0)]))
    pread, sizes = os.pread, list[int]()

    def counted(descriptor: int, size: int, offset: int) -> bytes:
        found = pread(descriptor, size, offset)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(os, "pread", counted)
    glanced = opened(log.parent)
    glanced.glance()
    assert sum(sizes) < 4 * BLOCK
    full = read(log.parent).state
    assert glanced.state.last == full.last == {"loss": 7999 / 8}
    assert (glanced.state.step, full.step) == (7999, 7999)
    assert glanced.state.status == full.status == Status("finished")
    assert glanced.state.params == full.params == {"lr": 0.1}
    poll(glanced)
    assert glanced.state.row_count == 8000


@pytest.mark.parametrize("kind", ["fifo", "directory", "link"])
def test_log_that_is_no_file_is_a_problem_of_its_run(log: Path, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(log)
    elif kind == "directory":
        log.mkdir()
    else:
        log.symlink_to("elsewhere")
    assert "not a regular file" in read(log.parent).state.problems["run-a1.wandb"]


# ---- steps and epochs ----------------------------------------------------------------------------


def define(step_metric: str) -> bytes:
    return record(1, 12, field(2, "*") + field(4, step_metric))


def test_key_that_the_script_has_defined_as_step_is_the_step(log: Path) -> None:
    made = [row(n, tokens=1000.0 * n, step=n, loss=1.0) for n in range(5)]
    state = read_records(log, define("tokens"), *made).state
    assert steps(log.parent, "loss") == [0, 1000, 2000, 3000, 4000]
    assert set(state.last) == {"loss"}


def test_defined_step_that_is_no_whole_number_stays_a_metric(log: Path) -> None:
    made = [row(n, billions=n + 0.5, loss=1.0) for n in range(5)]
    state = read_records(log, define("billions"), *made).state
    assert steps(log.parent, "loss") == [0, 1, 2, 3, 4]
    assert state.last == {"loss": 1.0, "billions": 4.5}


@pytest.mark.parametrize("budget", [1, 1 << 20])
def test_step_that_turns_out_to_be_none_late_is_not_counted_by(log: Path, budget: int) -> None:
    """What was read before is read again; nothing is lost, hidden or told twice."""
    made = [row(n, global_step=n % 2500, loss=n / 8) for n in range(5000)]
    log.write_bytes(framed(made))
    reader = poll(opened(log.parent), budget)
    assert (reader.state.row_count, reader.state.step) == (5000, 4999)
    assert reader.state.warnings == []
    assert steps(log.parent, "loss") == list(range(5000))


def test_evaluation_repeated_behind_the_training_does_not_change_how_steps_count(
    log: Path,
) -> None:
    """`trainer.train(); trainer.evaluate()` of Hugging Face."""
    made = [row(n, **{"train/global_step": 10 * n, "train/loss": 1.0}) for n in range(5)]
    made += [row(5 + n, **{"train/global_step": 40, "eval/loss": 0.5 - n / 10}) for n in range(2)]
    state = read_records(log, define("train/global_step"), *made).state
    assert (state.step, state.last["eval/loss"]) == (40, 0.4)
    assert steps(log.parent, "train/loss") == [0, 10, 20, 30, 40]


def test_step_that_only_some_rows_have_does_not_put_the_others_in_one_place(log: Path) -> None:
    made = [
        row(n, loss=1.0 * n, **({"global_step": n} if n % 100 == 0 else {})) for n in range(500)
    ]
    read_records(log, *made)
    assert steps(log.parent, "loss") == list(range(500))


def test_user_has_the_last_word_about_the_step(log: Path) -> None:
    read_records(log, *(row(n, step=n, seen=64.0 * n, loss=1.0) for n in range(4)))
    columns.choose({"step": "seen"})
    assert steps(log.parent, "loss") == [0, 64, 128, 192]
    columns.choose({"step": "_step"})
    assert steps(log.parent, "loss") == [0, 1, 2, 3]


def test_rows_within_an_epoch_are_no_epochs(log: Path) -> None:
    made = [row(n, epoch=n // 10, loss=1.0 * n) for n in range(100)]
    state = read_records(log, *made).state
    assert (state.row_count, state.epoch_rows, state.epoch) == (100, [], 9)
    assert table(log.parent, "epochs") == []


def test_fraction_of_an_epoch_is_within_it(log: Path) -> None:
    state = read_records(log, *(row(n, epoch=n / 4, loss=1.0) for n in range(6))).state
    assert (state.epoch, state.epoch_rows) == (2, [])


def test_training_and_validation_of_an_epoch_may_be_rows_of_their_own(log: Path) -> None:
    made = [
        row(n, epoch=n // 2, **({"val_loss": 1.0 / (1 + n)} if n % 2 else {"train_loss": 1.0}))
        for n in range(20)
    ]
    state = read_records(log, *made).state
    assert len(state.epoch_rows) == 10
    assert state.best == Best(9, "val/loss", 1 / 20)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("time", "time_s"),
        ("step", "step_value"),
        ("val_loss", "val/loss"),
        ("eval/loss", "eval/loss"),
        ("a.b", "a.b"),
        ("ünï \x1b[1m", "ünï \x1b[1m"),
    ],
)
def test_name_of_a_metric(log: Path, key: str, name: str) -> None:
    assert read_records(log, row(0, **{key: 0.5})).state.last == {name: 0.5}


# ---- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        ("-0.5", -0.5),
        ("1.7958950646010032e+09", 1.7958950646010032e9),
        ("NaN", math.nan),
        ("Infinity", math.inf),
        ("-Infinity", -math.inf),
        ('"NaN"', math.nan),
        ('"-Infinity"', -math.inf),
        ("1" * 400, math.inf),
        ('"0.5"', None),
        ("true", None),
        ("null", None),
        ("[1]", None),
        ("", None),
        ("-", None),
        ("Nobody", None),
        ('{"_type":"histogram","values":[1]}', None),
        ('{"_type":"image-file","size":69}', None),
        ("{", None),
        ('{"a":' * 5000, None),
    ],
)
def test_value_of_an_item(log: Path, text: str, value: float | None) -> None:
    state = read_records(log, history(1, {"x": text, "y": "1.5", "_step": "0"})).state
    expected = {"y": 1.5} if value is None else {"x": value, "y": 1.5}
    assert {key: repr(found) for key, found in state.last.items()} == {
        key: repr(found) for key, found in expected.items()
    }
    assert state.bad_line_count == 0


def test_typed_values_that_the_format_provides_for_are_read(log: Path) -> None:
    """The fields `integer` and `number` of `HistoryItem`; 0.31 does not write them yet."""
    double = b"\x31" + bytes.fromhex("000000000000e03f")
    items = field(1, field(1, "i") + b"\x28\x05") + field(1, field(2, "d") + double)
    assert read_records(log, record(1, 2, items)).state.last == {"i": -3.0, "d": 0.5}


def test_row_of_very_many_values_is_bounded(log: Path) -> None:
    values = {f"m{n}": "1" for n in range(100_000)}
    state = read_records(log, history(1, {**values, "_step": "0"}), row(1, a=1.0)).state
    assert len(state.last) == 4096
    assert any("are left out here" in warning for warning in state.warnings)
    (line, _) = opened(log.parent).rows("metrics")
    assert line.row is not None
    assert len(line.row) < 20_000


def test_very_long_names_and_parameters_are_cut(log: Path) -> None:
    long = "n" * 1_000_000
    records = [history(1, {long: "1", "_step": "0"}), config(lr=1, deep=[[]] * 60_000, **{long: 2})]
    state = read_records(log, *records, config(text="x" * 5_000_000)).state
    assert max(map(len, state.last)) == max(map(len, state.params)) == 1000
    assert state.params["lr"] == 1
    assert [bad.reason for bad in state.bad_lines] == ["parameters over 4,194,304 bytes"]


def test_parameter_that_is_set_again_and_again_takes_its_room_once(log: Path) -> None:
    state = read_records(log, *(config(text=f"{n:01000000}") for n in range(12))).state
    assert state.params == {"text": f"{11:01000000}"}
    assert state.bad_line_count == 0


def test_of_a_record_of_very_many_parts_the_first_are_read(log: Path) -> None:
    items = field(1, field(1, "early") + field(16, "1"))
    late = field(1, field(1, "late") + field(16, "1"))
    state = read_records(log, record(1, 2, items + b"\x18\x00" * MOST_PARTS + late)).state
    assert state.last == {"early": 1.0}


def test_system_metrics_have_our_names_and_units_where_they_are_ours(log: Path) -> None:
    sampled = {
        "proc.memory.rssMB": 512.0,
        "gpu.0.gpu": 97.0,
        "gpu.0.memoryAllocatedBytes": 3 * 2.0**30,
        "gpu.1.powerWatts": 250.0,
        "gpu.1.enforcedPowerLimitWatts": 300.0,
        "cpu": 12.5,
    }
    items = b"".join(field(3, field(1, k) + field(16, json.dumps(v))) for k, v in sampled.items())
    stats = record(1, 7, field(2, field(1, 1_790_000_000) + field(2, 500_000_000)) + items)
    read_records(log, row(7, loss=1.0), stats)
    assert table(log.parent, "system") == [
        {
            "step": 7,
            "time": 1_790_000_000.5,
            "process/rss_gib": 0.5,
            "gpu0/busy_percent": 97.0,
            "gpu0/memory_used_gib": 3.0,
            "gpu1/power_w": 250.0,
            "gpu.1.enforcedPowerLimitWatts": 300.0,
            "cpu": 12.5,
        }
    ]


@pytest.mark.parametrize(("code", "told"), [(-9, "exit code -9"), (1, "exit code 1")])
def test_exit_code_may_be_negative(log: Path, code: int, told: str) -> None:
    assert read_records(log, ended(code)).state.status == Status("failed", told)


def test_exit_that_is_not_complete_is_no_end(log: Path) -> None:
    assert read_records(log, record(1, 18, field(3, 1))).state.ended is None


# ---- the commands --------------------------------------------------------------------------------


def run(*arguments: object) -> str:
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_commands_show_a_run() -> None:
    (listed,) = json.loads(run("ls", "--json", SAMPLES / "features"))
    assert (listed["source"], listed["status"]) == ("wandb", "finished")
    assert listed["last"]["val/loss"] == 0.8
    shown = run("show", sample("features"))
    assert "second name" in shown
    assert "/home/user/train.py features" in shown
    rows = [json.loads(line) for line in run("cat", sample("nanochat"), "metrics").splitlines()]
    assert [row["step"] for row in rows if "val/bpb" in row] == [0, 30, 60, 90]
    exported = run("export", sample("nanochat"), "--format", "csv")
    assert "train/loss" in exported.splitlines()[0]
    assert runstore.load(sample("nanochat")).metrics()[-1]["core"] == 0.25
