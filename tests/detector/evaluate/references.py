"""The reference cases of `references.zip` as COCO datasets and results."""

import json
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

Pair = tuple[dict[str, Any], list[dict[str, Any]]]


@cache
def archive() -> zipfile.ZipFile:
    return zipfile.ZipFile(Path(__file__).with_name("references.zip"))


@cache
def expected() -> dict[str, Any]:
    numbers: dict[str, Any] = json.loads(archive().read("expected.json"))
    return numbers


def coco_bbox100() -> Pair:
    names = expected()["coco_bbox100"]
    truth, found = (json.loads(archive().read(f"coco_bbox100/{names[key]}")) for key in ("gt", "dt"))
    return truth, found


def voc_case1() -> Pair:
    """Lines `object left top width height` and `object score left top width height`; corners inclusive."""
    return _pair("voc_case1", "gts", "dets", lambda left, top, width, height: [left, top, width, height])


def voc_cartucho() -> Pair:
    """Lines `class left top right bottom` and `class score left top right bottom`; corners inclusive."""
    return _pair(
        "voc_cartucho",
        "ground-truth",
        "detection-results",
        lambda left, top, right, bottom: [left, top, right - left, bottom - top],
    )


def _pair(folder: str, truth: str, found: str, to_xywh: Any) -> Pair:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    class_ids: dict[str, int] = {}
    names = sorted(n for n in archive().namelist() if n.startswith(f"{folder}/{truth}/"))
    for number, name in enumerate(names):
        images.append({"id": number, "file_name": name, "width": 1000, "height": 1000})
        for line in archive().read(name).decode().splitlines():
            label, *box = line.split()
            bbox = to_xywh(*map(float, box))
            category = class_ids.setdefault(label, len(class_ids) + 1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category,
                    "bbox": bbox,
                    "area": bbox[2] * bbox[3],
                    "iscrowd": 0,
                }
            )
    for number, name in enumerate(names):
        for line in archive().read(name.replace(f"/{truth}/", f"/{found}/")).decode().splitlines():
            label, score, *box = line.split()
            if label in class_ids:
                detections.append(
                    {
                        "image_id": number,
                        "category_id": class_ids[label],
                        "bbox": to_xywh(*map(float, box)),
                        "score": float(score),
                    }
                )
    categories = [{"id": number, "name": label} for label, number in class_ids.items()]
    return {"images": images, "annotations": annotations, "categories": categories}, detections
