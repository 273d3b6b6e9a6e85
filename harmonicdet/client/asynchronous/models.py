"""Models: read, download, predict, import, and the names that mean one of them."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from harmonicdet.client.annotations import Exported, Format
from harmonicdet.client.arguments import given, id_of
from harmonicdet.client.asynchronous.backend import blocking, each
from harmonicdet.client.asynchronous.bound import AsyncBound, AsyncResource
from harmonicdet.client.asynchronous.downloading import download
from harmonicdet.client.asynchronous.exporting import Images, export
from harmonicdet.client.asynchronous.pages import AsyncPages
from harmonicdet.client.asynchronous.predictions import AsyncAsked, AsyncPrediction
from harmonicdet.client.images import Image, encoded
from harmonicdet.client.shapes import (
    ArtifactView,
    DatasetView,
    ModelAliasView,
    ModelDetailView,
    ModelView,
)

Thresholds = float | Mapping[str, float]
_UNCHANGED: Any = object()


class _AsyncModel(AsyncBound):
    async def refresh(self) -> "AsyncModelDetail":
        """As it is now, with its evaluation, files and aliases."""
        return await self._client.models.get(self.id)

    async def predict(self, image: Image, **options: Any) -> AsyncPrediction:
        """What it finds on an image; see `client.models.predict`."""
        return await self._client.models.predict(self.id, image, **options)

    async def export(self, images: Images, target: str | PathLike[str], **options: Any) -> Exported:
        """What it finds on many images, written as annotations; see `client.models.export`."""
        return await self._client.models.export(self.id, images, target, **options)

    async def download(self, name: str, target: str | PathLike[str] = ".") -> Path:
        """Fetch one of its files, such as `model.onnx`, to a path or into a folder."""
        return await self._client.models.download(self.id, name, target)

    async def update(self, **changes: Any) -> "AsyncModelDetail":
        """Change its name or metadata; see `client.models.update`."""
        return await self._client.models.update(self.id, **changes)

    async def delete(self) -> None:
        """Raises `Conflict` while an alias or a job needs it."""
        await self._client.models.delete(self.id)


class AsyncModel(_AsyncModel, ModelView):
    """A model, as lists have it."""


class AsyncModelDetail(_AsyncModel, ModelDetailView):
    """A model with its evaluation, files and aliases."""


class AsyncModels(AsyncResource):
    """`client.models`. A model is named by its id or by an alias."""

    async def get(self, model: str) -> AsyncModelDetail:
        """The model with this id or alias."""
        return AsyncModelDetail(await self._transport.json("get_model", {"model_id": model}), self._client)

    def list(
        self,
        *,
        dataset: str | DatasetView | None = None,
        metadata: Mapping[str, str] | None = None,
        order: Literal["asc", "desc"] = "desc",
        limit: int | None = None,
    ) -> AsyncPages[AsyncModel]:
        """Models by age, the newest first."""
        dataset_id = None if dataset is None else id_of(dataset)
        query = given(dataset_id=dataset_id, metadata=metadata, order=order)
        return AsyncPages(
            self._transport,
            "list_models",
            lambda raw: AsyncModel(raw, self._client),
            query=query,
            limit=limit,
        )

    async def predict(
        self,
        model: str | ModelView | ModelDetailView,
        image: Image,
        *,
        score_threshold: Thresholds | None = None,
        operating_point: Literal["max_f1", "precision"] | None = None,
        max_detections: int | None = None,
        classes: Sequence[str | int] | None = None,
        box_format: Literal["xyxy", "xywh", "cxcywh"] | None = None,
        masks: Literal["rle", "polygons", "none"] | None = None,
    ) -> AsyncPrediction:
        """What the model finds on an image: a path, bytes, a file, an array (H, W, 3) in RGB, a Pillow image.

        `score_threshold` is a number, or one for each of some classes by name or id.
        """
        query = given(
            score_threshold=_thresholds(score_threshold),
            operating_point=operating_point,
            max_detections=max_detections,
            classes=None if classes is None else [str(one) for one in classes],
            box_format=box_format,
            masks=masks,
        )
        data = await blocking(encoded, image)
        return await AsyncAsked(self._transport, id_of(model), data, query).answer()

    def predict_each(
        self,
        model: str | ModelView | ModelDetailView,
        images: Iterable[Image],
        *,
        at_once: int = 4,
        **options: Any,
    ) -> AsyncIterator[AsyncPrediction]:
        """One prediction after another, in the order of the images; several are asked for at once."""

        async def predict(image: Image) -> AsyncPrediction:
            return await self.predict(model, image, **options)

        return each(predict, images, at_once=at_once)

    async def export(
        self,
        model: str | ModelView | ModelDetailView,
        images: Images,
        target: str | PathLike[str],
        *,
        format: Format = "coco",  # noqa: A002  # as uploads have it
        split: str | None = None,
        score_threshold: Thresholds | None = None,
        operating_point: Literal["max_f1", "precision"] | None = None,
        max_detections: int | None = None,
        classes: Sequence[str | int] | None = None,
        with_images: bool = True,
        at_once: int = 4,
        told: Callable[[int, int], None] | None = None,
    ) -> Exported:
        """What the model finds on many images, written as annotations for people to go over in their tool.

        `images`: a folder, paths, or a dataset of the service (of which `split` is one). `target`: a zip by
        its suffix, else a folder; of `coco-results` a file. `told` is called with the images that are done
        and all. Raises `FileExistsError` when something is there already.
        """
        options = {
            "score_threshold": score_threshold,
            "operating_point": operating_point,
            "max_detections": max_detections,
            "classes": classes,
        }
        return await export(
            self._client,
            await self.get(id_of(model)),
            images,
            Path(target),
            format=format,
            split=split,
            with_images=with_images,
            at_once=at_once,
            told=told,
            options=options,
        )

    async def artifacts(self, model: str | ModelView | ModelDetailView) -> "list_[ArtifactView]":
        """Its files."""
        answer = await self._transport.json("list_artifacts", {"model_id": id_of(model)})
        return [ArtifactView(raw) for raw in answer["data"]]

    async def download(
        self,
        model: str | ModelView | ModelDetailView,
        name: str,
        target: str | PathLike[str] = ".",
    ) -> Path:
        """Fetch a file to a path or into a folder; it goes on after a break, and its SHA-256 is checked."""
        path = Path(target)
        return await download(
            self._transport,
            "get_artifact",
            {"model_id": id_of(model), "name": name},
            path / name if path.is_dir() else path,
        )

    async def import_weights(
        self,
        source: str | PathLike[str],
        *,
        name: str | None = None,
        architecture: str | Mapping[str, Any] | None = None,
        classes: Sequence[str | Mapping[str, Any]] | None = None,
        backbone: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> AsyncModel:
        """A safetensors file as a starting point: of a detector with its classes, or of a backbone."""
        said = given(name=name, backbone=backbone)
        as_json = given(architecture=architecture, classes=classes, metadata=metadata)
        with Path(source).open("rb") as file:
            answer = await self._transport.json(
                "create_model",
                data=said | {key: json.dumps(value) for key, value in as_json.items()},
                files={"file": (Path(source).name, file, "application/octet-stream")},
            )
        return AsyncModel(answer, self._client)

    async def update(
        self,
        model: str | ModelView | ModelDetailView,
        *,
        name: str | None = None,
        metadata: Mapping[str, str | None] | None = _UNCHANGED,
    ) -> AsyncModelDetail:
        """Another name, or other metadata: None in place of a value takes that name away, None in place of
        all takes all away."""
        patch = given(name=name) | ({} if metadata is _UNCHANGED else {"metadata": metadata})
        answer = await self._transport.json(
            "patch_model",
            {"model_id": id_of(model)},
            body=patch,
            headers={"Content-Type": "application/merge-patch+json"},
        )
        return AsyncModelDetail(answer, self._client)

    async def delete(self, model: str | ModelView | ModelDetailView) -> None:
        """Raises `Conflict` while an alias or a job needs it."""
        await self._transport.ask("delete_model", {"model_id": id_of(model)})


class AsyncAliases(AsyncResource):
    """`client.aliases`: names such as `production`."""

    async def put(
        self,
        alias: str,
        model: str | ModelView | ModelDetailView,
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> ModelAliasView:
        """From now on the name means this model."""
        body = {"model_id": id_of(model)} | given(metadata=metadata)
        return ModelAliasView(await self._transport.json("put_model_alias", {"alias": alias}, body=body))

    async def get(self, alias: str) -> ModelAliasView:
        """What the name means now."""
        return ModelAliasView(await self._transport.json("get_model_alias", {"alias": alias}))

    def list(
        self, *, model: str | ModelView | ModelDetailView | None = None, limit: int | None = None
    ) -> AsyncPages[ModelAliasView]:
        """Every name, or those of a model."""
        query = given(model_id=None if model is None else id_of(model))
        return AsyncPages(self._transport, "list_model_aliases", ModelAliasView, query=query, limit=limit)

    async def delete(self, alias: str) -> None:
        """The model stays."""
        await self._transport.ask("delete_model_alias", {"alias": alias})


list_ = list  # within a class that has a method `list`


def _thresholds(given: Thresholds | None) -> "list_[str] | None":
    if given is None:
        return None
    if isinstance(given, Mapping):
        return [f"{name}:{value}" for name, value in given.items()]
    return [str(given)]
