"""Predictions: an image in, detections or a picture out."""

import time
from dataclasses import dataclass
from typing import Annotated, Literal

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from api.bodies import Field, PartData, PartStart, counted, media_type, multipart
from api.dependencies import ModelReference, ProjectDep, ServicesDep
from api.errors import (
    BodyMalformed,
    BodyTooLarge,
    Invalid,
    MediaTypeUnsupported,
    NotAcceptable,
    Overloaded,
    invalid,
)
from api.inference.answer import Wanted, as_json, as_picture
from api.inference.thresholds import thresholds
from api.negotiation import preferred
from api.openapi import BINARY, problems
from api.schemas.predictions import BoxFormat, MaskFormat, PredictionList, PredictionView
from api.services import Services
from detector.errors import ImageInvalid
from detector.runtime import ModelCard
from store import models
from store.errors import ModelCannotPredict, ModelNotFound
from store.glance import NotNow

router = APIRouter(prefix="/v1/models", tags=["predictions"])
PICTURES = ("image/jpeg", "image/png")
_JSON = "application/json"


@dataclass(frozen=True)
class Upload:
    """An image as it came; `file_name` is that of a multipart body."""

    data: bytes
    file_name: str | None


@router.post(
    "/{model_id}/predict",
    response_model=PredictionView | PredictionList,
    summary="Detect objects on images",
    response_description="What was found, or, by Accept, the image with it drawn.",
    responses=problems(
        ModelNotFound,
        ModelCannotPredict,
        BodyMalformed,
        BodyTooLarge,
        MediaTypeUnsupported,
        NotAcceptable,
        ImageInvalid,
        Invalid,
        Overloaded,
        also={200: {"content": {kind: {"schema": BINARY} for kind in PICTURES}}},
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "One image as it is, or a form with one or several. JPEG, PNG, WebP or BMP.",
            "content": {
                "image/*": {"schema": BINARY},
                "application/octet-stream": {"schema": BINARY},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["image"],
                        "properties": {
                            "image": {
                                "type": "array",
                                "items": BINARY,
                                "minItems": 1,
                                "description": "May be repeated; the answer is then a list.",
                            }
                        },
                    }
                },
            },
        }
    },
)
async def predict(
    model_id: ModelReference,
    request: Request,
    services: ServicesDep,
    project: ProjectDep,
    score_threshold: Annotated[
        list[str] | None,
        Query(
            max_length=1000,
            description="Least score of a detection, 0 to 1: a number, or `class:number` for one class by "
            "name or id; may be repeated. By default the model card's.",
            examples=[["0.5"], ["0.4", "RBC:0.55"]],
        ),
    ] = None,
    operating_point: Annotated[
        Literal["max_f1", "precision"] | None,
        Query(
            description="Take the thresholds that the model's evaluation has chosen for each class, in place "
            "of `score_threshold`: with the best F1, or the lowest from which 90 % are right. A class for "
            "which none was found has that of all classes; without that either, nothing of it is given."
        ),
    ] = None,
    max_detections: Annotated[int, Query(ge=1, le=1000, description="Most detections on an image.")] = 100,
    classes: Annotated[
        list[str] | None,
        Query(description="Only these classes, by name or id; repeated, or separated by commas."),
    ] = None,
    box_format: Annotated[
        BoxFormat,
        Query(description="`xyxy`: corners; `xywh`: corner and size; `cxcywh`: centre and size."),
    ] = "xyxy",
    masks: Annotated[
        MaskFormat | None,
        Query(
            description="How masks are written: `rle`: COCO's run lengths; `polygons`: their outlines, with "
            "holes filled; `none`. By default `rle` of a model that gives masks, see its `masks`."
        ),
    ] = None,
) -> Response:
    """Boxes are in pixels of the image turned upright as its EXIF says; class ids are the dataset's own.

    A raw body gives one prediction, a form a list of them. With `Accept: image/jpeg` or `image/png` the
    answer is the image itself with its detections drawn.
    """
    answer_type = preferred(request, [_JSON, *PICTURES])
    # Every process looks the model up each time: it may be gone, or another project's.
    model_id = await _resolved(services, project, model_id)
    services.predictions.check()
    detector = await services.models.get((project, model_id))
    wanted = Wanted(
        thresholds=thresholds(detector.card, score_threshold, operating_point, classes),
        max_detections=max_detections,
        box_format=box_format,
        masks=_masks(detector.card, masks),
        pixel_limit=services.settings.predict_pixel_limit,
    )
    is_form = media_type(request) == "multipart/form-data"
    images = await (_form_images(request, services) if is_form else _raw_image(request, services))
    asked_at = time.perf_counter()
    if answer_type in PICTURES:
        if len(images) > 1:
            raise NotAcceptable("One image at a time can be drawn; ask for application/json, or send one.")
        picture = await services.predictions.run(as_picture, detector, images[0].data, wanted, answer_type)
        return Response(picture, media_type=answer_type)
    answers = []
    for number, image in enumerate(images):
        try:
            answers.append(
                await services.predictions.run(
                    as_json, detector, model_id, image.data, image.file_name, wanted, asked_at
                )
            )
        except ImageInvalid as error:
            if not is_form:
                raise
            raise _image_invalid(error, number, image.file_name) from error
    if not is_form:
        return Response(answers[0], media_type=_JSON)
    return Response(b'{"object":"list","data":[' + b",".join(answers) + b"]}", media_type=_JSON)


async def _resolved(services: Services, project: str, reference: str) -> str:
    """The model's own id. Raises `ModelNotFound`, `ModelCannotPredict`."""
    try:
        found = await services.glances.model(project, reference)
    except NotNow:

        def through_the_rows() -> str:
            with services.database.read() as session:
                return models.with_graph(session, project, reference).id

        return await to_thread.run_sync(through_the_rows)
    if found is None:
        raise ModelNotFound
    if not found.has_graph:
        raise ModelCannotPredict
    return found.id


async def _raw_image(request: Request, services: Services) -> list[Upload]:
    kind = media_type(request)
    if not kind.startswith("image/") and kind != "application/octet-stream":
        raise MediaTypeUnsupported(
            "The body must be an image (image/*, application/octet-stream) or multipart/form-data, "
            f"not {kind or 'without a Content-Type'}."
        )
    chunks = [chunk async for chunk in counted(request, services.settings.predict_body_limit_bytes)]
    data = b"".join(chunks)
    if not data:
        raise _missing("")
    return [Upload(data, None)]


async def _form_images(request: Request, services: Services) -> list[Upload]:
    """The files of the form, whatever their parts are called."""
    found: list[tuple[bytearray, str | None]] = []
    async for piece in multipart(request, services.settings.predict_body_limit_bytes):
        if isinstance(piece, PartData):
            found[-1][0].extend(piece.data)
        elif isinstance(piece, PartStart):
            found.append((bytearray(), piece.file_name))
            if len(found) > services.settings.predict_images_limit:
                raise BodyTooLarge(f"The form has more than {services.settings.predict_images_limit} images.")
        elif isinstance(piece, Field):
            detail = "is a field, not an image; parameters go into the query"
            raise invalid(f"form:{piece.name}", "extra_forbidden", detail)
    if not found:
        raise _missing("form:image")
    return [Upload(bytes(data), name) for data, name in found]


def _masks(card: ModelCard, asked: MaskFormat | None) -> MaskFormat:
    """Raises `Invalid` for masks of a model that has none."""
    if not card.masks and asked not in (None, "none"):
        raise invalid("query:masks", "masks_unavailable", "the model finds boxes only")
    return asked or ("rle" if card.masks else "none")


def _image_invalid(error: ImageInvalid, number: int, file_name: str | None) -> ImageInvalid:
    return ImageInvalid(f"Image {number + 1} ({file_name or 'unnamed'}): {error.message}", hint=error.hint)


def _missing(where: str) -> Invalid:
    return invalid(where, "image_missing", "the image is missing")
