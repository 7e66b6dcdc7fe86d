"""Every view at two sizes in every state of a root, as text: what changed on screen is a diff.

`UPDATE_SNAPSHOTS=1 make test ARGS="-k snapshots"` writes them anew; look at the difference before
it is committed.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.ui.screen_text import screen_text, settled_text
from tests.ui.snapshot_roots import BEGAN, STATES
from tui.app import MonitorApp
from tui.screens.main import MainScreen
from tui.views import NAMES

KEPT = Path(__file__).parent / "snapshots"
SIZES = [(80, 24), (160, 45)]
QUIET_S = 0.3
PATIENCE_S = 30.0


async def _settled(app: MonitorApp, pilot: Pilot[None]) -> str:
    """Return the screen once it was read and has stopped to change."""
    screen = app.screen
    assert isinstance(screen, MainScreen)
    deadline, since, last = time.monotonic() + PATIENCE_S, time.monotonic(), ""
    while time.monotonic() < deadline:
        await pilot.pause(0.05)
        text = screen_text(screen)
        if text != last or not screen.is_read:
            last, since = text, time.monotonic()
        elif time.monotonic() - since >= QUIET_S:
            break
    return last


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("state", STATES)
async def test_every_view_looks_as_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, size: tuple[int, int]
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(time, "time", lambda: BEGAN + 3600)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    STATES[state](tmp_path / "runs")
    app = MonitorApp([Path("runs")])
    different = []
    async with app.run_test(size=size) as pilot:
        for number, view in enumerate(NAMES, 1):
            if view == "hosts":  # shows the machine that it runs on: tests/ui/test_hosts.py
                continue
            await pilot.press(str(number))
            picture = settled_text(await _settled(app, pilot))
            kept = KEPT / f"{view}-{state}-{size[0]}x{size[1]}.txt"
            if os.environ.get("UPDATE_SNAPSHOTS"):
                kept.parent.mkdir(exist_ok=True)
                kept.write_text(picture, encoding="utf-8")
            elif not kept.exists() or kept.read_text(encoding="utf-8") != picture:
                different.append(f"--- {kept.name}\n{picture}")
    assert not different, "\n".join(different)
