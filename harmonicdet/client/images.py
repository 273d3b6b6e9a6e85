"""What is taken for an image."""

import io
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

from harmonicdet.client.errors import MissingPackage


class Readable(Protocol):
    """An open file."""

    def read(self) -> bytes: ...


# Any: an array (H, W, 3) or (H, W) of bytes in RGB order, or a Pillow image, whose packages may be absent.
Image = str | PathLike[str] | bytes | bytearray | Readable | Any

_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp"}


def files_in(path: Path) -> list[Path]:
    """The images of a folder by name, without those of folders in it; of a file itself."""
    if not path.is_dir():
        return [path]
    return sorted(one for one in path.iterdir() if one.suffix.lower() in _SUFFIXES and one.is_file())


def encoded(image: Image) -> bytes:
    """The bytes of an image file: as they are, or as PNG. Raises `OSError`, `MissingPackage`, `TypeError`."""
    if isinstance(image, bytes | bytearray):
        return bytes(image)
    if isinstance(image, str | PathLike):
        return Path(image).read_bytes()
    if hasattr(image, "__array_interface__") and not hasattr(image, "save"):
        try:
            from PIL import Image as pillow  # noqa: N813  # a module in all but its case
        except ImportError:
            raise MissingPackage(
                "Arrays are sent as PNG by Pillow: pip install harmonicdet[arrays]"
            ) from None
        array: Any = image
        image = pillow.fromarray(array)
    if hasattr(image, "save") and hasattr(image, "mode"):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()
    if hasattr(image, "read"):
        return bytes(image.read())
    raise TypeError(
        f"An image is a path, bytes, a file, an array or a Pillow image, not {type(image).__name__}."
    )
