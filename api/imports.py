"""Weights on their way in: what is said about them, and their bytes straight to the data volume."""

from collections.abc import AsyncIterator, Mapping

import orjson
from anyio import to_thread
from fastapi import Request

from api.bodies import Field, PartData, PartStart, counted, media_type, multipart
from api.errors import MediaTypeUnsupported, invalid
from api.room import check_quota, check_room
from api.schemas.models import ModelCreate
from api.settings import Settings
from api.uploads import MULTIPART, Given
from detector.errors import InitialWeightsUnfit
from detector.origins import SIGNATURES
from detector.safetensors_header import HeaderScanner, TensorInfo
from store.blobs import Staging

MEDIA_TYPES = ("application/octet-stream", "application/vnd.safetensors")
_PART_NAMES = ("file", "weights")
_WRITE = 1 << 20


class ScannedWeights:
    """Weights that go to `staging`: whatever is no safetensors file is refused as soon as that shows."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._scanner = HeaderScanner()

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._staging.size

    def write(self, chunk: bytes) -> None:
        """Raises `WeightsInvalid`."""
        self._scanner.feed(chunk)
        self._staging.write(chunk)

    def tensors(self) -> dict[str, TensorInfo]:
        """The tensors of the whole file. Raises `WeightsInvalid`."""
        return self._scanner.tensors(self._staging.size)


async def receive(
    request: Request, weights: ScannedWeights, settings: Settings, *, left: int | None = None
) -> ModelCreate:
    """Write the body's weights; what was said about them. `left` is what the quota allows.

    Raises `Invalid`, `MediaTypeUnsupported`, `BodyMalformed`, `BodyTooLarge`, `WeightsInvalid`,
    `StorageFull`, `StorageQuotaExceeded`.
    """
    given = Given()
    for name, value in request.query_params.multi_items():
        _add(given, "query", name, value)
    kind = media_type(request)
    if kind in MEDIA_TYPES:
        given.checked(ModelCreate)  # before gigabytes arrive, not after
        await _write(counted(request, settings.weights_limit_bytes), weights, settings, left)
    elif kind == MULTIPART:
        await _write(_file_part(request, given, settings), weights, settings, left)
    else:
        raise MediaTypeUnsupported(
            f"The body must be {MEDIA_TYPES[0]} or {MULTIPART}, not {kind or 'without a Content-Type'}."
        )
    said = given.checked(ModelCreate)
    if weights.size == 0:
        where = "form:file" if kind == MULTIPART else ""
        raise invalid(where, "weights_empty", "the weights are missing or empty")
    return said


def check(said: ModelCreate, tensors: Mapping[str, TensorInfo]) -> None:
    """Raises `InitialWeightsUnfit` when the names of the tensors, or a shape, show another network.

    Only what no detector or no such backbone can lack is looked at; the rest comes out in a training.
    """
    if said.backbone is None:
        if not any("backbone." in name for name in tensors):
            raise InitialWeightsUnfit(
                "No tensor of the file is below `backbone.`, as a detector's are.",
                hint="Import the weights of a bare classifier with `backbone` in place of `architecture`.",
            )
        return
    wanted, shape = SIGNATURES[said.backbone]
    if not any(
        tensor.shape == shape and (name == wanted or name.endswith(f".{wanted}"))
        for name, tensor in tensors.items()
    ):
        raise InitialWeightsUnfit(
            f"The file has no tensor {wanted} of shape {list(shape)}, as {said.backbone} has in "
            "torchvision's layout.",
            hint="Names may have a prefix, such as `features.` or `module.backbone.`.",
        )


def _add(given: Given, place: str, name: str, text: str) -> None:
    """A choice with options is JSON; without, its bare name."""
    given.add(place, name, text)
    if name == "classes" or (name == "architecture" and text.lstrip().startswith("{")):
        try:
            given.values[name] = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise invalid(f"{place}:{name}", "json_invalid", f"{name} must be JSON: {error}") from error


async def _file_part(request: Request, given: Given, settings: Settings) -> AsyncIterator[bytes]:
    """The bytes of the one file of the form; its fields go to `given`."""
    seen = False
    # A form is a little larger than the file in it.
    async for piece in multipart(request, settings.weights_limit_bytes + 1024 * 1024):
        if isinstance(piece, PartData):
            yield piece.data
        elif isinstance(piece, Field):
            _add(given, "form", piece.name, piece.value)
        elif isinstance(piece, PartStart):
            if piece.name not in _PART_NAMES:
                raise invalid(f"form:{piece.name}", "extra_forbidden", "the part of the weights is `file`")
            if seen:
                raise invalid(f"form:{piece.name}", "duplicate", "there is more than one file")
            seen = True


async def _write(
    chunks: AsyncIterator[bytes], weights: ScannedWeights, settings: Settings, left: int | None
) -> None:
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        # The first bytes tell at once what is no safetensors file.
        if len(buffer) >= _WRITE or weights.size == 0:
            await to_thread.run_sync(_flush, weights, bytes(buffer), settings, left)
            buffer.clear()
    if buffer:
        await to_thread.run_sync(_flush, weights, bytes(buffer), settings, left)


def _flush(weights: ScannedWeights, data: bytes, settings: Settings, left: int | None) -> None:
    check_quota(left, weights.size + len(data))
    check_room(settings, len(data))
    weights.write(data)
