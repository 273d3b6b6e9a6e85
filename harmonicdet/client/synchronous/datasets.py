"""Datasets: upload, wait for the validation, read what it found, look at the images."""

# Written by `make client` from asynchronous/datasets.py.

import json
from collections.abc import Mapping
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from harmonicdet.client.arguments import given, id_of
from harmonicdet.client.errors import DatasetInvalid
from harmonicdet.client.files import archive_of
from harmonicdet.client.progress import Watcher
from harmonicdet.client.shapes import DatasetImageView, DatasetStatus, DatasetView, FindingView, StatsView
from harmonicdet.client.synchronous.backend import blocking
from harmonicdet.client.synchronous.bound import Bound, Resource
from harmonicdet.client.synchronous.pages import Pages
from harmonicdet.client.synchronous.uploading import IN_PARTS_FROM, Told, in_parts
from harmonicdet.client.synchronous.waiting import states, watch

Metadata = Mapping[str, str]


class Dataset(Bound, DatasetView):
    """An immutable set of images and boxes."""

    def refresh(self) -> "Dataset":
        """As it is now."""
        return self._client.datasets.get(self.id)

    def wait(self, *, progress: bool | Watcher = False, timeout: float | None = None) -> "Dataset":
        """As it is when it has been validated. Raises `DatasetInvalid`, `WaitTimedOut`."""
        return self._client.datasets.wait(self.id, progress=progress, timeout=timeout)

    def report(self, *, limit: int | None = None) -> Pages[FindingView]:
        """What the validation found, in the order of the archive."""
        return self._client.datasets.report(self.id, limit=limit)

    def stats(self) -> StatsView:
        """Balance of the classes, sizes and shapes of boxes and images."""
        return self._client.datasets.stats(self.id)

    def images(self, **wanted: Any) -> "Pages[DatasetImageView]":
        """Its images with their boxes; see `client.datasets.images`."""
        return self._client.datasets.images(self.id, **wanted)

    def delete(self) -> None:
        """Models trained on it keep working."""
        self._client.datasets.delete(self.id)


class Datasets(Resource):
    """`client.datasets`."""

    def upload(
        self,
        source: str | PathLike[str] | bytes,
        *,
        name: str | None = None,
        format: Literal["auto", "coco", "voc", "yolo"] = "auto",  # noqa: A002  # as the service calls it
        on_invalid: Literal["drop", "fix", "reject"] = "drop",
        val_fraction: float | None = None,
        split_seed: int | None = None,
        metadata: Metadata | None = None,
        told: Told | None = None,
    ) -> Dataset:
        """Send a zip, or a folder, in COCO, Pascal VOC or YOLO layout; a worker validates it then.

        `val_fraction` (by default 0.2) and `split_seed` divide a dataset that comes without splits. `told` is
        called with the bytes that have arrived and all bytes.
        """
        split = given(val_fraction=val_fraction, seed=split_seed)
        terms = given(name=name, split=split or None, metadata=None if metadata is None else dict(metadata))
        terms |= {"format": format, "on_invalid": on_invalid}
        if isinstance(source, bytes):
            return self._whole(source, terms)
        path = Path(source)
        terms.setdefault("name", path.resolve().stem if path.is_file() else path.resolve().name)
        with ExitStack() as stack:
            archive = blocking(stack.enter_context, archive_of(path))
            if archive.stat().st_size < IN_PARTS_FROM:
                return self._whole(blocking(archive.read_bytes), terms)
            upload_id = in_parts(self._transport, archive, told=told)
        body = terms | {"upload_id": upload_id}
        return Dataset(self._transport.json("create_dataset", body=body), self._client)

    def _whole(self, data: bytes, terms: dict[str, Any]) -> Dataset:
        query = {name: json.dumps(one) if isinstance(one, dict) else one for name, one in terms.items()}
        headers = {"Content-Type": "application/zip"}
        answer = self._transport.json("create_dataset", query=query, headers=headers, content=data)
        return Dataset(answer, self._client)

    def get(self, dataset: str) -> Dataset:
        """The dataset with this id."""
        return Dataset(self._transport.json("get_dataset", {"dataset_id": dataset}), self._client)

    def wait(
        self, dataset: str | DatasetView, *, progress: bool | Watcher = False, timeout: float | None = None
    ) -> Dataset:
        """As it is when it has been validated. Raises `DatasetInvalid`, `WaitTimedOut`."""
        found = states(
            self._transport,
            "get_dataset",
            {"dataset_id": id_of(dataset)},
            ended=lambda state: state["status"] != "validating",
            timeout=timeout,
        )
        ended = Dataset(watch(found, progress), self._client)
        if ended.status == "invalid":
            raise DatasetInvalid(ended)
        return ended

    def list(
        self,
        *,
        status: DatasetStatus | None = None,
        metadata: Metadata | None = None,
        order: Literal["asc", "desc"] = "desc",
        limit: int | None = None,
    ) -> Pages[Dataset]:
        """Datasets by age, the newest first."""
        query = given(status=status, metadata=metadata, order=order)
        return Pages(self._transport, "list_datasets", self._make, query=query, limit=limit)

    def report(self, dataset: str | DatasetView, *, limit: int | None = None) -> Pages[FindingView]:
        """What the validation found, in the order of the archive."""
        path = {"dataset_id": id_of(dataset)}
        return Pages(self._transport, "get_dataset_report", FindingView, path, limit=limit)

    def stats(self, dataset: str | DatasetView) -> StatsView:
        """Balance of the classes, sizes and shapes of boxes and images."""
        return StatsView(self._transport.json("get_dataset_stats", {"dataset_id": id_of(dataset)}))

    def images(
        self,
        dataset: str | DatasetView,
        *,
        split: str | None = None,
        category_id: int | None = None,
        findings: bool | None = None,
        limit: int | None = None,
    ) -> Pages[DatasetImageView]:
        """Images with their boxes; `findings`: only those that a finding is about, or only the others."""
        query = given(split=split, category_id=category_id, findings=findings)
        path = {"dataset_id": id_of(dataset)}
        return Pages(self._transport, "list_dataset_images", DatasetImageView, path, query=query, limit=limit)

    def image(self, dataset: str | DatasetView, position: int) -> bytes:
        """The file of an image, as it was uploaded; `position` is its `id`."""
        path = {"dataset_id": id_of(dataset), "position": position}
        answer = self._transport.ask("get_dataset_image_content", path)
        return answer.content

    def preview(
        self, dataset: str | DatasetView, position: int, *, size: int | None = None, boxes: bool | None = None
    ) -> bytes:
        """An image with its boxes drawn, as JPEG, or without them; `size` is its longer side in pixels."""
        path = {"dataset_id": id_of(dataset), "position": position}
        query = given(size=size, boxes=boxes)
        answer = self._transport.ask("get_dataset_image_preview", path, query=query)
        return answer.content

    def delete(self, dataset: str | DatasetView) -> None:
        """Models trained on it keep working. Raises `Conflict` while a job uses it."""
        self._transport.ask("delete_dataset", {"dataset_id": id_of(dataset)})

    def _make(self, raw: dict[str, Any]) -> Dataset:
        return Dataset(raw, self._client)
