"""`log_images`: what becomes a file, when, and that a training never waits long or fails for it."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import runstore
from runstore import Run
from runstore.errors import BadValueError, StageError
from runstore.files.paths import sample_folder
from runstore.images import writer as image_writer
from runstore.images.writer import MOST_WAITING
from runstore.state.samples import Rewinds, SampleFolder
from runstore.train import host_copy
from tests.conftest import WaitUntil, remove_live
from tests.unit.images.test_samples import state_of
from tests.unit.metrics.test_device_metrics import Event

GREY = np.full((2, 1, 3, 3), 0.5, np.float32)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    opened = runstore.init(root=tmp_path, name="t")
    yield opened
    opened.finish()


@pytest.fixture
def event(monkeypatch: pytest.MonkeyPatch) -> Event:
    """The event behind everything that the accelerator is told; the CPU plays that."""
    event = Event()
    monkeypatch.setattr(host_copy, "_event_behind", lambda device: event)
    return event


@pytest.fixture
def events_of(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """The events behind each of the calls."""
    found: list[Event] = []

    def event_behind(device: object) -> Event:
        found.append(Event())
        return found[-1]

    monkeypatch.setattr(host_copy, "_event_behind", event_behind)
    return found


def files(run: Run, name: str = "samples") -> list[Path]:
    """Return what lies in a name's folder when the run has ended."""
    run.finish()
    folder = run.path / "samples" / sample_folder(name)
    return sorted(folder.iterdir()) if folder.exists() else []


def pixels(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image)


def events(run: Run) -> list[dict[str, Any]]:
    lines = (run.path / "events-0001.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def warnings(run: Run) -> list[str]:
    return [event["message"] for event in events(run) if event["event"] == "warning"]


def dropped(run: Run) -> int | None:
    run.finish()
    found: int | None = events(run)[-1].get("dropped_images")
    return found


class Raises:
    """What raises when it is asked for its numbers."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise self.error


def torn_image() -> Image.Image:
    """Return an image that Pillow opens, and cannot load."""
    file = io.BytesIO()
    Image.effect_noise((40, 40), 50).save(file, "PNG")
    return Image.open(io.BytesIO(file.getvalue()[:500]))


def test_each_call_is_a_file_with_step_epoch_and_attempt(run: Run) -> None:
    for _ in run.epochs(2):
        for _ in run.train(range(3)):
            run.track(loss=1.0)
        run.log_images("val/recon", GREY)
        run.log_images("val/recon", GREY * 2)
    run.log_images("val/recon", GREY, step=40)
    found = files(run, "val/recon")
    assert [path.name for path in found] == [
        "step-00000003-epoch-0001-0001.1.png",
        "step-00000003-epoch-0001-0001.png",
        "step-00000006-epoch-0002-0001.1.png",
        "step-00000006-epoch-0002-0001.png",
        "step-00000040-epoch-0002-0001.png",
    ]
    assert pixels(found[1]).shape == (7, 12)
    assert (pixels(found[1])[3, 3], pixels(found[0])[3, 3]) == (128, 255)
    assert list(SampleFolder(run.path).look().by_name) == ["val/recon"]
    assert "dropped_images" not in events(run)[-1]


@pytest.mark.parametrize(
    ("images", "first"),
    [
        (torch.full((3, 6, 5), 0.5), [128] * 3),
        (torch.full((3, 6, 5), 0.5, requires_grad=True), [128] * 3),
        (torch.full((1, 3, 6, 5), 0.5, dtype=torch.bfloat16), [128] * 3),
        (torch.full((5, 6, 3), 0.5, dtype=torch.float64).permute(2, 1, 0), [128] * 3),
        (torch.ones(6, 5, dtype=torch.bool), 255),
        (torch.full((6, 5), 7, dtype=torch.uint8), 7),
        (torch.full((1, 6, 5), 7), 7),
        ([torch.full((1, 6, 5), 0.5)], 128),
        (np.full((6, 5), 7, np.uint8), 7),
        (np.full((6, 5, 3), 7, np.uint8), [7] * 3),
        ([[0.5] * 5] * 6, None),
        (Image.new("RGB", (5, 6), (1, 2, 3)), [1, 2, 3]),
        ([Image.new("L", (5, 6), 9)], 9),
        (Image.new("LA", (5, 6), (9, 128)), [9, 9, 9, 128]),
        (Image.new("1", (5, 6), 1), 255),
    ],
)
def test_whatever_holds_images_is_taken(run: Run, images: Any, first: Any) -> None:
    run.log_images("samples", images)
    found = files(run)
    if first is None:  # a list is one of images, and numbers are none
        assert "images have the shape" in warnings(run)[0]
    else:
        assert pixels(found[0]).shape[:2] == (6, 5)
        assert pixels(found[0])[0, 0].tolist() == first
        assert warnings(run) == []


def test_images_of_several_kinds_in_a_list_become_alike(run: Run) -> None:
    clear = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    run.log_images("samples", [Image.new("L", (2, 2), 9), clear], padding=0)
    run.log_images("more", [np.zeros((2, 2)), torch.ones(2, 2)], padding=0)
    (mixed,) = files(run)
    assert pixels(mixed)[0].tolist() == [[9, 9, 9, 255]] * 2 + [[0, 0, 0, 0]] * 2
    assert pixels(files(run, "more")[0])[0].tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("cat.png", "images are 'cat.png', expected a tensor, an array, or a list of images"),
        (None, "images are None"),
        ([], "there are no images in the list"),
        (torch.zeros(0, 3, 4, 4), "images have the shape [0, 3, 4, 4]: there is nothing in them"),
        (np.zeros((2, 7, 8, 9)), "images have the shape [2, 7, 8, 9], expected [N, C, H, W]"),
        (np.zeros((2, 2), complex), "expected a tensor"),
        (torch.zeros(2, 2, dtype=torch.complex64), "torch.complex64, expected real numbers"),
        (torch.zeros(2, 2).to_sparse(), "images cannot be copied"),
        ([np.zeros((2, 2)), np.zeros((3, 2))], "the shapes [2, 2] and [3, 2]; expected all of one"),
        ([np.zeros((5, 1, 2, 2))], "a list of shapes [5, 1, 2, 2], expected [C, H, W] or [H, W]"),
        (np.zeros((6000, 6000), np.uint8), "6,000 x 6,000 pixels"),
        (Raises(MemoryError("Unable to allocate 9 TiB")), "Unable to allocate 9 TiB"),
        (torn_image(), "images cannot be copied"),
        ([torn_image()], "images cannot be copied"),
    ],
)
def test_what_is_no_image_is_told_once_and_counted(run: Run, images: Any, message: str) -> None:
    run.log_images("samples", images)
    run.log_images("samples", images)
    assert dropped(run) == 2
    assert len(warnings(run)) == 1
    assert warnings(run)[0].startswith("log_images('samples'): ")
    assert message in warnings(run)[0]
    assert files(run) == []


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_deep_images_of_pillows_are_taken_as_their_arrays_are(run: Run, dtype: Any) -> None:
    """Pillow itself cuts them off at 255."""
    deep = Image.fromarray(np.array([[0, 300], [600, 900]], dtype))
    run.log_images("samples", [deep, deep], value_range=(0, 900), padding=0)
    assert pixels(files(run)[0]).tolist() == [[0, 85, 0, 85], [170, 255, 170, 255]]


@pytest.mark.parametrize("name", ["", " ", None, 3, "x" * 201, "ü" * 40])
def test_names_that_can_be_none_are_told(run: Run, name: Any) -> None:
    run.log_images(name, GREY)
    assert dropped(run) == 1
    assert "the name is" in warnings(run)[0]


def test_names_lead_nowhere_else(run: Run) -> None:
    run.log_images("../../x\n\0", GREY)
    run.finish()
    assert list(SampleFolder(run.path).look().by_name) == ["../../x\n\0"]
    assert {path.name for path in run.path.parent.iterdir()} == {run.id}


def test_a_strict_run_raises(tmp_path: Path) -> None:
    with runstore.init(root=tmp_path, strict=True) as run:
        with pytest.raises(BadValueError, match="no images in the list"):
            run.log_images("samples", [])
        with pytest.raises(BadValueError, match="nrow is 0"):
            run.log_images("samples", GREY, nrow=0)
        with pytest.raises(BadValueError, match="'step' is -1, expected 0 or more"):
            run.log_images("samples", GREY, step=-1)


@pytest.mark.parametrize("step", [-1, 3.5, "x"])
def test_a_step_that_is_none_does_not_move_the_run(run: Run, step: Any) -> None:
    run.log({"loss": 1.0}, step=7)
    run.log_images("samples", GREY, step=step)
    run.log_images("samples", GREY)
    assert run.step == 7
    assert [path.name for path in files(run)] == [
        "step-00000007-0001.1.png",
        "step-00000007-0001.png",
    ]
    assert warnings(run)[0].endswith("run.step is used")


def test_odd_values_are_told_once_a_name(run: Run) -> None:
    for _ in range(2):
        run.log_images("samples", torch.tensor([[0.0, float("nan")]]))
        run.log_images("tanh", torch.tensor([[-1.0, 1.0]]))
    run.finish()
    assert sorted(warnings(run)) == [
        "log_images('samples', …): 1 of 2 values are NaN or infinite",
        "log_images('tanh', …): the values go from -1 to 1, and are cut off at 0 and 1; say what "
        "is black and white, as in value_range=(-1, 1), or normalize=True",
    ]


def test_more_images_than_a_viewer_takes_are_left_out_in_whole_rows(run: Run) -> None:
    images = np.broadcast_to(np.uint8(7), (100, 1, 1000, 1000))
    run.log_images("samples", images, nrow=4)
    (path,) = files(run)
    assert pixels(path).shape == (6014, 4010)
    assert warnings(run) == [
        "log_images('samples'): the last 76 images are left out; no viewer would take so large a "
        "grid"
    ]


def test_images_are_those_of_the_call(run: Run, event: Event) -> None:
    tensor, array = torch.zeros(2, 2), np.zeros((2, 2))
    run.log_images("tensor", tensor)
    run.log_images("array", array)
    tensor.fill_(1.0)
    array.fill(1.0)
    event.is_set = True
    for name in ("tensor", "array"):
        assert pixels(files(run, name)[0]).max() == 0


def test_files_come_in_order_when_their_images_do(run: Run, event: Event) -> None:
    run.log_images("samples", torch.zeros(2, 2))
    run.log_images("samples", np.ones((2, 2)))
    assert not (run.path / "samples").exists()
    event.is_set = True
    assert [pixels(path).max() for path in files(run)] == [255, 0]


def test_images_beyond_what_can_wait_are_left_out_and_counted(
    run: Run, event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_writer, "STANDS_STILL_S", 0.01)
    for step in range(MOST_WAITING + 5):
        run.log_images("samples", torch.zeros(2, 2), step=step)
    event.is_set = True
    assert len(files(run)) == MOST_WAITING
    assert dropped(run) == 5
    assert warnings(run) == [
        "no image could be written for 0 s; images are left out until that is over"
    ]


def test_memory_of_what_waits_is_bounded(
    run: Run, event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_writer, "STANDS_STILL_S", 0.01)
    monkeypatch.setattr(image_writer, "MOST_WAITING_BYTES", 1000)
    for _ in range(3):
        run.log_images("samples", torch.zeros(20, 20))  # alone larger than that
    event.is_set = True
    assert len(files(run)) == 1
    assert dropped(run) == 2


def test_a_wait_in_vain_is_the_last_until_half_of_the_memory_is_free(
    run: Run, events_of: list[Event], monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    monkeypatch.setattr(image_writer, "STANDS_STILL_S", 0.01)
    monkeypatch.setattr(image_writer, "MOST_WAITING_BYTES", 4 * 1600)
    for _ in range(5):
        run.log_images("samples", torch.zeros(20, 20))
    assert run._images.dropped == 1
    monkeypatch.setattr(image_writer, "STANDS_STILL_S", 1e9)  # another wait would not end
    events_of[0].is_set = True
    wait_until(lambda: run._images._done == 1)
    run.log_images("samples", torch.zeros(40, 40))
    assert run._images.dropped == 2
    for event in events_of:
        event.is_set = True
    assert len(files(run)) == 4


def test_a_training_that_logs_faster_than_files_come_waits_and_loses_none(
    run: Run, events_of: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_writer, "MOST_WAITING", 4)
    monkeypatch.setattr(image_writer, "TELL_S", 0.2)
    monkeypatch.setattr(image_writer, "STANDS_STILL_S", 60.0)
    is_over = threading.Event()

    def write_slowly() -> None:
        at = 0
        while not is_over.wait(0.05):
            if at < len(events_of):
                events_of[at].is_set = True
                at += 1

    slowly = threading.Thread(target=write_slowly)
    slowly.start()
    for _ in range(20):
        run.log_images("samples", torch.zeros(2, 2))
    assert run._images._waiting <= 5
    for event in events_of:
        event.is_set = True
    is_over.set()
    slowly.join()
    assert (len(files(run)), dropped(run)) == (20, None)
    assert warnings(run) == [
        "images come faster than they can be written, and log_images waits for room; log them more "
        "rarely, or smaller ones"
    ]


def test_without_another_thread_the_images_are_counted(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(image_writer, "start_daemon", refuse)
    run.log_images("samples", GREY)
    assert dropped(run) == 1
    assert warnings(run) == ["no images are written: can't start new thread"]


def test_the_end_does_not_wait_for_ever(
    run: Run, event: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_writer, "END_WAIT_S", 0.05)
    run.log_images("samples", torch.zeros(2, 2))
    run.finish()
    event.is_set = True
    assert dropped(run) == 1
    assert files(run) == []


def test_a_device_that_fails_costs_its_images_only(run: Run, event: Event) -> None:
    event.error = "CUDA error: an illegal memory access was encountered"
    run.log_images("samples", torch.zeros(2, 2))
    run.log_images("host", np.zeros((2, 2)))
    assert len(files(run, "host")) == 1
    assert dropped(run) == 1
    assert warnings(run) == [f"images of 'samples' cannot be written ({event.error})"]


def test_a_disk_that_takes_nothing_is_told_once(run: Run) -> None:
    (run.path / "samples").write_text("in the way")
    for _ in range(3):
        run.log_images("samples", GREY)
    run.log({"loss": 1.0})
    assert dropped(run) == 3
    assert warnings(run) == ["images of 'samples' cannot be written (Not a directory)"]
    assert (run.path / "metrics-0001.jsonl").exists()


def test_images_follow_a_moved_run_and_do_not_bring_back_a_deleted_one(tmp_path: Path) -> None:
    moved = runstore.init(root=tmp_path, name="moved")
    moved.log_images("samples", GREY)
    moved.settle_images()
    moved.path.rename(tmp_path / "elsewhere")
    moved.log_images("samples", GREY, step=1)
    moved.finish()
    assert len(list((tmp_path / "elsewhere" / "samples" / "samples").iterdir())) == 2
    gone = runstore.init(root=tmp_path, name="gone")
    gone.log_images("samples", GREY)
    gone.settle_images()
    remove_live(gone.path.rename(tmp_path / "deleted"))
    gone.log_images("samples", GREY)
    gone.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]


def test_a_file_of_somebody_else_is_not_replaced(run: Run) -> None:
    folder = run.path / "samples" / "samples"
    folder.mkdir(parents=True)
    (folder / "step-00000000-0001.png").write_text("mine")
    (folder / ".step-00000000-0000.png.17-17.tmp").write_text("a killed attempt's")
    run.log_images("samples", GREY)
    assert [path.name for path in files(run)] == [
        "step-00000000-0001.1.png",
        "step-00000000-0001.png",
    ]
    assert (folder / "step-00000000-0001.png").read_text() == "mine"


def test_a_name_gets_no_more_files_than_the_format_advises(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_writer, "MOST_OF_A_NAME", 2)
    for _ in range(3):
        run.log_images("samples", GREY)
    assert len(files(run)) == 2
    assert dropped(run) == 1
    assert warnings(run) == [
        "images of 'samples' cannot be written (2 are there; log them more rarely)"
    ]


def test_without_pillow_one_line_names_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "PIL.PngImagePlugin", raising=False)
    run.log_images("samples", GREY)
    run.log_images("samples", GREY)
    assert dropped(run) == 2
    (told,) = warnings(run)
    assert told.startswith("no images are written: ")
    assert told.endswith("pip install 'runstore[train]'")


def test_after_the_end_nothing_is_written(run: Run) -> None:
    run.finish()
    run.log_images("samples", GREY)
    assert files(run) == []


def test_a_forked_child_writes_nothing(run: Run) -> None:
    run.log_images("samples", GREY)
    pid = os.fork()
    if pid == 0:
        run.log_images("samples", GREY)
        run.finish()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    run.log_images("samples", GREY, step=1)
    assert len(files(run)) == 2


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    with Run(tmp_path, {}, rank=1, all_ranks=True) as run:
        run.log_images("samples", GREY)
    assert not (tmp_path / "samples").exists()


def test_a_run_manager_has_the_same_call(tmp_path: Path) -> None:
    manager = runstore.RunManager(tmp_path)
    with pytest.raises(StageError, match="log_images"):
        manager.log_images("samples", GREY)
    run = manager.begin_run()
    manager.log_images("samples", GREY, value_range=(0.5, 1), nrow=1)
    manager.end_run()
    assert pixels(files(run)[0]).shape == (12, 7)
    assert pixels(files(run)[0]).max() == 0


def train(root: Path, fail_at: int = 0, **options: Any) -> Run:
    """Train four epochs of five steps with a sample each; `fail_at` is behind that one's sample."""
    model = torch.nn.Linear(1, 1)
    with runstore.init(root=root, save_every="2ep", **options) as run:
        run.register(model=model)
        for epoch in run.epochs(4):
            for _ in run.train(range(5)):
                run.track(loss=1.0)
            run.log_images("samples", torch.full((2, 2), epoch / 4))
            if epoch == fail_at:
                raise InterruptedError
    return run


def test_a_resumed_run_supersedes_what_came_behind_its_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InterruptedError):
        train(tmp_path, fail_at=3)
    (run_dir,) = tmp_path.iterdir()
    train(tmp_path, resume=run_dir)
    found = SampleFolder(run_dir).look().by_name["samples"]
    assert [(s.file.step, s.file.epoch, s.file.attempt) for s in found] == [
        (5, 1, 1), (10, 2, 1), (15, 3, 1), (15, 3, 2), (20, 4, 2),
    ]  # fmt: skip
    counting = Rewinds.of(state_of(run_dir)).visible(found)
    assert [(s.file.step, s.file.attempt) for s in counting] == [(5, 1), (10, 1), (15, 2), (20, 2)]


def test_a_checkpoint_has_the_images_before_it_in_their_files(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1)
    with runstore.init(root=tmp_path, save_every="1ep") as run:
        run.register(model=model)
        for epoch in run.epochs(3):
            assert len(list(run.path.glob("samples/samples/step-*"))) == epoch - 1
            run.log_images("samples", torch.rand(64, 3, 32, 32))


def test_tensorboard_gets_the_same_images(tmp_path: Path) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with runstore.init(root=tmp_path, tensorboard=True) as run:
        run.log_images("val/recon", torch.rand(4, 3, 8, 8), step=7)
        run.log_images("val/recon", torch.rand(4, 1, 8, 8), step=9)
    events = accumulators.EventAccumulator(str(run.path)).Reload()
    first, second = events.Images("val/recon")
    assert (first.step, first.width, first.height) == (7, 42, 12)
    assert second.step == 9
    on_disk = [path.read_bytes() for path in files(run, "val/recon")]
    assert [first.encoded_image_string, second.encoded_image_string] == on_disk
