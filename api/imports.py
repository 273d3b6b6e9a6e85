"""Weights on their way in: what is said about them, and their bytes straight to the data volume."""

from collections.abc import Mapping

from fastapi import Request

from api.bodies import MULTIPART, counted, media_type
from api.errors import MediaTypeUnsupported, invalid
from api.receiving import FilePart, Given, file_of_form, write
from api.schemas.models import ModelCreate
from api.settings import Settings
from detector.errors import InitialWeightsUnfit
from detector.origins import SIGNATURES
from detector.safetensors_header import HeaderScanner, TensorInfo
from store.blobs import Staging

MEDIA_TYPES = ("application/octet-stream", "application/vnd.safetensors")
_PART = FilePart(("file", "weights"), "the part of the weights is `file`", "there is more than one file")


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
    given = Given(is_json)
    given.add_query(request)
    kind = media_type(request)
    if kind in MEDIA_TYPES:
        given.checked(ModelCreate)  # before gigabytes arrive, not after
        sent = counted(request, settings.weights_limit_bytes)
    elif kind == MULTIPART:
        sent = file_of_form(request, given, _PART, settings.weights_limit_bytes)
    else:
        raise MediaTypeUnsupported(
            f"The body must be {MEDIA_TYPES[0]} or {MULTIPART}, not {kind or 'without a Content-Type'}."
        )
    await write(sent, weights, settings, left)
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


def is_json(name: str, text: str) -> bool:
    """Whether this parameter of weights is JSON: an architecture may be its bare name too."""
    return name in ("classes", "metadata") or (name == "architecture" and text.lstrip().startswith("{"))
