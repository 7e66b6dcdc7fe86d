"""The built wheel in a clean environment: no torch, no checkout, another working directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

import pytest

# The first test of the module pays for the build, the environment and pip.
ROOT = Path(__file__).resolve().parents[2]
THREE_LINES = """
import runstore

run = runstore.init(params={"lr": 0.1})
for step in range(1, 6):
    run.log({"train/loss": 1 / step}, step=step)
run.finish()
print(run.id)
"""


@dataclass(frozen=True)
class Installed:
    """An environment that holds the wheel and what it requires, and nothing else."""

    bin: Path

    def run(self, *command: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
        """Run one of the environment's programs from `cwd`, without the checkout on any path."""
        program, *arguments = command
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        return subprocess.run(
            [str(self.bin / program), *arguments],
            cwd=cwd,
            env=clean | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def output(self, *command: str, cwd: Path) -> str:
        """Return what a program printed; it must succeed and say nothing on standard error."""
        done = self.run(*command, cwd=cwd)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target)]
    done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel, installed as a user would, in the versions that CI tests."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=True)
    python, constraints = folder / "bin" / "python", ROOT / "constraints.txt"
    command = [str(python), "-m", "pip", "install", "--quiet", "-c", str(constraints), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Installed(folder / "bin")


@pytest.fixture
def logged(installed: Installed, tmp_path: Path) -> str:
    """The id of a run below tmp_path/runs, logged by the installed package."""
    done = installed.run("python", "-c", THREE_LINES, cwd=tmp_path)
    assert_only_told(done)
    return done.stdout.strip()


def assert_only_told(done: subprocess.CompletedProcess[str]) -> None:
    """It succeeded, and said where the run is and how it ended, and nothing else."""
    begun, ended = done.stderr.splitlines()
    assert begun.startswith("runstore: runs/") and ended.startswith("runstore: finished")
    assert done.returncode == 0


def test_wheel_holds_the_two_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"runstore", "tui"}
    assert {"runstore/py.typed", "tui/py.typed"} <= set(names)
    style_sheets = {str(path.relative_to(ROOT)) for path in (ROOT / "tui").rglob("*.tcss")}
    assert style_sheets <= set(names)


def test_torch_is_required_by_no_extra_but_demo_and_dev(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    torch = [line for line in metadata.get_all("Requires-Dist", []) if line.startswith("torch")]
    extras = {line.rpartition(";")[2].strip() for line in torch}
    assert extras == {"extra == 'demo'", "extra == 'dev'"}


def test_environment_has_no_training_packages(installed: Installed, tmp_path: Path) -> None:
    code = (
        "from importlib.util import find_spec\n"
        "print([n for n in ('torch', 'sklearn', 'numpy', 'tensorboard') if find_spec(n)])"
    )
    assert installed.output("python", "-c", code, cwd=tmp_path) == "[]\n"


def test_scripts_for_shells_are_part_of_it(installed: Installed, tmp_path: Path) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_RUNSTORE_COMPLETE" in installed.output(
            "runstore", "completion", shell, cwd=tmp_path
        )


def test_version_is_that_of_the_project_everywhere(installed: Installed, tmp_path: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    code = "import runstore; print(runstore.__version__)"
    assert installed.output("python", "-c", code, cwd=tmp_path) == f"{version}\n"
    for program in ("runstore", "runstore-tui"):
        assert installed.output(program, "--version", cwd=tmp_path).split()[-1] == version


def test_run_logged_by_three_lines_is_listed(
    installed: Installed, logged: str, tmp_path: Path
) -> None:
    (run,) = json.loads(installed.output("runstore", "ls", "--json", cwd=tmp_path))
    assert (run["id"], run["status"], run["step"]) == (logged, "finished", 5)
    assert run["last"] == {"train/loss": 0.2}
    assert logged in installed.output("runstore", "ls", cwd=tmp_path)


def test_viewer_prints_the_run_as_text(installed: Installed, logged: str, tmp_path: Path) -> None:
    printed = installed.output("runstore-tui", "--once", "runs", cwd=tmp_path)
    assert logged[-7:] in printed or logged in printed
    assert "finished" in printed
    assert "train/loss" in printed


def test_foreign_tui_is_refused_in_one_line(installed: Installed, tmp_path: Path) -> None:
    """A user's own folder `tui`, or an unrelated distribution, comes first on the path."""
    foreign = tmp_path / "other" / "tui" / "__init__.py"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("raise SystemExit('the foreign tui was imported')\n")
    done = installed.run(
        "runstore-tui", "--once", ".", cwd=tmp_path, PYTHONPATH=str(tmp_path / "other")
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert str(foreign) in done.stderr


def test_foreign_tui_leaves_the_library_alone(installed: Installed, tmp_path: Path) -> None:
    foreign = tmp_path / "other" / "tui.py"
    foreign.parent.mkdir()
    foreign.write_text("raise SystemExit('the foreign tui was imported')\n")
    done = installed.run(
        "python", "-c", THREE_LINES, cwd=tmp_path, PYTHONPATH=str(tmp_path / "other")
    )
    assert_only_told(done)
