"""Datasets unpacked on this host, by the hash of what is in them; shared by all its workers."""

import logging
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from detector.data.materialise import materialise
from detector.data.records import DatasetIndex
from store.blobs import Blobs

log = logging.getLogger(__name__)


class DatasetCache:
    """`{root}/{archive}-{index}/`, with what `detector.data.materialise` writes."""

    def __init__(self, root: Path, blobs: Blobs) -> None:
        self._root = root
        self._blobs = blobs

    def fetch(self, archive: str, archive_sha256: str, index: str) -> Path:
        """The folder of the dataset, unpacked if this host does not have it. Two processes may ask at once.

        Raises:
            BlobNotFound, BlobCorrupt: the store has lost the archive or its index.
        """
        folder = self._root / f"{archive_sha256[:24]}-{Path(index).name[:24]}"
        if folder.exists():
            os.utime(folder)
            return folder
        self._root.mkdir(parents=True, exist_ok=True)
        with self._blobs.open(index) as file:
            records = msgspec.json.decode(file.read(), type=DatasetIndex)
        log.info("unpacking dataset %s", folder.name)
        local = self._blobs.local_path(archive)
        if local is not None:
            materialise(local, records, folder)
            return folder
        with TemporaryDirectory(dir=self._root, prefix=".fetch-") as temporary:
            downloaded = Path(temporary) / "archive.zip"
            self._blobs.fetch(archive, downloaded, archive_sha256)
            materialise(downloaded, records, folder)
        return folder
