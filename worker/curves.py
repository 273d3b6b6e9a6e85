"""The numbers of a training as TensorBoard reads them: a file of events, written once, at the end.

The format is TensorFlow's: records (length, its checksum, bytes, their checksum) of `Event` messages
(`tensorboard/compat/proto/event.proto`), of which scalars need four fields. The writers that there are bring
TensorBoard itself, or load torch, which has no place in this process.
"""

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from store import jobs
from store.blobs import Blobs
from store.models import NewArtifact
from store.sessions import Database
from store.tables import JobMetric

# TensorBoard takes a file for its own when `tfevents` is in its name.
NAME = "events.out.tfevents"
_PAGE = 1000


def stored(database: Database, project_id: str, job_id: str) -> list[JobMetric]:
    """Every row of metrics that a job has, by step."""
    rows: list[JobMetric] = []
    after: jobs.MetricPlace | None = None
    while True:
        with database.read() as session:
            page = jobs.metrics(session, project_id, job_id, after=after, limit=_PAGE)
        rows += page.items
        if not page.has_more:
            return rows
        after = jobs.MetricPlace(rows[-1].step, rows[-1].split)


def artifact(rows: Iterable[JobMetric], blobs: Blobs, run: Path) -> NewArtifact:
    """The file, in the blobs."""
    path = run / NAME
    path.write_bytes(b"".join(_records(rows)))
    blob = blobs.put_file(path)
    return NewArtifact(NAME, "application/octet-stream", blob.key, blob.sha256, blob.bytes)


def _records(rows: Iterable[JobMetric]) -> Iterator[bytes]:
    version = False
    for row in rows:
        time = row.created_at.timestamp()
        if not version:
            version = True
            yield _record(_double(1, time) + _bytes(3, b"brain.Event:2"))
        values = b"".join(
            _bytes(1, _bytes(1, f"{row.split}/{name}".encode()) + _float(2, value))
            for name, value in row.metrics.items()
            if isinstance(value, int | float)
        )
        yield _record(_double(1, time) + _varint(2 << 3) + _varint(row.step) + _bytes(5, values))


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


# Protocol Buffers: a number of the field and the kind of what follows, then the value.


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; not for negative numbers."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


# CRC-32C (Castagnoli), rotated and shifted by a constant so that a checksum of checksums is one.


def _table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_CRC = _table()


def _masked_crc(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
