from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops

import runstore
from runstore.files.limits import SAMPLE_NAMES, SAMPLES_PER_RUN
from runstore.files.paths import SampleFile, sample_folder, sample_name
from runstore.sources.native import NativeReader
from runstore.state.run_state import RunState
from runstore.state.samples import Rewinds, Sample, SampleFolder, Samples, epoch_of
from tests.fixtures.samples.make import RUN_ID, main

FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "samples" / RUN_ID


def state_of(run_dir: Path) -> RunState:
    reader = NativeReader(run_dir)
    while reader.poll() and reader.behind:
        pass
    return reader.state


def counting(run_dir: Path) -> dict[str, list[str]]:
    """Return the names of the files that count, by the name of the samples."""
    rewinds = Rewinds.of(state_of(run_dir))
    samples = SampleFolder(run_dir).look()
    return {
        name: [Path(sample.path).name for sample in rewinds.visible(found)]
        for name, found in samples.by_name.items()
    }


def touch(run_dir: Path, *names: str) -> None:
    for name in names:
        path = run_dir / "samples" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_fixture_is_what_its_script_makes(tmp_path: Path) -> None:
    main(tmp_path)
    made = {path.relative_to(tmp_path / RUN_ID) for path in (tmp_path / RUN_ID).rglob("*")}
    assert made == {path.relative_to(FIXTURE) for path in FIXTURE.rglob("*")}
    for path in sorted(path for path in made if (FIXTURE / path).is_file()):
        if path.suffix == ".png":  # the bytes are zlib's matter
            with Image.open(FIXTURE / path) as kept, Image.open(tmp_path / RUN_ID / path) as new:
                assert kept.mode == new.mode
                assert ImageChops.difference(kept, new).getbbox() is None
        else:
            assert (FIXTURE / path).read_bytes() == (tmp_path / RUN_ID / path).read_bytes()


def test_samples_behind_the_checkpoint_of_a_resume_do_not_count() -> None:
    assert counting(FIXTURE) == {
        "recon": [
            "step-00000020-epoch-0001-0001.png",
            "step-00000040-epoch-0002-0001.png",
            "step-00000060-epoch-0003-0002.png",
            "step-00000080-epoch-0004-0002.png",
        ],
        "val/inputs": ["step-00000040-0001.png", "step-00000080-0002.png"],
    }


def test_epoch_is_the_one_in_the_name_or_that_of_the_step() -> None:
    state = state_of(FIXTURE)
    told = SampleFolder(FIXTURE).look().by_name["val/inputs"]
    assert [epoch_of(sample, state) for sample in told] == [2, 4]
    assert epoch_of(Sample(SampleFile(41, epoch=9), ""), state) == 9
    assert epoch_of(Sample(SampleFile(41), ""), state) == 3
    assert epoch_of(Sample(SampleFile(81), ""), state) is None
    assert epoch_of(Sample(SampleFile(5), ""), RunState(Path("run"))) is None


def test_attempt_that_starts_over_replaces_what_it_samples_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), runstore.init(root=tmp_path) as run:
        run.log({"loss": 1.0}, step=1)
        raise KeyboardInterrupt
    run_dir = run.path
    with runstore.init(resume=run_dir) as run:
        run.log({"loss": 1.0}, step=1)
    touch(run_dir, "a/step-00000002-0001.png", "a/step-00000003-0001.png")
    touch(run_dir, "a/step-00000002-0002.png", "a/step-00000000-0001.png")
    assert counting(run_dir)["a"] == ["step-00000000-0001.png", "step-00000002-0002.png"]


def test_file_that_names_no_attempt_always_counts(tmp_path: Path) -> None:
    rewinds = Rewinds(((2, 40),))
    touch(tmp_path, "a/step-7.png", "a/step-00000050.png", "a/step-00000050-0001.png")
    found = rewinds.visible(SampleFolder(tmp_path).look().by_name["a"])
    assert [Path(sample.path).name for sample in found] == ["step-7.png", "step-00000050.png"]


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_any_name_is_a_safe_folder_and_comes_back(name: str) -> None:
    folder = sample_folder(name)
    assert folder.isascii() and folder.isprintable()
    assert not folder.startswith(".") and not set(folder) & set("/\\ :*?\"<>|'")
    assert sample_name(folder) == name


@given(st.builds(SampleFile, *(st.integers(0, 10**6),) * 3, st.none() | st.integers(0, 9999)))
def test_name_of_a_sample_says_all_of_it(file: SampleFile) -> None:
    assert SampleFile.parse(file.name) == file
    assert SampleFile.parse(file.name).epoch == file.epoch  # type: ignore[union-attr]


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a/step-00000001.png", "a/.step-00000002.png", "a/step-00000003.svg")
    touch(tmp_path, "a/step-x.png", "a/b/step-00000001.png", ".a/step-00000001.png", "step-1.png")
    (tmp_path / "samples" / "link").symlink_to("a")
    found = SampleFolder(tmp_path).look()
    assert [(name, len(samples)) for name, samples in found.by_name.items()] == [("a", 1)]


def test_run_without_samples_has_none_and_no_problem(tmp_path: Path) -> None:
    assert SampleFolder(tmp_path).look() == Samples()
    (tmp_path / "samples").touch()
    assert SampleFolder(tmp_path).look().problem == "not a directory"


def test_listing_is_the_same_object_until_a_file_comes(tmp_path: Path) -> None:
    touch(tmp_path, "a/step-00000001.png")
    folder = SampleFolder(tmp_path)
    first = folder.look()
    assert folder.look() is first
    touch(tmp_path, "a/step-00000002.png")
    assert [sample.file.step for sample in folder.look().by_name["a"]] == [1, 2]


def test_more_names_than_a_screen_shows_are_left_out_and_told(tmp_path: Path) -> None:
    for number in range(SAMPLE_NAMES + 2):
        touch(tmp_path, f"n{number:03d}/step-00000001.png")
    found = SampleFolder(tmp_path).look()
    assert len(found.by_name) == SAMPLE_NAMES
    assert found.left_out == "2 samples are left out"


def test_of_too_many_steps_the_newest_are_kept(tmp_path: Path) -> None:
    folder = tmp_path / "samples" / "a"
    folder.mkdir(parents=True)
    for step in range(SAMPLES_PER_RUN + 5):
        os.close(os.open(folder / f"step-{step:08d}.png", os.O_CREAT))
    found = SampleFolder(tmp_path).look()
    assert found.by_name["a"][0].file.step == 5
    assert found.left_out == "5 samples are left out"


def test_images_that_wandb_keeps_are_found(tmp_path: Path) -> None:
    images = tmp_path / "files" / "media" / "images"
    (images / "v1.2").mkdir(parents=True)
    names = ["recon_10_0123456789abcdef0123.png", "recon_10_aaaaaaaaaaaaaaaaaaaa.png"]
    for name in (*names, "recon_2_0123456789abcdef0123.png", "v1.2/mask_3_aaaaaaaa.png", "x.png"):
        (images / name).touch()
    found = SampleFolder(tmp_path, "wandb").look().by_name
    assert {name: [s.file.step for s in samples] for name, samples in found.items()} == {
        "recon": [2, 10, 10],
        "v1.2/mask": [3],
    }


def test_an_open_event_of_nonsense_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "events-0002.jsonl").write_text(
        json.dumps({"event": "open", "format": 1, "attempt": 2, "cuts": [], "step": "7"}) + "\n"
    )
    touch(tmp_path, "a/step-00000009-0001.png")
    state = state_of(tmp_path)
    found = SampleFolder(tmp_path).look().by_name["a"]
    assert Rewinds.of(state).visible(found) == list(found)
