import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from detector.errors import ModelInvalid
from detector.images import InputSpec
from detector.runtime import Detections, ModelCard, ModelClass, OnnxDetector, to_own_pixels

BOXES = np.array([[0, 0, 32, 32], [16, 16, 64, 70]], np.float32)
CARD = ModelCard(
    architecture="ssdlite320_mobilenet_v3_large",
    loss="harmonic",
    input=InputSpec(kind="square", size=64),
    classes=[ModelClass(id=90, name="toothbrush"), ModelClass(id=1, name="person")],
)


def graph(labels: list[int]) -> bytes:
    """A graph that finds the same two boxes on every image; the second's score is the mean of the image."""
    constants = [
        numpy_helper.from_array(BOXES, "boxes_value"),
        numpy_helper.from_array(np.array(labels, np.int64), "labels_value"),
        numpy_helper.from_array(np.array([0.25], np.float32), "low"),
        numpy_helper.from_array(np.array(255, np.float32), "full"),
        numpy_helper.from_array(np.array([1], np.int64), "one"),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "full"], ["unit"]),
        helper.make_node("Reshape", ["unit", "one"], ["high"]),
        helper.make_node("Concat", ["low", "high"], ["scores"], axis=0),
        helper.make_node("Identity", ["boxes_value"], ["boxes"]),
        helper.make_node("Identity", ["labels_value"], ["labels"]),
    ]
    made = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [64, 64, 3])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [None, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None]),
            helper.make_tensor_value_info("labels", TensorProto.INT64, [None]),
        ],
        constants,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def white(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 255, np.uint8)


def test_boxes_come_back_in_the_images_own_pixels_clipped_to_it() -> None:
    found = OnnxDetector(graph([0, 1]), CARD).detect(white(128, 320))
    assert found.boxes.tolist() == [[0, 0, 160, 64], [80, 32, 320, 128]]
    assert found.boxes.dtype == np.float32


def test_class_ids_and_names_are_the_datasets_own() -> None:
    found = OnnxDetector(graph([0, 1]), CARD).detect(white(64, 64))
    assert found.class_ids.tolist() == [90, 1]
    assert found.class_names == ["toothbrush", "person"]


def test_a_label_beyond_the_card_is_refused() -> None:
    with pytest.raises(ModelInvalid, match="label 2"):
        OnnxDetector(graph([0, 2]), CARD).detect(white(64, 64))


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid):
        OnnxDetector(b"not a graph", CARD)
    with pytest.raises(ModelInvalid):
        OnnxDetector(tmp_path / "absent.onnx", CARD)


def test_a_graph_is_read_from_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(graph([0, 1]))
    assert len(OnnxDetector(tmp_path / "model.onnx", CARD).detect(white(64, 64))) == 2


def test_several_threads_may_detect_at_once() -> None:
    detector = OnnxDetector(graph([0, 1]), CARD)
    wrong = []

    def work(value: int) -> None:
        image = np.full((64, 64, 3), value, np.uint8)
        for _ in range(50):
            score = float(detector.detect(image).scores[1])
            if score != pytest.approx(value / 255, abs=1e-5):
                wrong.append(score)

    threads = [threading.Thread(target=work, args=(value,)) for value in (10, 90, 170, 250)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_selecting_keeps_the_best_of_the_wanted() -> None:
    found = Detections(
        boxes=np.arange(16, dtype=np.float32).reshape(4, 4),
        scores=np.array([0.3, 0.9, 0.5, 0.7], np.float32),
        class_ids=np.array([1, 2, 1, 2]),
        class_names=["a", "b", "a", "b"],
    )
    assert found.select(score_threshold=0.5).scores.tolist() == pytest.approx([0.9, 0.7, 0.5])
    assert found.select(max_detections=1).class_names == ["b"]
    assert found.select(class_ids={1}).scores.tolist() == pytest.approx([0.5, 0.3])
    assert len(found.select(max_detections=0)) == 0
    assert len(found.select(score_threshold=1.0)) == 0
    assert found.select(class_ids={1}).boxes[0].tolist() == [8, 9, 10, 11]


def test_scaling_undoes_the_resize() -> None:
    boxes = np.array([[10, 20, 30, 40]], np.float32)
    assert to_own_pixels(boxes, (100, 50), (300, 100)).tolist() == [[20, 60, 60, 120]]
    assert to_own_pixels(boxes, (100, 50), (100, 50)).tolist() == boxes.tolist()
    assert to_own_pixels(np.zeros((0, 4), np.float32), (1, 1), (5, 5)).shape == (0, 4)


def test_the_card_survives_json_and_ignores_what_a_later_version_adds() -> None:
    assert ModelCard.model_validate_json(CARD.model_dump_json()) == CARD
    later = CARD.model_dump() | {"new": 1}
    assert ModelCard.model_validate(later) == CARD


def test_a_graph_runs_on_the_gpu_where_onnx_runtime_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert OnnxDetector(graph([0, 1]), CARD).provider == "CPUExecutionProvider"
    session = onnxruntime.InferenceSession
    asked = []

    def opened(onnx: bytes, options: object, providers: list[tuple[str, dict[str, str]]]) -> object:
        asked.extend(providers)
        return session(onnx, options, providers=["CPUExecutionProvider"])

    here = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: here)
    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    assert len(OnnxDetector(graph([0, 1]), CARD).detect(white(64, 64))) == 2
    assert [name for name, _ in asked] == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert asked[0][1]["use_tf32"] == "0"
