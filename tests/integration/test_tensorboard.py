"""TensorBoard's real server on a root, started and stopped through `runstore tensorboard`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
import torch

import runstore

if TYPE_CHECKING:
    from runstore.run.run import Run
    from tests.conftest import WaitUntil

pytest.importorskip("tensorboard")


class Server:
    """A running `runstore tensorboard`, asked over HTTP."""

    def __init__(self, root: Path, *options: str, **env: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "runstore.cli", "tensorboard", str(root), *options],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def get(self, path: str, document: Any = None, **query: str) -> Any:
        request = urllib.request.Request(
            f"{self.url}{path}?{urlencode(query)}",
            data=None if document is None else json.dumps(document).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def runs(self) -> list[str]:
        try:
            return sorted(self.get("data/runs"))
        except OSError:
            return []

    def steps(self, run: str, tag: str) -> list[int]:
        try:
            points = self.get("data/plugin/scalars/scalars", run=run, tag=tag)
        except OSError:  # it has not read the tag yet
            return []
        return [step for _, step, _ in points]

    def stop(self, number: int = signal.SIGINT) -> tuple[str, str]:
        """End it by its pid; return what it printed besides the first line."""
        self.process.send_signal(number)
        # Not communicate(): it would miss what came with the first line and waits in the buffer.
        assert self.process.stdout is not None and self.process.stderr is not None
        with self.process.stdout as stdout, self.process.stderr as stderr:
            printed, told = stdout.read(), stderr.read()
        self.process.wait(30)
        return printed, told


def train(root: Path, lr: float, **params: float) -> Run:
    with runstore.init({"lr": lr, **params}, root=root, tensorboard=True) as run:
        for epoch in run.epochs(3):
            for _ in run.train(range(4)):
                run.track(loss=lr)
            for _ in run.val([0]):
                run.track(loss=lr / epoch)
    return run


def fail_in_epoch_three(root: Path) -> Run:
    """Leave a run of 11 steps and two finished epochs, which has failed."""
    run = runstore.init({"lr": 9.0}, root=root, tensorboard=True, save_every="4st")
    run.register(model=torch.nn.Linear(1, 1))
    with pytest.raises(ZeroDivisionError), run:
        for epoch in run.epochs(3):
            for batch in run.train(range(4)):
                run.track(loss=1 / (3 - epoch + 3 - batch))
    return run


def resume_behind_epoch_one(failed: Run) -> None:
    """Go on from step 4, because the checkpoint of step 8 is lost, and finish."""
    (failed.path / "checkpoints" / "step-00000008-0001.pt").unlink()
    run = runstore.init(resume=failed.path, tensorboard=True)
    run.register(model=torch.nn.Linear(1, 1))
    with run:
        for _ in run.epochs(3):
            for _ in run.train(range(4)):
                run.track(loss=1.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture(params=["/missing", ""], ids=["reader in Python", "reader in Rust"])
def reader(request: pytest.FixtureRequest) -> dict[str, str]:
    """Return what makes TensorBoard take its reader in Python, or the default one."""
    binary: str = request.param
    return {"TENSORBOARD_DATA_SERVER_BINARY": binary} if binary else {}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def test_the_server_shows_every_run_of_a_root_by_its_name(
    root: Path, reader: dict[str, str], wait_until: WaitUntil
) -> None:
    first, second = train(root, 0.5), train(root / "sweep", 0.25, dropout=0.1)
    resumed = fail_in_epoch_three(root)
    resume_behind_epoch_one(resumed)
    server = Server(root, "--port", str(free_port()), "--host", "127.0.0.1", **reader)
    try:
        # As a path below the root, and no sub-run beside any of them.
        names = sorted([first.id, resumed.id, f"sweep/{second.id}"])
        wait_until(lambda: server.runs() == names, 60, what="the runs")
        wait_until(lambda: server.steps(resumed.id, "train/loss")[-1:] == [12], what="rows")

        assert server.steps(first.id, "train/loss") == list(range(1, 13))
        assert server.steps(first.id, "val/loss") == [4, 8, 12]
        assert server.steps(first.id, "epoch/val/loss") == [1, 2, 3]
        assert server.steps(resumed.id, "train/loss") == list(range(1, 13))
        assert server.steps(resumed.id, "epoch/train/loss") == [1, 2, 3]

        columns = ["lr", "dropout"]
        answer = server.get(
            "data/plugin/hparams/session_groups",
            {
                "experimentName": "",
                "allowedStatuses": ["STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_UNKNOWN"],
                "colParams": [{"hparam": name, "includeInResult": True} for name in columns],
                "startIndex": 0,
                "sliceSize": 10,
            },
        )
        found = {group["name"]: group for group in answer["sessionGroups"]}
        assert sorted(found) == names
        assert found[first.id]["hparams"] == {"lr": 0.5}
        assert found[f"sweep/{second.id}"]["hparams"] == {"lr": 0.25, "dropout": 0.1}
        last = {value["name"]["tag"]: value for value in found[first.id]["metricValues"]}
        assert last["val/loss"]["value"] == pytest.approx(0.5 / 3)
        assert last["val/loss"]["trainingStep"] == 12
        # The resumed one failed first.
        assert {group["sessions"][0]["status"] for group in found.values()} == {"STATUS_SUCCESS"}
    finally:
        _, told = server.stop()
    assert "3 of 3 runs" in told
    assert server.process.returncode == 0


def test_a_server_that_watched_the_first_attempt_follows_the_second(
    root: Path, reader: dict[str, str], wait_until: WaitUntil
) -> None:
    run = fail_in_epoch_three(root)
    server = Server(root, "--port", "0", "--host", "127.0.0.1", **reader)
    try:
        wait_until(lambda: server.runs() == [run.id], 60, what="the run")
        steps = list(range(1, 12))
        wait_until(lambda: server.steps(run.id, "train/loss") == steps, what="the rows")
        resume_behind_epoch_one(run)
        steps = list(range(1, 13))
        wait_until(lambda: server.steps(run.id, "train/loss") == steps, what="new rows")
        assert server.steps(run.id, "epoch/train/loss") == [1, 2, 3]
    finally:
        server.stop()


def test_a_taken_port_is_told_and_a_tunnel_leads_to_the_other_one(
    root: Path, wait_until: WaitUntil
) -> None:
    runstore.init(root=root).finish()
    train(root, 0.5)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        server = Server(
            root,
            *("--port", str(taken), "--host", "127.0.0.1"),
            SSH_CONNECTION="198.51.100.7 50022 192.0.2.9 2222",
            USER="ada",
            LOGNAME="ada",
        )
        try:
            wait_until(server.runs, 60, what="the server")
        finally:
            printed, told = server.stop(signal.SIGTERM)
    port = server.url.removesuffix("/").rpartition(":")[2]
    assert port != str(taken)
    assert f"port {taken} is not free; TensorBoard gets port {port}" in told
    assert "1 of 2 runs" in told
    assert printed == f"ssh -N -L {port}:127.0.0.1:{port} -p 2222 ada@192.0.2.9\n"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(port)), timeout=30)
