"""Find the members of an archive that annotations speak of, and the split that a path names."""

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable

from detector.data.archive import Archive
from detector.data.findings import Findings

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp"})
_OTHER_IMAGE_SUFFIXES = frozenset({".gif", ".tif", ".tiff", ".heic", ".avif", ".jp2", ".ppm", ".pgm"})
_MOST_COMPARED = 1_000  # members of one name; each look-up goes through them
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


class Images:
    """The image members of an archive, found by what annotations call them."""

    def __init__(self, archive: Archive) -> None:
        known = IMAGE_SUFFIXES | _OTHER_IMAGE_SUFFIXES
        self.members = [name for name in archive.members if suffix(name) in known]
        self._all = frozenset(self.members)
        self._by_base: defaultdict[str, list[str]] = defaultdict(list)
        self._by_stem: defaultdict[str, list[str]] = defaultdict(list)
        self._by_place: defaultdict[tuple[str, str], list[str]] = defaultdict(list)  # folder, stem
        self._used: set[str] = set()
        for name in self.members:
            self._by_base[posixpath.basename(name).casefold()].append(name)
            self._by_stem[stem(name).casefold()].append(name)
            self._by_place[posixpath.dirname(name), stem(name)].append(name)

    def named(self, name: str, *, near: str, split: str | None = None) -> list[str]:
        """The members that an annotation in the member `near` can mean by `name`: one, none, or several."""
        asked = name.replace("\\", "/")
        while asked.startswith(("./", "../", "/")):
            asked = asked.split("/", 1)[1]
        for exact in (posixpath.normpath(posixpath.join(posixpath.dirname(near), asked)), asked):
            if exact in self._all:
                return self._use([exact])
        same_base = self._by_base.get(posixpath.basename(asked).casefold(), [])
        tails = [member for member in same_base if member.endswith(f"/{asked}")]
        return self._use(_nearest(tails or same_base, near, split))

    def with_stem(self, wanted: str, *, near: str, split: str | None = None) -> list[str]:
        """The members called `wanted`, whatever their suffix, nearest to the member `near`."""
        beside = self._by_place.get((posixpath.dirname(near), wanted))
        return self._use(beside or _nearest(self._by_stem.get(wanted.casefold(), []), near, split))

    def use(self, members: Iterable[str]) -> None:
        self._used.update(members)

    def warn_of_unused(self, findings: Findings) -> None:
        """One warning for all images of the archive that no annotation speaks of."""
        unused = [member for member in self.members if member not in self._used]
        if unused:
            findings.warn(
                "image_not_listed",
                unused[0],
                f"{len(unused)} image(s) of the archive have no annotations and are left out; this is one.",
            )

    def _use(self, members: list[str]) -> list[str]:
        self._used.update(members)
        return members


def suffix(name: str) -> str:
    return posixpath.splitext(name)[1].lower()


def stem(name: str) -> str:
    return posixpath.splitext(posixpath.basename(name))[0]


def split_named(path: str) -> str | None:
    """The split that a path names (`train2017/a.jpg`, `annotations/instances_val.json`), its end first."""
    for part in reversed(path.split("/")):
        for word in reversed(re.split(r"[^a-z]+", part.lower())):
            if word in _SPLITS:
                return _SPLITS[word]
    return None


def folder_split(member: str) -> str | None:
    """The split that the folders of a member name; its own name does not count."""
    return split_named(posixpath.dirname(member))


def split_name(text: str) -> str:
    """`valid` and `validation` are `val`."""
    return _SPLITS.get(text.lower(), text.lower())


def _nearest(members: list[str], near: str, split: str | None) -> list[str]:
    if len(members) > _MOST_COMPARED:
        return members[:2]
    if len(members) > 1 and split is not None:
        members = [member for member in members if folder_split(member) == split] or members
    if len(members) > 1:
        home = posixpath.dirname(near).split("/")
        shared = [_shared_length(home, posixpath.dirname(member).split("/")) for member in members]
        members = [member for member, count in zip(members, shared, strict=True) if count == max(shared)]
    return members


def _shared_length(left: list[str], right: list[str]) -> int:
    return next(
        (count for count, (a, b) in enumerate(zip(left, right, strict=False)) if a != b),
        min(len(left), len(right)),
    )
