"""However a training goes on, it ends as if nobody had interrupted it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from detector import checkpoint, engine
from detector.engine import Interrupted
from detector.errors import OutOfMemory
from detector.events import EventReader, MetricEvent, NoticeEvent
from detector.models import Detector
from tests.detector.helpers import config, run_training

FASTER_RCNN = {"kind": "fasterrcnn_mobilenet_v3_large_320_fpn", "image_size": 128}


@pytest.fixture(autouse=True)
def _no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared is the last checkpoint."""
    monkeypatch.setattr(engine.Training, "finish", lambda _: None)


def last(run: Path) -> Any:
    return checkpoint.load(checkpoint.paths(run / "checkpoints")[-1])


def assert_same(found: Any, expected: Any) -> None:
    assert found["position"]["step"] == expected["position"]["step"]
    for part in ("model", "average"):
        for name, value in expected[part].items():
            assert torch.equal(found[part][name], value), (part, name)


@pytest.mark.parametrize(
    "changes",
    [
        {"gradient_accumulation": 2, "amp": "bf16"},
        {"augmentation": {"multi_scale": [128, 160, 192], "mosaic": 0.5, "copy_paste": 0.5}},
        # By itself it samples at random, groups by shape, and counts before it computes gradients.
        {"architecture": FASTER_RCNN, "gradient_accumulation": 2, "batch_size": 2, "epochs": 1},
    ],
    ids=["accumulation-in-bfloat16", "sizes-and-mixing", "two-stages"],
)
def test_a_training_interrupted_in_the_middle_of_an_epoch_ends_with_the_same_bits(
    dataset: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    training = config(**{"batch_size": 4, "epochs": 2, "evaluate_every": 2, **changes})
    unbroken = run_training(dataset, tmp_path / "unbroken", training)
    asked = iter([False, True] if "architecture" in changes else [False, False, False, True])
    with pytest.raises(Interrupted):
        run_training(dataset, tmp_path / "first", training, interrupted=lambda: next(asked))
    torch.rand(100)  # the process that resumes is another one
    path = checkpoint.paths(tmp_path / "first/checkpoints")[-1]
    assert checkpoint.load(path)["position"]["batch"] == 1
    resumed = run_training(dataset, tmp_path / "second", training, resume=path)
    assert_same(last(tmp_path / "second"), last(tmp_path / "unbroken"))
    rows = [event for event in resumed if isinstance(event, MetricEvent)]
    assert rows
    assert all(row in unbroken for row in rows)


def test_a_batch_that_was_too_large_stays_divided_after_a_resume(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Detector.forward
    sizes: list[int] = []

    def narrow(self: Detector, images: Any, targets: Any = None) -> Any:
        if self.training:
            sizes.append(len(images))
            if len(images) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return honest(self, images, targets)

    monkeypatch.setattr(Detector, "forward", narrow)
    asked = iter([False, True])
    with pytest.raises(Interrupted):
        run_training(dataset, tmp_path / "first", config(epochs=1), interrupted=lambda: next(asked))
    assert sizes == [4, 2, 2]
    path = checkpoint.paths(tmp_path / "first/checkpoints")[-1]
    sizes.clear()
    events = run_training(dataset, tmp_path / "second", config(epochs=1), resume=path)
    assert sizes == [2, 2]
    assert not [event for event in events if isinstance(event, NoticeEvent)]


def test_another_number_format_than_before_is_told(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a training with `amp: auto` moves from a GPU to a CPU."""
    training = config(epochs=1, batch_size=8)
    run_training(dataset, tmp_path / "first", training)
    state = last(tmp_path / "first")
    assert state["precision"] == "float32"
    monkeypatch.setattr(checkpoint, "load", lambda _: {**state, "precision": "bfloat16"})
    events = run_training(dataset, tmp_path / "second", training, resume=tmp_path)
    (notice,) = [event for event in events if isinstance(event, NoticeEvent)]
    assert notice.code == "precision_changed"
    assert "bfloat16 so far; on this machine it goes on in float32" in notice.message


def test_that_a_batch_was_divided_is_told(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Detector, "forward", full)
    run = tmp_path / "run"
    with pytest.raises(OutOfMemory, match="1 image at a time"):
        run_training(dataset, run, config())
    events = [event for event in EventReader(run).read() if isinstance(event, NoticeEvent)]
    assert [event.code for event in events] == ["micro_batch_halved"] * 2
    assert "at most 2 images" in events[0].message
    assert "at most 1 image " in events[1].message
