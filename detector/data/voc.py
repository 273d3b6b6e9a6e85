"""Read Pascal VOC: an XML file per image, beside it or apart, with ImageSets or split folders or neither."""

import math
import re
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from detector.data.archive import Archive
from detector.data.columns import DIFFICULT, OCCLUDED, TRUNCATED, Growing
from detector.data.draft import DRAFT, Draft, DraftImage
from detector.data.findings import Findings
from detector.data.members import Images, folder_split, stem, suffix
from detector.data.numbers import number
from detector.data.records import Category
from detector.data.refusals import MemberCorrupt
from detector.text import is_plain, printable

_LARGEST_FILE = 10_000_000  # bytes
_DEEPEST = 30  # elements within each other; VOC has four
_LONGEST_NAME = 200
_LIST = re.compile(r"(?:^|/)ImageSets/Main/(train|val|test|trainval)\.txt$")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class _TooDeep(Exception):
    """The XML is nested too deeply."""


def recognised(archive: Archive) -> list[str]:
    """The annotation files: XML with an `annotation` in it. None unless one of the first twenty is such."""
    found = [name for name in archive.members if suffix(name) == ".xml"]
    return found if any(_is_annotation(archive, name) for name in found[:20]) else []


def read(archive: Archive, files: list[str], findings: Findings) -> Draft:
    """The annotation files as one draft; classes are numbered from 1 in the order of their names."""
    draft = Draft("voc")
    images = Images(archive)
    listed = _image_sets(archive, files, findings)
    numbers: dict[str, int] = {}  # class names, numbered as they come
    rows = Growing(DRAFT)
    left_out: list[str] = []
    for name in files:
        if listed and stem(name) not in listed:
            left_out.append(name)
            continue
        split = listed[stem(name)] if listed else folder_split(name)
        _read_file(archive, name, split, images, numbers, rows, draft, findings)
    if left_out:
        findings.warn(
            "not_in_image_sets",
            left_out[0],
            f"{len(left_out)} file(s) are in no list of ImageSets/Main and are left out; this is one.",
        )
        for name in left_out:
            images.with_stem(stem(name), near=name)  # known, so not reported again as unused
    draft.rows.append(rows.array())
    _number_by_name(draft, numbers)
    images.warn_of_unused(findings)
    return draft


def _is_annotation(archive: Archive, name: str) -> bool:
    try:
        return b"<annotation" in archive.read(name)
    except MemberCorrupt:
        return False


def _image_sets(archive: Archive, names: list[str], findings: Findings) -> dict[str, str | None]:
    """Split of each image by its stem, from ImageSets/Main; `trainval` counts only without the others."""
    lists = {match[1]: name for name in archive.members if (match := _LIST.search(name))}
    if "train" in lists or "val" in lists:
        lists.pop("trainval", None)
    splits: dict[str, str | None] = {}
    annotated = {stem(name) for name in names}
    for split, name in lists.items():
        try:
            text = archive.read(name).decode("utf-8-sig", errors="replace")
        except MemberCorrupt as error:
            findings.reject(error.code, name, error.reason)
            continue
        for line_number, line in enumerate(text.splitlines(), start=1):
            if not line.strip():
                continue
            image = line.split()[0]
            if image not in annotated and stem(image) in annotated:
                image = stem(image)  # listed with its suffix
            where = f"{name}:{line_number}"
            if image in splits:
                findings.warn("image_in_two_splits", where, f"{printable(image)} is listed more than once.")
            elif image not in annotated:
                findings.drop(
                    "annotation_missing", where, f"The archive has no annotations for {printable(image)}."
                )
            else:
                splits[image] = None if split == "trainval" else split
    return splits


def _read_file(
    archive: Archive,
    name: str,
    split: str | None,
    images: Images,
    numbers: dict[str, int],
    rows: Growing,
    draft: Draft,
    findings: Findings,
) -> None:
    tree = _parse(archive, name, findings)
    if tree is None:
        images.with_stem(stem(name), near=name, split=split)  # it has annotations, though unreadable ones
        return
    root, lines = tree
    objects = root.findall("object")
    draft.found += len(objects)
    member = _image_of(name, _text(root, "filename"), split, images, findings)
    if member is None:
        return
    place = len(draft.images)
    draft.images.append(
        DraftImage(member, split or folder_split(member), name, name, declared=_declared(root))
    )
    for item in objects:
        row = _row(item, place, name, lines, numbers, findings)
        if row is not None:
            rows.extend([row])


def _parse(archive: Archive, name: str, findings: Findings) -> tuple[Element, dict[Element, int]] | None:
    """The root element, and the line of each element."""
    try:
        data = archive.read(name)
    except MemberCorrupt as error:
        findings.drop(error.code, name, error.reason)
        return None
    if len(data) > _LARGEST_FILE:
        findings.drop(
            "xml_too_large", name, f"The file has {len(data)} bytes; at most {_LARGEST_FILE} are read."
        )
        return None
    builder = _LineBuilder()
    parser = DefusedXMLParser(target=builder, forbid_dtd=True)
    builder.expat = parser.parser
    try:
        parser.feed(data)
        root = parser.close()
    except DefusedXmlException:
        findings.drop("xml_dtd_forbidden", f"{name}:{builder.line}", "The file has a DTD or entities.")
        return None
    except ParseError as error:
        line = error.position[0]
        findings.drop("invalid_xml", f"{name}:{line}", f"The file is no XML here: {error}.")
        return None
    except _TooDeep:
        findings.drop("xml_too_deep", f"{name}:{builder.line}", "The XML is nested too deeply.")
        return None
    except (ValueError, LookupError) as error:  # an encoding that does not exist, or is not that of the bytes
        findings.drop("invalid_xml", name, f"The file is no XML: {error}.")
        return None
    if root.tag != "annotation":
        findings.drop(
            "invalid_xml", f"{name}:1", f"The root is <{printable(root.tag, 40)}>, not <annotation>."
        )
        return None
    return root, builder.lines


class _LineBuilder(TreeBuilder):
    """Builds the tree and remembers the line on which each element starts."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[Element, int] = {}
        self.expat: Any = None
        self._depth = 0

    @property
    def line(self) -> int:
        return int(self.expat.CurrentLineNumber)

    def start(self, tag: Any, attrs: Any, /) -> Element:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _TooDeep
        element = super().start(tag, attrs)
        self.lines[element] = self.line
        return element

    def end(self, tag: str, /) -> Element:
        self._depth -= 1
        return super().end(tag)


def _image_of(name: str, called: str, split: str | None, images: Images, findings: Findings) -> str | None:
    """The image that shares the file's stem, as VOC has it; else the one that <filename> names."""
    found = images.with_stem(stem(name), near=name, split=split)
    if len(found) != 1 and called:
        found = images.named(called, near=name, split=split) or found
    if len(found) == 1:
        return found[0]
    if not found:
        findings.drop("image_missing", name, f"The archive has no image {printable(called or stem(name))!r}.")
    else:
        findings.drop("image_ambiguous", name, f"It may be about {found[0]} or about {found[1]}.")
    return None


def _row(
    item: Element,
    place: int,
    name: str,
    lines: dict[Element, int],
    numbers: dict[str, int],
    findings: Findings,
) -> tuple[Any, ...] | None:
    """An object of the image at `place`, as `DRAFT` has it; its category is the number of its class."""
    line = lines[item]
    category = _text(item, "name")
    if not category or len(category) > _LONGEST_NAME or not is_plain(category):
        shown = printable(category, 60)
        findings.drop("invalid_category_name", f"{name}:{line}", f"The object's class name is {shown!r}.")
        return None
    box = item.find("bndbox")
    if box is None:
        findings.drop("missing_field", f"{name}:{line}", "The object has no <bndbox>.")
        return None
    corners: list[float] = []
    for corner in _CORNERS:
        element = box.find(corner)
        if element is None:
            findings.drop("missing_field", f"{name}:{lines[box]}", f"The box has no <{corner}>.")
            return None
        value = number((element.text or "").strip(), words=True)
        if value is None:
            text = printable(element.text or "", 60)
            findings.drop(
                "wrong_type", f"{name}:{lines[element]}", f"<{corner}> is {text!r}, which is no number."
            )
            return None
        corners.append(value)
    flags = (
        DIFFICULT * (_text(item, "difficult") == "1")
        | TRUNCATED * (_text(item, "truncated") == "1")
        | OCCLUDED * (_text(item, "occluded") == "1")
    )
    number_ = numbers.setdefault(category, len(numbers))
    return place, lines[box], (0, number_, tuple(corners), math.nan, flags, 0)


def _number_by_name(draft: Draft, numbers: dict[str, int]) -> None:
    """Classes in the order of their names, from 1: the order of the files does not matter."""
    draft.categories = [Category(position, name) for position, name in enumerate(sorted(numbers), start=1)]
    ids = np.empty(len(numbers), np.int64)
    for category in draft.categories:
        ids[numbers[category.name]] = category.id
    for rows in draft.rows:
        rows["annotation"]["category_id"] = ids[rows["annotation"]["category_id"]]


def _declared(root: Element) -> tuple[int, int] | None:
    width, height = number(_text(root, "size/width")), number(_text(root, "size/height"))
    if width is None or height is None or not (1 <= width < 2**31 and 1 <= height < 2**31):
        return None
    return int(width), int(height)


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()
