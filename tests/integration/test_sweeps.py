"""`runstore sweep` with real trainings: killed, stopped, run twice at once."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import runstore
from runstore.files.checkpoints import find_resume_point
from runstore.sources.native import NativeReader
from tests.conftest import WaitUntil
from tests.terminal import Terminal

ROOT = Path(__file__).resolve().parents[2]
RUNSTORE = (sys.executable, "-m", "runstore.cli")
EPOCHS = 6
BEGINNING = """
import argparse, os, time
import runstore

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--epochs", type=int)
args = parser.parse_args()
"""
TORCH = """
import torch

torch.set_num_threads(1)
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=args.lr)
objects = {"model": model, "optimizer": optimizer}

def step():
    loss = model(torch.ones(2, 4)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss
"""
PLAIN = """
objects = {}
step = lambda: args.lr
"""
LOOP = """
with runstore.init(args, save_every="1ep") as run:
    if objects:
        run.register(**objects)
    for epoch in run.epochs(args.epochs):
        for _ in run.train(range(4)):
            run.track(loss=step())
            time.sleep(0.03)
            while epoch > 1 and os.path.exists("hold"):
                time.sleep(0.02)
        with open(run.path / "trained", "a") as file:
            file.write(f"{run.attempt} {epoch}\\n")
"""
COMMAND = (sys.executable, "train.py", "--lr", "{lr}", "--epochs", "{num_epochs}")
CALL = ("--jobs", "2", "--grid", "lr=0.1,0.01", "--grid", f"num_epochs={EPOCHS},{EPOCHS + 1}")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(BEGINNING + PLAIN + LOOP)
    yield tmp_path
    for process in processes_of(tmp_path):
        process.kill()


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return the cells' processes: those that watch, and the trainings."""
    found = []
    for process in psutil.process_iter():
        try:
            in_folder = process.cwd() == str(folder)
            line = process.cmdline()
        except psutil.Error:
            continue
        is_cell = "runstore.sweeps.cell" in line or "train.py" in line
        if in_folder and is_cell and "sweep" not in line:
            found.append(process)
    return found


def start(*options: str) -> subprocess.Popen[str]:
    command = [*RUNSTORE, "sweep", *CALL, *options, "--", *COMMAND]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def sweep(*options: str) -> tuple[int, str]:
    process = start(*options)
    printed, _ = process.communicate(timeout=120)
    return process.returncode, printed


def cells(here: Path) -> list[Path]:
    return sorted(path.parent for path in (here / "runs").glob("*/*/run.json"))


def trained(cell: Path, attempt: int | None = None) -> list[int]:
    """Return the epochs that were trained to their end."""
    try:
        rows = [line.split() for line in (cell / "trained").read_text().splitlines()]
    except FileNotFoundError:
        return []
    return [int(epoch) for number, epoch in rows if attempt in (None, int(number))]


def is_saved(cell: Path) -> bool:
    return (cell / "checkpoints" / "manifest.jsonl").exists()


def status(cell: Path) -> str:
    reader = NativeReader(cell)
    reader.glance()
    return reader.state.status.word


def assert_complete(here: Path) -> None:
    found = cells(here)
    assert len(found) == 4
    assert [path.name for path in sorted((here / "runs").glob("*/*/"))] == [c.name for c in found]
    for cell in found:
        run = runstore.load(cell)
        assert run.status == "finished"
        epochs = [row["epoch"] for row in run.epochs()]
        assert epochs == list(range(1, int(run.params["num_epochs"]) + 1))


@pytest.mark.timeout(180)
def test_all_killed_in_the_middle_and_the_same_call_goes_on(
    here: Path, wait_until: WaitUntil
) -> None:
    """No epoch is trained twice but those behind the last checkpoint."""
    (here / "train.py").write_text(BEGINNING + TORCH + LOOP)
    hold = here / "hold"
    hold.touch()
    process = start()
    wait_until(lambda: [is_saved(cell) for cell in cells(here)].count(True) == 2, 60)
    process.kill()
    killed = processes_of(here)
    for one in killed:
        one.kill()
    psutil.wait_procs(killed, 30)
    process.communicate()
    hold.unlink()
    assert Counter(map(status, cells(here))) == {"crashed": 2, "planned": 2}
    resumed = [cell for cell in cells(here) if status(cell) == "crashed"]
    points = {cell: find_resume_point(cell)[0] for cell in resumed}

    code, printed = sweep()
    assert code == 0, printed
    assert_complete(here)
    for cell, point in points.items():
        assert point is not None
        saved = point.row.epoch or 0
        assert saved >= 1
        assert min(trained(cell, 2)) > saved
        again = [epoch for epoch, count in Counter(trained(cell)).items() if count > 1]
        assert all(epoch > saved for epoch in again)
    assert sweep()[0] == 0
    assert all(runstore.load(cell).state.attempt <= 2 for cell in cells(here))


@pytest.mark.timeout(180)
def test_cells_outlive_the_sweep_and_are_waited_for(here: Path, wait_until: WaitUntil) -> None:
    hold, said = here / "hold", here / "said"
    hold.touch()
    process = start()
    wait_until(lambda: [status(cell) for cell in cells(here)].count("running") == 2, 60)
    process.kill()
    process.communicate()
    with said.open("w") as file:
        command = [*RUNSTORE, "sweep", *CALL, "--", *COMMAND]
        again = subprocess.Popen(command, stdout=file, stderr=file)
    wait_until(lambda: said.read_text().count("waiting for it") == 2, 60)
    assert not re.search(r"^runstore: .* started", said.read_text(), re.MULTILINE)
    hold.unlink()
    assert again.wait(120) == 0, said.read_text()
    assert_complete(here)
    assert all(runstore.load(cell).state.attempt == 1 for cell in cells(here))
    assert all(Counter(trained(cell)).most_common(1)[0][1] == 1 for cell in cells(here))


@pytest.mark.timeout(180)
def test_two_at_the_same_time_share_the_cells(here: Path) -> None:
    both = [start(), start()]
    printed = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    assert_complete(here)
    assert all(Counter(trained(cell)).most_common(1)[0][1] == 1 for cell in cells(here))


@pytest.mark.timeout(180)
def test_ctrl_c_has_the_cells_save_and_end(here: Path, wait_until: WaitUntil) -> None:
    hold = here / "hold"
    hold.touch()
    (here / "train.py").write_text(BEGINNING + TORCH + LOOP)
    command = [*RUNSTORE, "sweep", *CALL, "--", *COMMAND]
    terminal = Terminal(command, 100, 24, {})
    try:
        wait_until(lambda: sum(bool(trained(cell)) for cell in cells(here)) == 2, 60)
        wait_until(terminal.shows("0/4 cells  2 running"))
        terminal.press("\x03")
        wait_until(terminal.shows("2 cells asked to save and end"))
        hold.unlink()
        printed = terminal.finish(60)
    finally:
        terminal.close()
    assert b"2 cells asked to save and end" in printed
    assert terminal.process.returncode == 130
    words = Counter(status(cell) for cell in cells(here))
    assert words == {"interrupted": 2, "planned": 2}
    stopped = [cell for cell in cells(here) if status(cell) == "interrupted"]
    for cell in stopped:
        point, _ = find_resume_point(cell)
        assert point is not None
        assert (point.row.batch, point.row.epoch) != (None, 0)
    assert not processes_of(here)


@pytest.mark.timeout(180)
def test_second_ctrl_c_kills(here: Path, wait_until: WaitUntil) -> None:
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\n"
    (here / "train.py").write_text(stubborn + "time.sleep(600)\n")
    said = here / "said"
    with said.open("w") as file:
        command = [*RUNSTORE, "sweep", *CALL, "--", *COMMAND]
        process = subprocess.Popen(command, stdout=file, stderr=file)
    wait_until(lambda: [p.read_text() for p in here.glob("runs/*/*/output.log")] == 2 * ["up\n"])
    process.send_signal(signal.SIGINT)
    wait_until(lambda: "2 cells asked to save and end" in said.read_text())
    assert len(processes_of(here)) == 4
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert "2 cells killed" in said.read_text()
    assert not processes_of(here)
    reasons = [runstore.load(cell).reason for cell in cells(here)]
    assert Counter(reasons) == {
        "SIGTERM, then killed by SIGKILL": 2,
        "created, not started": 2,
    }


def test_each_cell_has_a_gpu_of_its_own(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,3")
    (here / "train.py").write_text(
        "import os, time\n"
        "open(os.environ['RUNSTORE_RUN'] + '/gpu', 'w').write(os.environ['CUDA_VISIBLE_DEVICES'])\n"
        "time.sleep(0.5)\n"
    )
    command = [*RUNSTORE, "sweep", "--grid", "a=1..4", "--", sys.executable, "train.py", "{a}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "2 at a time, GPU GPU-a or GPU 3 each" in done.stdout
    handed = Counter(path.read_text() for path in here.glob("runs/*/*/gpu"))
    assert handed.keys() == {"GPU-a", "3"}
    recorded = [json.loads(p.read_text().splitlines()[0]) for p in here.glob("runs/*/*/exec-*")]
    assert {o["environment"]["CUDA_VISIBLE_DEVICES"] for o in recorded} == {"GPU-a", "3"}


SUBMITIT = """
import runstore, submitit

def train(lr, n):
    with runstore.init() as run:
        run.log({"loss": lr}, step=n)
    if lr == 2:
        raise ValueError("two")
    return {"lr": lr, "id": run.id}

executor = submitit.LocalExecutor("jobs")
executor.update_parameters(timeout_min=5)
for _ in range(2):
    try:
        runstore.sweep(train, runstore.grid(lr=[1, 2, 3], n=[1]), executor=executor)
    except runstore.RunStoreError as error:
        print(error.results, flush=True)
"""


@pytest.mark.timeout(180)
def test_submitit_runs_the_cells_of_a_function(here: Path) -> None:
    (here / "script.py").write_text(SUBMITIT)
    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, check=True, timeout=120
    )
    results = [{"lr": 1, "id": "lr=1,n=1"}, None, {"lr": 3, "id": "lr=3,n=1"}]
    assert done.stdout == f"{results}\n" * 2
    assert "ValueError: two" in done.stderr
    assert [runstore.load(cell).status for cell in cells(here)] == 3 * ["finished"]


def test_cell_that_gets_on_no_more_is_named_with_how_to_end_it(
    here: Path, wait_until: WaitUntil
) -> None:
    (here / "hold").touch()
    command = [*RUNSTORE, "sweep", "--name", "one", "--grid", "lr=0.1", "num_epochs=2", "--"]
    with (here / "said").open("w") as said:
        process = subprocess.Popen([*command, *COMMAND], stderr=said, stdout=subprocess.DEVNULL)
    cell = here / "runs" / "one" / "lr=0.1,num_epochs=2"
    wait_until((cell / "metrics-0001.jsonl").exists, 60, what="a row")
    (training,) = [one for one in processes_of(here) if "train.py" in one.cmdline()]
    training.suspend()
    line = (
        f"lr=0.1,num_epochs=2 is stalled: process {training.pid} is stopped; to end it: "
        "runstore cancel runs/one/lr=0.1,num_epochs=2\n"
    )
    wait_until(lambda: line in (here / "said").read_text(), 60, what="the line")
    (here / "hold").unlink()
    training.resume()
    assert process.wait(60) == 0
    assert (here / "said").read_text().count(line) == 1
