"""Read and check an archive: a dataset that can be trained on, and a report of all that is wrong with it.

What happens to what is wrong, by `on_invalid`:

| fault | reject | fix | drop |
|---|---|---|---|
| swapped corners; a box that sticks out of its image | invalid | put right | left out |
| any other fault of one annotation (no size, not finite, outside) | invalid | left out | left out |
| an image, or its own annotation file, that is missing or broken | invalid | left out | left out |
| boxes made on an image as stored, its EXIF rotation ignored | invalid | boxes turned | image left out |

Faults of the whole make the dataset invalid always: a broken zip or JSON, a category or an image that is
not there, ids used twice, nothing to learn from. Warnings change nothing.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from detector.data import catalogue, coco, voc, yolo
from detector.data.archive import Archive, Limits, open_archive
from detector.data.checks import check
from detector.data.columns import CROWD
from detector.data.draft import Draft
from detector.data.findings import WHOLE, Findings, OnInvalid
from detector.data.records import DatasetIndex, Report
from detector.data.refusals import ArchiveRefused
from detector.data.splits import SplitOptions
from detector.errors import ConfigInvalid

__all__ = ["SplitOptions", "inspect"]

Format: TypeAlias = Literal["auto", "coco", "voc", "yolo"]

_SPLITS_IN_ORDER = ("train", "val", "test")
_RECOGNISE: dict[str, Callable[[Archive], list[str]]] = {
    "coco": coco.recognised,
    "voc": voc.recognised,
    "yolo": yolo.recognised,
}
_READ: dict[str, Callable[[Archive, list[str], Findings], Draft]] = {
    "coco": coco.read,
    "voc": voc.read,
    "yolo": yolo.read,
}
_SOUGHT = {
    "auto": "COCO JSON, Pascal VOC XML, and YOLO labels with data.yaml or classes.txt",
    "coco": "COCO JSON",
    "voc": "Pascal VOC XML",
    "yolo": "YOLO labels with data.yaml or classes.txt",
}


def inspect(
    path: Path,
    *,
    format: Format = "auto",  # noqa: A002 - the name that the API and the command line use
    on_invalid: OnInvalid = "drop",
    split: SplitOptions | None = None,
    strict_decode: bool = True,
    limits: Limits | None = None,
) -> tuple[DatasetIndex | None, Report]:
    """The dataset in a zip, and its report; the index is None when the dataset is invalid.

    `strict_decode` decodes every image whole; without it only the headers are read, and a truncated image
    passes. Whatever is wrong with the archive is a finding. Raises ConfigInvalid for unknown options.
    """
    if format not in get_args(Format):
        raise ConfigInvalid(f"format is {format!r}; it must be one of {', '.join(get_args(Format))}.")
    if on_invalid not in get_args(OnInvalid):
        raise ConfigInvalid(
            f"on_invalid is {on_invalid!r}; it must be one of {', '.join(get_args(OnInvalid))}."
        )
    findings = Findings(on_invalid)
    recognised: str | None = None
    index: DatasetIndex | None = None
    found = fixed = 0
    try:
        with open_archive(path, limits) as archive:
            recognised, files = _recognise(archive, format, findings)
            if recognised is not None:
                draft = _READ[recognised](archive, files, findings)
                found = draft.found
                options = split or SplitOptions()
                index, fixed = check(archive, draft, options, strict=strict_decode, findings=findings)
    except ArchiveRefused as error:
        index = None
        for refusal in (error, *error.also):
            findings.reject(refusal.code, refusal.member or WHOLE, refusal.reason)
    valid = index is not None and not findings.rejected
    summary = _summary(index, found, fixed) | {"findings": dict(sorted(findings.by_code.items()))}
    return (index if valid else None), Report(valid, recognised, summary, findings.kept(), findings.total)


def _recognise(archive: Archive, asked: str, findings: Findings) -> tuple[str | None, list[str]]:
    """The layout, and the files that show it."""
    candidates = [asked] if asked != "auto" else list(_RECOGNISE)
    found = {name: files for name in candidates if (files := _RECOGNISE[name](archive))}
    if not found:
        message = (
            f"No annotations were found: {_SOUGHT[asked]} were looked for in {len(archive.members)} file(s)."
        )
        findings.reject("no_annotations", WHOLE, message)
        return None, []
    if len(found) > 1:
        chosen, other = list(found)[:2]
        message = f"The archive has {other} annotations too; {chosen} is read. Name the format to choose."
        findings.warn("several_formats", found[other][0], message)
    return next(iter(found.items()))


def _summary(index: DatasetIndex | None, found: int, fixed: int) -> dict[str, Any]:
    """Counts: `annotations` as found in the archive, `used` = in the index, `dropped` = the difference.

    `fixed` of those used were put right; `negatives` are images without a box.
    """
    if index is None:
        index = DatasetIndex("", [], [])
    of = catalogue.of(index)
    per_image = np.diff(of.starts)
    boxes = np.bincount(of.classes, minlength=len(of.categories)).tolist()
    splits = {
        name: {
            "images": int((of.image_splits == place).sum()),
            "annotations": int(per_image[of.image_splits == place].sum()),
        }
        for place, name in enumerate(of.splits)
    }
    return {
        "images": len(index.images),
        "annotations": found,
        "used": len(of.ids),
        "fixed": fixed,
        "dropped": found - len(of.ids),
        "negatives": int((per_image == 0).sum()),
        "crowds": int((of.flags & CROWD > 0).sum()),
        "splits": {name: splits[name] for name in sorted(splits, key=_split_order)},
        "categories": [
            {"id": item.id, "name": item.name, "annotations": count, "images": images}
            for item, count, images in zip(of.categories, boxes, of.shown_on.tolist(), strict=True)
        ],
    }


def _split_order(name: str) -> tuple[int, str]:
    return (_SPLITS_IN_ORDER.index(name) if name in _SPLITS_IN_ORDER else len(_SPLITS_IN_ORDER)), name
