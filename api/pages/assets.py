"""Scripts, styles and pictures of the pages, under paths that change with what is in them.

One hash names the whole tree: `/static/<hash>/job.js`. Modules import each other by relative paths, so that a
page of one version never runs a module of another, and a browser may keep everything for ever. Plotly's
script, a thousand times larger, changes with its own package only, whose version is in its path.
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path, PurePosixPath

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_SMALLEST = 500  # below this, gzip saves no packet
CHARTS = "plotly.min.js"


@dataclass(frozen=True)
class Asset:
    """A file as it is sent."""

    content: bytes
    zipped: bytes | None
    """By gzip; None where that saves nothing worth it."""
    media_type: str


@cache
def tree() -> dict[str, Asset]:
    """Every file of `static`, by name."""
    folder = files("api.pages").joinpath("static")
    return {
        one.name: made(one.read_bytes(), _TYPES[PurePosixPath(one.name).suffix])
        for one in folder.iterdir()
        if PurePosixPath(one.name).suffix in _TYPES
    }


@cache
def version() -> str:
    """Changes when any file does."""
    told = hashlib.sha256()
    for name, asset in sorted(tree().items()):
        told.update(f"{name} {len(asset.content)}\n".encode() + asset.content)
    return told.hexdigest()[:16]


@cache
def charts_version() -> str | None:
    """Of the installed package plotly; None without it: pages then show tables only."""
    try:
        return distribution("plotly").version
    except PackageNotFoundError:
        return None


@cache
def charts() -> Asset | None:
    """`plotly.min.js` of the installed package, which is not imported for it: 5 MB, 1.5 as they are sent."""
    try:
        path = Path(str(distribution("plotly").locate_file(f"plotly/package_data/{CHARTS}")))
        return made(path.read_bytes(), _TYPES[".js"])
    except (PackageNotFoundError, FileNotFoundError):
        return None


def made(content: bytes, media_type: str) -> Asset:
    """To be sent as it is, or zipped to those who accept that."""
    zipped = gzip.compress(content, 6, mtime=0) if len(content) > _SMALLEST else None
    return Asset(content, zipped, media_type)
