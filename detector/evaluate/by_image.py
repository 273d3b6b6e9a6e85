"""What was found on each image and what was not: the lines of `images.jsonl`."""

from collections.abc import Iterator
from typing import Any

from detector.evaluate.evaluation import Evaluation
from detector.evaluate.overlap import corners, iou

_DIGITS = 6


def by_image(
    evaluation: Evaluation, ground_truth: dict[str, Any], detections: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """An object per image, in the dataset's order, with COCO's own matches at IoU 0.5.

    `{id, file_name, width, height, objects, detections}`: an object is `{id, category_id, box, crowd}`, a
    detection `{category_id, box, score, object, iou, ignored}`, the best score first. `object` is the place
    of the object that it is the match of, and `iou` how well it covers that; both are null without one. What
    lies on a crowd is `ignored`: neither right nor wrong. Of a class and image the 100 best detections are
    looked at. Matches are made best score first, so leaving out what is below a score changes none above it.

    Args:
        evaluation: made by `coco.evaluation` of these very arguments, boxes.
    """
    objects: dict[int, list[int]] = {}
    for row, one in enumerate(ground_truth["annotations"]):
        objects.setdefault(one["image_id"], []).append(row)
    matches = _matches(evaluation)
    for image in ground_truth["images"]:
        here = objects.get(image["id"], [])
        place = {row: k for k, row in enumerate(here)}
        found = sorted(matches.get(image["id"], []), key=lambda one: -detections[one[0]]["score"])
        boxes = corners([ground_truth["annotations"][row]["bbox"] for row in here])
        found_boxes = corners([detections[row]["bbox"] for row, _, _ in found])
        overlap = iou(found_boxes, boxes)
        yield {
            "id": image["id"],
            "file_name": image.get("file_name"),
            "width": image.get("width"),
            "height": image.get("height"),
            "objects": [
                {
                    "id": ground_truth["annotations"][row].get("id", row + 1),
                    "category_id": ground_truth["annotations"][row]["category_id"],
                    "box": box,
                    "crowd": bool(ground_truth["annotations"][row].get("iscrowd", 0)),
                }
                for row, box in zip(here, boxes.round(_DIGITS).tolist(), strict=True)
            ],
            "detections": [
                {
                    "category_id": detections[row]["category_id"],
                    "box": box,
                    "score": detections[row]["score"],
                    "object": None if match is None else place[match],
                    "iou": None if match is None else round(float(overlap[d, place[match]]), _DIGITS),
                    "ignored": ignored,
                }
                for d, ((row, match, ignored), box) in enumerate(
                    zip(found, found_boxes.round(_DIGITS).tolist(), strict=True)
                )
            ],
        }


def _matches(evaluation: Evaluation) -> dict[int, list[tuple[int, int | None, bool]]]:
    """By image: the place of each result, of the annotation it is the match of, and whether it is ignored."""
    found: dict[int, list[tuple[int, int | None, bool]]] = {}
    matched = evaluation.at(0.5)
    for image, row, match, ignored in zip(
        evaluation.image_ids.tolist(),
        evaluation.rows.tolist(),
        matched.objects.tolist(),
        matched.ignored.tolist(),
        strict=True,
    ):
        found.setdefault(image, []).append((row, None if match < 0 else match, ignored))
    return found
