"""The batch script, run by bash: who gets which signal, what is waited for, what is requeued.

`scontrol` and `scancel` are recording stand-ins; tests/integration/test_slurm.py has the real ones.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from runstore.cli import cli
from runstore.errors import RunStoreError
from runstore.slurm.script import Job, batch_script
from runstore.sweeps.document import Sweep, write
from runstore.sweeps.plan import plan
from tests.conftest import WaitUntil

ROOT = Path(__file__).resolve().parents[3]

# Notes what it gets, saves for a while, and leaves with 143, as a shell tells SIGTERM.
SAVES = """
import os, pathlib, signal, sys, time
log = pathlib.Path("log")
def note(text):
    with log.open("a") as file: file.write(text + "\\n")
asked = []
signal.signal(signal.SIGTERM, lambda *_: (note("asked"), asked.append(1)))
signal.signal(signal.SIGUSR1, lambda *_: note("USR1"))
note("start " + os.environ["RUNSTORE_RUN"])
while not asked: time.sleep(0.02)
time.sleep(float(sys.argv[1]))
note("saved")
sys.exit(143)
"""
RECORDER = """#!/bin/sh
case "$*" in *" show job 7") cat shown 2>/dev/null; exit ;; esac
echo "$(basename "$0") $*" >> log
exit ${SCONTROL_STATUS:-0}
"""


class Job7:
    """A generated script that bash runs as Slurm would, as job 7."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = folder / "bin"
        programs.mkdir()
        for name in ("scontrol", "scancel"):
            (programs / name).write_text(RECORDER)
            (programs / name).chmod(0o755)
        self._environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "SLURM_JOB_ID": "7",
        }
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        script = self.folder / "job.sbatch"
        script.write_text(batch_script(command, Job(signal_s=20)))
        process = subprocess.Popen(
            ["bash", str(script)],
            cwd=self.folder,
            env={**self._environment, **environment},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    @property
    def log(self) -> list[str]:
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []

    def clean_up(self) -> None:
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job7]:
    made = Job7(tmp_path)
    yield made
    made.clean_up()


def saving(save_s: float) -> tuple[str, ...]:
    return (sys.executable, "-c", SAVES, str(save_s))


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, told = process.communicate(timeout=30)
    return process.returncode, told


def test_near_the_limit_the_program_saves_and_then_the_job_is_requeued(
    job: Job7, wait_until: WaitUntil
) -> None:
    process = job.start(*saving(1.0))
    wait_until(lambda: job.log)
    process.send_signal(signal.SIGUSR1)
    status, told = finish(process)
    assert job.log == [f"start {job.folder}/runs/slurm-7", "asked", "saved", "scontrol requeue 7"]
    assert status == 143
    assert told == "job 7: the time limit is near\n"


def test_second_signal_changes_nothing(job: Job7, wait_until: WaitUntil) -> None:
    process = job.start(*saving(1.5))
    wait_until(lambda: job.log)
    for _ in range(2):
        process.send_signal(signal.SIGUSR1)
        wait_until(lambda: "asked" in job.log)
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 143
    assert job.log[-2:] == ["saved", "scontrol requeue 7"]


def test_task_of_an_array_is_requeued_by_its_own_number(job: Job7, wait_until: WaitUntil) -> None:
    process = job.start(*saving(0), SLURM_ARRAY_JOB_ID="5", SLURM_ARRAY_TASK_ID="0")
    wait_until(lambda: job.log)
    process.send_signal(signal.SIGUSR1)
    finish(process)
    assert job.log[0] == f"start {job.folder}/runs/slurm-5_0"
    assert job.log[-1] == "scontrol requeue 5_0"


@pytest.mark.parametrize("status", [0, 3])
def test_program_that_ends_by_itself_is_not_requeued(job: Job7, status: int) -> None:
    process = job.start(sys.executable, "-c", f"raise SystemExit({status})")
    assert finish(process) == (status, "")
    assert job.log == []


def test_cancelled_job_waits_for_its_program_and_is_not_requeued(
    job: Job7, wait_until: WaitUntil
) -> None:
    """Slurm signals the shell and the program."""
    process = job.start(*saving(1.0))
    wait_until(lambda: job.log)
    os.killpg(process.pid, signal.SIGTERM)
    assert finish(process) == (143, "job 7: SIGTERM\n")
    assert job.log[1:] == ["asked", "saved"]


@pytest.mark.parametrize(
    ("state", "requeued"), [("RUNNING", True), ("CANCELLED", False), ("RUNNING late", False)]
)
def test_program_that_a_notice_of_preemption_has_ended_goes_on_later(
    job: Job7, wait_until: WaitUntil, state: str, requeued: bool
) -> None:
    """Slurm would only requeue a job that is there until its GraceTime is over."""
    when = "None" if "late" in state else "2026-11-29T15:24:32"
    told = f"JobId=7 JobState={state.split()[0]} Reason=None PreemptTime={when} SuspendTime=None"
    (job.folder / "shown").write_text(told)
    process = job.start(*saving(0))
    wait_until(lambda: job.log)
    (program,) = psutil.Process(process.pid).children()
    program.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 143
    assert ("scontrol requeue 7" in job.log) == requeued


def test_program_that_does_not_end_in_time_is_left_to_slurm(
    job: Job7, wait_until: WaitUntil
) -> None:
    process = job.start(*saving(60))
    wait_until(lambda: job.log)
    process.send_signal(signal.SIGUSR1)
    begun = time.monotonic()
    wait_until(lambda: job.log[-1] == "scontrol requeue 7")
    assert time.monotonic() - begun > 4
    os.killpg(process.pid, signal.SIGKILL)
    assert "did not end in time" in finish(process)[1]


RUNS = """
import signal, sys, time
import runstore
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
run = runstore.init(system_interval_s=None)
open("log", "a").write("started\\n")
while not asked: time.sleep(0.02)
if sys.argv[1] == "failed": raise ValueError
run.end(sys.argv[1])
"""


@pytest.mark.parametrize(
    ("end", "status", "requeued"), [("finished", 0, 0), ("failed", 1, 0), ("interrupted", 0, 1)]
)
def test_run_that_has_come_to_its_end_is_not_requeued(
    job: Job7, wait_until: WaitUntil, end: str, status: int, requeued: int
) -> None:
    process = job.start(sys.executable, "-c", RUNS, end)
    wait_until(lambda: job.log)
    process.send_signal(signal.SIGUSR1)
    assert finish(process)[0] == status
    assert len(job.log) == 1 + requeued


def test_next_start_goes_on_in_the_same_directory(job: Job7, wait_until: WaitUntil) -> None:
    for attempt in (1, 2):
        process = job.start(sys.executable, "-c", RUNS, "interrupted")
        wait_until(lambda: job.log.count("started") == attempt)  # noqa: B023 - called at once
        process.send_signal(signal.SIGUSR1)
        finish(process)
    names = {path.name for path in (job.folder / "runs/slurm-7").glob("events-*")}
    assert names == {"events-0001.jsonl", "events-0002.jsonl"}


def test_requeue_that_is_refused_is_told_with_what_to_do(job: Job7, wait_until: WaitUntil) -> None:
    process = job.start(sys.executable, "-c", RUNS, "interrupted", SCONTROL_STATUS="1")
    wait_until(lambda: job.log)
    process.send_signal(signal.SIGUSR1)
    status, told = finish(process)
    assert status == 1
    assert f"not requeued; to go on: RUNSTORE_RUN={job.folder}/runs/slurm-7" in told


def test_srun_is_not_signalled_but_its_step_is(job: Job7, wait_until: WaitUntil) -> None:
    srun = job.folder / "bin" / "srun"
    srun.write_text(f"#!/bin/sh\nexec {shlex.join(saving(0))}\n")
    srun.chmod(0o755)
    process = job.start("srun", "python", "train.py")
    wait_until(lambda: job.log)
    process.send_signal(signal.SIGUSR1)
    assert wait_until(lambda: job.log[1:] == ["scancel --signal=TERM 7"])


WORDS = st.lists(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
    max_size=5,
)


@settings(max_examples=15)
@given(WORDS)
def test_words_of_the_command_arrive_as_given(
    tmp_path_factory: pytest.TempPathFactory, words: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("words")
    code = "import json, sys; json.dump(sys.argv[1:], open('words', 'w'))"
    (folder / "job").write_text(batch_script([sys.executable, "-c", code, *words], Job()))
    environment = {**os.environ, "SLURM_JOB_ID": "7"}
    subprocess.run(["bash", "job"], cwd=folder, env=environment, check=True)
    assert json.loads((folder / "words").read_text()) == words


def test_directory_may_have_spaces_and_the_root_be_anywhere(job: Job7) -> None:
    show = ("printenv", "RUNSTORE_RUN")
    odd = job.folder / "a b'c"
    odd.mkdir()
    latin = "/caf\udce9"  # a byte that is no UTF-8
    for root, expected in (("my runs", f"{odd}/my runs"), ("/x y", "/x y"), (latin, latin)):
        (odd / "job").write_text(batch_script(show, Job(root=root)))
        environment = {**os.environ, "SLURM_JOB_ID": "7"}
        done = subprocess.run(["bash", "job"], cwd=odd, env=environment, capture_output=True)
        assert done.stdout == os.fsencode(f"{expected}/slurm-7\n")


def printed(*arguments: str, **environment: str) -> str:
    result = CliRunner().invoke(cli, ["script", *arguments], env=environment)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_options_are_directives() -> None:
    script = printed(
        *"--time 1-12 --partition gpu --account ml --gpus a100:2 --cpus 8 --memory 32G".split(),
        *"--array 0-9%2 --name x --output logs/%x.out --signal-seconds 300".split(),
        *"-- torchrun --nproc-per-node 2 train.py --time 3".split(),
    )
    directives = [line for line in script.splitlines() if line.startswith("#SBATCH")]
    assert directives == [
        f"#SBATCH --{option}"
        for option in (
            "job-name=x output=logs/%x.out array=0-9%2 time=1-12 partition=gpu account=ml "
            "gpus=a100:2 cpus-per-task=8 mem=32G open-mode=append requeue signal=B:USR1@300"
        ).split()
    ]
    assert script.splitlines()[0] == "#!/bin/bash"
    assert "\ntorchrun --nproc-per-node 2 train.py --time 3 &\n" in script
    assert "SHUTDOWN_TIMEOUT=285\n" in script


def test_defaults_come_from_the_command() -> None:
    script = printed("python", "src/Train Me.py", "--lr", "0.1")
    assert "#SBATCH --job-name=train-me\n#SBATCH --output=%x-%j.out\n# A job" in script
    assert "--output=%x-%A_%a.out\n" in printed("--array", "0-3", "--", "x")
    assert '\nrun_dir=/data/slurm-"$job"\n' in printed("--", "x", RUNSTORE_ROOT="/data")


def test_cpus_reach_the_step() -> None:
    export = 'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"'
    assert export in printed("--cpus", "4", "--", "srun", "x")
    assert export not in printed("--cpus", "4", "--", "x")
    assert export not in printed("--", "srun", "x")


@pytest.mark.parametrize(
    ("time_limit", "seconds"),
    [
        ("90", 5400),
        ("90:30", 5430),
        ("1:30:30", 5430),
        ("1-0", 86400),
        ("1-2:3", 93780),
        ("1-2:3:4", 93784),
    ],
)
def test_time_limits_mean_what_they_mean_to_sbatch(time_limit: str, seconds: int) -> None:
    """The shortest that is allowed tells how the text was read."""
    batch_script(["x"], Job(time=time_limit, signal_s=seconds - 120))
    with pytest.raises(RunStoreError, match=f"is {seconds} s"):
        batch_script(["x"], Job(time=time_limit, signal_s=seconds - 119))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Missing argument"),
        (("--time", "4h", "--", "x"), "--time is '4h', expected MINUTES"),
        (("--time", "2:00", "--", "x"), "give it 240 s or more"),
        (("--name", "a b", "--", "x"), "--job-name would be 'a b'"),
        (("--partition", "gpu\nexit", "--", "x"), "sbatch takes one word"),
        (("--memory", "", "--", "x"), "--mem would be ''"),
        (("my-gird",), "'my-gird' is no sweep, also not below runs, and no command here"),
    ],
)
def test_what_sbatch_would_misread_is_refused(arguments: tuple[str, ...], told: str) -> None:
    result = CliRunner().invoke(cli, ["script", *arguments])
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stdout == ""


@pytest.mark.needs_tool("shellcheck")
@pytest.mark.parametrize("command", [["python", "x.py"], ["srun", "python", "it's"]])
def test_shellcheck_finds_nothing(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "job").write_text(batch_script(command, Job(cpus="4")))
    # A function that a trap calls; and the names that `ls` is given are our own.
    done: Any = subprocess.run(
        ["shellcheck", "--exclude=SC2317,SC2012", str(tmp_path / "job")], capture_output=True
    )
    assert done.stdout.decode() == ""


# -- the cells of a sweep ------------------------------------------------------------------------


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """Three cells whose command tells its parameter and its run."""
    monkeypatch.chdir(tmp_path)
    tells = "import os, sys; print(sys.argv[1], os.environ['RUNSTORE_RUN'])"
    command = [sys.executable, "-c", tells, "{x}"]
    cells = [{"x": "it's"}, {"x": "b"}, {"x": "c"}]
    return write(plan(command, cells, root=Path("runs"), name="my grid"))


def test_each_task_of_a_sweep_s_script_runs_its_cell(sweep: Sweep, job: Job7) -> None:
    script = job.folder / "grid.sbatch"
    script.write_text(printed("runs/my-grid"))
    task = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}
    for _ in range(2):
        subprocess.run(["bash", script], cwd="/", env={**job._environment, **task}, check=True)
    (finished,) = [cell for cell in sweep.cells if (sweep.run_dir(cell) / "output.log").exists()]
    run_dir = sweep.run_dir(finished).absolute()
    assert (run_dir / "output.log").read_text() == f"it's {run_dir}\n"
    environment = json.loads((run_dir / "exec-0001.jsonl").read_text().splitlines()[0])
    assert environment["environment"]["RUNSTORE_SLURM_JOB"] == "7_0"
    assert not (run_dir / "exec-0002.jsonl").exists()


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({}, "submit this script with --array"),
        ({"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}, "3 cells, the tasks are 0 to 2"),
    ],
)
def test_task_without_a_cell_is_refused(
    sweep: Sweep, job: Job7, task: dict[str, str], told: str
) -> None:
    (job.folder / "grid.sbatch").write_text(printed("runs/my-grid"))
    done = subprocess.run(
        ["bash", job.folder / "grid.sbatch"],
        env={**job._environment, **task},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 1
    assert told in done.stderr


def test_array_has_a_task_for_each_cell(sweep: Sweep) -> None:
    assert "#SBATCH --job-name=my-grid\n" in printed("my-grid")
    assert "#SBATCH --array=0-2\n" in printed("my-grid")
    assert "#SBATCH --array=0-2%2\n" in printed("--parallel", "2", "my-grid")
    assert "#SBATCH --array=1%2\n" in printed("--array", "1", "--parallel", "2", "my-grid")


def test_sweep_of_more_cells_than_an_array_takes_is_several(
    sweep: Sweep, job: Job7, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one script; the last task of the last array has no cell, which is no failure."""
    (job.folder / "bin" / "scontrol").write_text("#!/bin/sh\necho 'MaxArraySize            = 2'\n")
    monkeypatch.setenv("PATH", f"{job.folder / 'bin'}:{os.environ['PATH']}")
    result = CliRunner().invoke(cli, ["script", "--parallel", "1", "my-grid"])
    line = "for first in $(seq 0 2 2); do sbatch SCRIPT $first; done"
    assert result.stderr == (
        "runstore: 3 cells are more than an array may have; as several, each with 1 at a time: "
        f"{line}\n"
    )
    assert f"# the first cell: {line}\n" in result.stdout
    assert "#SBATCH --array=0-1%1\n" in result.stdout
    (job.folder / "grid.sbatch").write_text(result.stdout)
    script = ["bash", str(job.folder / "grid.sbatch"), "2"]
    for task in ("0", "1"):
        array = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": task}
        subprocess.run(script, env={**job._environment, **array}, check=True)
    ran = [(sweep.run_dir(cell) / "output.log").exists() for cell in sweep.cells]
    assert ran == [False, False, True]


def test_what_stands_behind_two_dashes_is_a_command(sweep: Sweep) -> None:
    assert "\nmy-grid &\n" in printed("--", "my-grid")


def test_sweep_of_a_function_has_no_script(sweep: Sweep) -> None:
    document = json.loads((sweep.path / "sweep.json").read_text())
    del document["command"]
    (sweep.path / "sweep.json").write_text(json.dumps({**document, "function": "train:main"}))
    result = CliRunner().invoke(cli, ["script", "my-grid"])
    assert result.exit_code == 2
    assert "is a sweep of the function train:main" in result.output


@pytest.mark.needs_tool("shellcheck")
def test_shellcheck_finds_nothing_in_a_sweep_s_script(sweep: Sweep) -> None:
    Path("job").write_text(printed("--time", "10", "my-grid"))
    done: Any = subprocess.run(
        ["shellcheck", "--exclude=SC2317,SC2012", "job"], capture_output=True
    )
    assert done.stdout.decode() == ""
