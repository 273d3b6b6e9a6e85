import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image

from detector import artifacts
from detector.config import TrainConfig
from detector.data.loading import EvaluationSet
from detector.data.materialise import load
from detector.errors import ExportMismatch
from detector.export import Limits, check_parity, compare, detect_one, of_different_sizes
from detector.images import decode
from detector.models import Detector
from detector.runtime import Found, OnnxDetector
from tests.detector.helpers import config, run_training

LIMITS = Limits(score=0.05, count=100)

SSDLITE = {"kind": "ssdlite320_mobilenet_v3_large", "image_size": 128}
FASTER_RCNN = {"kind": "fasterrcnn_mobilenet_v3_large_320_fpn", "image_size": 128}


@pytest.fixture(scope="module", params=["harmonic", "baseline"])
def loss(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=[SSDLITE, FASTER_RCNN], ids=["ssdlite", "faster_rcnn"])
def trained(
    request: pytest.FixtureRequest, loss: str, dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run of a training of a few steps, of either architecture with either loss."""
    run = tmp_path_factory.mktemp("trained")
    training: TrainConfig = config(
        architecture=request.param,
        loss=loss,
        epochs=2,
        evaluate_every=2,
        optimizer={"kind": "adamw", "lr": 0.001},
    )
    run_training(dataset, run, training)
    return run


def jpeg(image: Image.Image, **options: Any) -> NDArray[np.uint8]:
    """The pixels that serving sees."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, **options)
    return decode(buffer.getvalue())


def test_the_parity_of_a_training_is_in_its_result(trained: Path) -> None:
    parity = json.loads((trained / "result.json").read_text())["parity"]
    assert parity["images"] == 4
    assert parity["max_box_difference"] <= 0.5
    assert parity["max_score_difference"] <= 1e-3


def test_onnx_runtime_finds_what_torch_finds_on_images_of_every_kind(trained: Path, dataset: Path) -> None:
    detector, card = artifacts.load_model(trained / "artifacts")
    served = OnnxDetector(trained / "artifacts/model.onnx", card)
    source = Image.fromarray(EvaluationSet(dataset, load(dataset).images, card.input).original(1))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by a quarter
    kinds = {
        "as it is": jpeg(source),
        "wide": jpeg(source.resize((500, 140))),
        "tall": jpeg(source.resize((90, 333))),
        "greyscale": jpeg(source.convert("L")),
        "cmyk": jpeg(source.convert("CMYK")),
        "rotated": jpeg(source, exif=exif),
    }
    assert kinds["rotated"].shape[:2] == (source.width, source.height)
    from detector.images import resize

    for kind, pixels in kinds.items():
        own = pixels.shape[0], pixels.shape[1]
        ours = detect_one(detector, resize(pixels, card.input.shape_for(*own)), own)
        compare(ours, served.run(pixels), Limits.of(detector), kind)


def test_a_graph_with_another_weight_is_refused(trained: Path, dataset: Path, tmp_path: Path) -> None:
    detector, card = artifacts.load_model(trained / "artifacts")
    graph = onnx.load(trained / "artifacts/model.onnx")
    largest = max(
        (t for t in graph.graph.initializer if len(t.dims) == 4), key=lambda t: int(np.prod(list(t.dims)))
    )
    largest.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(largest) * 1.5, largest.name))
    onnx.save(graph, tmp_path / "model.onnx")
    data = validation(dataset, detector)
    with pytest.raises(ExportMismatch, match="val/"):
        check_parity(detector, OnnxDetector(tmp_path / "model.onnx", card), data)
    parity = check_parity(detector, OnnxDetector(trained / "artifacts/model.onnx", card), data)
    assert parity.detections > 0


def validation(dataset: Path, detector: Detector) -> EvaluationSet:
    images = [image for image in load(dataset).images if image.split == "val"]
    return EvaluationSet(dataset, images, detector.input_spec)


def test_images_of_different_sizes_come_first(dataset: Path) -> None:
    data = EvaluationSet(dataset, load(dataset).images, config_spec())
    chosen = of_different_sizes(data, 5)
    sizes = [(data.images[i].height, data.images[i].width) for i in chosen]
    assert len(set(sizes[:3])) == 3
    assert len(set(chosen)) == 5


def config_spec() -> Any:
    from detector.models import input_spec

    return input_spec(config().architecture)


# --- what counts as equal ---


def found(*rows: tuple[float, float, int]) -> Found:
    """Detections (x of a box of 40 by 40 pixels, score, label)."""
    return Found(
        np.array([[x, 0, x + 40, 40] for x, _, _ in rows], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([label for _, _, label in rows], np.int64),
    )


def test_small_differences_are_measured() -> None:
    parity = compare(found((10, 0.9, 0), (90, 0.5, 1)), found((90.25, 0.5005, 1), (10, 0.9, 0)), LIMITS, "a")
    assert parity.max_box_difference == pytest.approx(0.25)
    assert parity.max_score_difference == pytest.approx(0.0005, abs=1e-6)
    assert (parity.detections, parity.at_the_cut, parity.ties) == (2, 0, 0)


@pytest.mark.parametrize(
    "theirs",
    [
        found(),
        found((10.6, 0.9, 0)),
        found((10, 0.902, 0)),
        found((10, 0.9, 1)),
        found((10, 0.9, 0), (200, 0.3, 0)),
        found((10, 0.9, 0), (10, 0.9, 0)),
    ],
    ids=["missing", "box", "score", "label", "one more", "twice"],
)
def test_what_differs_is_refused(theirs: Found) -> None:
    with pytest.raises(ExportMismatch, match=r"a\.jpg"):
        compare(found((10, 0.9, 0)), theirs, LIMITS, "a.jpg")
    with pytest.raises(ExportMismatch):
        compare(theirs, found((10, 0.9, 0)), LIMITS, "a.jpg")


def test_one_side_may_lack_what_lies_at_the_threshold() -> None:
    parity = compare(found((10, 0.9, 0), (90, 0.0505, 0)), found((10, 0.9, 0)), LIMITS, "a")
    assert parity.at_the_cut == 1
    with pytest.raises(ExportMismatch):
        compare(found((10, 0.9, 0), (90, 0.06, 0)), found((10, 0.9, 0)), LIMITS, "a")


def test_a_full_list_is_cut_at_its_lowest_score() -> None:
    limits = Limits(score=0.05, count=2)
    parity = compare(found((10, 0.9, 0), (90, 0.7003, 0)), found((10, 0.9, 0), (300, 0.7, 0)), limits, "a")
    assert parity.at_the_cut == 2


def test_rivals_with_one_score_are_each_others_stand_in_unless_there_are_many() -> None:
    others = [(100.0 * k, 0.9 - k / 1000, 1) for k in range(1, 100)]
    parity = compare(found((10, 0.95, 0), *others), found((14, 0.95001, 0), *others), LIMITS, "a")
    assert parity.ties == 1
    with pytest.raises(ExportMismatch):
        compare(found((10, 0.95, 0), *others), found((60, 0.95001, 0), *others), LIMITS, "a")
    with pytest.raises(ExportMismatch):
        compare(found((10, 0.95, 0), *others[1:]), found((14, 0.95001, 0), *others[1:]), LIMITS, "a")


def test_nothing_equals_nothing() -> None:
    parity = compare(found(), found(), LIMITS, "a")
    assert (parity.detections, parity.max_box_difference) == (0, 0.0)
