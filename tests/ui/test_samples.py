"""Image samples: as cells, on a timeline, and as the view that a user looks at."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.color import Color

from runstore.files.paths import SampleFile
from runstore.images.pictures import Box, Pixels
from runstore.state.samples import Sample
from tests.fixtures.samples.make import RUN_ID
from tests.ui.test_app import monitor, press, text_of, write_plain
from tui.pictures import Kept
from tui.renderables.halfblocks import HALF, cells
from tui.renderables.samples import Timeline, scrubber
from tui.renderables.text import line_width, plain
from tui.renderables.tiles import Caption, Picture, arrange_tiles, caption, part_shown
from tui.screens.main import MainScreen
from tui.widgets.lines import LinesWidget

if TYPE_CHECKING:
    from tests.conftest import WaitUntil
    from tests.ui.conftest import StartMonitor

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "samples"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root with a copy of the fixture."""
    shutil.copytree(FIXTURES / RUN_ID, tmp_path / "runs" / RUN_ID)
    return tmp_path / "runs"


# ---- cells -------------------------------------------------------------------------------------


def pixels(width: int, *colors: str) -> Pixels:
    """Return pixels of colours in hexadecimal digits, row by row."""
    return Pixels(width, len(colors) // width, bytes.fromhex("".join(colors)))


def test_two_pixels_are_one_cell_and_equal_ones_a_space() -> None:
    drawn = cells(pixels(3, *["ff0000", "00ff00", "0000ff"], *["0000ff"] * 3), "colours")
    assert drawn == [
        (
            (HALF, "#ff0000 on #0000ff"),
            (HALF, "#00ff00 on #0000ff"),
            (" ", "on #0000ff"),
        )
    ]


def test_last_row_of_an_odd_number_leaves_the_lower_half_alone() -> None:
    assert cells(pixels(1, "ffffff", "ffffff", "ff0000"), "colours")[1] == ((HALF, "#ff0000"),)


def test_neighbours_that_nobody_can_tell_apart_are_one_span() -> None:
    assert len(cells(pixels(2, "808080", "818181", "808080", "818181"), "colours")[0]) == 1


def test_without_colours_light_is_ink_on_dark_and_paper_on_light() -> None:
    image = pixels(3, "000000", "808080", "ffffff")
    assert plain(cells(image, "shades")[0]) == " ▒█"
    assert plain(cells(image, "shades", dark=False)[0]) == "█▒ "
    assert plain(cells(image, "characters")[0]) == " +@"
    assert plain(cells(image, "characters", dark=False)[0]).isascii()


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["colours", "shades"]))
def test_image_takes_as_many_cells_as_it_should(width: int, height: int, look: str) -> None:
    drawn = cells(Pixels(width, height, bytes(range(256)) * 20), look)
    assert len(drawn) == -(-height // 2)
    assert all(line_width(row) == width for row in drawn)


# ---- the timeline ------------------------------------------------------------------------------


def samples(*steps: int) -> list[Sample]:
    return [Sample(SampleFile(step), f"{step}.png") for step in steps]


def test_each_name_shows_its_newest_sample_up_to_the_moment() -> None:
    a, b = ("a", 0), ("a", 1)
    line = Timeline.of({a: samples(1, 3, 3), b: samples(2)})
    assert line.moments == [(1, 0), (2, 0), (3, 0), (3, 1)]
    assert line.sample(b, (1, 0)) is None
    assert line.sample(a, (2, 0)) == samples(1)[0]
    assert line.sample(b, None) == samples(2)[0]
    assert [line.index(moment) for moment in ((0, 0), (2, 5), None)] == [0, 1, 3]


@given(st.integers(1, 70), st.integers(10, 240), st.integers(3, 80))
def test_pictures_side_by_side_fit_into_the_pane(count: int, width: int, height: int) -> None:
    grid = arrange_tiles(count, width, height)
    assert grid.columns * (grid.width + 2) - 2 <= width
    assert grid.rows * grid.height <= height
    assert grid.places >= 1


def test_wide_pane_has_pictures_beside_each_other_and_a_narrow_one_below() -> None:
    assert arrange_tiles(2, 78, 19)[:2] == (2, 1)
    assert arrange_tiles(2, 40, 60)[:2] == (1, 2)
    assert arrange_tiles(50, 58, 9).places < 50


@pytest.mark.parametrize("width", [30, 58, 120])
def test_caption_and_scrubber_fill_their_width(width: int) -> None:
    said = Caption("val/\x1b[31m" + "long" * 9, 1_200_000, 3, (640, 427), 0.1, "animated")
    assert line_width(caption(said, width)) == width
    assert "\x1b" not in plain(caption(said, width)) and "1,200,000" in plain(caption(said, width))
    line = Timeline.of({("a", 0): samples(*range(24))})
    shown = scrubber(line, 6, 3, "playing", "", width)
    assert line_width(shown) <= width
    assert "7 of 24" in plain(shown)


def test_part_of_an_enlarged_image_is_told() -> None:
    assert part_shown(Box(0, 0, 64, 32), (64, 32)) == ""
    assert part_shown(Box(16, 8, 48, 24), (64, 32)) == "16–48, 8–24"


def test_values_above_the_bound_go_the_oldest_first() -> None:
    kept: Kept[str] = Kept(100)
    for key in "abc":
        kept.put(key, key, 40)
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (None, "b", "c")
    kept.put("large", "large", 1000)
    assert kept.get("large") == "large" and kept.get("c") is None


# ---- the pane ----------------------------------------------------------------------------------


async def shows(screen: MainScreen, *texts: str, lacks: str = "") -> str:
    """Wait until the view shows all texts, and return what it shows."""
    deadline = time.monotonic() + 20
    while True:
        shown = text_of(screen.query_one("#samples", LinesWidget))
        there = all(text in shown for text in texts) and not (lacks and lacks in shown)
        if there or time.monotonic() > deadline:
            assert there, shown
            return shown
        await screen.pilot.pause(0.05)  # type: ignore[attr-defined]


async def test_newest_samples_of_all_names_are_side_by_side(root: Path) -> None:
    async with monitor(root) as screen:
        await press(screen, "8")
        shown = await shows(screen, HALF, "4 of 4")
        assert "2 side by side" in shown and "newest" in shown
        assert "recon  step 80" in shown and "val/inputs  step 80" in shown


async def test_picture_is_drawn_in_its_colours(root: Path) -> None:
    async with monitor(root) as screen:
        await press(screen, "8")
        await shows(screen, "4 of 4")
        await press(screen, "N")
        await shows(screen, "val/inputs 2/2", "32×16  2:1")
        pane = screen.query_one("#samples", LinesWidget)
        strips = (pane.render_line(y) for y in range(2, 18))
        inks = {s.style.bgcolor for strip in strips for s in strip if s.style and s.style.bgcolor}
        # The disc of the last tile is (240, 210, 30), shown in 64 levels of each.
        assert Color.parse("#f3d31c") in inks


async def test_keys_go_from_step_to_step_and_back_to_the_newest(root: Path) -> None:
    async with monitor(root) as screen:
        await press(screen, "8")
        await shows(screen, "4 of 4", "newest")
        await press(screen, "[")
        shown = await shows(screen, "3 of 4", "step 60  epoch 3", lacks="newest")
        assert "val/inputs  step 40" in shown
        await press(screen, "g")
        await shows(screen, "1 of 4", "step 20  epoch 1", "no sample yet at this step")
        await press(screen, "]", "right")
        await shows(screen, "3 of 4")
        await press(screen, "G")
        await shows(screen, "4 of 4", "newest")


async def test_view_follows_the_newest_until_it_was_moved(root: Path) -> None:
    folder = root / RUN_ID / "samples" / "recon"
    async with monitor(root) as screen:
        await press(screen, "8")
        await shows(screen, "4 of 4")
        shutil.copy(folder / "step-00000080-epoch-0004-0002.png", folder / "step-00000090-0002.png")
        await shows(screen, "5 of 5", "step 90", "newest")
        await press(screen, "[")
        await shows(screen, "4 of 5")
        shutil.copy(folder / "step-00000090-0002.png", folder / "step-00000100-0002.png")
        await shows(screen, "4 of 6", "step 80")


async def test_space_plays_up_to_the_newest_and_a_key_stops_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy machine may look more rarely than pictures change.
    monkeypatch.setattr("tui.widgets.samples_pane.FRAME_S", 1.0)
    async with monitor(root) as screen:
        await press(screen, "8")
        await shows(screen, "4 of 4", HALF)
        await press(screen, "space")
        await shows(screen, "playing")
        await shows(screen, "4 of 4", "newest", lacks="playing")
        assert not screen.session.marks
        await press(screen, "space")
        await shows(screen, "playing")
        await press(screen, "v")
        await shows(screen, "of 4", lacks="playing")


def test_frame_of_an_animation_follows_its_times_round_and_round() -> None:
    picture = Picture(ends_s=(0.1, 0.6, 0.64))
    shown = [picture.frame_at(at) for at in (0.0, 0.09, 0.1, 0.59, 0.61, 0.65, 64.0 + 0.3)]
    assert shown == [0, 0, 1, 1, 2, 0, 1]
    assert Picture(ends_s=(0.1,)).frame_at(7.0) == 0
    assert not Picture(ends_s=(0.1,)).place


async def test_animation_plays_in_its_place_and_stands_while_the_screen_is_held(
    tmp_path: Path,
) -> None:
    path = write_plain(tmp_path, 1) / "samples" / "rollout" / "step-00000001.gif"
    path.parent.mkdir(parents=True)
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=150, loop=0)
    async with monitor(tmp_path) as screen:
        await press(screen, "8")
        for place in ("frame 1/3", "frame 2/3", "frame 3/3", "frame 1/3"):
            await shows(screen, place)
        await press(screen, "p")
        held = await shows(screen, "frame")
        for _ in range(5):
            await screen.pilot.pause(0.1)  # type: ignore[attr-defined]
        assert await shows(screen, "frame") == held
        for key in ("v", "v", "v"):
            await screen.pilot.pause(0.1)  # type: ignore[attr-defined]
            await press(screen, key)
            await shows(screen, held[held.index("frame") :][:9])
        await press(screen, "p")
        await shows(screen, "frame", lacks=held[held.index("frame") :][:9])


async def test_enlarged_picture_can_be_moved_and_fitted_again(root: Path) -> None:
    async with monitor(root) as screen:
        await press(screen, "8")
        await shows(screen, "4 of 4")
        await press(screen, "n")
        await shows(screen, "recon 1/2", "32×16  2:1")
        await press(screen, "+", "+", "+", "+")
        await shows(screen, "8:1  11–21, 6–10")
        await press(screen, *["left"] * 5, *["down"] * 9)
        await shows(screen, "8:1  0–10, 12–16", "4 of 4")
        await press(screen, "0")
        await shows(screen, "32×16  2:1", lacks="0–10")


async def test_without_colours_there_are_shades_and_a_key_draws_characters(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with monitor(root) as screen:
        await press(screen, "8")
        await shows(screen, "█", lacks=HALF)
        await press(screen, "v")
        await shows(screen, "@@", lacks="█")
        await press(screen, "v")
        await shows(screen, "█", lacks=HALF)


async def test_without_pillow_the_files_are_listed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("sys.path", [path for path in sys.path if "site-packages" not in path])
    async with monitor(root, (120, 30)) as screen:
        await press(screen, "8")
        shown = await shows(screen, "pip install 'runstore[images]'", "step         80")
        assert "recon/step-00000080-epoch-0004-0002.png" in shown


async def test_file_that_cannot_be_shown_says_why_and_the_others_are_shown(root: Path) -> None:
    folder = root / RUN_ID / "samples" / "torn"
    folder.mkdir()
    whole = next((root / RUN_ID / "samples" / "recon").glob("*0080*")).read_bytes()
    (folder / "step-00000080.png").write_bytes(whole[:-40])
    async with monitor(root) as screen:
        await press(screen, "8")
        await shows(screen, "damaged, or not", HALF, "3 side by side")
        (folder / "step-00000080.png").write_bytes(whole)
        await shows(screen, HALF, lacks="damaged")


async def test_marked_runs_stand_side_by_side_at_the_same_step(root: Path) -> None:
    other = root / RUN_ID.replace("120000", "110000").replace("c27", "d27")
    shutil.copytree(root / RUN_ID, other)
    (other / "run.json").unlink()
    shutil.rmtree(other / "samples" / "val%2Finputs")
    async with monitor(root, (160, 45)) as screen:
        await press(screen, "space", "space", "8")
        await shows(screen, "2 runs · 2 side by side", "A recon", "B recon", "A val/inputs", HALF)
        await press(screen, "n", "[")
        shown = await shows(screen, "recon 1/2", "A recon  step 60  epoch 3", "B recon  step 60")
        assert "val/inputs" not in shown


async def test_run_without_samples_says_how_they_come(tmp_path: Path) -> None:
    write_plain(tmp_path, 1)
    async with monitor(tmp_path) as screen:
        await press(screen, "8")
        await shows(screen, "No image samples in this run", "samples/NAME/")
        await press(screen, *"[]{}gGnN+-0hlv", "space", "down")
        await shows(screen, "No image samples in this run", lacks="error")


async def test_ten_thousand_samples_are_listed_and_one_is_decoded(tmp_path: Path) -> None:
    run_dir = write_plain(tmp_path, 1)
    folder = run_dir / "samples" / "grid"
    folder.mkdir(parents=True)
    for step in range(9_999):
        (folder / f"step-{step:08d}-0001.png").touch()
    Image.new("RGB", (8, 8), "red").save(folder / "step-00009999-0001.png")
    async with monitor(tmp_path) as screen:
        await press(screen, "8")
        await shows(screen, "10,000 of 10,000", "8×8")
        await press(screen, "{")
        await shows(screen, "9,000 of 10,000", "step 8,999", "empty")


# ---- in a terminal -----------------------------------------------------------------------------


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (160, 45), (60, 15)])
def test_pictures_are_one_key_away(
    root: Path, start_monitor: StartMonitor, wait_until: WaitUntil, columns: int, rows: int
) -> None:
    terminal = start_monitor(root, columns=columns, rows=rows)
    wait_until(terminal.shows("samples"))
    terminal.press("8")
    assert wait_until(terminal.shows("2 side by side", "recon", HALF, "4 of 4", "newest"))
    assert b"38;2;" in terminal.output and b"48;2;" in terminal.output
    terminal.press("[")
    assert wait_until(terminal.shows("3 of 4", "step 60"))
    terminal.press(" ")
    assert wait_until(terminal.shows("4 of 4", "newest"))


@pytest.mark.parametrize(
    ("environment", "there", "missing"),
    [
        ({"COLORTERM": "", "TERM": "xterm-256color"}, b"48;5;", b"48;2;"),
        ({"COLORTERM": "", "TERM": "xterm"}, HALF.encode(), b"48;5;"),
        ({"NO_COLOR": "1"}, "█".encode(), HALF.encode()),
        ({"TERM": "linux"}, b"@@", b'""'),
    ],
)
def test_terminal_gets_no_more_colours_than_it_has(
    root: Path,
    start_monitor: StartMonitor,
    wait_until: WaitUntil,
    environment: dict[str, str],
    there: bytes,
    missing: bytes,
) -> None:
    terminal = start_monitor(root, **environment)
    wait_until(terminal.shows("samples"))
    terminal.press("8")
    seen: Callable[[], bool] = lambda: there in terminal.output  # noqa: E731
    wait_until(terminal.shows("recon  step 80"))
    assert wait_until(seen)
    assert missing not in terminal.output
