"""A validated dataset on local disk: `dataset.json` and one file per image, named by us."""

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import msgspec
import numpy as np
from numpy.typing import NDArray

from detector.data import index_file
from detector.data.archive import open_archive
from detector.data.records import DatasetIndex, ImageRecord
from detector.errors import DatasetInvalid, ImageInvalid
from detector.images import decode

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


def materialise(archive_path: Path, index: DatasetIndex, destination: Path) -> None:
    """Write `destination/dataset.json` and `destination/images/00000017.jpg` for every image of `index`.

    All or nothing: the folder is made under another name and renamed when it is whole, so that a killed
    process leaves no half of it and two processes may do the same at once. A folder that is there already is
    left alone. No name out of the archive becomes a path. Raises ArchiveRefused, and DatasetInvalid when the
    archive is not that of `index`.
    """
    if _is_complete(destination):
        return
    destination.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    try:
        (staging / "images").mkdir()
        with open_archive(archive_path) as archive:
            for image in index.images:
                if image.file_name not in archive:
                    raise DatasetInvalid(
                        f"The archive has no member {image.file_name!r}, which the index lists."
                    )
                image_path(staging, image).write_bytes(archive.read(image.file_name))
        _write_synced(staging / "dataset.json", index_file.parts(index))
        staging.chmod(0o755)
        _rename_unless_there(staging, destination)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def load(destination: Path) -> DatasetIndex:
    """The index of a materialised dataset. Raises DatasetInvalid when there is none, or it cannot be read."""
    path = destination / "dataset.json"
    try:
        return index_file.decode(path.read_bytes())
    except OSError as error:
        raise DatasetInvalid(f"There is no dataset at {destination}: {error.strerror}.") from error
    except msgspec.DecodeError as error:
        raise DatasetInvalid(f"{path} is no dataset index: {error}.") from error


def image_path(destination: Path, image: ImageRecord) -> Path:
    """Where the bytes of an image of the index are."""
    suffix = PurePosixPath(image.file_name).suffix.lower()
    return destination / "images" / f"{image.id:08d}{suffix if suffix in _SUFFIXES else '.img'}"


def read_pixels(destination: Path, image: ImageRecord) -> NDArray[np.uint8]:
    """An image of the index, decoded (H, W, 3).

    Raises DatasetInvalid, naming the image, when it is missing or broken.
    """
    try:
        return decode(image_path(destination, image).read_bytes())
    except OSError as error:
        raise DatasetInvalid(f"{image.file_name}: cannot be read: {error.strerror}.") from error
    except ImageInvalid as error:
        raise DatasetInvalid(f"{image.file_name}: {error.message}", hint=error.hint) from error


def _is_complete(destination: Path) -> bool:
    return (destination / "dataset.json").is_file()


def _write_synced(path: Path, parts: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())


def _rename_unless_there(staging: Path, destination: Path) -> None:
    try:
        staging.rename(destination)
    except OSError:
        if not _is_complete(destination):  # not another process that was faster
            raise
