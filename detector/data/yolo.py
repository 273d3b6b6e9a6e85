"""Read YOLO: a text file per image, classes in YAML or classes.txt, splits in the YAML or in folders."""

import math
import posixpath
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from detector.data.archive import Archive
from detector.data.columns import Growing
from detector.data.draft import DRAFT, Draft, DraftImage
from detector.data.findings import Findings
from detector.data.members import IMAGE_SUFFIXES, Images, folder_split, split_name, stem, suffix
from detector.data.numbers import number
from detector.data.records import Category
from detector.data.refusals import MemberCorrupt
from detector.text import is_plain, printable

_CLASS_FILES = ("classes.txt", "obj.names", "classes.names", "_darknet.labels", "labels.txt")
_LARGEST_FILE = 10_000_000  # bytes
_LARGEST_YAML = 500_000  # PyYAML reads about 50,000 a second
_DEEPEST = 50  # collections within each other; a dataset has two
_BRACKET = re.compile(r"[\[\]{}]")
_BLOCKS_IN_A_LINE = re.compile(rf"(?:[-?] ){{{_DEEPEST}}}")
_LONGEST_NAME = 200
_MOST_FOLDERS = 100  # of a split
_DEEPEST_FOLDER = 20
_SPLIT_KEYS = ("train", "val", "valid", "validation", "test")
_CLASS = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass
class _Layout:
    """What the YAML file says. `folders`: what each split is made of, as written."""

    source: str
    names: dict[int, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)  # names, to find doubles
    folders: dict[str, list[str]] = field(default_factory=dict)


def recognised(archive: Archive) -> list[str]:
    """The file that names the classes: YAML with `names`, else classes.txt or the like; none or one."""
    documents = [name for name in archive.members if suffix(name) in (".yaml", ".yml")]
    documents = [name for name in documents if _has_names(archive, name)]
    plain = [name for name in archive.members if posixpath.basename(name).lower() in _CLASS_FILES]
    return sorted(documents, key=_depth)[:1] or sorted(plain, key=_depth)[:1]


def read(archive: Archive, files: list[str], findings: Findings) -> Draft:
    """All images and labels of the archive as one draft; an image without a label file is a negative."""
    draft = Draft("yolo", relative=True)
    source = files[0]
    layout = _layout(archive, source, findings)
    if layout is None:
        return draft
    draft.categories = [Category(number_, name) for number_, name in sorted(layout.names.items())]
    images = Images(archive)
    split_of = _splits(archive, layout, images, findings)
    labels = _Labels(archive, source)
    negatives: list[str] = []
    rows = Growing(DRAFT)
    for member, split in split_of.items():
        images.use([member])
        label = labels.of(member)
        if label is None:
            negatives.append(member)
        else:
            _read_labels(archive, label, layout.names, rows, draft, findings)
        draft.images.append(DraftImage(member, split, member, label or member))
    draft.rows.append(rows.array())
    if negatives:
        findings.warn(
            "label_file_missing",
            negatives[0],
            f"{len(negatives)} image(s) have no label file and count as images without objects; this is one.",
        )
    for name in labels.unused():
        if not images.with_stem(stem(name), near=name):
            findings.drop(
                "image_missing", name, f"The archive has no image for the labels {printable(name)}."
            )
    images.warn_of_unused(findings)
    return draft


def _depth(name: str) -> tuple[int, str]:
    return name.count("/"), name


def _has_names(archive: Archive, name: str) -> bool:
    try:
        return re.search(rb"^\s*['\"]?names['\"]?\s*:", archive.read(name), re.MULTILINE) is not None
    except MemberCorrupt:
        return False


def _layout(archive: Archive, source: str, findings: Findings) -> _Layout | None:
    try:
        data = archive.read(source)
    except MemberCorrupt as error:
        findings.reject(error.code, source, error.reason)
        return None
    if len(data) > _LARGEST_YAML:
        message = f"The file has {len(data)} bytes; at most {_LARGEST_YAML} are read."
        findings.reject("class_file_too_large", source, message)
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        findings.reject("invalid_text", source, f"The file is not UTF-8 at byte {error.start}.")
        return None
    if suffix(source) in (".yaml", ".yml"):
        return _from_yaml(text, source, findings)
    layout = _Layout(source)
    lines = [line.strip() for line in text.rstrip().splitlines()]
    for position, name in enumerate(lines):
        _add_name(layout, position, name, f"{source}:{position + 1}", findings)
    return layout


def _is_too_deep(text: str) -> bool:
    """Whether YAML parsers, whose time grows with the square of the depth, would be busy with it."""
    depth = 0
    for bracket in _BRACKET.findall(text):
        depth += 1 if bracket in "[{" else -1
        if depth > _DEEPEST:
            return True
    return _BLOCKS_IN_A_LINE.search(text) is not None


def _from_yaml(text: str, source: str, findings: Findings) -> _Layout | None:
    if _is_too_deep(text):
        findings.reject("invalid_yaml", source, "The YAML is nested too deeply.")
        return None
    try:
        document = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - strings only: `no` is a name
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        findings.reject("invalid_yaml", f"{source}:{line}", f"The file is no YAML here: {error.problem}.")
        return None
    except (
        Exception
    ) as error:  # PyYAML lets out ValueError, TypeError, RecursionError and more on foreign text
        findings.reject("invalid_yaml", source, f"The file is no YAML: {type(error).__name__}.")
        return None
    names = document.get("names") if isinstance(document, dict) else None
    layout = _Layout(source)
    if isinstance(names, list):
        names = dict(enumerate(names))
    if isinstance(names, str) and names.strip():
        names = {0: names}
    if not isinstance(names, dict) or not names:
        findings.reject("wrong_type", source, "'names' is neither a list nor a map of class names.")
        return None
    for position, name in names.items():
        if not _CLASS.fullmatch(str(position)) or not isinstance(name, str):
            findings.reject(
                "wrong_type", source, f"'names' has {printable(position, 40)}: a number and a name are due."
            )
        else:
            _add_name(layout, int(position), name.strip(), source, findings)
    count = document.get("nc")
    if isinstance(count, str) and count != str(len(layout.names)):
        findings.warn(
            "class_count_differs",
            source,
            f"'nc' is {printable(count, 40)}, but 'names' has {len(layout.names)} classes.",
        )
    for key in _SPLIT_KEYS:
        folders = document.get(key)
        for folder in folders[:_MOST_FOLDERS] if isinstance(folders, list) else [folders]:
            if isinstance(folder, str) and folder.strip():
                layout.folders.setdefault(split_name(key), []).append(folder.strip())
    return layout


def _add_name(layout: _Layout, position: int, name: str, where: str, findings: Findings) -> None:
    if not name or len(name) > _LONGEST_NAME or not is_plain(name):
        shown = printable(name, 60)
        message = f"The name {shown!r} is empty, too long or has characters that cannot be shown."
        findings.reject("invalid_category_name", where, message)
        return
    if name in layout.taken:
        findings.warn("duplicate_category_name", where, f"Two classes are called {name!r}.")
    layout.names[position] = name
    layout.taken.add(name)


def _splits(archive: Archive, layout: _Layout, images: Images, findings: Findings) -> dict[str, str | None]:
    """Image members with their split: as the YAML says, or as their folders say where it says nothing."""
    found: dict[str, str | None] = {}
    for split, folders in layout.folders.items():
        for folder in folders:
            for member in _in_folder(archive, folder, layout.source, images, findings):
                if found.setdefault(member, split) != split:
                    findings.warn(
                        "image_in_two_splits", member, f"The image is in {found[member]} and in {split}."
                    )
    if not found:
        found = {
            member: folder_split(member) for member in images.members if suffix(member) in IMAGE_SUFFIXES
        }
    return found


def _in_folder(archive: Archive, folder: str, source: str, images: Images, findings: Findings) -> list[str]:
    """Members under a folder as a YAML file writes it (its start may be someone's disk), or in a list."""
    parts = [part for part in folder.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    parts = parts[-_DEEPEST_FOLDER:]
    home = posixpath.dirname(source)
    if parts and parts[-1].lower().endswith(".txt"):
        wanted = {"/".join(parts), posixpath.join(home, *parts), posixpath.join(home, parts[-1])}
        lists = [name for name in archive.members if name in wanted]
        return [member for name in lists[:1] for member in _listed(archive, name, images, findings)]
    for start in range(len(parts)):
        tail = "/".join(parts[start:]) + "/"
        for prefix in (posixpath.join(home, tail), tail):
            under = [member for member in images.members if member.startswith(prefix)]
            if under:
                return under
        under = [member for member in images.members if f"/{tail}" in member]
        if under:
            return under
    return []


def _listed(archive: Archive, name: str, images: Images, findings: Findings) -> list[str]:
    try:
        text = archive.read(name).decode("utf-8-sig", errors="replace")
    except MemberCorrupt as error:
        findings.reject(error.code, name, error.reason)
        return []
    members: list[str] = []
    for position, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            found = images.named(line.strip(), near=name)
            members += found[:1]
            if not found:
                message = f"The archive has no image {printable(line.strip())!r}."
                findings.drop("image_missing", f"{name}:{position}", message)
    return members


class _Labels:
    """Label files of an archive, found by their image."""

    def __init__(self, archive: Archive, source: str) -> None:
        self._all = {
            name
            for name in archive.members
            if suffix(name) == ".txt"
            and name != source
            and posixpath.basename(name).lower() not in _CLASS_FILES
        }
        self._used: set[str] = set()

    def of(self, image: str) -> str | None:
        """`images/` becomes `labels/` where the path has it, the last one first; else beside the image."""
        base = posixpath.splitext(image)[0] + ".txt"
        parts = base.split("/")
        candidates = [
            "/".join([*parts[:place], "labels", *parts[place + 1 :]])
            for place in reversed(range(len(parts) - 1))
            if parts[place].lower() in ("images", "imgs", "jpegimages")
        ]
        beside = posixpath.join(posixpath.dirname(image), "labels", posixpath.basename(base))
        for candidate in [*candidates, base, beside]:
            if candidate in self._all:
                self._used.add(candidate)
                return candidate
        return None

    def unused(self) -> list[str]:
        """Text files among the label files that belong to no image."""
        folders = {posixpath.dirname(name) for name in self._used}
        return sorted(
            name
            for name in self._all - self._used
            if posixpath.dirname(name) in folders and posixpath.dirname(name) != ""
        )


def _read_labels(
    archive: Archive, name: str, names: dict[int, str], rows: Growing, draft: Draft, findings: Findings
) -> None:
    """Of the draft's next image."""
    try:
        data = archive.read(name)
    except MemberCorrupt as error:
        findings.drop(error.code, name, error.reason)
        return
    if len(data) > _LARGEST_FILE:
        message = f"The file has {len(data)} bytes; at most {_LARGEST_FILE} are read."
        findings.drop("label_file_too_large", name, message)
        return
    for position, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            draft.found += 1
            row = _row(line, name, position, names, draft, findings)
            if row is not None:
                rows.extend([row])


def _row(
    line: bytes, name: str, position: int, names: dict[int, str], draft: Draft, findings: Findings
) -> tuple[Any, ...] | None:
    """A line as `DRAFT` has it."""
    where = f"{name}:{position}"
    # Split as bytes: as text, what ASCII calls separators of files and records would be spaces, too.
    words = [word.decode("ascii", errors="replace") for word in line.split()]
    values = [number(word, words=True) for word in words[1:]]
    if not _CLASS.fullmatch(words[0]) or None in values or not _fits(len(values)):
        shown = printable(line.decode("utf-8", errors="replace").strip(), 80)
        message = f"{shown!r} is neither 'class x y width height' nor 'class x y x y x y …' in plain numbers."
        findings.drop("label_syntax", where, message)
        return None
    category = int(words[0])
    if category not in names:
        message = f"There is no class {category}; the dataset has {len(names)}: 0 to {max(names, default=0)}."
        findings.reject("unknown_category", where, message)
        return None
    numbers = [value for value in values if value is not None]
    area, flags, mask = math.nan, 0, 0
    if len(numbers) == 4:
        x, y, width, height = numbers
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    else:
        xs, ys = numbers[0::2], numbers[1::2]
        box = (min(xs), min(ys), max(xs), max(ys))
        if not all(map(math.isfinite, numbers)):  # min and max pass over a NaN, or do not, by its place
            box = (math.nan,) * 4
        area, flags, mask = draft.keep_mask([numbers], area)
    return len(draft.images), position, (0, category, box, area, flags, mask)


def _fits(count: int) -> bool:
    return count == 4 or (count >= 6 and count % 2 == 0)
