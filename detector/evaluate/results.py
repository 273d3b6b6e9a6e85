"""Foreign COCO files, checked before they are measured: everything that is wrong, said at once."""

import gc
import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec

from detector.data.masks import checked
from detector.data.records import Action, Finding, Severity
from detector.errors import EvaluationTooLarge, ResultsInvalid
from detector.evaluate.columns import box_of_mask

MOST_RESULTS = 1_000_000
"""10,000 images at COCO's 100 detections have as many. From a file they take 0.9 GB to read, 1.2 to
compare, 1.4 with the whole report, and 34 s of CPU."""

_LOOKED_AT = {"image_id", "category_id", "score", "bbox"}
_MOST_FINDINGS = 100
_SHOWN = 5
# What is parsed in Python to name every fault: it takes some twenty times as much memory.
_MOST_FAULTY_BYTES = 16 << 20


class _RunLengths(msgspec.Struct, omit_defaults=True):
    counts: str | list[int]
    size: Annotated[list[int], msgspec.Meta(max_length=2)]


class _Result(msgspec.Struct, omit_defaults=True):
    image_id: int
    category_id: int
    score: float
    bbox: Annotated[list[float], msgspec.Meta(max_length=4)] | None = None  # a list: pycocotools asks for it
    segmentation: _RunLengths | None = None


class _Findings:
    """Collects what is wrong; ends the search when there is enough to be read."""

    def __init__(self) -> None:
        self.found: list[Finding] = []

    def add(self, code: str, location: str, message: str) -> None:
        self.found.append(Finding(Severity.ERROR, code, location, message, Action.REJECTED))
        if len(self.found) >= _MOST_FINDINGS:
            self.raise_if_any()

    def raise_if_any(self) -> None:
        if not self.found:
            return
        count = f"{len(self.found)}{' or more' if len(self.found) >= _MOST_FINDINGS else ''}"
        shown = " ".join(f"{one.location}: {one.message}" for one in self.found[:_SHOWN])
        raise ResultsInvalid(
            f"{count} {'thing is' if count == '1' else 'things are'} wrong with the files. {shown}",
            findings=self.found,
        )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the search for cycles among new objects: of a million results, in which there is none, it takes
    three quarters of the time that reading them takes."""
    searched = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searched:
            gc.enable()


@_uncollected()
def read(path: Path) -> Any:
    """The JSON of a file. Raises ResultsInvalid."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ResultsInvalid(f"{path.name} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ResultsInvalid(f"{path.name} is no JSON: {error}.") from error


@_uncollected()
def read_detections(path: Path, *, most: int = MOST_RESULTS) -> Any:
    """The JSON of a file with COCO results, as `check` takes it; what it does not look at is left out.

    Typed, in little memory, when every result is as it must be; a small file that is not is read as it is, so
    that `check` can name each fault. Raises ResultsInvalid, EvaluationTooLarge for more than `most` results.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ResultsInvalid(f"{path.name} cannot be read: {error.strerror}.") from error
    try:
        rows = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"), type=list[_Result])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        if len(data) <= _MOST_FAULTY_BYTES:
            return read(path)
        reason, pointer = _located(str(error))
        fault = Finding(Severity.ERROR, "wrong_type", f"detections#{pointer}", f"{reason}.", Action.REJECTED)
        raise ResultsInvalid(f"{fault.location}: {fault.message}", findings=[fault]) from error
    if len(rows) > most:
        raise EvaluationTooLarge(
            f"There are {len(rows)} detections; at most {most} are compared at once.",
            hint="Keep the 100 best detections of each image: COCO's metrics look at no more of a class.",
        )
    return msgspec.to_builtins(rows)


def _located(message: str) -> tuple[str, str]:
    """msgspec's "Expected `float`, got `str` - at `$[4].score`" as a sentence and a JSON Pointer."""
    match = re.fullmatch(r"(.*) - at `\$(.*)`", message, re.DOTALL)
    reason, path = match.groups() if match else (message, "")
    pointer = "".join(f"/{step}" for step in re.findall(r"\w+", path))
    return reason.replace("`", "'"), pointer


@_uncollected()
def check(ground_truth: Any, detections: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A COCO dataset and COCO results that can be measured, as copies.

    An annotation's missing `area` becomes that of its box and a missing `iscrowd` 0; a result that has a mask
    but no box gets the mask's box. Scores may be any finite numbers. Raises ResultsInvalid, whose `findings`
    name the place of each fault: `ground_truth#/annotations/17/bbox`, `detections#/4/score`.
    """
    findings = _Findings()
    truth = _ground_truth(ground_truth, findings)
    findings.raise_if_any()  # of results on a broken dataset nothing can be said
    images = {image["id"]: image for image in truth["images"]}
    categories = {category["id"] for category in truth["categories"]}
    if not isinstance(detections, list):
        hint = "COCO results are a list of {image_id, category_id, bbox, score}."
        raise ResultsInvalid("The detections are no list.", hint=hint)
    found = [
        _detection(row, f"detections#/{k}", images, categories, findings) for k, row in enumerate(detections)
    ]
    findings.raise_if_any()
    return truth, found


def _ground_truth(given: Any, findings: _Findings) -> dict[str, Any]:
    if not isinstance(given, dict) or not all(
        isinstance(given.get(key), list) for key in ("images", "annotations", "categories")
    ):
        hint = "A COCO dataset is an object with the lists images, annotations and categories."
        raise ResultsInvalid("The ground truth is no COCO dataset.", hint=hint)
    images = _unique(given["images"], "images", findings)
    categories = _unique(given["categories"], "categories", findings)
    annotations = []
    for k, row in enumerate(given["annotations"]):
        where = f"ground_truth#/annotations/{k}"
        if not _references(row, where, images, categories, findings):
            continue
        if not _box(row.get("bbox"), f"{where}/bbox", findings):
            continue
        area = row.get("area", row["bbox"][2] * row["bbox"][3])
        if not _finite(area):
            findings.add("invalid_area", f"{where}/area", f"The area {_shown(area)} is no finite number.")
        iscrowd = row.get("iscrowd", 0)
        if iscrowd not in (0, 1):
            findings.add("invalid_iscrowd", f"{where}/iscrowd", f"It is {_shown(iscrowd)}, neither 0 nor 1.")
        kept = {**row, "area": area, "iscrowd": iscrowd}
        if row.get("segmentation"):
            image = images[row["image_id"]]
            if _sized(image):
                _mask(row["segmentation"], image, f"{where}/segmentation", findings)
            else:
                findings.add(
                    "image_without_size",
                    f"{where}/image_id",
                    f"It has a mask, but image {image['id']} has no width and height in whole pixels.",
                )
        else:
            kept.pop("segmentation", None)
        annotations.append(kept)
    named = [{**row, "name": str(row.get("name", row["id"]))} for row in categories.values()]
    return {"images": list(images.values()), "categories": named, "annotations": annotations}


def _detection(
    row: Any, where: str, images: dict[int, Any], categories: set[int], findings: _Findings
) -> dict[str, Any]:
    if not _references(row, where, images, categories, findings):
        return {}
    kept = {"image_id": row["image_id"], "category_id": row["category_id"]}
    if "score" not in row:
        findings.add("missing_score", where, "It has no score.")
    elif not _finite(row["score"]):
        message = f"The score {_shown(row['score'])} is no finite number."
        findings.add("invalid_score", f"{where}/score", message)
    else:
        kept["score"] = row["score"]
    if row.get("segmentation"):
        segmentation, image = row["segmentation"], images[row["image_id"]]
        if not isinstance(segmentation, dict):
            message = "The segmentation of a result must be run lengths {counts, size}."
            findings.add("invalid_segmentation", f"{where}/segmentation", message)
            return kept
        if not _sized(image):
            message = f"It has a mask, but image {image['id']} has no width and height in whole pixels."
            findings.add("image_without_size", f"{where}/image_id", message)
            return kept
        if not _mask(segmentation, image, f"{where}/segmentation", findings):
            return kept
        kept["segmentation"] = segmentation
    if row.get("bbox"):
        if _box(row["bbox"], f"{where}/bbox", findings):
            kept["bbox"] = row["bbox"]
    elif "segmentation" in kept:
        kept["bbox"] = box_of_mask(kept["segmentation"])
    else:
        findings.add("missing_box", where, "It has neither a bbox nor a segmentation.")
    for name in row.keys() - _LOOKED_AT:
        if not _is_json(row[name]):
            findings.add("not_json", f"{where}/{name}", "NaN and Infinity are no JSON.")
    return kept


def _unique(rows: list[Any], name: str, findings: _Findings) -> dict[int, dict[str, Any]]:
    """The rows by their ids."""
    known: dict[int, dict[str, Any]] = {}
    for k, row in enumerate(rows):
        where = f"ground_truth#/{name}/{k}"
        if not isinstance(row, dict) or type(row.get("id")) is not int:
            findings.add("missing_id", where, "It has no whole number as its id.")
        elif row["id"] in known:
            findings.add("duplicate_id", f"{where}/id", f"The id {row['id']} is there twice.")
        else:
            known[row["id"]] = row
    return known


def _references(row: Any, where: str, images: Any, categories: Any, findings: _Findings) -> bool:
    """Whether it is an object on a known image, of a known category."""
    if not isinstance(row, dict):
        findings.add("no_object", where, f"It is {_shown(row)}, no object.")
        return False
    sound = True
    for key, code, known, noun in (
        ("image_id", "unknown_image", images, "image"),
        ("category_id", "unknown_category", categories, "category"),
    ):
        if type(row.get(key)) is not int or row[key] not in known:
            message = f"The ground truth has no {noun} {_shown(row.get(key))}."
            findings.add(code, f"{where}/{key}", message)
            sound = False
    return sound


def _box(box: Any, where: str, findings: _Findings) -> bool:
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(map(_finite, box)):
        message = f"The box {_shown(box)} is not [x, y, width, height] in finite numbers."
        findings.add("invalid_box", where, message)
        return False
    if box[2] < 0 or box[3] < 0:
        findings.add("negative_size_box", where, f"The box {_shown(box)} has a negative size.")
        return False
    return True


def _mask(segmentation: Any, image: dict[str, Any], where: str, findings: _Findings) -> bool:
    try:
        checked(segmentation, image["width"], image["height"])
    except ValueError as error:
        findings.add("invalid_segmentation", where, f"The segmentation cannot be used: {error}.")
        return False
    return True


def _sized(image: dict[str, Any]) -> bool:
    return all(type(image.get(side)) is int and image[side] > 0 for side in ("width", "height"))


def _finite(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < 1e30
        and math.isfinite(value)
    )


def _is_json(value: Any) -> bool:
    """Whether all its numbers are: Python's own parser takes NaN and Infinity, and hardly any other does."""
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    if isinstance(value, list):
        return all(map(_is_json, value))
    return not isinstance(value, float) or math.isfinite(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
