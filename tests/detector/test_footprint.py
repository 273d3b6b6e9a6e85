"""The sizes that are told without torch, against the networks themselves."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torchvision.models.detection.image_list import ImageList

from detector import checkpoint
from detector.config import ARCHITECTURES, Architecture, HarmonicLoss, SSDLite320
from detector.export import Limits
from detector.footprint import footprint
from detector.models import Detector, build, faster_rcnn
from tests.detector.helpers import config, run_training


def every_network() -> Iterator[Architecture]:
    """Each architecture on each of its backbones, and with each of its tails."""
    for kind, architecture in ARCHITECTURES.items():
        backbone = architecture.model_fields.get("backbone")
        if architecture is SSDLite320:
            yield from (SSDLite320(reduced_tail=reduced) for reduced in (True, False))
        elif backbone is None:
            yield architecture()
        else:
            for name in get_args(backbone.annotation):
                yield architecture.model_validate({"kind": kind, "backbone": name})


def named(value: Any) -> str:
    return "-".join(str(value.model_dump().get(name, "")) for name in ("kind", "backbone", "reduced_tail"))


@pytest.fixture(autouse=True)
def without_strides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without memory no box can be pooled, which two-stage networks do once when they are made."""
    monkeypatch.setattr(faster_rcnn, "_learn_strides", lambda network: None)


def measured(detector: Detector) -> tuple[int, int]:
    """Parameters that learn, and bytes of the whole state."""
    state = detector.state_dict().values()
    learning = sum(parameter.numel() for parameter in detector.parameters() if parameter.requires_grad)
    return learning, sum(tensor.numel() * tensor.element_size() for tensor in state)


def on_meta(architecture: Architecture, classes: int) -> Detector:
    with torch.device("meta"):
        return build(architecture, HarmonicLoss(), classes)


def finest_stride(detector: Detector, side: int) -> float:
    backbone: Any = detector.network.backbone
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 3, side, side, device="meta"))
    finest = next(iter(maps.values())) if isinstance(maps, dict) else maps[0]
    return side / float(finest.shape[-1])


def smallest_anchor(architecture: Architecture, side: int) -> float:
    """The root of its area, before it is clipped to the image; its corners are whole pixels."""
    network: Any = on_meta(architecture, 3).network
    network.anchor_generator.clip = False
    with torch.no_grad():
        maps = network.backbone(torch.zeros(1, 3, side, side, device="meta"))
    maps = [torch.zeros(one.shape) for one in maps.values()]
    images = torch.zeros(1, 3, side, side)
    [anchors] = network.anchor_generator(ImageList(images, [(side, side)]), maps)
    sides = anchors[:, 2:] - anchors[:, :2]
    return float(sides.prod(1).min().sqrt())


@pytest.mark.parametrize("architecture", list(every_network()), ids=named)
def test_a_footprint_is_the_networks_own(architecture: Architecture) -> None:
    told = footprint(architecture, 3)
    assert (told.parameters, told.weight_bytes) == measured(on_meta(architecture, 3))


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_it_grows_with_the_classes_and_sees_as_the_network_does(kind: str) -> None:
    architecture = ARCHITECTURES[kind]()
    detector = on_meta(architecture, 17)
    told = footprint(architecture, 17)
    assert (told.parameters, told.weight_bytes) == measured(detector)
    assert told.most_detections == Limits.of(detector).count
    # SSD300's finest map has 38 places where 37.5 would be whole.
    side = 300 if kind == "ssd300_vgg16" else 320
    assert told.finest_stride == pytest.approx(finest_stride(detector, side), rel=0.02)


@pytest.mark.parametrize("side", [224, 320])
@pytest.mark.parametrize("kind", ["ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn"])
def test_the_smallest_anchor_is_the_networks_own(kind: str, side: int) -> None:
    fields = {"kind": kind, "image_size": side} | ({"max_size": side} if "retinanet" in kind else {})
    architecture = ARCHITECTURES[kind].model_validate(fields)
    assert footprint(architecture, 3).smallest_anchor == pytest.approx(
        smallest_anchor(architecture, side), rel=0.01
    )


@pytest.mark.parametrize("kind", ["ssd300_vgg16", "retinanet_resnet50_fpn_v2"])
def test_the_smallest_anchor_of_a_fixed_size_is_the_networks_own(kind: str) -> None:
    architecture = ARCHITECTURES[kind]()
    assert footprint(architecture, 3).smallest_anchor == pytest.approx(
        smallest_anchor(architecture, 300), rel=0.01
    )


def test_where_anchors_are_refined_or_points_none_is_told() -> None:
    told = {kind: footprint(one(), 3).smallest_anchor for kind, one in ARCHITECTURES.items()}
    assert {kind for kind, anchor in told.items() if anchor is not None} == {
        kind for kind in ARCHITECTURES if "ssd" in kind or "retinanet" in kind
    }


@pytest.mark.parametrize("kind", ["retinanet_resnet50_fpn", "ssdlite320_mobilenet_v3_large", "ssd300_vgg16"])
def test_frozen_layers_make_it_no_larger(kind: str) -> None:
    architecture = ARCHITECTURES[kind].model_validate({"kind": kind, "initial_weights": "imagenet"})
    told = footprint(architecture, 3)
    learning, state = measured(on_meta(architecture, 3))
    assert 0.99 * told.parameters <= learning <= told.parameters
    assert 0.999 * told.weight_bytes <= state <= told.weight_bytes


def sizes(run: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (run / "artifacts").iterdir()}


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adamw", "ema_decay": None}], ids=["sgd", "adamw"])
def test_the_files_of_a_training_are_at_most_as_large_and_not_much_smaller(
    dataset: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """SSDlite is the worst case: of few numbers in many tensors."""
    training = config(**changes, epochs=1)
    run_training(dataset, tmp_path, training)
    told = footprint(training.architecture, 2)
    written = checkpoint.paths(tmp_path / "checkpoints")[-1].stat().st_size
    assert 0.95 * told.checkpoint_bytes(training.optimizer) < written
    assert written <= told.checkpoint_bytes(training.optimizer)
    state = checkpoint.load(checkpoint.paths(tmp_path / "checkpoints")[-1])
    tensors = [*state["model"].values(), *state["average"].values()]
    remembered = [v for one in state["optimizer"]["state"].values() for v in one.values() if v.numel() > 1]
    gradients = 4 * told.parameters
    held = sum(v.nbytes for v in [*tensors, *remembered]) + gradients
    assert 0.99 * told.state_bytes(training.optimizer) < held <= told.state_bytes(training.optimizer)
    files = sizes(tmp_path)
    model = files["model.safetensors"] + files["model.onnx"]
    assert 0.95 * told.model_bytes < model <= told.model_bytes
    found = files["detections.json"] + files["images.jsonl"] + files["report.json"]
    assert len(json.loads((tmp_path / "artifacts" / "detections.json").read_bytes())) == 4 * 300
    assert 0.8 * told.evaluation_bytes(4, 2) < found <= told.evaluation_bytes(4, 2)
