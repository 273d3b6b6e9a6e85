"""Read COCO JSON: one file per split, images anywhere in the archive, sparse ids, polygons, RLE crowds."""

import json
import math
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import msgspec

from detector.data.archive import Archive
from detector.data.draft import Draft, DraftAnnotation, DraftImage
from detector.data.findings import Findings
from detector.data.members import Images, folder_split, split_named, suffix
from detector.data.records import Category
from detector.data.refusals import MemberCorrupt
from detector.text import is_plain, printable

T = TypeVar("T")
# Beyond this, ids would change in the doubles of JavaScript and of pycocotools.
_Id = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]

_OTHER_TASKS = ("captions_", "person_keypoints_", "panoptic_", "stuff_", "image_info_")
_LONGEST_NAME = 200


class _Image(msgspec.Struct):
    id: _Id
    file_name: str
    width: float | None = None
    height: float | None = None


class _Annotation(msgspec.Struct):
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
    annotations: list[_Annotation]
    categories: list[_Category]


@dataclass
class _Parts:
    """What could be read of a file: (index in the file, item) in order, and what could not."""

    images: Iterable[tuple[int, _Image]]
    annotations: Iterable[tuple[int, _Annotation]]
    categories: Iterable[tuple[int, _Category]]
    found: int = 0  # annotations, the unreadable ones included
    unreadable_images: set[int] = field(default_factory=set)  # their ids, as far as they have one


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
        parts = _parse(data, name, findings)
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


def _parse(data: bytes, name: str, findings: Findings) -> _Parts | None:
    """Typed and fast when the file is right; else item by item, so that each fault has its place."""
    try:
        document = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"), type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return _parse_faulty(data, name, findings)
    return _Parts(
        enumerate(document.images),
        _consumed(document.annotations),
        enumerate(document.categories),
        len(document.annotations),
    )


def _consumed(items: list[T]) -> Iterator[tuple[int, T]]:
    """As `enumerate`, each forgotten once it has been given: millions need not be in memory twice."""
    items.reverse()
    for index in range(len(items)):
        yield index, items.pop()


def _parse_faulty(data: bytes, name: str, findings: Findings) -> _Parts | None:
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
    annotations: list[tuple[int, _Annotation]] = []
    categories: list[tuple[int, _Category]] = []
    parts = _Parts(images, annotations, categories)
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
    parts.found = len(lists["annotations"])
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
    for index, item in enumerate(lists["annotations"]):
        annotation = _convert(item, _Annotation, f"{name}#/annotations/{index}", findings)
        if annotation is not None:
            annotations.append((index, annotation))
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
    draft.found += parts.found
    known = _add_categories(draft, parts, name, findings)
    split = split_named(posixpath.basename(name)) or folder_split(name)
    by_id = _add_images(draft, parts, name, split, images, findings)
    seen: set[int] = set()
    for index, item in parts.annotations:
        if type(item.id) is int:
            if item.id in seen:
                findings.warn(
                    "duplicate_annotation_id",
                    f"{name}#/annotations/{index}/id",
                    f"Annotation id {item.id} is used twice.",
                )
            seen.add(item.id)
        if item.category_id not in known:
            findings.reject(
                "unknown_category",
                f"{name}#/annotations/{index}/category_id",
                f"There is no category with id {item.category_id}.",
            )
        elif item.image_id in by_id:
            image = by_id[item.image_id]
            if image is not None:
                image.annotations.append(_annotation(item, name, index, findings))
        elif item.image_id not in parts.unreadable_images:
            findings.reject(
                "unknown_image",
                f"{name}#/annotations/{index}/image_id",
                f"There is no image with id {item.image_id}.",
            )


def _annotation(item: _Annotation, name: str, index: int, findings: Findings) -> DraftAnnotation:
    x, y, width, height = item.bbox
    area = item.area
    if area is not None and not math.isfinite(area):
        findings.warn(
            "non_finite_area", f"{name}#/annotations/{index}/area", f"The area is {area}; it is ignored."
        )
        area = None
    return DraftAnnotation(
        item.category_id,
        (x, y, x + width, y + height),
        name,
        index,
        id=item.id if type(item.id) is int and abs(item.id) <= 2**53 else None,
        area=area,
        iscrowd=bool(item.iscrowd),
        segmentation=item.segmentation,
    )


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
) -> dict[int, DraftImage | None]:
    """Images of this file by id; None for one whose file the archive does not have."""
    by_id: dict[int, DraftImage | None] = {}
    for index, item in parts.images:
        where = f"{name}#/images/{index}"
        if item.id in by_id:
            findings.reject("duplicate_image_id", f"{where}/id", f"Image id {item.id} is used twice.")
            continue
        members = images.named(item.file_name, near=name, split=split)
        by_id[item.id] = None
        if len(members) == 1:
            declared = _declared(item)
            image = DraftImage(members[0], split or folder_split(members[0]), where, item.id, declared)
            by_id[item.id] = image
            draft.images.append(image)
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
    return by_id


def _declared(item: _Image) -> tuple[int, int] | None:
    if (
        item.width is None
        or item.height is None
        or not (1 <= item.width < 2**31 and 1 <= item.height < 2**31)
    ):
        return None
    return int(item.width), int(item.height)
