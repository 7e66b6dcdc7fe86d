"""What every test stands on: a clean environment, deadlines instead of sleeps, outside programs."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import pytest
from hypothesis import settings

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent

# Servers live in sbin, which is on root's PATH only.
_TOOL_PATH = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"]
)
_REQUIRE_TOOLS = os.environ.get("RUNSTORE_REQUIRE_TOOLS") == "1"

# Variables by which a launcher, a terminal, git or a scheduler would change what is tested.
_FOREIGN_PREFIXES = ("RUNSTORE_", "SLURM_", "TEXTUAL_", "GIT_", "XDG_", "TORCHELASTIC_")
_FOREIGN_NAMES = frozenset(
    "RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK MASTER_ADDR MASTER_PORT "
    "TMUX TMUX_PANE SSH_CONNECTION SSH_CLIENT SSH_TTY "
    "NO_COLOR FORCE_COLOR CLICOLOR_FORCE COLORTERM COLUMNS LINES PYTHONWARNINGS".split()
)

# A shared two-core machine stalls for longer than Hypothesis' 200 ms; the per-test timeout holds.
settings.register_profile("runstore", deadline=None)
settings.load_profile("runstore")


# Ignored where the tests are started by nohup or in the background of a script, and then also in
# all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


class WaitUntil(Protocol):
    """The type of the `wait_until` fixture."""

    def __call__(
        self, predicate: Callable[[], T], timeout_s: float = 30.0, *, what: str = ""
    ) -> T: ...


def find_tool(name: str) -> str | None:
    """Return the path of an outside program, or None when this machine does not have it."""
    return shutil.which(name, path=_TOOL_PATH)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in tests/integration, so that the folder alone decides."""
    for item in items:
        if item.path.is_relative_to(ROOT / "tests" / "integration"):
            item.add_marker("integration")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail where all programs are promised, a test whose outside program is missing."""
    for marker in item.iter_markers("needs_tool"):
        for name in marker.args:
            if find_tool(name) is None:
                _lacks_tool(name)
    if item.get_closest_marker("gpu") and not _has_gpu():
        pytest.skip("needs a CUDA device")


def _lacks_tool(name: str) -> None:
    if _REQUIRE_TOOLS:
        pytest.fail(f"{name} is not installed, and RUNSTORE_REQUIRE_TOOLS=1", pytrace=False)
    pytest.skip(f"{name} is not installed")


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(autouse=True)
def clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Give the test, and every process it starts, an empty home and nobody's settings."""
    for name in list(os.environ):
        if name.startswith(_FOREIGN_PREFIXES) or name in _FOREIGN_NAMES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    # git refuses to commit for nobody.
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@example.org")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def tool() -> Callable[[str], str]:
    """Return a function from a program's name to its path; mark the test `needs_tool` too."""

    def path_of(name: str) -> str:
        path = find_tool(name)
        if path is None:
            pytest.fail(f"{name} is not installed: mark this test needs_tool({name!r})")
        return path

    return path_of


@pytest.fixture
def repo_root() -> Path:
    """The root of the checkout."""
    return ROOT


WithinCpuS = Callable[[float], AbstractContextManager[None]]


@pytest.fixture
def within_cpu_s() -> WithinCpuS:
    """Return a context that fails when this process computes longer than some seconds in it.

    For what must not grow with the square of its input: the limit is ten times what it takes, and
    a machine that is busy with others does not count.
    """

    @contextmanager
    def limited(limit_s: float) -> Iterator[None]:
        begun = time.process_time()
        yield
        assert time.process_time() - begun < limit_s

    return limited


def remove_live(directory: Path) -> None:
    """Delete the directory of a run that is alive: its small documents come and go meanwhile."""
    while directory.exists():
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def wait_until() -> WaitUntil:
    """Return a function that waits for another process or thread, up to a deadline.

    `wait_until(lambda: path.exists(), what="the first row")` polls every 10 ms, returns the
    predicate's first true value, and fails the test when `timeout_s` have passed without one.
    """

    def wait(predicate: Callable[[], T], timeout_s: float = 30.0, *, what: str = "") -> T:
        deadline = time.monotonic() + timeout_s
        while not (value := predicate()):
            if time.monotonic() > deadline:
                goal = what or getattr(predicate, "__name__", "the condition")
                pytest.fail(f"waited {timeout_s:g} s for {goal}; last value: {value!r}")
            time.sleep(0.01)
        return value

    return wait
