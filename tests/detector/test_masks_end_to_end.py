"""Mask R-CNN from an archive with polygons, run lengths and crowds to results that pycocotools confirms."""

import contextlib
import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detector import __main__ as command_line
from detector import engine
from detector.data.synthetic import write_synthetic
from detector.evaluate.coco import METRICS, evaluate_with_masks
from detector.events import EventReader, MetricEvent
from detector.images import decode
from detector.models import build
from detector.runtime import ModelCard, OnnxDetector

CONFIG = {
    "architecture": {"kind": "maskrcnn_resnet50_fpn", "backbone": "resnet18", "image_size": 128},
    "epochs": 2,
    "evaluate_every": 2,
    "batch_size": 2,
    "optimizer": {"kind": "adamw", "lr": 0.001},
    "warmup_steps": 0,
    "ema_decay": None,
    "device": "cpu",
}


def with_run_lengths_and_crowds(source: Path, destination: Path) -> None:
    """Of each image the second object and the third have run lengths for polygons, and the third is a crowd;
    of a training image the fourth has no mask."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(destination, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith(".json"):
                document = json.loads(data)
                seen: dict[int, int] = {}
                for one in document["annotations"]:
                    number = seen[one["image_id"]] = seen.get(one["image_id"], -1) + 1
                    if number in (1, 2):
                        rle = coco_masks.merge(coco_masks.frPyObjects(one["segmentation"], 128, 128))
                        one["segmentation"] = {"size": [128, 128], "counts": rle["counts"].decode()}
                        one["iscrowd"] = int(number == 2)
                    elif number == 3 and "train" in name:
                        del one["segmentation"]
                data = json.dumps(document).encode()
            new.writestr(name, data)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    write_synthetic(folder / "polygons.zip", images=4, val_images=4, size=128, seed=3)
    with_run_lengths_and_crowds(folder / "polygons.zip", folder / "masks.zip")
    return folder / "masks.zip"


@pytest.fixture(scope="module")
def run(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of `python -m detector train`, in this process and with few proposals."""
    directory = tmp_path_factory.mktemp("run")

    def with_few_proposals(*arguments: Any) -> Any:
        detector = build(*arguments)
        network: Any = detector.network
        network.roi_heads.fg_bg_sampler.batch_size_per_image = 32
        network.rpn._post_nms_top_n = {"training": 100, "testing": 30}
        network.roi_heads.detections_per_img = 15
        network.roi_heads.score_thresh = 0.0  # so short a training may find nothing that it is sure of
        return detector

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "build", with_few_proposals)
        patch.setattr(command_line, "wait_briefly", lambda: None)
        asked = ["train", "--data", str(archive), "--config", json.dumps(CONFIG), "--run", str(directory)]
        assert command_line.main(asked) == 0
    return directory


def read(run: Path, name: str) -> Any:
    return json.loads((run / name).read_text())


def by_hand(truth: Path, detections: Path, iou_type: str) -> list[float]:
    """What anyone gets from the written files with pycocotools as it comes."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        found = json.loads(detections.read_text())
        for one in found:
            if iou_type == "segm":
                del one["bbox"]  # else pycocotools takes the size of a mask from its box
        evaluation = COCOeval(coco, coco.loadRes(found), iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats]


def cocos_own(metrics: dict[str, float | None], prefix: str) -> list[float]:
    """The 12 numbers as pycocotools gives them: -1 where there is nothing to measure."""
    values = (metrics[prefix + name] for name in METRICS)
    return [-1.0 if value is None else value for value in values]


def bytes_to_text(counts: bytes | str) -> str:
    return counts.decode() if isinstance(counts, bytes) else counts


@pytest.mark.parametrize(("iou_type", "prefix"), [("bbox", ""), ("segm", "segm_")])
def test_the_numbers_are_those_of_pycocotools_on_the_written_files(
    run: Path, tmp_path: Path, iou_type: str, prefix: str
) -> None:
    truth = read(run, "artifacts/ground_truth.json")
    assert any(one["iscrowd"] for one in truth["annotations"])
    assert {type(one["segmentation"]) for one in truth["annotations"]} == {list, dict}
    metrics = read(run, "result.json")["metrics"]
    hand = by_hand(run / "artifacts/ground_truth.json", run / "artifacts/detections.json", iou_type)
    assert cocos_own(metrics, prefix) == pytest.approx(hand, abs=1e-12)

    # The short training has found little: the same with some objects found, and crowds that must not count.
    detections = read(run, "artifacts/detections.json")
    for one in truth["annotations"][::2] + [one for one in truth["annotations"] if one["iscrowd"]]:
        outline = one["segmentation"]
        rle = (
            coco_masks.merge(coco_masks.frPyObjects(outline, 128, 128))
            if isinstance(outline, list)
            else outline
        )
        found = {"size": [128, 128], "counts": bytes_to_text(rle["counts"])}
        kept = {name: one[name] for name in ("image_id", "category_id", "bbox")}
        detections.append({**kept, "score": 0.9, "segmentation": found})
    (tmp_path / "detections.json").write_text(json.dumps(detections))
    metrics = evaluate_with_masks(truth, detections).metrics
    hand = by_hand(run / "artifacts/ground_truth.json", tmp_path / "detections.json", iou_type)
    assert cocos_own(metrics, prefix) == pytest.approx(hand, abs=1e-12)
    assert 0.2 < hand[0] < 1


def test_every_detection_has_run_lengths_of_its_image(run: Path) -> None:
    detections = read(run, "artifacts/detections.json")
    assert detections
    for one in detections:
        assert one["segmentation"]["size"] == [128, 128]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy, about pycocotools
            mask = coco_masks.decode(one["segmentation"])
        x, y, w, h = one["bbox"]
        inside = mask[max(0, int(y) - 3) : int(y + h) + 4, max(0, int(x) - 3) : int(x + w) + 4]
        assert inside.sum() == mask.sum()


def test_masks_are_measured_while_training_and_in_the_result(run: Path) -> None:
    (measured,) = [e for e in EventReader(run).read() if isinstance(e, MetricEvent) and e.split == "val"]
    result = read(run, "result.json")
    assert measured.values == result["metrics"]
    assert len(result["metrics"]) == 24
    assert {"segm_AP", "segm_AP50"} < set(result["per_class"][0])
    losses = [e for e in EventReader(run).read() if isinstance(e, MetricEvent) and e.split == "train"]
    assert all((event.values["mask"] or 0) > 0 for event in losses)


def test_the_exported_graph_gives_torchs_masks(run: Path) -> None:
    parity = read(run, "result.json")["parity"]
    assert parity["detections"] > 0
    assert parity["max_mask_difference"] <= 1e-3
    assert read(run, "artifacts/model.json")["masks"] is True


def test_predict_says_run_lengths_and_draws_them(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image_id = read(run, "artifacts/detections.json")[0]["image_id"]
    (image,) = (run / "dataset/images").glob(f"{image_id:08d}.*")
    asked = ["predict", "--model", str(run / "artifacts"), "--image", str(image), "--score-threshold", "0"]
    assert command_line.main([*asked, "--draw", str(tmp_path / "drawn.png")]) == 0
    found = json.loads(capsys.readouterr().out)["detections"]
    card = ModelCard.model_validate(read(run, "artifacts/model.json"))
    pixels = decode(image.read_bytes())
    assert found
    same = OnnxDetector(run / "artifacts/model.onnx", card).detect(pixels).select()
    assert [one["segmentation"] for one in found] == [same.run_lengths(i) for i in range(len(same))]
    assert not np.array_equal(np.asarray(Image.open(tmp_path / "drawn.png")), pixels)
