"""What a notebook shows of runs: well-formed, escaped, without colours, and small."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

import runstore

HOSTILE = "</td><script>alert(1)</script>\x1b[31m&\"'"
SMALL_BYTES = 16_000


class Page(HTMLParser):
    """Takes a page apart, and refuses one whose elements do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.attributes: set[str] = set()
        self.tags: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        self.attributes |= {f"{name}={value}" for name, value in attrs}
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def shown(one: runstore.Run | runstore.RunData | runstore.RunCollection) -> Page:
    """Return what a notebook is given of a run, after the checks that hold for all of them."""
    text = one._repr_html_()
    page = Page(text)
    assert len(text.encode()) < SMALL_BYTES
    assert page.tags <= {"div", "strong", "table", "thead", "tbody", "tr", "th", "td", "p"}
    assert page.attributes <= {"style=text-align:left", "style=text-align:right"}
    assert text.isprintable()
    return page


def facts(page: Page) -> dict[str, str]:
    return {row[0]: row[1] for row in page.rows if len(row) == 2}


def test_loaded_run_shows_what_it_is_and_its_last_epochs(tmp_path: Path) -> None:
    params = {"lr": 0.1, "opt": {"name": "sgd"}}
    with runstore.init(params, root=tmp_path, name="digits") as run:
        for epoch in run.epochs(12):
            for _ in run.train([0]):
                run.track(loss=1 / epoch)
            for _ in run.val([0]):
                run.track(loss=abs(epoch - 8) / 4)
    page = shown(runstore.load(run.path))
    said = facts(page)
    assert (said["status"], said["position"]) == ("finished", "epoch 12/12, step 12")
    assert said["parameters"] == "lr 0.1, opt.name sgd"
    assert said["best"] == "epoch 8, val/loss 0.00"
    assert "val/loss 1.00" in said["latest"]
    header = next(row for row in page.rows if row[0] == "epoch")
    lines = page.rows[page.rows.index(header) + 1 :]
    assert header[:3] == ["epoch", "train/loss", "val/loss"]
    assert [line[0] for line in lines] == ["3", "4", "5", "6", "7", "★ 8", "9", "10", "11", "12"]
    assert lines[0][2] == "1.2500"


def test_open_run_shows_where_it_stands(tmp_path: Path) -> None:
    with runstore.init({"lr": 0.1}, root=tmp_path) as run:
        before = facts(shown(run))
        for _ in run.epochs(3):
            for _ in run.train([0, 1]):
                run.track(loss=0.5)
            break
        said = facts(shown(run))
    assert before["status"] == "running"
    assert (said["position"], said["latest"]) == ("epoch 1/3, step 2", "train/loss 0.50")
    assert facts(shown(run))["status"] == "finished"
    assert repr(run) == f"<runstore.Run {run.id} finished, epoch 1/3, step 2>"


def test_runs_are_listed_newest_first_and_counted(tmp_path: Path) -> None:
    for number in range(25):
        run = tmp_path / f"20260101-0000{number:02d}-many-aaaaaaaa"
        run.mkdir()
        (run / "metrics-0001.jsonl").write_text(f'{{"step":{number},"time":1.5,"val/loss":0.5}}\n')
    text = runstore.load_all(tmp_path)._repr_html_()
    page = shown(runstore.load_all(tmp_path))
    assert page.rows[0][:5] == ["run", "status", "epoch", "step", "val/loss"]
    assert [row[3] for row in page.rows[1:]] == [str(number) for number in range(24, 4, -1)]
    assert "and 5 more below" in text


def test_nothing_that_a_run_says_is_markup(tmp_path: Path) -> None:
    run = tmp_path / "20260101-000000-evil-aaaaaaaa"
    run.mkdir()
    document = {"format": 1, "id": HOSTILE, "name": HOSTILE, "params": {HOSTILE: HOSTILE}}
    (run / "run.json").write_text(json.dumps(document))
    end = {"event": "end", "time": 2.5, "status": "failed", "reason": HOSTILE}
    (run / "events-0001.jsonl").write_text('{"event":"open","time":1.5}\n' + json.dumps(end) + "\n")
    row = json.dumps({"step": 1, "epoch": 1, "time": 1.5, HOSTILE: 1.0}) + "\n"
    for stream in ("metrics", "epochs"):
        (run / f"{stream}-0001.jsonl").write_text(row)
    visible = HOSTILE.replace("\x1b", "\\x1b")
    page = shown(runstore.load(run))
    assert facts(page)["status"] == f"failed: {visible}"
    assert facts(page)["parameters"] == f"{visible} {visible}"
    assert [row[0] for row in shown(runstore.load_all(tmp_path)).rows] == ["run", visible]
    with runstore.init({HOSTILE: HOSTILE}, root=tmp_path / "open") as opened:
        assert facts(shown(opened))["parameters"] == f"{visible} {visible}"
    assert "\x1b" not in repr(runstore.load(run))


@pytest.mark.timeout(60)
def test_page_of_a_huge_run_stays_small(tmp_path: Path) -> None:
    """4,000 metrics, 1,000 classes, 10,000 epochs, 4,000 long parameters."""
    run = tmp_path / "20260101-000000-huge-aaaaaaaa"
    run.mkdir()
    params = {f"parameter-{n}-{'x' * 100}": "y" * 800 for n in range(4000)}
    (run / "run.json").write_text(json.dumps({"format": 1, "name": "n" * 5000, "params": params}))
    row = {"step": 1, "epoch": 1, "time": 1.5, **{f"m{n}": 1.0 for n in range(4000)}}
    (run / "metrics-0001.jsonl").write_text(json.dumps(row) + "\n")
    with (run / "epochs-0001.jsonl").open("w") as file:
        for epoch in range(1, 10_001):
            file.write(f'{{"step":1,"epoch":{epoch},"time":1.5,"val/loss":{1 / epoch}}}\n')
    labels = [f"class {n}" for n in range(1000)]
    scores = {label: {"precision": 1.0, "recall": 1.0} for label in labels}
    report = {"step": 1, "time": 1.5, "split": "val", "labels": labels, "report": scores}
    (run / "reports-0001.jsonl").write_text(json.dumps(report) + "\n")
    said = facts(shown(runstore.load(run)))
    assert said["latest"].endswith("and 3,989 more")
    shown(runstore.load_all(tmp_path))
