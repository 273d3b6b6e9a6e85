"""Images of a dataset, out of its archive: as they are, or small with their boxes drawn."""

from collections.abc import Iterator
from itertools import chain

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from detector.data.archive import Archive
from detector.data.catalogue import Catalogue
from detector.draw import draw
from detector.errors import ImageInvalid
from detector.images import DATASET_MAX_PIXELS, decode, resize
from detector.runtime import Detections

_SIGNATURES = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG", "image/png"), (b"BM", "image/bmp"))
_LARGEST_FILE = 200 << 20  # an uncompressed image of as many pixels as a dataset's may have


def content(archive: Archive, member: str) -> tuple[str, Iterator[bytes]]:
    """Media type and bytes of an image, a megabyte at most in memory. Raises `ArchiveRefused`."""
    chunks = archive.stream(member)
    first = next(chunks, b"")
    return media_type(first), chain([first], chunks)


def media_type(start: bytes) -> str:
    """What an image is by its first bytes, whatever it is called."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    return next(
        (kind for mark, kind in _SIGNATURES if start.startswith(mark)),
        "application/octet-stream",
    )


def preview(
    archive: Archive, member: str, catalogue: Catalogue, position: int, size: int, *, boxes: bool = True
) -> bytes:
    """A JPEG with the image's boxes and class names, its longer side at most `size` pixels.

    Without `boxes` only the image.

    Raises `ImageInvalid`, `ArchiveRefused`.
    """
    if archive.size(member) > _LARGEST_FILE:
        raise ImageInvalid("The file is too large to be drawn.")
    pixels = decode(archive.read(member), max_pixels=DATASET_MAX_PIXELS)
    height, width = pixels.shape[:2]
    scale = min(1.0, size / max(height, width))
    small = resize(pixels, (max(1, round(height * scale)), max(1, round(width * scale))))
    del pixels
    if not boxes:
        return _jpeg(small)
    start, end = catalogue.starts[position], catalogue.starts[position + 1]
    categories = [catalogue.categories[place] for place in catalogue.classes[start:end]]
    factors = np.array([small.shape[1] / width, small.shape[0] / height] * 2)
    shown = Detections(
        boxes=(catalogue.boxes[start:end] * factors).astype(np.float32),
        scores=np.full(end - start, np.nan, np.float32),
        class_ids=np.array([one.id for one in categories], np.int64),
        class_names=[one.name for one in categories],
        size=small.shape[:2],
    )
    return _jpeg(draw(small, shown))


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    encoded: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=88, colorspace="RGB")
    return encoded
