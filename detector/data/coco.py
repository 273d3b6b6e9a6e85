"""Read COCO JSON: one file per split, images anywhere in the archive, sparse ids, polygons, RLE crowds."""

import json
import math
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.data.archive import Archive
from detector.data.columns import CROWD, Growing
from detector.data.draft import DRAFT, NUMBERED, Draft, DraftImage
from detector.data.findings import Findings
from detector.data.members import Images, folder_split, split_named, suffix
from detector.data.records import Category
from detector.data.refusals import MemberCorrupt
from detector.text import is_plain, printable

T = TypeVar("T")
# Beyond this, ids would change in the doubles of JavaScript and of pycocotools.
_LARGEST_ID = 2**53
_Id = Annotated[int, msgspec.Meta(ge=-_LARGEST_ID, le=_LARGEST_ID)]

_OTHER_TASKS = ("captions_", "person_keypoints_", "panoptic_", "stuff_", "image_info_")
_LONGEST_NAME = 200
_TOGETHER = 512  # annotations that are objects at a time
_LEFT_OUT, _UNKNOWN = -1, -2  # in place of an image's place


class _Image(msgspec.Struct):
    id: _Id
    file_name: str
    width: float | None = None
    height: float | None = None


class _Annotation(msgspec.Struct, gc=False):
    image_id: _Id
    category_id: _Id
    bbox: tuple[float, float, float, float]  # x, y, width, height
    id: Any = None
    area: float | None = None
    iscrowd: bool | int | None = None
    segmentation: Any = None


class _Category(msgspec.Struct):
    id: _Id
    name: str
    supercategory: str | None = None


class _Document(msgspec.Struct):
    images: list[_Image]
    annotations: list[msgspec.Raw]
    categories: list[_Category]


_decode_annotations = msgspec.json.Decoder(list[_Annotation]).decode


@dataclass
class _Parts:
    """What could be read of a file: (index in the file, item) in order, and what could not."""

    draft: Draft
    images: Iterable[tuple[int, _Image]]
    categories: Iterable[tuple[int, _Category]]
    unreadable_images: set[int] = field(default_factory=set)  # their ids, as far as they have one
    found: int = 0  # annotations, the unreadable ones included
    unreadable: list[tuple[int, Any]] = field(default_factory=list)  # annotations
    rows: Growing = field(default_factory=lambda: Growing(DRAFT))  # `image` is the id of one, as written
    # What is written of an annotation and fits in no row, by its index.
    large_ids: dict[int, int] = field(default_factory=dict)
    odd_areas: dict[int, float] = field(default_factory=dict)

    def add(self, annotations: list[_Annotation]) -> None:
        """The next annotations of the file."""
        self.rows.extend(self._row(index, item) for index, item in enumerate(annotations, self.found))
        self.found += len(annotations)

    def add_readable(self, items: list[Any]) -> None:
        """The same of such as may be anything."""
        for index, item in enumerate(items, self.found):
            try:
                self.rows.extend([self._row(index, msgspec.convert(item, _Annotation))])
            except (ValueError, OverflowError, RecursionError):
                self.unreadable.append((index, item))
        self.found += len(items)

    def _row(self, index: int, item: _Annotation) -> tuple[Any, ...]:
        x, y, width, height = item.bbox
        id_, area, flags = 0, math.nan, CROWD if item.iscrowd else 0
        if type(item.id) is int:
            if abs(item.id) <= _LARGEST_ID:
                id_, flags = item.id, flags | NUMBERED
            else:
                self.large_ids[index] = item.id
        if item.area is not None:
            if math.isfinite(item.area):
                area = item.area
            else:
                self.odd_areas[index] = item.area
        area, mask_flag, mask = self.draft.keep_mask(item.segmentation, area)
        row = (id_, item.category_id, (x, y, x + width, y + height), area, flags | mask_flag, mask)
        return item.image_id, index, row


def recognised(archive: Archive) -> list[str]:
    """The COCO annotation files of an archive: JSON files that speak of images and annotations."""
    found = [name for name in archive.members if suffix(name) == ".json" and _speaks_of_images(archive, name)]
    instances = [name for name in found if posixpath.basename(name).startswith("instances")]
    return instances or [name for name in found if not posixpath.basename(name).startswith(_OTHER_TASKS)]


def read(archive: Archive, files: list[str], findings: Findings) -> Draft:
    """The annotation files as one draft. Whatever is wrong becomes a finding."""
    draft = Draft("coco")
    images = Images(archive)
    for name in files:
        try:
            data = archive.read(name)
        except MemberCorrupt as error:
            findings.reject(error.code, name, error.reason)
            continue
        parts = _parse(data, name, draft, findings)
        del data  # it may be as large as all that was read from it
        if parts is not None:
            _add(draft, parts, name, images, findings)
    images.warn_of_unused(findings)
    return draft


def _speaks_of_images(archive: Archive, name: str) -> bool:
    """Broken files count too, and those that lack one of the three lists, so that their fault is found."""
    try:
        data = archive.read(name)
    except MemberCorrupt:
        return "annotations" in name or "instances" in name
    return sum(key in data for key in (b'"images"', b'"annotations"', b'"categories"')) >= 2


def _parse(data: bytes, name: str, draft: Draft, findings: Findings) -> _Parts | None:
    """Typed and fast when the file is right; else item by item, so that each fault has its place."""
    try:
        document = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"), type=_Document)
        parts = _Parts(draft, enumerate(document.images), enumerate(document.categories))
        for portion in _portions(document.annotations):
            text = b"[" + b",".join(portion) + b"]"
            try:
                parts.add(_decode_annotations(text))
            except msgspec.ValidationError:
                parts.add_readable(json.loads(text))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return _parse_faulty(data, name, draft, findings)
    _report_unreadable(parts, name, findings)
    return parts


def _report_unreadable(parts: _Parts, name: str, findings: Findings) -> None:
    for index, item in parts.unreadable:
        where = f"{name}#/annotations/{index}"
        if _convert(item, _Annotation, where, findings) is not None:
            findings.drop("wrong_type", f"{where}/segmentation", "The segmentation is nested too deeply.")


def _portions(items: list[T]) -> Iterator[list[T]]:
    """In order, each forgotten once it has been given: millions need not be in memory twice."""
    items.reverse()
    while items:
        yield items[: -_TOGETHER - 1 : -1]
        del items[-_TOGETHER:]


def _parse_faulty(data: bytes, name: str, draft: Draft, findings: Findings) -> _Parts | None:
    not_json: list[str] = []

    def foreign_constant(token: str) -> float:
        not_json.append(token)
        return float(token.lower().replace("infinity", "inf"))

    try:
        document = json.loads(data.decode("utf-8-sig"), parse_constant=foreign_constant)
    except UnicodeDecodeError as error:
        findings.reject("invalid_json", name, f"The file is not UTF-8 at byte {error.start}.")
        return None
    except json.JSONDecodeError as error:
        where = f"{name}:{error.lineno}:{error.colno}"
        findings.reject("invalid_json", where, f"The file is no JSON here: {error.msg}.")
        return None
    except RecursionError:
        findings.reject("json_too_deep", name, "The JSON is nested too deeply.")
        return None
    except ValueError as error:
        findings.reject("invalid_json", name, f"The JSON has a number that cannot be read: {error}.")
        return None
    if not_json:
        what = f"The file has {not_json[0]} ({len(not_json)} such number(s)), which JSON does not allow."
        findings.warn("non_finite_number", name, what)
    if not isinstance(document, dict):
        findings.reject("wrong_type", f"{name}#", "The file is not a JSON object.")
        return None
    images: list[tuple[int, _Image]] = []
    categories: list[tuple[int, _Category]] = []
    parts = _Parts(draft, images, categories)
    lists: dict[str, list[Any]] = {}
    for key in ("images", "annotations", "categories"):
        if isinstance(document.get(key), list):
            lists[key] = document[key]
        else:
            code, state = (
                ("wrong_type", "is not a list") if key in document else ("missing_field", "is missing")
            )
            findings.reject(code, f"{name}#/{key}", f"'{key}' {state}.")
    if len(lists) < 3:
        return None
    for index, item in enumerate(lists["categories"]):
        category = _convert(item, _Category, f"{name}#/categories/{index}", findings, always=True)
        if category is not None:
            categories.append((index, category))
    for index, item in enumerate(lists["images"]):
        image = _convert(item, _Image, f"{name}#/images/{index}", findings)
        if image is not None:
            images.append((index, image))
        elif isinstance(item, dict) and isinstance(item.get("id"), int):
            parts.unreadable_images.add(item["id"])
    parts.add_readable(lists["annotations"])
    _report_unreadable(parts, name, findings)
    return parts


def _convert(item: Any, kind: type[T], where: str, findings: Findings, *, always: bool = False) -> T | None:
    """The item as `kind`; None after a finding at the exact place (`always`: it rejects the dataset)."""
    report = findings.reject if always else findings.drop
    try:
        return msgspec.convert(item, kind)
    except msgspec.ValidationError as error:
        reason, pointer = _located(str(error))
        code = "missing_field" if "missing required field" in reason else "wrong_type"
        report(code, where + pointer, f"{reason}.")
    except (OverflowError, ValueError, RecursionError) as error:
        report("wrong_type", where, f"A value cannot be read: {error}.")
    return None


def _located(message: str) -> tuple[str, str]:
    """msgspec's "Expected `float`, got `str` - at `$.bbox[2]`" as a sentence and a JSON Pointer."""
    match = re.fullmatch(r"(.*) - at `\$(.*)`", message, re.DOTALL)
    reason, path = match.groups() if match else (message, "")
    pointer = "".join(f"/{step}" for step in re.findall(r"[A-Za-z_]+|\d+", path))
    return reason.replace("`", "'"), pointer


def _add(draft: Draft, parts: _Parts, name: str, images: Images, findings: Findings) -> None:
    """Faults of references are looked for in all rows at once, and told of row by row."""
    draft.found += parts.found
    known = _add_categories(draft, parts, name, findings)
    split = split_named(posixpath.basename(name)) or folder_split(name)
    places = _add_images(draft, parts, name, split, images, findings)
    rows = parts.rows.array()
    image_ids = rows["image"].copy()
    rows["image"] = _looked_up(image_ids, places)
    unknown_category = ~np.isin(rows["annotation"]["category_id"], list(known))
    used = (rows["image"] >= 0) & ~unknown_category
    repeated = _repeated(rows)
    faulty = unknown_category | (rows["image"] == _UNKNOWN) | repeated
    faulty |= np.isin(rows["position"], [*parts.large_ids, *parts.odd_areas])
    large: set[int] = set()
    for row in np.flatnonzero(faulty).tolist():
        index = int(rows["position"][row])
        where = f"{name}#/annotations/{index}"
        id_ = parts.large_ids.get(index, int(rows["annotation"]["id"][row]))
        if repeated[row] or id_ in large:
            findings.warn("duplicate_annotation_id", f"{where}/id", f"Annotation id {id_} is used twice.")
        if index in parts.large_ids:
            large.add(id_)
        if unknown_category[row]:
            category_id = rows["annotation"]["category_id"][row]
            findings.reject(
                "unknown_category", f"{where}/category_id", f"There is no category with id {category_id}."
            )
        elif rows["image"][row] == _UNKNOWN:
            findings.reject(
                "unknown_image", f"{where}/image_id", f"There is no image with id {image_ids[row]}."
            )
        elif used[row] and index in parts.odd_areas:
            area = parts.odd_areas[index]
            findings.warn("non_finite_area", f"{where}/area", f"The area is {area}; it is ignored.")
    draft.rows.append(rows if used.all() else rows[used])


def _looked_up(ids: NDArray[np.int64], places: dict[int, int]) -> NDArray[np.int64]:
    """The place of each id, _UNKNOWN where it has none."""
    known = np.array(sorted(places), np.int64)
    place_of = np.array([*(places[id_] for id_ in known.tolist()), _UNKNOWN], np.int64)
    at = np.searchsorted(known, ids)
    return place_of[np.where(np.append(known, 0)[at] == ids, at, -1)]


def _repeated(rows: NDArray[np.void]) -> NDArray[np.bool_]:
    """(M,) whether an earlier row has the same id."""
    numbered = np.flatnonzero(rows["annotation"]["flags"] & NUMBERED)
    repeated = np.zeros(len(rows), bool)
    repeated[numbered] = True
    repeated[numbered[np.unique(rows["annotation"]["id"][numbered], return_index=True)[1]]] = False
    return repeated


def _add_categories(draft: Draft, parts: _Parts, name: str, findings: Findings) -> set[int]:
    """Ids of this file's categories; those that an earlier file has not named go into the draft."""
    earlier = {category.id: category for category in draft.categories}
    names = {category.name for category in draft.categories}
    known: set[int] = set()
    for index, item in parts.categories:
        where = f"{name}#/categories/{index}"
        if item.id in known:
            findings.reject("duplicate_category_id", f"{where}/id", f"Category id {item.id} is used twice.")
            continue
        known.add(item.id)
        if not item.name.strip() or len(item.name) > _LONGEST_NAME or not is_plain(item.name):
            findings.reject(
                "invalid_category_name",
                f"{where}/name",
                f"The name {printable(item.name, 60)!r} is empty, too long or cannot be shown.",
            )
        elif item.id in earlier:
            if earlier[item.id].name != item.name:
                other = earlier[item.id].name
                findings.reject(
                    "category_conflict",
                    where,
                    f"Category {item.id} is {item.name!r} here and {other!r} elsewhere.",
                )
        else:
            if item.name in names:
                findings.warn(
                    "duplicate_category_name", f"{where}/name", f"Two categories are called {item.name!r}."
                )
            names.add(item.name)
            draft.categories.append(
                Category(item.id, item.name, printable(item.supercategory or "", _LONGEST_NAME))
            )
    return known


def _add_images(
    draft: Draft, parts: _Parts, name: str, split: str | None, images: Images, findings: Findings
) -> dict[int, int]:
    """Places in the draft of this file's images by id; _LEFT_OUT for one that cannot be used."""
    places: dict[int, int] = {}
    for index, item in parts.images:
        where = f"{name}#/images/{index}"
        if item.id in places:
            findings.reject("duplicate_image_id", f"{where}/id", f"Image id {item.id} is used twice.")
            continue
        members = images.named(item.file_name, near=name, split=split)
        places[item.id] = _LEFT_OUT
        if len(members) == 1:
            declared = _declared(item)
            places[item.id] = len(draft.images)
            draft.images.append(
                DraftImage(members[0], split or folder_split(members[0]), where, name, item.id, declared)
            )
        elif not members:
            findings.drop(
                "image_missing",
                f"{where}/file_name",
                f"The archive has no image {printable(item.file_name)!r}.",
            )
        else:
            findings.drop(
                "image_ambiguous",
                f"{where}/file_name",
                f"The archive has {len(members)} images that {printable(item.file_name)!r} may mean, such as "
                f"{members[0]} and {members[1]}.",
            )
    unreadable = {id_: _LEFT_OUT for id_ in parts.unreadable_images if abs(id_) <= _LARGEST_ID}
    return unreadable | places


def _declared(item: _Image) -> tuple[int, int] | None:
    if (
        item.width is None
        or item.height is None
        or not (1 <= item.width < 2**31 and 1 <= item.height < 2**31)
    ):
        return None
    return int(item.width), int(item.height)
