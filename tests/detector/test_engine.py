import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file

from detector import checkpoint, engine
from detector.config import TrainConfig
from detector.data.batches import EpochBatches
from detector.data.materialise import load
from detector.engine import Interrupted, choose_splits, config_hash
from detector.errors import CheckpointCorrupt, ConfigInvalid, DatasetInvalid, NonFiniteLoss, OutOfMemory
from detector.evaluate.coco import evaluate
from detector.events import (
    CheckpointEvent,
    EventReader,
    MetricEvent,
    NoticeEvent,
    PhaseEvent,
    ProgressEvent,
)
from detector.manifest import order_hash, weights_hash
from detector.models import Detector, build
from tests.detector.helpers import config, run_training, write_dataset

FASTER_RCNN = {"kind": "fasterrcnn_mobilenet_v3_large_320_fpn", "image_size": 128}


@pytest.fixture(scope="module")
def finished(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a training of two epochs."""
    run = tmp_path_factory.mktemp("finished")
    run_training(dataset, run, config())
    return run


def test_a_run_goes_through_its_phases_to_a_result(finished: Path) -> None:
    phases = [event.phase for event in EventReader(finished).read() if isinstance(event, PhaseEvent)]
    assert phases[:2] == ["preparing", "training"]
    assert phases[-2:] == ["evaluating", "exporting"]
    result = json.loads((finished / "result.json").read_text())
    assert (result["epochs"], result["steps"], result["split"], result["reason"]) == (2, 4, "val", None)
    assert result["classes"] == [{"id": 7, "name": "light"}, {"id": 3, "name": "dark"}]
    assert len(result["metrics"]) == 12
    assert TrainConfig.model_validate(result["config"]) == config()


def test_the_artifacts_are_what_the_result_says(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    described = {one["name"]: one for one in result["artifacts"]}
    assert set(described) == {
        "model.safetensors",
        "model.onnx",
        "model.json",
        "detections.json",
        "ground_truth.json",
        "report.json",
        "images.jsonl",
        "manifest.json",
    }
    for one in described.values():
        assert (finished / one["path"]).stat().st_size == one["bytes"]


def test_the_card_has_a_threshold_for_every_class(finished: Path) -> None:
    card = json.loads((finished / "artifacts/model.json").read_text())
    report = json.loads((finished / "artifacts/report.json").read_text())
    assert set(card["operating_points"]) == {"max_f1", "precision"}
    chosen = report["operating_points"]["best_f1"]["all"]["chosen"]
    assert card["operating_points"]["max_f1"]["overall"] == (chosen and chosen["threshold"])
    assert set(card["operating_points"]["precision"]["per_class"]) == {"7", "3"}


def test_the_manifest_tells_what_the_training_began_with(dataset: Path, finished: Path) -> None:
    manifest = json.loads((finished / "artifacts/manifest.json").read_text())
    assert manifest["versions"]["torch"] == torch.__version__
    assert (manifest["device"]["type"], manifest["processes"], manifest["seed"]) == ("cpu", 1, config().seed)
    assert manifest["precision"] == "float32"
    images = [image for image in load(dataset).images if image.split == "train"]
    names = [image.file_name for image in images]
    batches = EpochBatches(len(images), config().batch_size, config().seed)
    assert manifest["data_order_sha256"] == order_hash(names, batches)
    assert order_hash(names, EpochBatches(len(images), config().batch_size, 99)) != order_hash(names, batches)
    torch.manual_seed(config().seed)
    built = build(config().architecture, config().loss, 2)
    assert manifest["initial_state_sha256"] == weights_hash(built.state_dict())


def test_pycocotools_on_the_artifacts_gives_the_metrics_of_the_result(finished: Path) -> None:
    result = json.loads((finished / "result.json").read_text())
    truth = json.loads((finished / "artifacts/ground_truth.json").read_text())
    detections = json.loads((finished / "artifacts/detections.json").read_text())
    assert evaluate(truth, detections).metrics == result["metrics"]
    assert {one["category_id"] for one in detections} <= {3, 7}
    assert {one["image_id"] for one in truth["annotations"]} == {108, 109, 110, 111}


def test_every_epoch_is_measured_and_checkpointed(finished: Path) -> None:
    events = EventReader(finished).read()
    measured = [event for event in events if isinstance(event, MetricEvent) and event.split == "val"]
    assert [(event.step, event.epoch) for event in measured] == [(2, 1.0), (4, 2.0)]
    written = [event for event in events if isinstance(event, CheckpointEvent)]
    assert [(event.step, event.epoch) for event in written] == [(2, 1.0), (4, 2.0)]
    for event in written:
        assert (finished / event.path).stat().st_size == event.bytes


def test_progress_ends_at_the_last_step(finished: Path) -> None:
    last = [event for event in EventReader(finished).read() if isinstance(event, ProgressEvent)][-1]
    assert (last.step, last.steps, last.epoch, last.fraction) == (4, 4, 2, 1.0)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    dataset: Path, finished: Path, tmp_path: Path
) -> None:
    run_training(dataset, tmp_path / "again", config())
    run_training(dataset, tmp_path / "other", config(seed=1))
    weights = [
        (run / "artifacts/model.safetensors").read_bytes()
        for run in (finished, tmp_path / "again", tmp_path / "other")
    ]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_an_interrupted_training_leaves_a_checkpoint_and_no_result(dataset: Path, tmp_path: Path) -> None:
    asked = iter([False, True])
    with pytest.raises(Interrupted):
        run_training(dataset, tmp_path, config(), interrupted=lambda: next(asked))
    (path,) = checkpoint.paths(tmp_path / "checkpoints")
    state = checkpoint.load(path)
    assert (state["position"]["step"], state["position"]["batch"]) == (1, 1)
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize("asked_at", [2, 4, 5, 9])
def test_wherever_it_is_interrupted_the_resumed_training_ends_with_the_same_bits(
    dataset: Path, finished: Path, tmp_path: Path, asked_at: int
) -> None:
    """Asked before each step and before each batch of an evaluation: within epochs and within evaluations."""
    calls = 0

    def interrupted() -> bool:
        nonlocal calls
        calls += 1
        return calls == asked_at

    with pytest.raises(Interrupted):
        run_training(dataset, tmp_path / "first", config(), interrupted=interrupted)
    torch.rand(100)  # the process that resumes is another one
    path = checkpoint.paths(tmp_path / "first/checkpoints")[-1]
    events = run_training(dataset, tmp_path / "second", config(), resume=path)
    expected = (finished / "artifacts/model.safetensors").read_bytes()
    assert (tmp_path / "second/artifacts/model.safetensors").read_bytes() == expected
    before = [event for event in EventReader(finished).read() if isinstance(event, MetricEvent)]
    after = [event for event in events if isinstance(event, MetricEvent)]
    assert after
    assert all(event in before for event in after)


def test_the_checkpoint_of_another_training_is_refused(dataset: Path, finished: Path, tmp_path: Path) -> None:
    path = checkpoint.paths(finished / "checkpoints")[-1]
    with pytest.raises(CheckpointCorrupt, match="seed"):
        run_training(dataset, tmp_path / "config", config(seed=5), resume=path)
    write_dataset(tmp_path / "data", train=9)
    with pytest.raises(CheckpointCorrupt, match="another dataset"):
        run_training(tmp_path / "data", tmp_path / "run", config(), resume=path)


def test_where_and_how_often_may_change_between_attempts() -> None:
    assert config_hash(config()) == config_hash(config(num_workers=2, checkpoint_every_steps=5))
    assert config_hash(config()) != config_hash(config(loss="baseline"))


def test_a_loss_that_is_not_finite_names_step_and_images(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Detector.forward
    calls = 0

    def wild(self: Detector, images: Any, targets: Any = None) -> Any:
        nonlocal calls
        calls += 1
        losses = honest(self, images, targets)
        return {name: value * float("nan") for name, value in losses.items()} if calls == 2 else losses  # type: ignore[union-attr]

    monkeypatch.setattr(Detector, "forward", wild)
    with pytest.raises(NonFiniteLoss, match=r"loss of step 2 is not finite .* images are train/\d"):
        run_training(dataset, tmp_path, config())


def test_a_gradient_that_is_not_finite_does_not_reach_the_weights(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(float("inf")))
    with pytest.raises(NonFiniteLoss, match="gradient of step 1"):
        run_training(dataset, tmp_path, config())


def test_running_out_of_memory_is_named(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine.Training, "_step", fail)
    with pytest.raises(OutOfMemory, match="4 images at a time"):
        run_training(dataset, tmp_path, config())


def test_other_errors_stay_themselves(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(engine.Training, "_step", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        run_training(dataset, tmp_path, config())


def test_a_training_that_no_longer_improves_ends_early(dataset: Path, tmp_path: Path) -> None:
    patient = config(epochs=9, early_stopping={"patience": 1, "min_delta": 1.0})
    events = run_training(dataset, tmp_path, patient)
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["epochs"], result["reason"]) == (2, "early_stopped")
    assert [event.code for event in events if isinstance(event, NoticeEvent)] == ["early_stopped"]


def test_an_early_stopped_training_resumes_into_its_export(dataset: Path, tmp_path: Path) -> None:
    patient = config(epochs=9, early_stopping={"patience": 1, "min_delta": 1.0})
    run_training(dataset, tmp_path / "first", patient)
    path = checkpoint.paths(tmp_path / "first/checkpoints")[-1]
    run_training(dataset, tmp_path / "second", patient, resume=path)
    first, second = (json.loads((tmp_path / run / "result.json").read_text()) for run in ("first", "second"))
    assert first == second


def test_evaluation_comes_every_so_many_epochs_and_at_the_end(dataset: Path, tmp_path: Path) -> None:
    events = run_training(dataset, tmp_path, config(epochs=3, evaluate_every=2))
    epochs = [event.epoch for event in events if isinstance(event, MetricEvent) and event.split == "val"]
    assert epochs == [2.0, 3.0]


def test_checkpoints_come_within_epochs_where_asked(dataset: Path, tmp_path: Path) -> None:
    events = run_training(dataset, tmp_path, config(epochs=1, batch_size=2, checkpoint_every_steps=3))
    assert [event.step for event in events if isinstance(event, CheckpointEvent)] == [3, 4]
    assert len(checkpoint.paths(tmp_path / "checkpoints")) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"ema_decay": None},
        {"clip_grad_norm": None, "optimizer": "adamw"},
        {"amp": "bf16"},
        {"schedule": {"kind": "step", "milestones": [1]}},
        {"num_workers": 2},
        {"loss": "baseline"},
        {"architecture": FASTER_RCNN, "epochs": 1, "batch_size": 2},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_every_way_to_train_runs_to_its_end(
    dataset: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    run_training(dataset, tmp_path, config(**changes))
    weights = load_file(tmp_path / "artifacts/model.safetensors")
    assert all(bool(torch.isfinite(value).all()) for value in weights.values() if value.is_floating_point())


def test_one_image_is_enough_to_train(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", train=1, val=1)
    events = run_training(tmp_path / "data", tmp_path / "run", config(batch_size=1))
    losses = [
        event.values["loss"] for event in events if isinstance(event, MetricEvent) and event.split == "train"
    ]
    assert all(loss is not None and math.isfinite(loss) for loss in losses)


def test_images_without_objects_are_learned_from_too(tmp_path: Path) -> None:
    index = write_dataset(tmp_path / "data", train=4, val=2)
    bare = [
        type(image)(image.id, image.file_name, image.split, image.width, image.height)
        if image.id in (100, 101, 105)
        else image
        for image in index.images
    ]
    changed = type(index)(index.format, index.categories, bare)
    (tmp_path / "data/dataset.json").write_bytes(msgspec.json.encode(changed))
    for number, architecture in enumerate((config().architecture.model_dump(), FASTER_RCNN)):
        training = config(architecture=architecture, batch_size=2, epochs=1)
        run_training(tmp_path / "data", tmp_path / str(number), training)


def test_splits_are_chosen_and_their_absence_is_said(tmp_path: Path) -> None:
    index = write_dataset(tmp_path, train=2, val=2)
    splits = choose_splits(index, config())
    assert splits.evaluation_name == "val"
    assert [image.id for image in splits.evaluation] == [102, 103]
    with pytest.raises(DatasetInvalid, match="'test'; it has train, val"):
        choose_splits(index, config(eval_split="test"))
    with pytest.raises(ConfigInvalid, match="both 'train'"):
        choose_splits(index, config(eval_split="train"))
    without = [image for image in index.images if image.split != "train"]
    with pytest.raises(DatasetInvalid, match="'train'"):
        choose_splits(type(index)("coco", index.categories, without), config())


def test_without_val_the_measure_is_taken_on_test(tmp_path: Path) -> None:
    index = write_dataset(tmp_path, train=2, val=2)
    renamed = [
        type(image)(image.id, image.file_name, "test", image.width, image.height, image.annotations)
        if image.split == "val"
        else image
        for image in index.images
    ]
    assert choose_splits(type(index)("coco", index.categories, renamed), config()).evaluation_name == "test"
