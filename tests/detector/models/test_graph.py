"""The graph that is exported gives in ONNX Runtime what the detector gives in torch."""

import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from detector.config import Architecture
from detector.models import Detector, graph_module, pixels_to_unit
from tests.detector.models.helpers import ARCHITECTURES, FASTER_RCNN, SSD, detect, lively, make, pictures


def pixels(height: int, width: int, seed: int = 5) -> Tensor:
    (image,) = pictures((height, width), seed=seed)
    return (image * 255).to(torch.uint8).permute(1, 2, 0).contiguous()


@cache
def lively_detector(architecture: Architecture) -> Detector:
    return lively(make(architecture))


@cache
def session(architecture: Architecture) -> Any:
    return export(lively_detector(architecture), dynamic=architecture is FASTER_RCNN)


def export(detector: Detector, *, dynamic: bool, example: Tensor | None = None) -> Any:
    names = ["boxes", "scores", "labels"]
    axes = {name: {0: "detections"} for name in names}
    if dynamic:
        axes["image"] = {0: "height", 1: "width"}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of every constant in torchvision
        path = str(Path(folder) / "model.onnx")
        torch.onnx.export(
            graph_module(detector),
            (pixels(128, 128, seed=99) if example is None else example,),
            path,
            dynamo=False,
            opset_version=17,
            input_names=["image"],
            output_names=names,
            dynamic_axes=axes,
        )
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def assert_equal_detections(graph: nn.Module, session: Any, image: Tensor) -> int:
    """Every detection has its twin; those of equal score may come in another order. Returns their number."""
    with torch.no_grad():
        boxes, scores, labels = (value.numpy() for value in graph(image))
    their_boxes, their_scores, their_labels = session.run(None, {"image": image.numpy()})
    assert their_labels.dtype == np.int64
    assert len(their_labels) == len(labels)
    same = (
        (labels[:, None] == their_labels)
        & (np.abs(scores[:, None] - their_scores) < 1e-4)
        & (np.abs(boxes[:, None] - their_boxes).max(axis=2) < 0.05)
    )
    assert same.any(axis=0).all()
    assert same.any(axis=1).all()
    np.testing.assert_allclose(their_scores, scores, atol=1e-4)
    return len(labels)


@pytest.mark.parametrize("seed", [5, 6])
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.kind)
def test_onnx_runtime_finds_what_torch_finds(architecture: Architecture, seed: int) -> None:
    graph = graph_module(lively_detector(architecture))
    assert assert_equal_detections(graph, session(architecture), pixels(128, 128, seed)) > 5


@pytest.mark.parametrize("shape", [(128, 200), (256, 128), (131, 170), (16, 256)])
def test_one_faster_rcnn_graph_takes_every_size(shape: tuple[int, int]) -> None:
    graph = graph_module(lively_detector(FASTER_RCNN))
    assert assert_equal_detections(graph, session(FASTER_RCNN), pixels(*shape)) > 0


def test_a_graph_that_finds_nothing_gives_empty_arrays() -> None:
    detector = make(SSD)
    network: Any = detector.network
    with torch.no_grad():
        for predictor in network.head.classification_head.module_list:
            predictor[1].bias.view(-1, 4)[:, 0] += 50  # background
    boxes, scores, labels = export(detector, dynamic=False).run(None, {"image": pixels(128, 128).numpy()})
    assert boxes.shape == (0, 4)
    assert scores.shape == labels.shape == (0,)


def test_a_graph_without_proposals_gives_empty_arrays() -> None:
    """The box head then meets no box at all, where it met some when the graph was traced."""
    detector = lively(make(FASTER_RCNN))
    network: Any = detector.network
    black, colourful = torch.zeros(128, 128, 3, dtype=torch.uint8), pixels(128, 128)
    proposals, objectness = [], []
    network.rpn.register_forward_hook(lambda module, inputs, output: proposals.append(len(output[0][0])))
    watch = network.rpn.head.register_forward_hook(
        lambda module, inputs, output: objectness.append(max(scores.max().item() for scores in output[0]))
    )
    for image in (black, colourful):
        detect(detector, [pixels_to_unit(image)])
    watch.remove()
    assert objectness[0] > objectness[1] + 10
    with torch.no_grad():  # so that something is an object in the black image only
        network.rpn.head.cls_logits.bias -= objectness[1] + 5
    for image in (black, colourful):
        detect(detector, [pixels_to_unit(image)])
    assert proposals[2] > 0
    assert proposals[3] == 0
    arrays = export(detector, dynamic=True, example=black).run(None, {"image": colourful.numpy()})
    assert [array.shape for array in arrays] == [(0, 4), (0,), (0,)]


def test_of_anchors_with_equal_scores_both_propose_the_same() -> None:
    """As on a plain background: which of thousands of equals are taken must not be left to chance."""
    detector = lively(make(FASTER_RCNN))
    network: Any = detector.network
    with torch.no_grad():
        network.rpn.head.cls_logits.weight.zero_()
        network.rpn.head.cls_logits.bias.copy_(torch.arange(15) // 4 * 0.1)  # ties within and among places
    graph = export(detector, dynamic=True)
    for seed in range(3):
        assert assert_equal_detections(graph_module(detector), graph, pixels(128, 160, seed)) > 5


def test_exporting_does_not_change_the_detector() -> None:
    detector = lively_detector(SSD)
    before = detect(detector, [pixels_to_unit(pixels(128, 128))])[0]
    session(SSD)
    after = detect(detector, [pixels_to_unit(pixels(128, 128))])[0]
    assert torch.equal(before["boxes"], after["boxes"])


def test_pixels_become_numbers_from_0_to_1() -> None:
    image = torch.tensor([[[0, 51, 255]]], dtype=torch.uint8)  # one pixel
    converted = pixels_to_unit(image)
    assert converted.shape == (3, 1, 1)
    torch.testing.assert_close(converted.flatten(), torch.tensor([0.0, 0.2, 1.0]))
