"""Training scripts as processes: how they end, and what they leave on the disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import runstore

PROLOGUE = """
import os, signal, sys, time
import runstore
"""
LOOP = """
for epoch in run.epochs(3):
    for batch in run.train(range(4)):
        run.track(loss=1.0 / (batch + 1), n=2)
"""

SIGINT = "os.kill(os.getpid(), signal.SIGINT); time.sleep(5)"
SIGTERM = "os.kill(os.getpid(), signal.SIGTERM); time.sleep(5)"


class Script:
    """A training script in a process of its own."""

    def __init__(self, folder: Path, repo_root: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "PYTHONPATH": str(repo_root), "PYTHONUNBUFFERED": "1"}

    def start(self, code: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        path = self.folder / "train.py"
        path.write_text(PROLOGUE + code)
        return subprocess.Popen(
            [sys.executable, str(path), *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run to the end; return the exit status and what it said on stderr."""
        process = self.start(code, *arguments, **environment)
        _, said = process.communicate(timeout=50)
        return process.returncode, said

    @property
    def data(self) -> runstore.RunData:
        return runstore.load("latest", root=self.folder / "runs")

    @property
    def end(self) -> dict[str, Any]:
        ended = self.data.state.ended
        assert ended is not None
        return ended


@pytest.fixture
def script(tmp_path: Path, repo_root: Path) -> Script:
    return Script(tmp_path, repo_root)


def test_finished(script: Script) -> None:
    code, said = script.run(
        f"with runstore.init() as run:\n    pass{LOOP.replace(chr(10), chr(10) + '    ')}"
    )
    assert code == 0, said
    assert script.data.status == "finished"
    assert [row["train/loss"] for row in script.data.epochs()] == [
        (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4
    ] * 3
    assert "runstore: finished after" in said


@pytest.mark.parametrize(
    ("body", "exit_code", "status", "reason"),
    [
        ("raise ValueError('bad luck')", 1, "failed", "ValueError: bad luck"),
        ("sys.exit(3)", 3, "failed", "left by sys.exit(3)"),
        ("sys.exit()", 0, "finished", "left by sys.exit(0)"),
        ("raise KeyboardInterrupt", 130, "interrupted", "KeyboardInterrupt (Ctrl-C)"),
        (SIGINT, 130, "interrupted", "KeyboardInterrupt (Ctrl-C)"),
        (SIGTERM, 143, "interrupted", "terminated by SIGTERM"),
    ],
)  # fmt: skip
def test_leaving_the_with_block(
    script: Script, body: str, exit_code: int, status: str, reason: str
) -> None:
    code, said = script.run(
        f"with runstore.init() as run:\n    run.log({{'a': 1.0}})\n    {body}\n"
    )
    assert code in (exit_code, -signal.SIGINT), said
    assert (script.end["status"], script.end["reason"]) == (status, reason)
    assert script.data.status == status


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ("", "interrupted", "the process ended without run.finish()"),
        ("sys.exit(3)", "interrupted", "the process ended without run.finish()"),
        ("raise ValueError('bad luck')", "failed", "ValueError: bad luck"),
        (SIGINT, "interrupted", "KeyboardInterrupt (Ctrl-C)"),
        (SIGTERM, "interrupted", "terminated by SIGTERM"),
        ("run.finish()", "finished", ""),
    ],
)  # fmt: skip
def test_without_a_with_block(script: Script, body: str, status: str, reason: str) -> None:
    script.run(f"run = runstore.init()\nrun.log({{'a': 1.0}})\n{body}\n")
    assert (script.end["status"], script.end["reason"]) == (status, reason)
    assert len(script.data.metrics()) == 1


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ("for epoch in run.epochs(10):\n        for _ in run.train([1]): sys.exit(0)",
         "interrupted", "left by sys.exit(0) inside epoch 1 of 10"),
        ("for _ in run.test([1]): sys.exit()",
         "interrupted", "left by sys.exit(0) inside the split 'test'"),
        ("list(run.epochs(2)); sys.exit(0)", "finished", "left by sys.exit(0)"),
    ],
    ids=["epoch", "split", "after"],
)  # fmt: skip
def test_exit_without_an_error_is_no_end_of_the_training(
    script: Script, body: str, status: str, reason: str
) -> None:
    exit_code, said = script.run(f"with runstore.init() as run:\n    {body}\n")
    assert exit_code == 0, said
    assert (script.end["status"], script.end["reason"]) == (status, reason)


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        ("e = ValueError('bad luck'); e.add_note('a hint'); raise e", "ValueError: bad luck"),
        ("raise ExceptionGroup('both', [ValueError('a'), KeyError('b')])",
         "ExceptionGroup: both (2 sub-exceptions)"),
        ("compile('a b', 'x.py', 'exec')", "SyntaxError: invalid syntax"),
    ],
    ids=["note", "group", "syntax"],
)  # fmt: skip
def test_reason_is_the_exception_itself(script: Script, raised: str, reason: str) -> None:
    script.run(f"with runstore.init() as run:\n    {raised}\n")
    assert script.end["reason"] == reason


def test_sigterm_ends_a_run_of_the_main_thread_opened_after_one_of_another(script: Script) -> None:
    code = """
import threading
thread = threading.Thread(target=runstore.init)
thread.start()
thread.join()
run = runstore.init()
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(5)
"""
    exit_code, said = script.run(code)
    assert exit_code == 143, said
    runs = sorted((script.folder / "runs").iterdir())
    ends = [runstore.load(run_dir).state.status for run_dir in runs]
    assert [(end.word, end.reason) for end in ends] == [
        ("interrupted", "terminated by SIGTERM")
    ] * 2


def test_ctrl_c_inside_an_epoch_says_where(script: Script) -> None:
    body = LOOP + "        if epoch == 2: os.kill(os.getpid(), signal.SIGINT); time.sleep(5)\n"
    script.run("run = runstore.init()" + body)
    assert script.data.status == "interrupted"
    assert (script.end["open_epoch"], script.end["open_split"]) == (2, "train")


def test_second_ctrl_c_while_ending_leaves_an_end(script: Script) -> None:
    code = """
import threading
def again():
    time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)
with runstore.init() as run:
    run.log({'a': 1.0})
    run._writer._serve = None
    join = run._writer._thread.join
    run._writer._thread.join = lambda timeout=None: time.sleep(2)  # a slow disk
    threading.Thread(target=again).start()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
"""
    script.run(code)
    assert script.data.status == "interrupted"


def test_users_own_sigterm_handler_is_kept(script: Script) -> None:
    code = """
def mine(number, frame):
    run.log({'handled': 1.0})
    run.finish()
    sys.exit(7)
signal.signal(signal.SIGTERM, mine)
run = runstore.init()
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(5)
"""
    exit_code, said = script.run(code)
    assert exit_code == 7, said
    assert script.data.status == "finished"
    assert script.data.metrics()[0]["handled"] == 1.0


def test_handler_is_gone_with_the_last_run(script: Script) -> None:
    code = """
first, second = runstore.init(), runstore.init()
first.finish()
assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
second.finish()
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
"""
    exit_code, said = script.run(code)
    assert exit_code == 0, said


def test_exit_of_a_worker_process_does_not_end_the_run(script: Script) -> None:
    """The workers of a DataLoader are forked, and leave in every way there is."""
    code = """
import multiprocessing
def worker(kind):
    run.log({'worker': 1.0})
    if kind == 1: sys.exit(1)
    if kind == 2: raise ValueError
    if kind == 3: os.kill(os.getpid(), signal.SIGTERM)
run = runstore.init()
context = multiprocessing.get_context('fork')
workers = [context.Process(target=worker, args=(kind,)) for kind in range(4)]
for process in workers: process.start()
for process in workers: process.join()
run.log({'a': 1.0})
run.finish()
"""
    exit_code, said = script.run(code)
    assert exit_code == 0, said
    assert script.data.status == "finished"
    assert [set(row) for row in script.data.metrics()] == [{"step", "time", "a"}]


def test_loader_with_forked_workers_trains(script: Script) -> None:
    code = """
import torch
data = torch.utils.data.TensorDataset(torch.arange(64.0))
loader = torch.utils.data.DataLoader(data, batch_size=8, num_workers=2)
with runstore.init() as run:
    for epoch in run.epochs(2):
        for (x,) in run.train(loader):
            run.track(mean=x.mean(), n=len(x))
"""
    exit_code, said = script.run(code)
    assert exit_code == 0, said
    assert [row["train/mean"] for row in script.data.epochs()] == [31.5, 31.5]
    starts = [e for e in script.data.state.events if e["event"] == "split_start"]
    assert (starts[0]["batches"], starts[0]["samples"]) == (8, 64)


def test_progress_line_is_no_progress_bar_without_a_terminal(script: Script) -> None:
    _, said = script.run("run = runstore.init()" + LOOP + "run.finish()")
    assert "\r" not in said
    where, first, *_, last = said.splitlines()
    assert where == f"runstore: runs/{script.data.id}  (watch: runstore-tui runs)"
    assert first.startswith("epoch 1/3 train  loss 0.5208")
    assert last.startswith("runstore: finished after ")
    assert last.endswith(" s, step 12")


SECRETS = {
    "argv": "Argv-7h1s-is-secret",
    "joined": "Joined-7h1s-is-secret",
    "json": "Json-7h1s-is-secret",
    "env": "Env-7h1s-is-secret",
    "slurm": "Slurm-7h1s-is-secret",
    "remote": "Remote-7h1s-is-secret",
    "patch": "Patch-7h1s-is-secret",
    "params": "Params-7h1s-is-secret",
    "handed": "Handed-7h1s-is-secret",
    "error": "Error-7h1s-is-secret",
    "logged": "Logged-7h1s-is-secret",
    "shape": "hf_" + "aB3" * 10,
}


@pytest.mark.needs_tool("git")
def test_planted_secrets_are_nowhere_in_the_run_directory(script: Script) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=script.folder, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    (script.folder / "settings.py").write_text("LR = 0.1\n")
    (script.folder / ".gitignore").write_text("runs\n")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    git("remote", "add", "origin", f"https://me:{SECRETS['remote']}@example.org/x.git")
    (script.folder / "settings.py").write_text(
        f"LR = 0.2\nAPI_KEY = '{SECRETS['patch']}'\nNOTE = '{SECRETS['shape']}'\n"
    )
    code = f"""
run = runstore.init({{"lr": 0.1, "api_key": {SECRETS["params"]!r}, "max_tokens": 512,
                     "tokenizer": "bert", "nested": {{"password": {SECRETS["params"]!r}}}}})
run.log({{"token": {SECRETS["logged"]!r}}})
raise ValueError("login failed: password={SECRETS["error"]}")
"""
    script.run(
        code,
        "--token", SECRETS["argv"], f"--api-key={SECRETS['joined']}",
        "--config", f'{{"password": "{SECRETS["json"]}"}}',
        "--max-tokens", "512", "tokenizer=bert", "--key-dim", "64", "author=x",
        HF_TOKEN=SECRETS["env"], SLURM_JWT_TOKEN=SECRETS["slurm"],
        RUNSTORE_PARAMS=json.dumps({"wandb_key": SECRETS["handed"]}),
        RUNSTORE_RUN=str(script.folder / "runs" / "handed"),
    )  # fmt: skip
    run_dir = script.folder / "runs" / "handed"
    held = {path.name: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    assert held.keys() >= {"run.json", "patch.diff", "events-0001.jsonl"}
    leaks = [
        (name, kind)
        for name, data in held.items()
        for kind, secret in SECRETS.items()
        if secret.encode() in data
    ]
    assert leaks == []
    document = json.loads(held["run.json"])
    assert document["command_redacted"] is True
    assert document["git"]["patch_redacted"] is True
    assert document["git"]["remote"].endswith("@example.org/x.git")
    assert document["command"][-6:] == [
        "--max-tokens", "512", "tokenizer=bert", "--key-dim", "64", "author=x",
    ]  # fmt: skip
    assert document["params"]["max_tokens"] == 512
    assert document["params"]["tokenizer"] == "bert"
    assert b"+LR = 0.2" in held["patch.diff"]


def test_training_outlives_a_closed_stderr_and_a_deleted_root(script: Script) -> None:
    code = """
import shutil
run = runstore.init()
os.close(2)
run.log({'a': 1.0})
while os.path.exists('runs'):  # a heartbeat may come in between
    shutil.rmtree('runs', ignore_errors=True)
for epoch in run.epochs(2):
    for batch in run.train(range(2)):
        run.track(loss=1.0)
time.sleep(2.5)
run.log({'a': 'no number'})
run.finish()
print('trained')
"""
    process = script.start(code)
    printed, _ = process.communicate(timeout=50)
    assert (process.returncode, printed) == (0, "trained\n")


def test_live_run_is_seen_from_another_process(script: Script, wait_until: Any) -> None:
    process = script.start(
        "run = runstore.init()\nrun.log({'a': 1.0})\nprint('go', flush=True)\ntime.sleep(30)"
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "go\n"
        assert script.data.status == "running"
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: script.data.status == "stalled", what="stalled")
        process.send_signal(signal.SIGCONT)
        wait_until(lambda: script.data.status == "running", what="running again")
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert script.data.status == "interrupted"


def test_sigterm_right_after_a_fork_ends_the_child(tmp_path: Path, repo_root: Path) -> None:
    code = """
import multiprocessing, sys, time
import runstore
if __name__ == "__main__":
    with runstore.init(root=sys.argv[1]) as run:
        fork = multiprocessing.get_context("fork")
        for _ in range(40):
            child = fork.Process(target=time.sleep, args=(60,))
            child.start()
            child.terminate()
            child.join(30)
            assert child.exitcode == -15, child.exitcode
        run.log({"x": 1.0})
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(repo_root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
