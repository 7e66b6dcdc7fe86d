"""`runstore gif` and `make_gif`: the samples that count, as an animation that Pillow reads back."""

from __future__ import annotations

import io
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import runstore
from runstore.cli import cli
from runstore.completion.candidates import sample_candidates
from runstore.errors import NoSamplesError, RunStoreError, UnknownNameError
from runstore.images import gif
from runstore.images.animation import Frame, Stage
from runstore.images.gif_file import GifFile
from runstore.runs.lookup import find
from tests.fixtures.samples.make import RUN_ID

FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "samples" / RUN_ID
GREYS = bytes(level for grey in range(256) for level in (grey, grey, grey))


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def refusal(*arguments: str | Path) -> str:
    result = call("gif", *arguments)
    assert isinstance(result.exception, RunStoreError), result.output
    assert result.stdout == ""
    return str(result.exception)


def frames_of(path: Path) -> list[tuple[Any, int]]:
    """Return the pixels of each frame as RGB, and how long it is shown, in milliseconds."""
    found = []
    with Image.open(path) as image:
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            found.append((np.asarray(image.convert("RGB")), image.info["duration"]))
    return found


def save(run_dir: Path, step: int, image: Image.Image, name: str = "a") -> Path:
    """Write a sample as a script of the user's would."""
    path = run_dir / "samples" / name / f"step-{step}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    with runstore.init(root=tmp_path / "runs", name="t") as run:
        pass
    return run.path


# ---- the file ------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(data=st.data(), width=st.integers(1, 40), height=st.integers(1, 40))
def test_any_frames_come_back_as_they_were(data: st.DataObject, width: int, height: int) -> None:
    count = data.draw(st.integers(1, 5))
    # Few values, so that frames are equal in whole or in part.
    frames = [
        np.array(
            data.draw(st.lists(st.integers(0, 2), min_size=width * height, max_size=width * height))
        )
        .reshape(height, width)
        .astype(np.uint8)
        * 100
        for _ in range(count)
    ]
    file = io.BytesIO()
    written = GifFile(file, (width, height), GREYS)
    for frame in frames:
        written.add(Image.fromarray(frame), 5)
    written.close()
    expected: list[tuple[Any, int]] = []
    for frame in frames:
        if expected and (expected[-1][0] == frame).all():
            expected[-1] = frame, expected[-1][1] + 50
        else:
            expected.append((frame, 50))
    path = file.getvalue()
    with Image.open(io.BytesIO(path)) as image:
        assert image.n_frames == len(expected)  # type: ignore[attr-defined]  # of a GIF
        assert image.info["loop"] == 0 or len(expected) == 1
        for index, (pixels, duration) in enumerate(expected):
            image.seek(index)
            assert (np.asarray(image.convert("L")) == pixels).all()
            assert image.info["duration"] == duration


def test_only_what_differs_is_written(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (100, 100)).astype(np.uint8)
    sizes = []
    for changed in (noise, np.roll(noise, 1)):
        with (tmp_path / "x.gif").open("wb") as file:
            written = GifFile(file, (100, 100), GREYS)
            changed = changed.copy()
            written.add(Image.fromarray(noise), 1)
            changed[50, 50] ^= 1
            written.add(Image.fromarray(changed), 1)
            written.close()
        sizes.append((tmp_path / "x.gif").stat().st_size)
    assert sizes[0] < 0.6 * sizes[1]


# ---- frames --------------------------------------------------------------------------------------


def test_samples_that_count_become_frames_with_their_epochs(tmp_path: Path) -> None:
    path = runstore.make_gif(FIXTURE, "recon", tmp_path / "x.gif", fps=4, scale=1, label=False)
    frames = frames_of(path)
    # Behind the checkpoint of step 40, attempt 2's count: 20, 40, 60 and 80.
    assert [duration for _, duration in frames] == [250, 250, 250, 2000]
    with Image.open(FIXTURE / "samples/recon/step-00000060-epoch-0003-0002.png") as image:
        assert (frames[2][0] == np.asarray(image.convert("RGB"))).all()
    everything = runstore.make_gif(FIXTURE, "recon", tmp_path / "y.gif", superseded=True)
    assert len(frames_of(everything)) == 6


def test_grey_images_are_exact_and_small_ones_enlarged_by_a_whole_number(
    run_dir: Path, tmp_path: Path
) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(8, 32)
    save(run_dir, 1, Image.fromarray(pixels))
    frame, _ = frames_of(runstore.make_gif(run_dir, output=tmp_path / "x.gif"))[0]
    assert frame.shape[1] == 320
    assert (frame[:80:10, ::10, 0] == pixels).all()
    assert (frame[:80, :, 0] == np.kron(pixels, np.ones((10, 10), np.uint8))).all()


def test_colours_are_those_of_all_frames(run_dir: Path, tmp_path: Path) -> None:
    colours = [(250, 10, 20), (20, 240, 30), (30, 40, 230), (128, 200, 90)]
    for step, colour in enumerate(colours):
        save(run_dir, step, Image.new("RGB", (16, 16), colour))
    frames = frames_of(runstore.make_gif(run_dir, output=tmp_path / "x.gif", label=False))
    assert [tuple(frame[0, 0].tolist()) for frame, _ in frames] == colours


def test_saturated_colours_of_a_smooth_picture_do_not_turn_grey(
    run_dir: Path, tmp_path: Path
) -> None:
    """As median cut alone makes them; it leaves twice the squared error."""
    y, x = np.mgrid[0:1:96j, 0:1:96j]
    pictures = []
    for step in range(8):
        waves = [np.sin(6 * x + step / 2 + 2 * y), np.sin(5 * y - step), np.cos(4 * (x + y) + step)]
        pictures.append((np.stack(waves, axis=2) * 127.5 + 127.5).astype(np.uint8))
        save(run_dir, step, Image.fromarray(pictures[-1]))
    frames = frames_of(runstore.make_gif(run_dir, output=tmp_path / "x.gif", scale=1, label=False))
    errors = [
        np.mean((frame[:96, :96].astype(float) - picture) ** 2)
        for (frame, _), picture in zip(frames, pictures, strict=True)
    ]
    assert np.mean(errors) < 160


def test_few_colours_make_a_smaller_file(run_dir: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    for step in range(3):
        save(run_dir, step, Image.fromarray(noise.integers(0, 255, (64, 64)).astype(np.uint8)))
    many = runstore.make_gif(run_dir, output=tmp_path / "many.gif")
    few = runstore.make_gif(run_dir, output=tmp_path / "few.gif", colors=8, label=False)
    assert few.stat().st_size < 0.6 * many.stat().st_size
    frame, _ = frames_of(few)[0]
    assert {int(level) for level in np.unique(frame)} == {0, 36, 73, 109, 146, 182, 219, 255}


def test_frames_of_several_sizes_and_kinds_stand_at_the_top_left(
    run_dir: Path, tmp_path: Path
) -> None:
    save(run_dir, 1, Image.new("L", (20, 10), 200))
    save(run_dir, 2, Image.new("RGB", (10, 20), (255, 0, 0)))
    save(run_dir, 3, Image.new("RGBA", (20, 20), (0, 0, 0, 0)))
    path = runstore.make_gif(run_dir, output=tmp_path / "x.gif", scale=1, label=False)
    first, second, third = (frame for frame, _ in frames_of(path))
    assert first.shape == second.shape == (20, 20, 3)
    assert first[9, 19].tolist() == pytest.approx([200] * 3, abs=8)
    assert first[10, 0].tolist() == [0, 0, 0]
    assert second[19, 9].tolist() == pytest.approx([255, 0, 0], abs=8)
    assert second[0, 10].tolist() == [0, 0, 0]
    assert third[0, 0].tolist() == pytest.approx([128] * 3, abs=8)


def test_label_stands_below_the_image_and_grows_with_it(run_dir: Path, tmp_path: Path) -> None:
    save(run_dir, 1, Image.new("L", (400, 100), 50), "wide")
    save(run_dir, 1, Image.new("L", (1200, 100), 50), "wider")
    save(run_dir, 1, Image.new("L", (2, 2), 50), "tiny")
    heights = {}
    for name, scale in (("wide", None), ("wider", None), ("tiny", 1)):
        path = runstore.make_gif(run_dir, name, tmp_path / "x.gif", scale=scale)
        frame, _ = frames_of(path)[0]
        image_height = 2 if name == "tiny" else 100
        strip = frame[image_height:]
        heights[name] = len(strip)
        assert strip.max() == 255
        assert (frame[: min(2, image_height), :2] == 50).all()
        written = np.flatnonzero(strip.max(axis=(0, 2)))
        assert written[0] > 0
        assert written[-1] < frame.shape[1] - 1  # nothing is cut off
    assert heights["wide"] < 40 < heights["wider"]


def test_labels_tell_epochs_or_steps(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path) as run:
        for epoch in run.epochs(2):
            for step in run.train(range(2)):
                run.track(loss=1.0)
                run.log_images("steps", np.full((2, 2), 10 * epoch + step))
            run.log_images("epochs", np.full((2, 2), epoch))
    ref = find(str(run.path), tmp_path)
    labels = {
        name: [frame.label for frame in gif.frames_of(ref, name, gif.GifOptions(), tell=print)[1]]
        for name in ("steps", "epochs")
    }
    assert labels == {
        "epochs": ["epoch 1", "epoch 2"],
        "steps": [
            "epoch 1, step 1",
            "epoch 1, step 2",
            "epoch 2, step 3",
            "epoch 2, step 4",
        ],
    }


def test_of_many_samples_some_are_taken_evenly_with_both_ends(
    run_dir: Path, tmp_path: Path
) -> None:
    for step in range(101):
        save(run_dir, step, Image.new("L", (1, 1), step))
    path = tmp_path / "x.gif"
    result = call("gif", run_dir, "--frames", "5", "--no-label", "-o", path)
    assert [int(frame[0, 0, 0]) for frame, _ in frames_of(path)] == [0, 25, 50, 75, 100]
    assert "5 of 101 samples are taken, evenly" in result.stderr


def test_time_of_the_frames_does_not_drift(run_dir: Path, tmp_path: Path) -> None:
    for step in range(31):
        save(run_dir, step, Image.new("L", (1, 1), step))
    path = runstore.make_gif(run_dir, output=tmp_path / "x.gif", fps=30, label=False)
    durations = [duration for _, duration in frames_of(path)]
    assert set(durations[:-1]) == {30, 40}
    assert sum(durations[:-1]) == 1000


def test_unreadable_files_are_named_and_left_out(run_dir: Path, tmp_path: Path) -> None:
    save(run_dir, 1, Image.new("L", (4, 4), 10))
    torn = save(
        run_dir, 2, Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8))
    )
    torn.write_bytes(torn.read_bytes()[:800])
    save(run_dir, 5, Image.new("RGB", (4, 4)))  # with colours, some are looked at twice
    cut = save(run_dir, 0, Image.new("L", (4, 4), 10))
    cut.write_bytes(cut.read_bytes()[:24])  # behind the size
    text = save(run_dir, 3, Image.new("L", (4, 4), 10))
    text.write_text("no image")
    save(run_dir, 4, Image.new("L", (4, 4), 20))
    result = call("gif", run_dir, "-o", tmp_path / "x.gif")
    assert result.exit_code == 0, result.output
    assert f"{text}: no PNG, GIF or JPEG; left out" in result.stderr
    assert result.stderr.count(f"{torn}: damaged, or not complete yet; left out") == 1
    assert result.stderr.count(f"{cut}: damaged, or not complete yet; left out") == 1
    assert "3 frames" in result.stderr
    assert len(frames_of(tmp_path / "x.gif")) == 3


def test_when_nothing_can_be_read_no_file_is_left(run_dir: Path, tmp_path: Path) -> None:
    torn = save(run_dir, 1, Image.new("L", (64, 64), 10))
    torn.write_bytes(torn.read_bytes()[:40])
    assert "none of the 1 files can be read" in refusal(run_dir, "-o", tmp_path / "x.gif")
    torn.write_bytes(b"")
    assert "none of the 1 files is an image" in refusal(run_dir, "-o", tmp_path / "x.gif")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_headers_of_giants_do_not_take_memory(run_dir: Path, tmp_path: Path) -> None:
    for step, size in ((1, (60000, 1)), (2, (1, 60000))):
        header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", *size)
        save(run_dir, step, Image.new("L", (1, 1))).write_bytes(header + b"\x08\0\0\0\0")
    assert "60,000 x 60," in refusal(run_dir, "-o", tmp_path / "x.gif")


def test_one_frame_is_drawn_at_a_time(run_dir: Path) -> None:
    paths = [save(run_dir, step, Image.new("L", (8, 8), step)) for step in range(4)]
    drawn = Stage([Frame(str(path)) for path in paths], 1, 256, print).drawn()
    first = next(drawn)
    for path in paths[1:]:
        path.unlink()
    assert first.getpixel((0, 0)) == 0
    assert list(drawn) == []


# ---- the command ---------------------------------------------------------------------------------


def test_file_is_named_by_run_and_samples(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(run_dir, 1, Image.new("L", (4, 4)), "val%2Frecon")
    monkeypatch.chdir(tmp_path)
    result = call("gif", "latest")
    assert result.stdout == f"{run_dir.name}-val-recon.gif\n"
    assert (tmp_path / result.stdout.strip()).is_file()


def test_the_file_can_go_to_standard_output(run_dir: Path) -> None:
    save(run_dir, 1, Image.new("L", (4, 4)))
    result = call("gif", run_dir, "-o", "-")
    assert result.stdout_bytes.startswith(b"GIF89a")
    assert "1 frame, " in result.stderr


def test_what_is_not_there_is_told_with_what_is(run_dir: Path, tmp_path: Path) -> None:
    told = refusal(run_dir)
    assert told.startswith(f"{run_dir.name} has no image samples; run.log_images")
    with pytest.raises(NoSamplesError):
        runstore.make_gif(run_dir)
    told = refusal(FIXTURE, "nope")
    assert told == "there is no sample 'nope'; there are recon, val/inputs"
    with pytest.raises(UnknownNameError):
        runstore.make_gif(FIXTURE, "nope")
    told = refusal(FIXTURE)
    assert told == f"{RUN_ID} has samples of several names: recon, val/inputs; name one"
    assert "no run 'nothing'" in refusal("nothing", "--root", tmp_path / "runs")


def test_samples_that_are_all_superseded_are_told(tmp_path: Path) -> None:
    run_dir = tmp_path / RUN_ID
    shutil.copytree(FIXTURE, run_dir)
    for path in (run_dir / "samples" / "recon").glob("*-0002.png"):
        path.unlink()
    for path in (run_dir / "samples" / "recon").glob("step-000000[24]0*"):
        path.unlink()
    assert "all samples 'recon' are superseded" in refusal(run_dir, "recon")
    assert call("gif", run_dir, "recon", "--superseded", "-o", tmp_path / "x.gif").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["-o", "x.webp"],
        ["-o", "."],
        ["--fps", "0"],
        ["--fps", "51"],
        ["--frames", "0"],
        ["--colors", "2"],
    ],
)
def test_wrong_usage_is_told_before_anything_is_read(arguments: list[str]) -> None:
    result = call("gif", FIXTURE, "recon", *arguments)
    assert result.exit_code == 2
    assert "Error: " in result.stderr


@pytest.mark.parametrize(
    "options", [{"fps": 0}, {"fps": 60}, {"scale": 0}, {"colors": 1}, {"most_frames": 0}]
)
def test_options_that_make_no_sense_raise(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        runstore.make_gif(FIXTURE, "recon", **options)


def test_an_output_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    result = call("gif", FIXTURE, "recon", "-o", tmp_path / "missing" / "x.gif")
    assert isinstance(result.exception, FileNotFoundError)
    assert str(tmp_path / "missing" / "x.gif") in str(result.exception)


def test_without_pillow_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runstore.images.gif.is_installed", lambda: False)
    assert refusal(FIXTURE) == "an animation needs Pillow: pip install 'runstore[images]'"


def test_images_of_an_open_run_are_waited_for(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path / "runs") as run:
        for step in range(3):
            run.log_images("samples", np.full((200, 200), step), step=step)
        path = runstore.make_gif(run, output=tmp_path / "x.gif", label=False)
    assert len(frames_of(path)) == 3


# ---- completion ----------------------------------------------------------------------------------


def test_names_of_samples_are_offered() -> None:
    def names(typed: str, run: str = RUN_ID) -> list[str]:
        return [one.value for one in sample_candidates(typed, run, FIXTURE.parent)]

    assert names("") == ["recon", "val/inputs"]
    assert names("v") == ["val/inputs"]
    assert names("", "nothing") == []
