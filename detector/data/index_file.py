"""`index.json` and `dataset.json`: a dataset's index as JSON, written from columns and read into them.

Image by image, so that of all its annotations there are never objects at once. Imports without torch.
"""

from collections.abc import Iterator
from mmap import mmap
from typing import Any

import msgspec

from detector.data.columns import (
    CROWD,
    DIFFICULT,
    MASKED,
    OCCLUDED,
    ROW,
    TRUNCATED,
    Annotations,
    Growing,
    Texts,
    flags_of,
)
from detector.data.records import Category, DatasetIndex, ImageRecord


class _Annotation(msgspec.Struct, omit_defaults=True, gc=False):
    """A `records.Annotation` whose mask is not parsed."""

    id: int
    category_id: int
    box: tuple[float, float, float, float]
    area: float
    iscrowd: bool = False
    difficult: bool = False
    truncated: bool = False
    occluded: bool = False
    segmentation: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Image(msgspec.Struct, gc=False):
    id: int
    file_name: str
    split: str
    width: int
    height: int
    annotations: list[_Annotation] = []


class _Index(msgspec.Struct):
    format: str
    categories: list[Category]
    images: list[msgspec.Raw]


def parts(index: DatasetIndex) -> Iterator[bytes]:
    """The JSON of an index, piece by piece."""
    head = msgspec.json.encode(DatasetIndex(index.format, index.categories, []))
    yield head.removesuffix(b"]}")
    encode = msgspec.json.Encoder(enc_hook=_written).encode
    for place, image in enumerate(index.images):
        yield b"," * (place > 0) + encode(image)
    yield b"]}"


def encode(index: DatasetIndex) -> bytes:
    """The JSON of an index."""
    return b"".join(parts(index))


def decode(data: bytes | mmap, *, masks: bool = True) -> DatasetIndex:
    """The index of its JSON; without `masks` the annotations have none.

    Raises msgspec.DecodeError when it is none.
    """
    whole = msgspec.json.decode(data, type=_Index)
    decode_image = msgspec.json.Decoder(_Image).decode
    growing, texts = Growing(ROW), Texts()
    images: list[_Image] = []
    ends = [0]
    for raw in whole.images:
        image = decode_image(raw)
        growing.extend(_row(one, texts if masks else None) for one in image.annotations)
        ends.append(ends[-1] + len(image.annotations))
        image.annotations = []  # they are rows now
        images.append(image)
    rows = growing.array()
    return DatasetIndex(
        whole.format,
        whole.categories,
        [
            ImageRecord(
                image.id,
                image.file_name,
                image.split,
                image.width,
                image.height,
                Annotations(rows[start:end], texts) if end > start else [],
            )
            for image, start, end in zip(images, ends, ends[1:], strict=False)
        ],
    )


def _row(one: _Annotation, texts: Texts | None) -> tuple[Any, ...]:
    flags, mask = flags_of(one), 0
    if one.segmentation is not msgspec.UNSET:
        flags |= MASKED
        mask = 0 if texts is None else texts.add(memoryview(one.segmentation))
    return one.id, one.category_id, one.box, one.area, flags, mask


def _written(annotations: Any) -> list[_Annotation]:
    """Columns as what msgspec can write."""
    if not isinstance(annotations, Annotations):
        raise NotImplementedError(f"{type(annotations).__name__} is not part of an index.")
    texts = annotations.texts
    return [
        _Annotation(
            id_,
            category_id,
            box,
            area,
            bool(flags & CROWD),
            bool(flags & DIFFICULT),
            bool(flags & TRUNCATED),
            bool(flags & OCCLUDED),
            msgspec.Raw(texts[mask]) if mask else msgspec.UNSET,
        )
        for id_, category_id, box, area, flags, mask in annotations.values()
    ]
