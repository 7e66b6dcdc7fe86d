"""What `runstore sweep --slurm` submits, and refuses; with programs that answer as Slurm's do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

from runstore.cli import cli

CELLS = ("x=1", "x=2", "x=3")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put Slurm's programs into PATH: sbatch takes each array as job 201, squeue prints `queue`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "queue").touch()
    programs = {
        "sbatch": f'cat "$1" >> {folder}/submitted; echo "Submitted batch job 201"',
        "squeue": f"cat {folder}/queue",
        "scancel": f'echo "$*" >> {folder}/cancelled',
        "scontrol": "true",
        "srun": "true",
    }
    for name, does in programs.items():
        replace(folder, name, does)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return folder


def replace(folder: Path, name: str, does: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{does}\n")
    (folder / name).chmod(0o755)


def swept(*options: str) -> Result:
    call = ["sweep", "--name", "grid", "--grid", "x=1..3", *options, "--", "true", "{x}"]
    return CliRunner().invoke(cli, call)


def submitted(slurm: Path) -> list[str]:
    path = slurm / "submitted"
    return path.read_text().splitlines() if path.exists() else []


def jobs() -> list[str | None]:
    paths = [Path("runs", "grid", cell, "slurm.json") for cell in CELLS]
    return [json.loads(path.read_text())["job"] if path.exists() else None for path in paths]


def test_cells_are_one_array_whose_signal_reaches_the_job_s_own_process_alone(
    slurm: Path, repo_root: Path
) -> None:
    result = swept("--slurm", "time=4:00:00", "partition=gpu", "gpus=1", "parallel=2")
    assert result.exit_code == 0, result.output
    assert "3 cells submitted as Slurm job 201" in result.stderr
    assert "jobs of Slurm, 240 min each start, 2 at a time: true {x}" in result.stdout
    lines = submitted(slurm)
    assert {line for line in lines if line.startswith("#SBATCH")} == {
        "#SBATCH --array=0-2%2",
        "#SBATCH --gpus=1",
        "#SBATCH --job-name=grid",
        "#SBATCH --nodes=1",
        "#SBATCH --open-mode=append",
        f"#SBATCH --output={Path.cwd()}/runs/grid/slurm/0001/%A_%a_0_log.out",
        "#SBATCH --partition=gpu",
        "#SBATCH --requeue",
        "#SBATCH --signal=B:USR2@120",
        "#SBATCH --time=240",
        "#SBATCH --wckey=submitit",
    }
    assert [line for line in lines if line.startswith("exec ")]
    assert jobs() == ["201_0", "201_1", "201_2"]
    schema = json.loads((repo_root / "docs/format/slurm.schema.json").read_text())
    submission = json.loads(Path("runs/grid/x=1/slurm.json").read_text())
    assert list(Draft202012Validator(schema).iter_errors(submission)) == []
    document = json.loads(Path("runs/grid/sweep.json").read_text())
    assert document["slurm"] == {
        "time": "4:00:00",
        "partition": "gpu",
        "gpus": "1",
        "parallel": "2",
    }


def test_same_call_again_submits_what_no_job_has(slurm: Path) -> None:
    swept("--slurm", "time=10")
    (slurm / "submitted").unlink()
    (slurm / "queue").write_text(
        "201|PENDING|N/A|201_0|Priority|N/A\n202|RUNNING|1|201_1|None|N/A\n"
    )
    result = swept("--slurm", "time=10")
    assert "1 cell submitted as Slurm job 201, 2 wait or run already" in result.stderr
    # One cell is no array.
    assert not [line for line in submitted(slurm) if "--array" in line]
    assert jobs() == ["201_0", "201_1", "201"]


def test_slurm_that_gives_no_answer_is_no_leave_to_submit_again(slurm: Path) -> None:
    swept("--slurm", "time=10")
    (slurm / "submitted").unlink()
    replace(slurm, "squeue", "echo 'slurm_load_jobs error: Unable to contact' >&2; exit 1")
    result = swept("--slurm", "time=10")
    assert result.exit_code == 1
    assert str(result.exception) == (
        "Slurm gives no answer (slurm_load_jobs error: Unable to contact), so it is not known "
        "which cells of runs/grid it has; nothing was submitted: try again later"
    )
    assert not submitted(slurm)


def test_sbatch_that_was_not_answered_in_time_may_have_submitted_all_the_same(slurm: Path) -> None:
    """A busy controller takes the jobs, and sbatch has given up by then."""
    error = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    replace(slurm, "sbatch", f"echo \"$1\" > {slurm}/script; echo '{error}' >&2; exit 1")
    result = swept("--slurm", "time=10")
    assert result.exit_code == 1
    assert "Slurm did not say whether it took the jobs (Socket timed out" in str(result.exception)
    script = (slurm / "script").read_text().strip()
    (slurm / "scripts").write_text("".join(f"20{n}|201_{n}|{script}\n" for n in range(3)))
    (slurm / "queue").write_text(
        "".join(f"20{n}|PENDING|N/A|201_{n}|Priority|N/A\n" for n in range(3))
    )
    answer = f'case "$*" in *%o) cat {slurm}/scripts;; *) cat {slurm}/queue;; esac'
    replace(slurm, "squeue", answer)
    result = swept("--slurm", "time=10")
    assert result.exit_code == 0, result.output
    assert "3 cells of it found in Slurm, and put on record" in result.stderr
    assert "3 wait or run already" in result.stderr
    assert jobs() == ["201_0", "201_1", "201_2"]
    calls = sorted(path.name for path in Path("runs/grid/slurm/0001").glob("*_submitted.pkl"))
    assert calls == [f"201_{n}_submitted.pkl" for n in range(3)]


def test_array_that_slurm_has_not_taken_before_its_caller_was_killed_is_submitted(
    slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runstore.sweeps.slurm.announced.SBATCH_S", 0.0)
    replace(slurm, "sbatch", "echo 'sbatch: error: timed out' >&2; exit 1")
    assert swept("--slurm", "time=10").exit_code == 1
    replace(slurm, "sbatch", 'echo "Submitted batch job 201"')
    result = swept("--slurm", "time=10")
    assert "runstore: 3 cells submitted as Slurm job 201" in result.stderr.splitlines()
    assert not list(Path("runs/grid/slurm").glob("*/array.json"))


def test_refusal_is_one_line_and_the_cells_stay_planned(slurm: Path) -> None:
    error = "sbatch: error: Batch job submission failed: Invalid account"
    replace(slurm, "sbatch", f"echo '{error}' >&2; exit 1")
    result = swept("--slurm", "time=10")
    assert result.exit_code == 1
    assert str(result.exception) == "Slurm refused the job: Invalid account"
    assert jobs() == [None] * 3
    assert all(Path("runs", "grid", cell, "run.json").exists() for cell in CELLS)
    assert not Path("runs/grid/slurm").exists()


def test_jobs_that_cannot_be_put_on_record_are_cancelled(slurm: Path) -> None:
    """Nobody would know of them when the cells are submitted the next time."""
    assert swept("--plan-only").exit_code == 0
    Path("runs/grid/x=2/slurm.json").mkdir()
    result = swept("--slurm", "time=10")
    assert result.exit_code == 1
    assert "the number of Slurm job 201, which was cancelled, cannot be written there" in str(
        result.exception
    )
    assert (slurm / "cancelled").read_text() == "201\n"


def test_machine_without_slurm_says_where_to_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    result = swept("--slurm", "time=10")
    assert result.exit_code == 1
    assert "there is no sbatch on this machine; go to the login node" in str(result.exception)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--slurm", "partition=gpu"], "--slurm needs time=LIMIT"),
        (["--slurm", "time=10", "gpu=1"], "--slurm gpu=1: no such key; near: gpus"),
        (["--slurm", "time=10", "--jobs", "2"], "--jobs and --gpus are for this machine"),
        (["--wait"], "--wait is for --slurm"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(
    slurm: Path, options: list[str], why: str
) -> None:
    result = swept(*options)
    assert result.exit_code == 2
    assert why in result.stderr
    assert not Path("runs").exists()


def test_file_may_say_what_slurm_is_asked_for(slurm: Path) -> None:
    Path("sweep.toml").write_text(
        'name = "grid"\ncommand = "true {x}"\n[grid]\nx = "1..3"\n'
        '[slurm]\ntime = "1:00:00"\ncpus_per_task = 4\nexclusive = true\n'
    )
    result = CliRunner().invoke(cli, ["sweep", "--file", "sweep.toml", "--slurm", "time=2:00:00"])
    assert result.exit_code == 0, result.output
    lines = submitted(slurm)
    assert {"#SBATCH --time=120", "#SBATCH --cpus-per-task=4", "#SBATCH --exclusive"} <= set(lines)
