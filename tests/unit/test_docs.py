"""README.md and docs/: every code block runs, every generated part is what the code says now."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

import runstore
from runstore.cli import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md",
    "docs/training.md",
    "docs/exec.md",
    "docs/journal.md",
    "docs/sweeps.md",
    "docs/slurm.md",
    "docs/query.md",
    "docs/monitor.md",
    "docs/machines.md",
    "docs/format.md",
    "docs/sources.md",
    "docs/reliability.md",
    "docs/stability.md",
    "docs/doctor.md",
    "docs/json.md",
    "docs/contributing.md",
    "docs/comparison.md",
    "CHANGELOG.md",
)
NOT_RUN = "not run by the tests: "
CONTINUES = "continues the block above"
RUN_PAGES = (
    "README.md",
    "docs/training.md",
    "docs/exec.md",
    "docs/journal.md",
    "docs/sweeps.md",
    "docs/slurm.md",
    "docs/query.md",
    "docs/format.md",
    "docs/sources.md",
)
"""The pages whose blocks are run."""
RUN_ELSEWHERE = re.compile(r"script: |after |[a-z]+\.py becomes [a-z]+\.py$|on Slurm: ")
"""Scripts of docs/training.md, and commands on a cluster: tests/integration/test_training_page.py
and test_slurm_page.py run."""
ON_SERVER = "run against a server of the tests: "
"""Blocks that tests/integration runs, with a host that is there."""
_FENCE = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*) -->\n)?^```(?P<kind>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.S
)
GENERATED: dict[str, click.Command] = {
    "runstore --help": cli,
    "runstore doctor --help": cli,
}


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    kind: str
    code: str
    note: str
    """The comment on the line above it."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}:{self.kind}"


def blocks(*pages: str) -> list[Block]:
    return [block for page in pages for block in _blocks(page)]


def _blocks(page: str) -> Iterator[Block]:
    text = (ROOT / page).read_text("utf-8")
    before = ""
    for found in _FENCE.finditer(text):
        note, code = found["note"] or "", found["code"]
        if note == CONTINUES:
            code = before + code
        before = code
        yield Block(page, text.count("\n", 0, found.start()) + 1, found["kind"], code, note)


EXECUTED = [
    pytest.param(block, id=str(block), marks=[pytest.mark.needs_tool("jq")] * ("jq " in block.code))
    for block in blocks(*RUN_PAGES)
    # The training loop is left to the test below that also looks at what it wrote.
    if block.kind in ("sh", "python")
    and not block.note.startswith((NOT_RUN, ON_SERVER, "file: ", CONTINUES))
    if not RUN_ELSEWHERE.match(block.note)
]


# ---- what the blocks run on --------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ./runs, of which one had a batch that was not finite, and one was left."""
    folder = tmp_path_factory.mktemp("docs")
    for lr in (0.5, 0.1):
        with runstore.init({"lr": lr}, root=folder / "runs", name="docs") as run:
            for epoch in run.epochs(3):
                for batch in run.train(range(4)):
                    run.track(loss=math.nan if epoch == batch == 1 else lr / epoch, n=2)
                for _ in run.val([0]):
                    run.track(loss=lr / epoch, n=4)
                run.log_images("samples", np.full((4, 8, 8), 60 * epoch, np.uint8))
    newest = max((folder / "runs").iterdir())
    with (newest / "metrics-0001.jsonl").open("a") as file:
        file.write('{"step":13,"time":1.5,"train/lo')
    return folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    """A copy of it for one block, and the programs by the names that the pages use."""
    shutil.copytree(prepared, tmp_path / "here")
    programs = {
        "python": "",
        "runstore": "-m runstore.cli",
        "runstore-tui": "-m runstore.tui_launcher",
    }
    (tmp_path / "bin").mkdir()
    for name, arguments in programs.items():
        script = tmp_path / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        script.chmod(0o755)
    return tmp_path / "here"


def execute(block: Block, folder: Path) -> str:
    """Run a block as a reader would and return what it prints."""
    environment = {
        **os.environ,
        "PATH": f"{folder.parent / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "RUN": str(max((folder / "runs").iterdir())),
    }
    shell = ["bash", "-euo", "pipefail", "-c"]
    command = [*shell, block.code] if block.kind == "sh" else [sys.executable, "-c", block.code]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def runs_of(folder: Path) -> list[Path]:
    return sorted((folder / "runs").iterdir())


# ---- every block -------------------------------------------------------------------------------


@pytest.mark.parametrize("block", EXECUTED)
def test_block_runs(block: Block, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    printed = execute(block, folder)
    assert printed.strip() or block.kind == "python" or sorted(folder.rglob("*")) != before


@pytest.mark.parametrize("block", blocks(*PAGES), ids=str)
def test_block_is_of_a_known_kind(block: Block) -> None:
    of_page = {"docs/contributing.md": "", "docs/training.md": "diff", "docs/monitor.md": "toml"}
    assert block.kind in ("sh", "python", "text", "json", of_page.get(block.page, "text"))
    known = (NOT_RUN, ON_SERVER, CONTINUES, "generated: ", "file: ", "")
    is_known = any(block.note.startswith(note) if note else not block.note for note in known)
    assert is_known or RUN_ELSEWHERE.match(block.note)


def test_only_blocks_that_install_or_go_on_are_not_run() -> None:
    left_out = [block for block in blocks(*PAGES) if block.note.startswith(NOT_RUN)]
    lines = [line for block in left_out for line in block.code.splitlines()]
    assert lines
    ours = ("runstore resume ", "runstore script ", "runstore tensorboard")
    assert all(line.startswith(("make ", "pip install ", "torchrun ", *ours)) for line in lines)


def block_with(text: str, page: str = "README.md") -> Block:
    (found,) = [block for block in blocks(page) if text in block.code and block.note != CONTINUES]
    return found


# ---- what they print is true -------------------------------------------------------------------


def test_training_loop_writes_what_the_readme_says(folder: Path) -> None:
    pytest.importorskip("torch")
    (loop,) = [block for block in blocks("README.md") if block.note == CONTINUES]
    shown = loop.code.partition("import runstore")[2]
    assert len([line for line in shown.splitlines() if line.strip()]) + 1 <= 15
    before = set(runs_of(folder))
    execute(loop, folder)
    (made,) = set(runs_of(folder)) - before
    run = runstore.load(made)
    assert (run.status, run.state.name, run.params) == ("finished", "first", {"lr": 0.5})
    assert [row["step"] for row in run.epochs()] == [16, 32, 48, 64, 80]
    assert run.epochs()[-1]["val/loss"] < run.epochs()[0]["val/loss"]
    assert run.reports()[-1]["labels"] == ["low", "high"]


def test_resumable_loop_steps_every_second_batch_and_leaves_a_checkpoint(folder: Path) -> None:
    pytest.importorskip("torch")
    loop = block_with("run.register(")
    assert len([line for line in loop.code.splitlines() if line.strip()]) <= 25
    before = set(runs_of(folder))
    execute(loop, folder)
    (made,) = set(runs_of(folder)) - before
    run = runstore.load(made)
    assert [row["step"] for row in run.epochs()] == [8, 16, 24, 32, 40]
    assert run.epochs()[-1]["train/loss"] < run.epochs()[0]["train/loss"]
    assert (made / "checkpoints" / "manifest.jsonl").exists()


def test_three_lines_log_a_hundred_rows(folder: Path) -> None:
    before = set(runs_of(folder))
    execute(block_with("range(1, 101)"), folder)
    (made,) = set(runs_of(folder)) - before
    rows = runstore.load(made).metrics()
    assert [row["train/loss"] for row in rows] == [1 / step for step in range(1, 101)]


@pytest.mark.needs_tool("jq")
def test_jq_prints_the_logged_values(folder: Path) -> None:
    printed = execute(block_with("@tsv"), folder).splitlines()
    expected = [[f"{epoch}", f"{lr / epoch:g}"] for lr in (0.5, 0.1) for epoch in (1, 2, 3)]
    table = [line.split("\t") for line in printed[:6]]
    assert [[row[0], f"{float(row[2]):g}"] for row in table] == sorted_like_runs(expected, folder)
    best = json.loads("".join(printed[7:]))
    assert best == {"lr": 0.1}


def sorted_like_runs(expected: list[list[str]], folder: Path) -> list[list[str]]:
    """The shell lists runs by name, and two of one second are in random order."""
    first = runstore.load(runs_of(folder)[0]).params["lr"]
    return expected if first == 0.5 else expected[3:] + expected[:3]


@pytest.mark.needs_tool("jq")
def test_jq_passes_over_the_torn_line(folder: Path) -> None:
    printed = execute(block_with("fromjson?"), folder).splitlines()
    assert len(printed) == sum(len(runstore.load(run).metrics()) for run in runs_of(folder))


def test_duckdb_prints_the_lowest_loss_of_each_run(folder: Path) -> None:
    pytest.importorskip("duckdb")
    printed = execute(block_with("runstore query"), folder)
    for run in runs_of(folder):
        lowest = runstore.load(run).params["lr"] / 3
        (row,) = [line for line in printed.splitlines() if run.name in line]
        cells = row.split()
        assert int(cells[1]) == 12
        assert float(cells[2]) == pytest.approx(lowest, rel=1e-5)


def test_grep_finds_the_warning_and_the_finished_runs(folder: Path) -> None:
    printed = execute(block_with("grep -l"), folder)
    assert printed.count("events-0001.jsonl") == 2
    assert printed.count("1 of 4 train batches were not finite") == 2


def test_commands_print_each_their_part(folder: Path) -> None:
    printed = execute(block_with("runstore cat"), folder)
    assert "status    finished" in printed
    assert len((folder / "latest.csv").read_text("utf-8").splitlines()) == 16


# ---- generated and quoted parts ----------------------------------------------------------------


@pytest.mark.parametrize("command", GENERATED)
def test_help_in_the_pages_is_the_programs_own(command: str) -> None:
    (shown,) = [block.code for block in blocks(*PAGES) if block.note == f"generated: {command}"]
    name, *arguments = command.split()
    wide = {"COLUMNS": "80"}
    result = CliRunner().invoke(GENERATED[command], arguments, prog_name=name, env=wide)
    assert shown == result.stdout


def test_keys_in_the_pages_are_those_of_the_monitor() -> None:
    pytest.importorskip("textual")
    from tui.keymap import by_view, everyday

    readme = (ROOT / "README.md").read_text("utf-8")
    assert f"<!-- generated: keys -->\n\n{everyday()}\n\n" in readme
    page = (ROOT / "docs/monitor.md").read_text("utf-8") + "\n"
    for view, table in by_view().items():
        assert f"<!-- generated: keys {view} -->\n\n{table}\n\n" in page


def test_quoted_files_are_quoted_verbatim() -> None:
    quoted = [block for block in blocks(*PAGES) if block.note.startswith("file: ")]
    assert [block.note for block in quoted] == ["file: examples/stdlib_writer.py"]
    for block in quoted:
        assert block.code == (ROOT / block.note.removeprefix("file: ")).read_text("utf-8")


def test_readme_knows_the_length_of_the_writer() -> None:
    lines = len((ROOT / "examples" / "stdlib_writer.py").read_text("utf-8").splitlines())
    assert f"a writer of {lines} lines" in (ROOT / "README.md").read_text("utf-8")


def test_example_row_of_the_format_fits_its_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema: Any = json.loads((ROOT / "docs/format/metrics.schema.json").read_text("utf-8"))
    rows = [json.loads(block.code) for block in blocks("docs/format.md") if block.kind == "json"]
    assert len(rows) == 1
    jsonschema.validate(rows[0], schema)


def test_no_merge_was_left_half_done() -> None:
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]:
        lines = page.read_text("utf-8").splitlines()
        assert not any(line[:8] in ("=======", "<<<<<<< ", ">>>>>>> ") for line in lines), page


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not target.startswith("https://"):
            assert (ROOT / page).parent.joinpath(target).exists(), target


def test_runs_of_the_pictures_are_whole(tmp_path: Path) -> None:
    from docs.screens import write_runs

    write_runs(tmp_path)
    runs = runstore.load_all(tmp_path)
    assert sorted(run.status for run in runs) == ["failed", *["finished"] * 9, "running"]
    assert all(run.best is not None for run in runs)
