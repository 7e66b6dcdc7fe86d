"""A file server that does not answer for one run: the others are shown, and the screen lives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import runstore
from tests.conftest import WaitUntil
from tests.terminal import Terminal

pytestmark = [pytest.mark.faults, pytest.mark.needs_tool("unshare")]


def make_run(root: Path, name: str, rows: int = 3) -> Path:
    run = runstore.init(root=root, name=name, system_interval_s=None)
    for step in range(1, rows + 1):
        run.log({"loss": 1.0}, step=step)
    run.finish()
    return run.path


# A FUSE file system whose server takes no request: who asks for anything waits.
DEAD_SERVER = """
import ctypes, os, subprocess, sys
fuse = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"dead", sys.argv[1].encode(), b"fuse", 0, options):
    sys.exit(f"no FUSE here: {os.strerror(ctypes.get_errno())}")
sys.exit(subprocess.run(sys.argv[2:], timeout=200).returncode)
"""


def beside_dead_server(run_dir: Path, *module: str | Path) -> list[str]:
    """Return what runs a Python module where `run_dir` is on a server that never answers."""
    unshare = ["unshare", "--mount", sys.executable, "-c", DEAD_SERVER, str(run_dir)]
    true = subprocess.run([*unshare, "true"], check=False, capture_output=True)
    if true.returncode:
        pytest.skip(f"this account may not mount: {true.stderr.decode()[-200:]}")
    return [*unshare, sys.executable, "-m", *map(str, module)]


@pytest.mark.parametrize("which", ["newest", "oldest"])
def test_monitor_shows_the_other_runs_and_takes_keys(
    tmp_path: Path, repo_root: Path, wait_until: WaitUntil, which: str
) -> None:
    """The newest one is selected, and read before the first paint."""
    root = tmp_path / "runs"
    runs = [make_run(root, name) for name in ("oldest", "middle", "newest")]
    (hung,) = (run for run in runs if which in run.name)
    command = beside_dead_server(hung, "runstore.tui_launcher", root)
    monitor = Terminal(command, 120, 30, {"PYTHONPATH": str(repo_root)})
    try:
        wait_until(monitor.shows("2 finished"))
        if which == "newest":
            wait_until(monitor.shows("its file system does not answer"))
        monitor.press("?")
        wait_until(monitor.shows("type to search"))
        monitor.press("\x1b")
        # What comes later is seen too: another thread reads on.
        make_run(root, "later")
        wait_until(monitor.shows("3 finished"))
        monitor.press("q")
        assert monitor.process.wait(30) == 0
    finally:
        monitor.close()


def test_monitor_of_a_silent_root_says_so_takes_keys_and_ends(
    tmp_path: Path, repo_root: Path, wait_until: WaitUntil
) -> None:
    """The root itself is silent, from the start: it says nothing of what there is."""
    root = tmp_path / "runs"
    root.mkdir()
    command = beside_dead_server(root, "runstore.tui_launcher", root)
    monitor = Terminal(command, 120, 30, {"PYTHONPATH": str(repo_root)})
    try:
        wait_until(monitor.shows("Looking for runs"))
        wait_until(monitor.shows("a file server does not answer"))
        monitor.press("?")
        wait_until(monitor.shows("type to search"))
        monitor.press("\x1b")
        wait_until(lambda: not monitor.shows("type to search")())
        monitor.press("q")
        assert monitor.process.wait(30) == 0
    finally:
        monitor.close()


@pytest.mark.parametrize("command", ["ls", "ls --json", "journal", "once"])
def test_list_shows_the_other_runs_and_ends(tmp_path: Path, repo_root: Path, command: str) -> None:
    root = tmp_path / "runs"
    runs = [make_run(root, name) for name in ("oldest", "middle", "newest")]
    program = ["runstore.tui_launcher", "--once"] if command == "once" else ["runstore.cli"]
    options = [] if command == "once" else command.split()
    named = ["--root", root] if command == "journal" else [root]
    done = subprocess.run(
        beside_dead_server(runs[1], *program, *options, *named),
        env={**os.environ, "PYTHONPATH": str(repo_root), "COLUMNS": "150"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if command in ("ls --json", "journal"):
        assert done.stdout.count("finished") == 2 and "its file system" in done.stdout
        return
    names = ("newest", "middle", "oldest")
    lines = [line for line in done.stdout.splitlines() if any(name in line for name in names)]
    assert ["finished" in line for line in lines] == [True, False, True], done.stdout
    assert "unknown" in lines[1]
    if command == "ls":
        assert "its file system does not answer" in lines[1]


@pytest.mark.parametrize("which", ["root", "run"])
def test_tab_is_answered(tmp_path: Path, repo_root: Path, which: str) -> None:
    """With the runs that are found meanwhile, or with none."""
    root = tmp_path / "runs"
    run = make_run(root, "only")
    hung = root if which == "root" else root / "by-hand"
    hung.mkdir(exist_ok=True)
    done = subprocess.run(
        [*beside_dead_server(hung, "runstore.cli", "show", "--root", root, run.name[:8])],
        env={**os.environ, "PYTHONPATH": str(repo_root), "_RUNSTORE_COMPLETE": "zsh_complete"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    words = {line.split("\t")[1] for line in done.stdout.splitlines()}
    # Which of two folders is looked into first is up to the file system.
    assert words <= ({run.name, run.name[:8]} if which == "run" else {run.name[:8]})


LOADS = """
import sys, warnings
import runstore

runs = runstore.load_all(sys.argv[1])
frame = runs.to_polars("runs")
print(*frame["status"], *frame["reason"])
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    print(*runs.to_polars()["run"].unique(maintain_order=True))
print(*(one.message for one in told))
"""


@pytest.mark.timeout(120)
def test_frames_have_the_other_runs_and_name_the_one(tmp_path: Path, repo_root: Path) -> None:
    root = tmp_path / "runs"
    oldest, hung, newest = (make_run(root, name) for name in ("oldest", "middle", "newest"))
    (tmp_path / "loads.py").write_text(LOADS)
    done = subprocess.run(
        beside_dead_server(hung, "loads", root),
        env={**os.environ, "PYTHONPATH": f"{repo_root}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
        check=True,
    )
    of_runs, names, told = done.stdout.splitlines()
    assert of_runs.split(maxsplit=3)[:3] == ["finished", "unknown", "finished"]
    assert "its file system does not answer" in of_runs
    assert names.split() == [newest.name, oldest.name]
    assert told.startswith(f"run {hung.name} is left out: ")
    assert "its file system does not answer" in told


def test_monitor_starts_and_ends_without_what_it_keeps_on_a_silent_server(
    tmp_path: Path, repo_root: Path, wait_until: WaitUntil
) -> None:
    root, home = tmp_path / "runs", tmp_path / "home"
    make_run(root, "near")
    home.mkdir()
    command = beside_dead_server(home, "runstore.tui_launcher", root)
    environment = {"PYTHONPATH": str(repo_root), "XDG_STATE_HOME": str(home)}
    monitor = Terminal(command, 120, 30, environment)
    try:
        wait_until(monitor.shows("✓ finished", "what you choose is not kept: a file server"))
        monitor.press("3")
        wait_until(monitor.shows("─ Charts"))
        monitor.press("q")
        assert monitor.process.wait(30) == 0
    finally:
        monitor.close()


IMAGES = """
import sys, time
import torch
import runstore

epochs, steps = map(int, sys.argv[1:])
longest, begun = 0.0, time.monotonic()
with runstore.init(save_every="1ep", system_interval_s=None) as run:
    run.register(model=torch.nn.Linear(2, 2))
    for epoch in run.epochs(epochs):
        for _ in run.train(range(steps)):
            called = time.monotonic()
            run.log_images("samples", torch.rand(4, 1, 8, 8))
            longest = max(longest, time.monotonic() - called)
            time.sleep(0.05)
    looped = time.monotonic()
print(longest, looped - begun, time.monotonic() - looped)
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("epochs", "steps"), [(1, 150), (4, 1)], ids=["many", "few"])
def test_images_hold_up_one_checkpoint_and_the_end_and_no_call(
    tmp_path: Path, repo_root: Path, epochs: int, steps: int
) -> None:
    """64 calls fill the queue in three seconds and more: then it is known that nothing moves."""
    run_dir = tmp_path / "runs" / "run"
    (run_dir / "samples").mkdir(parents=True)
    (tmp_path / "images.py").write_text(IMAGES)
    done = subprocess.run(
        [*beside_dead_server(run_dir / "samples", "images"), str(epochs), str(steps)],
        env={
            **os.environ,
            "PYTHONPATH": f"{repo_root}{os.pathsep}{tmp_path}",
            "RUNSTORE_RUN": str(run_dir),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    longest_s, loops_s, end_s = map(float, done.stdout.split())
    assert longest_s < 0.8  # the first one imports Pillow
    assert loops_s < 15
    assert end_s < 15
    ended = runstore.load(run_dir).state.ended or {}
    assert (ended["status"], ended["dropped_images"]) == ("finished", epochs * steps)
