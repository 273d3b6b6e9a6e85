"""What a model has found, written as annotations: COCO, COCO results, YOLO, Pascal VOC.

Boxes of all of them are of the upright image. An archive with its images is a dataset of the service as well.
"""

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple, Protocol
from xml.etree import ElementTree

from harmonicdet.client.shapes import ClassView, DetectionView, PredictionView

Format = Literal["coco", "coco-results", "yolo", "voc"]
MASKS: dict[Format, Literal["polygons", "rle", "none"]] = {
    "coco": "polygons",
    "coco-results": "rle",
    "yolo": "none",
    "voc": "none",
}
"""How each has the pixels of an object, if at all."""


class Found(NamedTuple):
    """An image, and what was found on it. Names are unique, also without their suffix."""

    name: str
    image_id: int
    split: str | None
    prediction: PredictionView
    """With corners: `box_format` is `xyxy`."""
    data: bytes | None
    """The image's file, to be written beside the annotations."""


class Exported(NamedTuple):
    """What has been written."""

    path: Path
    images: int
    objects: int


class _Target(Protocol):
    def write(self, name: str, data: bytes) -> None: ...


class _Layout(Protocol):
    def add(self, found: Found) -> None: ...

    def finish(self) -> None: ...


@contextmanager
def written(
    target: Path,
    format: Format,  # noqa: A002  # as uploads have it
    classes: Sequence[ClassView],
) -> Iterator[Callable[[Found], None]]:
    """What is called with each image. `target` is a zip by its suffix, else a folder; of COCO results a file.
    It is there when the block has ended well. Raises `FileExistsError`.
    """
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise FileExistsError(f"There is something in {target} already.")
    part = target.with_name(f"{target.name}.part")
    _remove(part)
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _opened(part, format, target.suffix.lower()) as opened:
            layout = _LAYOUTS[format](opened, classes)
            yield layout.add
            layout.finish()
        part.replace(target)
    finally:
        _remove(part)


@contextmanager
def _opened(part: Path, format: Format, suffix: str) -> Iterator[_Target]:  # noqa: A002
    if format == "coco-results":
        yield _File(part)
    elif suffix == ".zip":
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            yield _Zip(archive)
    else:
        part.mkdir()
        yield _Folder(part)


class _File:
    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, name: str, data: bytes) -> None:
        self._path.write_bytes(data)


class _Zip:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def write(self, name: str, data: bytes) -> None:
        self._archive.writestr(zipfile.ZipInfo(name), data)  # without the time: the same each time


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, data: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class _Coco:
    """`annotations/instances_<split>.json`, with the score of each annotation beside COCO's fields."""

    def __init__(self, target: _Target, classes: Sequence[ClassView]) -> None:
        self._target = target
        self._categories = [{"id": one.id, "name": one.name, "supercategory": ""} for one in classes]
        self._splits: dict[str, tuple[list[Any], list[Any]]] = {}
        self._count = 0

    def add(self, found: Found) -> None:
        images, annotations = self._splits.setdefault(found.split or "default", ([], []))
        size = found.prediction.image
        images.append(
            {"id": found.image_id, "file_name": found.name, "width": size.width, "height": size.height}
        )
        for one in found.prediction.detections:
            self._count += 1
            box = _corner_and_size(one.box)
            polygons = (one.mask.polygons if one.mask is not None else None) or []
            annotations.append(
                {
                    "id": self._count,
                    "image_id": found.image_id,
                    "category_id": one.class_id,
                    "bbox": box,
                    "area": _area(polygons) if polygons else round(box[2] * box[3], 2),
                    "segmentation": polygons,
                    "iscrowd": 0,
                    "score": round(one.score, 5),
                }
            )
        _write_image(self._target, "images", found)

    def finish(self) -> None:
        for split, (images, annotations) in self._splits.items():
            document = {"images": images, "annotations": annotations, "categories": self._categories}
            self._target.write(f"annotations/instances_{split}.json", _json(document))


class _CocoResults:
    """One list of all detections, as `pycocotools` and an evaluation of the service take it."""

    def __init__(self, target: _Target, classes: Sequence[ClassView]) -> None:
        self._target = target
        self._results: list[Any] = []

    def add(self, found: Found) -> None:
        self._results += [_result(found.image_id, one) for one in found.prediction.detections]

    def finish(self) -> None:
        self._target.write("", _json(self._results))


class _Yolo:
    """A text file for each image with `class x y width height`; classes are numbered from 0."""

    def __init__(self, target: _Target, classes: Sequence[ClassView]) -> None:
        self._target = target
        self._names = [one.name for one in classes]
        self._numbers = {one.id: number for number, one in enumerate(classes)}
        self._splits: dict[str, str] = {}

    def add(self, found: Found) -> None:
        size = found.prediction.image
        lines = []
        for one in found.prediction.detections:
            x1, y1, x2, y2 = one.box
            shares = (
                (x1 + x2) / 2 / size.width,
                (y1 + y2) / 2 / size.height,
                (x2 - x1) / size.width,
                (y2 - y1) / size.height,
            )
            lines.append(f"{self._numbers[one.class_id]} {' '.join(f'{share:.6f}' for share in shares)}\n")
        folder = _inside("labels", found.split)
        self._target.write(f"{folder}/{_stem(found.name)}.txt", "".join(lines).encode())
        self._splits[found.split or "train"] = _inside("images", found.split)
        _write_image(self._target, "images", found)

    def finish(self) -> None:
        quoted = [json.dumps(name, ensure_ascii=False) for name in self._names]
        names = [f"  {number}: {name}" for number, name in enumerate(quoted)]
        folders = [f"{split}: {folder}" for split, folder in self._splits.items()]
        text = "\n".join([*folders, f"nc: {len(names)}", "names:", *names, ""])
        self._target.write("data.yaml", text.encode())
        self._target.write("classes.txt", "".join(f"{name}\n" for name in self._names).encode())


class _Voc:
    """An XML file for each image with corners to a hundredth of a pixel, counted from 0."""

    def __init__(self, target: _Target, classes: Sequence[ClassView]) -> None:
        self._target = target
        self._splits: dict[str, list[str]] = {}

    def add(self, found: Found) -> None:
        size = found.prediction.image
        root = ElementTree.Element("annotation")
        _element(root, "folder", "JPEGImages")
        _element(root, "filename", found.name)
        sizes = _element(root, "size")
        for name, number in (("width", size.width), ("height", size.height), ("depth", 3)):
            _element(sizes, name, number)
        _element(root, "segmented", 0)
        for one in found.prediction.detections:
            thing = _element(root, "object")
            _element(thing, "name", one.class_name)
            _element(thing, "pose", "Unspecified")
            _element(thing, "truncated", 0)
            _element(thing, "difficult", 0)
            box = _element(thing, "bndbox")
            for name, edge in zip(("xmin", "ymin", "xmax", "ymax"), one.box, strict=True):
                _element(box, name, f"{edge:.2f}")
        ElementTree.indent(root)
        stem = _stem(found.name)
        self._target.write(f"Annotations/{stem}.xml", ElementTree.tostring(root, "utf-8") + b"\n")
        if found.split is not None:
            self._splits.setdefault(found.split, []).append(stem)
        _write_image(self._target, "JPEGImages", found._replace(split=None))

    def finish(self) -> None:
        for split, stems in self._splits.items():
            self._target.write(f"ImageSets/Main/{split}.txt", "".join(f"{one}\n" for one in stems).encode())


_LAYOUTS: dict[Format, Callable[[_Target, Sequence[ClassView]], _Layout]] = {
    "coco": _Coco,
    "coco-results": _CocoResults,
    "yolo": _Yolo,
    "voc": _Voc,
}


def named_once(names: Sequence[str]) -> list[str]:
    """The last part of each path; `-2` and so on before the suffix where an earlier one has its stem."""
    taken: set[str] = set()
    found = []
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        stem, count = path.stem, 1
        while stem.casefold() in taken:
            count += 1
            stem = f"{path.stem}-{count}"
        taken.add(stem.casefold())
        found.append(stem + path.suffix)
    return found


def _write_image(target: _Target, folder: str, found: Found) -> None:
    if found.data is not None:
        target.write(f"{_inside(folder, found.split)}/{found.name}", found.data)


def _result(image_id: int, one: DetectionView) -> dict[str, Any]:
    box = _corner_and_size(one.box)
    result: dict[str, Any] = {
        "image_id": image_id,
        "category_id": one.class_id,
        "bbox": box,
        "score": one.score,
    }
    mask = one.mask.rle if one.mask is not None else None
    return result if mask is None else result | {"segmentation": mask.raw}


def _corner_and_size(box: Sequence[float]) -> list[float]:
    x1, y1, x2, y2 = box
    return [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)]


def _area(polygons: Sequence[Sequence[float]]) -> float:
    """Of all of them together, in square pixels: half of what the cross products sum up to."""
    area = 0.0
    for points in polygons:
        xs, ys = points[0::2], points[1::2]
        following = zip([*xs[1:], xs[0]], [*ys[1:], ys[0]], strict=True)
        area += abs(sum(x * b - a * y for x, y, (a, b) in zip(xs, ys, following, strict=True))) / 2
    return round(area, 2)


def _inside(folder: str, split: str | None) -> str:
    return folder if split is None else f"{folder}/{split}"


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _element(parent: ElementTree.Element, name: str, text: object = None) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, name)
    element.text = None if text is None else str(text)
    return element


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
