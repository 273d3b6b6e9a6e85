"""What a model finds on many images, as annotations for people to go over."""

# Written by `make client` from asynchronous/exporting.py.

from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harmonicdet.client.annotations import MASKS, Exported, Format, Found, named_once, written
from harmonicdet.client.arguments import id_of
from harmonicdet.client.images import files_in
from harmonicdet.client.shapes import DatasetView
from harmonicdet.client.synchronous.backend import blocking, each

if TYPE_CHECKING:
    from harmonicdet.client.synchronous.client import Client
    from harmonicdet.client.synchronous.models import ModelDetail

Images = str | PathLike[str] | DatasetView | Iterable[str | PathLike[str]]


class _Source(NamedTuple):
    name: str
    image_id: int
    split: str | None
    file: Path | None
    """None for an image of a dataset of the service."""
    position: int = 0


def export(
    client: "Client",
    model: "ModelDetail",
    images: Images,
    target: Path,
    *,
    format: Format,  # noqa: A002  # as uploads have it
    split: str | None,
    with_images: bool,
    at_once: int,
    told: Callable[[int, int], None] | None,
    options: dict[str, Any],
) -> Exported:
    """Ask for each image, and write the annotations; see `client.models.export`."""
    dataset = _dataset(images)
    sources = _of_files(images) if dataset is None else _of_dataset(client, dataset, split)
    options = options | {"masks": MASKS[format] if model.masks else None}

    def found(source: _Source) -> Found:
        if source.file is None:
            data = client.datasets.image(str(dataset), source.position)
        else:
            data = blocking(source.file.read_bytes)
        prediction = client.models.predict(model, data, **options)
        kept = data if with_images and format != "coco-results" else None
        return Found(source.name, source.image_id, source.split, prediction, kept)

    done = objects = 0
    with written(target, format, model.classes) as add:
        for one in each(found, sources, at_once=at_once):
            blocking(add, one)
            done, objects = done + 1, objects + len(one.prediction.detections)
            if told is not None:
                told(done, len(sources))
    return Exported(target, done, objects)


def _dataset(images: Images) -> str | None:
    """Its id, if the images are those of a dataset."""
    if isinstance(images, DatasetView):
        return id_of(images)
    return images if isinstance(images, str) and images.startswith("ds_") else None


def _of_dataset(client: "Client", dataset: str, split: str | None) -> list[_Source]:
    pages = client.datasets.images(dataset, split=split)
    found = [_Source(one.file_name, one.image_id, one.split, None, one.id) for one in pages]
    names = named_once([source.name for source in found])
    return [source._replace(name=name) for name, source in zip(names, found, strict=True)]


def _of_files(images: Any) -> list[_Source]:
    """Numbered from 1, in their order."""
    given = [images] if isinstance(images, str | PathLike) else images
    files = [file for path in given for file in files_in(Path(path))]
    names = named_once([file.name for file in files])
    return [
        _Source(name, number, None, file)
        for number, (name, file) in enumerate(zip(names, files, strict=True), start=1)
    ]
