"""Sweeps on disk: which directory, which cells, and what is to be done with each."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import runstore
from runstore.errors import AttemptError, SweepError
from runstore.runs.lookup import find
from runstore.runs.store import discover
from runstore.sources.native import NativeReader
from runstore.sweeps.cells import Action, CellWatch, look
from runstore.sweeps.document import Sweep, load, write
from runstore.sweeps.execute import run_cell
from runstore.sweeps.grids import grid
from runstore.sweeps.lock import lock
from runstore.sweeps.plan import plan

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "train.py", "--lr", "{lr}"]
CELLS: list[dict[str, Any]] = grid(lr=[0.1, 0.01])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(cells: list[dict[str, Any]] | None = None, **more: Any) -> Sweep:
    return plan(COMMAND, CELLS if cells is None else cells, root=Path("runs"), **more)


def script(code: str) -> Sweep:
    """Return a sweep on disk of one cell that runs Python code."""
    return write(plan([sys.executable, "-c", code], [{"lr": 0.1}], root=Path("runs"), name="one"))


def actions(sweep: Sweep, *, retry: bool = False) -> list[str]:
    return [task.action.value for task in look(sweep, retry=retry)]


# ---- which sweep, which cells ------------------------------------------------------------------


def test_plan_writes_nothing(here: Path) -> None:
    planned()
    assert os.listdir(here) == []


def test_sweep_is_known_by_its_command_directory_and_cells(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert planned().path == planned(CELLS[::-1]).path
    assert planned().path.name.startswith("train-")
    others = [
        planned(CELLS[:1]),
        plan([*COMMAND, "--more"], CELLS, root=Path("runs")),
        plan([], CELLS, root=Path("runs"), function="a:train"),
    ]
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    others.append(planned())
    assert len({sweep.path.name for sweep in others}) == 4


@pytest.mark.parametrize(
    ("params", "cell_id"),
    [
        ({"lr": 1e-3, "num_epochs": 10}, "lr=0.001,num_epochs=10"),
        ({"opt": "Adam", "x.y": -0.5, "on": True}, "opt=Adam,x.y=-0.5,on=true"),
        ({"data": "a/b c.csv"}, "data=a-b-c.csv-"),
        ({"sizes": [8, 32]}, "sizes=-8,32-"),
        ({"name": "é"}, "name=e-"),
        ({"text": "x" * 300}, "text=" + "x" * 68 + "-"),
        ({"a": "../.."}, "a-"),
        ({}, "cell-"),
    ],
)
def test_id_of_a_cell_is_readable_and_a_name_of_a_file(
    params: dict[str, Any], cell_id: str
) -> None:
    (cell,) = plan(["true"], [params], root=Path("runs")).cells
    assert cell.id.startswith(cell_id)
    assert len(cell.id) <= 80
    assert "/" not in cell.id
    assert cell.id == cell_id or len(cell.id.rpartition("-")[2]) == 6


def test_ids_differ_also_where_case_does_not_count() -> None:
    cells = plan(["true"], [{"a": v} for v in ("x", "X", 1, "1", 1.0, "1.0")], root=Path()).cells
    assert len({cell.id.casefold() for cell in cells}) == 6


def test_ids_differ_also_where_the_first_digits_of_their_digests_do_not() -> None:
    # Found among ten thousand: the sums of both begin with 79782c.
    cells = [{"data": "x" * 90, "seed": seed} for seed in (3457, 7669)]
    first, second = write(plan(["true"], cells, root=Path("runs"))).cells
    assert first.id[:70] == second.id[:70]
    assert first.id != second.id
    assert len(second.id) <= 80


@pytest.mark.parametrize("name", ["+lr", "", "=", ",a"])
def test_sweep_of_any_name_of_a_parameter_is_read_again(name: str) -> None:
    written = write(plan([], [{name: 1}], root=Path("runs"), function="train:main"))
    assert load(written.path) == written


def test_equal_cells_are_one() -> None:
    cells = [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": 2}]
    assert len(plan(["true"], cells, root=Path()).cells) == 1


def test_written_sweep_is_loaded_as_it_was() -> None:
    written = write(planned(name="first words"))
    assert written.path == Path("runs/first-words")
    assert load(written.path) == written
    assert planned(name="first words") == written


def test_sweep_and_its_cells_fit_their_schemas() -> None:
    sweep = write(planned(name="x", search={"space": {"lr": "uniform:0..1"}, "metric": "a:min"}))
    for path, kind in (
        (sweep.path / "sweep.json", "sweep"),
        (sweep.path / "lr=0.1" / "run.json", "run"),
    ):
        schema = json.loads((ROOT / f"docs/format/{kind}.schema.json").read_text())
        Draft202012Validator(schema).validate(json.loads(path.read_text()))


def test_cells_are_planned_runs_with_their_parameters() -> None:
    sweep = write(planned())
    refs = discover([Path("runs")])
    assert {ref.path for ref in refs} == {sweep.path / "lr=0.1", sweep.path / "lr=0.01"}
    run = runstore.load(sweep.path / "lr=0.1")
    assert (run.status, run.params) == ("planned", {"lr": 0.1})
    assert find(f"{sweep.id}/lr=0.01", Path("runs")).path == sweep.path / "lr=0.01"


def test_named_sweep_grows_and_keeps_its_cells() -> None:
    write(planned(name="grown"))
    longer = write(planned([{"lr": 1}, {"lr": 0.1}], name="grown"))
    assert [cell.id for cell in longer.cells] == ["lr=0.1", "lr=0.01", "lr=1"]
    assert (longer.path / "lr=1" / "run.json").exists()


@pytest.mark.parametrize(
    ("command", "told"),
    [(["python", "other.py", "{lr}"], "another command"), (["x", "{no}"], "unknown placeholder")],
)
def test_name_of_another_sweep_is_refused(command: list[str], told: str) -> None:
    write(planned(name="taken"))
    with pytest.raises(SweepError, match=told):
        plan(command, CELLS, root=Path("runs"), name="taken")


def test_name_of_what_is_no_sweep_is_refused(here: Path) -> None:
    (here / "runs" / "taken").mkdir(parents=True)
    write(planned(name="taken"))
    (here / "runs" / "mine").mkdir()
    (here / "runs" / "mine" / "notes.txt").touch()
    with pytest.raises(SweepError, match=r"is no sweep \(notes.txt is in it\); give another"):
        planned(name="mine")
    (here / "runs" / "file").touch()
    with pytest.raises(SweepError, match="is a file; give another --name"):
        planned(name="file")
    with pytest.raises(SweepError, match="no letter or digit"):
        planned(name="☃")


def test_secrets_are_not_kept_in_files(here: Path) -> None:
    with pytest.raises(SweepError, match="the parameter api_key looks like a secret"):
        planned([{"lr": 1, "api_key": "k3x9qaB7dE5fG1hJ2"}])
    with pytest.raises(SweepError, match="the command looks like a secret"):
        plan(["train", "--token=k3x9qaB7dE5fG1hJ2"], [{"a": 1}], root=Path("runs"))
    assert os.listdir(here) == []


def test_what_is_no_utf_8_is_refused_and_not_changed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = os.fsdecode(b"caf\xe9")
    with pytest.raises(SweepError, match=r"the value caf\\udce9 is no UTF-8"):
        planned([{"lr": odd}])
    with pytest.raises(SweepError, match=r"the command caf\\udce9 is no UTF-8"):
        plan(["train", odd], [{"lr": 1}], root=Path("runs"))
    (here / odd).mkdir()
    monkeypatch.chdir(here / odd)
    with pytest.raises(SweepError, match=r"the directory /.*caf\\udce9 is no UTF-8"):
        planned()
    # A function is called where it is.
    for _ in range(2):
        assert runstore.sweep(lambda lr: lr, [{"lr": 1}]) == [1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is damaged"),
        ("[]", "is damaged"),
        ('{"format":1,"created":1}', "is damaged: KeyError: 'cells'"),
        ('{"format":1,"created":1,"cells":[{"id":"../x","params":{}}]}', "no id of a cell"),
        ('{"format":9}', "written in format 9"),
    ],
)
def test_damaged_document_is_refused_in_one_line(here: Path, text: str, told: str) -> None:
    (here / "sweep.json").write_text(text)
    with pytest.raises(runstore.RunStoreError, match=told):
        load(here)


def test_document_that_is_not_there_or_a_pipe_is_refused(here: Path) -> None:
    with pytest.raises(SweepError, match=r"is no sweep: it has no sweep\.json"):
        load(here)
    os.mkfifo(here / "sweep.json")
    with pytest.raises(SweepError, match="cannot be read"):
        load(here)


def _add(folder: Path, number: int) -> None:
    os.chdir(folder)
    write(plan(COMMAND, [{"lr": number}], root=Path("runs"), name="shared"))


def test_cells_that_several_processes_add_all_stay(here: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_add, args=(here, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    found = load(Path("runs/shared"))
    assert sorted(cell.params["lr"] for cell in found.cells) == [0, 1, 2, 3]


def test_call_that_holds_the_cells_is_waited_for_and_told(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("runstore.sweeps.lock.QUIET_WAIT_S", 0.1)
    monkeypatch.setattr("runstore.sweeps.lock.LOCK_WAIT_S", 0.1)
    sweep = write(planned([{"lr": 1}], name="held"))
    with lock(sweep.path), pytest.raises(SweepError, match="nothing was changed"):
        write(planned([{"lr": 2}], name="held"))
    assert f"at work on the cells of {sweep.path}: waiting for it" in capsys.readouterr().err
    assert load(sweep.path).cells == sweep.cells
    assert len(write(planned([{"lr": 2}], name="held")).cells) == 2


# ---- what is to be done ------------------------------------------------------------------------


def test_new_and_planned_cells_are_run() -> None:
    sweep = planned()
    assert actions(sweep) == ["run", "run"]
    assert actions(write(sweep)) == ["run", "run"]


@pytest.mark.parametrize(
    ("code", "action", "with_retry"),
    [
        ("pass", "done", "done"),
        ("raise SystemExit(3)", "failed", "resume"),
        ("import os; os.kill(os.getpid(), 9)", "resume", "resume"),
        (
            "import os, time; os.system(f'kill {{os.getppid()}}'); time.sleep(60)",
            "resume",
            "resume",
        ),
    ],
)
def test_ended_cell_is_done_failed_or_to_resume(code: str, action: str, with_retry: str) -> None:
    sweep = script(code)
    subprocess.run(
        [sys.executable, "-m", "runstore.sweeps.cell", "--quiet", sweep.path, "lr=0.1"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert actions(sweep) == [action]
    assert actions(sweep, retry=True) == [with_retry]


def test_live_cell_is_waited_for_and_no_other_process_takes_it() -> None:
    sweep = write(planned(CELLS[:1]))
    run = runstore.init(resume=sweep.path / "lr=0.1")
    try:
        assert actions(sweep, retry=True) == ["wait"]
        with pytest.raises(AttemptError):
            run_cell(sweep.path, "lr=0.1")
    finally:
        run.finish()
    assert actions(sweep) == ["done"]


def test_cell_of_another_host_is_watched_before_it_is_given_up(here: Path) -> None:
    sweep = write(planned(CELLS[:1]))
    run = runstore.init(resume=sweep.path / "lr=0.1")
    run.finish()
    events = run.path / "events-0001.jsonl"
    opened = json.loads(events.read_text().splitlines()[0])
    opened |= {"host": "elsewhere", "boot_id": "other", "lock": False}
    events.write_text(json.dumps(opened) + "\n")
    watch = CellWatch(sweep, sweep.cells[0])
    assert watch.look().action is Action.WAIT
    watch._begun -= 100
    assert watch.look().action is Action.UNKNOWN
    assert watch.look(retry=True).action is Action.RESUME


# ---- running one -------------------------------------------------------------------------------


def test_cell_gets_its_values_and_its_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import os, sys, runstore\n"
        "with runstore.init({{'lr': float(sys.argv[1]), 'more': 2}}) as run:\n"
        "    run.log({{'x': run.params['lr']}}, step=1)\n"
        "open('ran', 'w').write(os.environ['OUTER'] + run.path.name)\n"
    )
    (here / "work").mkdir()
    monkeypatch.chdir(here / "work")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OUTER", "kept ")
    sweep = write(
        plan([sys.executable, "-c", code, "{lr}"], [{"lr": 0.5}], root=here / "runs", name="a")
    )
    monkeypatch.chdir(here)
    program = [sys.executable, "-m", "runstore.sweeps.cell", str(sweep.path), "lr=0.5"]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert (here / "work" / "ran").read_text() == "kept lr=0.5"
    run = runstore.load(sweep.path / "lr=0.5")
    assert (run.status, run.params, run.last) == ("finished", {"lr": 0.5, "more": 2}, {"x": 0.5})
    again = subprocess.run(program, capture_output=True, text=True, check=True)
    assert "has finished already" in again.stderr
    assert "has finished already" not in done.stderr


def test_first_attempt_of_a_planned_run_tells_how_it_was_started(here: Path) -> None:
    subprocess.run(["git", "init", "-q", here], check=True)
    (here / "file").write_text("one\n")
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@y"]
    subprocess.run(["git", "add", "file"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    program = [sys.executable, "-c", "print(1)"]
    sweep = write(plan(program, [{"lr": 1}], root=here / "runs", name="a"))
    before = json.loads((sweep.path / "lr=1" / "run.json").read_text())
    (here / "file").write_text("two\n")
    cell = [sys.executable, "-m", "runstore.sweeps.cell", "--quiet", str(sweep.path), "lr=1"]
    subprocess.run(cell, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    opened = json.loads((sweep.path / "lr=1" / "exec-0001.jsonl").read_text().splitlines()[0])
    assert opened["command"] == program
    assert opened["versions"]["runstore"] == runstore.__version__
    assert {"environment", "python", "platform", "cwd"} <= opened.keys()
    assert "+two" in (sweep.path / "lr=1" / "patch.diff").read_text()
    reader = NativeReader(sweep.path / "lr=1")
    reader.glance()
    assert reader.state.git["commit"] == before["git"]["commit"]
    duration_s = reader.state.duration_s
    assert duration_s is not None
    # The time that it has waited for its turn is not its own.
    assert duration_s < opened["time"] - before["created"] + 10


def test_commit_of_the_start_is_told_where_it_is_another(here: Path) -> None:
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@y", "commit", "-q", "--allow-empty"]
    subprocess.run(["git", "init", "-q", here], check=True)
    subprocess.run([*git, "-m", "one"], check=True)
    sweep = write(plan([sys.executable, "-c", "1"], [{"lr": 1}], root=here / "runs", name="a"))
    subprocess.run([*git, "-m", "two"], check=True)
    cell = [sys.executable, "-m", "runstore.sweeps.cell", "--quiet", str(sweep.path), "lr=1"]
    subprocess.run(cell, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    reader = NativeReader(sweep.path / "lr=1")
    reader.glance()
    assert reader.state.git["commit"] == head.stdout.strip()
    assert reader.state.info["git"]["commit"] != head.stdout.strip()


def test_cell_that_cannot_be_run_says_so_in_one_line(here: Path) -> None:
    sweep = write(plan(["no-such-program"], [{"lr": 1}], root=here / "runs", name="a"))
    program = [sys.executable, "-m", "runstore.sweeps.cell", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(*words: str | Path) -> tuple[int, str]:
        done = subprocess.run([*program, *words], env=environment, capture_output=True, text=True)
        return done.returncode, done.stderr

    not_found = "runstore: no-such-program: command not found\n"
    assert run(sweep.path, "lr=1") == (127, not_found)
    assert run(sweep.path, "lr=2") == (1, f"runstore: {sweep.path}: the sweep has no cell 'lr=2'\n")
    assert run(here, "lr=1") == (1, f"runstore: {here} is no sweep: it has no sweep.json\n")
    assert run(here)[0] == 2
    assert actions(sweep) == ["run"]
