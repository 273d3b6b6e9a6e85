"""Bytes to pixels: the one decoder and the one resize that training, evaluation and serving share."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, model_validator

from detector.errors import ImageInvalid

Pixels: TypeAlias = NDArray[np.uint8]  # (H, W, 3) RGB

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
DATASET_MAX_PIXELS = 50_000_000
PREDICTION_MAX_PIXELS = 25_000_000

_MAX_JPEG_SCANS = 100  # a progressive JPEG has about ten; thousands are an attack on the decoder
_EXIF_ORIENTATION = 0x0112
_START_OF_FRAME = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
_START_OF_SCAN = 0xDA
_QUANTISATION = 0xDB
_PLAIN_SEGMENTS = (_QUANTISATION, 0xC4, 0xDD, 0xE0, 0xFE)  # with Huffman tables, restarts, JFIF, comments
_HINT = "Send a whole JPEG, PNG, WebP or BMP image."

# A decompression bomb is an error, in every thread; a filter set around each call would not be thread-safe.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
# One image is resized faster by one thread, and the callers bring their own parallelism.
cv2.setNumThreads(0)


@dataclass(frozen=True)
class ImageInfo:
    """What the header says. `width` and `height` are those of the upright image."""

    format: str  # JPEG | PNG | WEBP | BMP
    width: int
    height: int
    orientation: int = 1  # EXIF: 1 upright, 2 to 8 mirrored or rotated

    @property
    def exif_rotated(self) -> bool:
        """Whether EXIF asks for a mirror image or a rotation."""
        return self.orientation != 1

    @property
    def exif_swapped(self) -> bool:
        """Whether the stored image is the upright one with width and height swapped."""
        return self.orientation >= 5


def probe(data: bytes, *, max_pixels: int = DATASET_MAX_PIXELS) -> ImageInfo:
    """Format and upright size from the header alone.

    Raises ImageInvalid when the header is not that of an image of `FORMATS`, or the image is too large.
    """
    size = _plain_jpeg(data)
    if size is not None:
        _check_size(*size, max_pixels)
        return ImageInfo("JPEG", *size)
    with _only_image_invalid(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return _info(image, max_pixels)


def decode(data: bytes, *, max_pixels: int = DATASET_MAX_PIXELS) -> Pixels:
    """Pixels of the first frame: uint8 (H, W, 3) RGB, contiguous, upright (EXIF orientation applied).

    Greyscale, palette, CMYK and 16-bit images become 8-bit RGB (16 bits keep their high byte);
    transparency is laid over white. Raises ImageInvalid for what is no such image, is truncated or corrupt,
    or has too many pixels.
    """
    size = _plain_jpeg(data)
    if size is not None:
        _check_size(*size, max_pixels)
        with _only_image_invalid():
            _check_jpeg_scans(data)
            return np.asarray(simplejpeg.decode_jpeg(data, "RGB", strict=True), dtype=np.uint8)
    with _only_image_invalid(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        info = _info(image, max_pixels)
        if info.format == "JPEG":
            pixels = _decode_jpeg(data, image)
        else:
            if info.format == "PNG":
                _check_png(data)
            pixels = _to_rgb(image)
        return np.ascontiguousarray(_upright(pixels, info.orientation))


class InputSpec(BaseModel):
    """How an image is resized for a network: to a `square`, or by its `shorter_side` with its aspect kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["square", "shorter_side"]
    size: int = Field(ge=1)
    max_size: int | None = Field(None, ge=1)  # of the longer side
    divisor: int = Field(1, ge=1)  # both sides become multiples of it

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.kind == "square" and (self.max_size is not None or self.divisor != 1):
            raise ValueError("max_size and divisor go with kind shorter_side, not with square")
        if self.max_size is not None and self.max_size < self.size:
            raise ValueError(f"max_size {self.max_size} is below size {self.size}")
        return self

    def shape_for(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that an image of this height and width is resized to."""
        if self.kind == "square":
            return self.size, self.size
        scale = self.size / min(height, width)
        if self.max_size is not None:
            scale = min(scale, self.max_size / max(height, width))
        return self._whole(height * scale), self._whole(width * scale)

    def _whole(self, length: float) -> int:
        return max(1, round(length / self.divisor)) * self.divisor


def resize(image: Pixels, shape: tuple[int, int]) -> Pixels:
    """`image` (H, W, 3) resized to `shape` (h, w): area average when shrinking, bilinear else."""
    height, width = shape
    if image.shape[:2] == (height, width):
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    filter_ = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=filter_), dtype=np.uint8)


@contextmanager
def _only_image_invalid() -> Iterator[None]:
    """Whatever a decoder raises on foreign bytes becomes ImageInvalid; running out of memory stays itself."""
    try:
        yield
    except (ImageInvalid, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise ImageInvalid("The bytes are no JPEG, PNG, WebP or BMP image.", hint=_HINT) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageInvalid("The image has too many pixels.", hint="Send a smaller image.") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ImageInvalid(f"The image cannot be read whole: {reason}.", hint=_HINT) from error


def _info(image: Image.Image, max_pixels: int) -> ImageInfo:
    width, height = image.size
    _check_size(width, height, max_pixels)
    orientation = _orientation(image)
    if orientation >= 5:
        width, height = height, width
    format_ = (
        "JPEG" if image.format == "MPO" else str(image.format)
    )  # MPO: a JPEG with more pictures behind it
    return ImageInfo(format_, width, height, orientation)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageInvalid(f"The image has no pixels ({width}x{height}).", hint=_HINT)
    if width * height > max_pixels:
        raise ImageInvalid(
            f"The image has {width}x{height} = {width * height} pixels; at most {max_pixels} are allowed.",
            hint="Send a smaller image.",
        )


def _plain_jpeg(data: bytes) -> tuple[int, int] | None:
    """(width, height) by the header of a JPEG that leaves nothing to ask: grey or three colours of 8 bits, no
    EXIF, no other profile, no second picture. None for whatever else, which Pillow looks at.

    Most images of datasets are such, and Pillow takes a twentieth of the time that decoding does.
    """
    if data[:2] != b"\xff\xd8":
        return None
    size: tuple[int, int] | None = None
    position, end = 2, len(data) - 9
    while position < end and data[position] == 0xFF:
        marker = data[position + 1]
        length = data[position + 2] << 8 | data[position + 3]
        if marker == _START_OF_SCAN:
            return size if 2 < length <= len(data) - position - 2 else None
        if marker in _START_OF_FRAME:
            colours = data[position + 9]
            if (
                size is not None
                or data[position + 4] != 8
                or colours not in (1, 3)
                or length != 8 + 3 * colours
            ):
                return None
            height = data[position + 5] << 8 | data[position + 6]
            size = (data[position + 7] << 8 | data[position + 8], height)
        elif marker not in _PLAIN_SEGMENTS or length < 3:
            return None
        elif marker == _QUANTISATION:  # tables of 8 bits: which one, and its 64 numbers
            which = data[position + 4 : position + 2 + length : 65]
            if (length - 2) % 65 or max(which) > 15:
                return None
        position += 2 + length
    return None


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 where there is none: broken EXIF is frequent and harmless."""
    block = image.info.get("exif")
    if not isinstance(block, bytes):
        return 1
    try:
        exif = Image.Exif()
        exif.load(block)
        value = exif.get(_EXIF_ORIENTATION, 1)
    except Exception:  # Pillow raises a dozen types here
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _decode_jpeg(data: bytes, image: Image.Image) -> Pixels:
    _check_jpeg_scans(data)
    cmyk = image.mode == "CMYK"
    pixels = simplejpeg.decode_jpeg(data, "CMYK" if cmyk else "RGB", strict=True)
    # Pillow knows whether the inks are stored inverted (Adobe); the strict decode has found the data whole.
    return _to_rgb(image) if cmyk else np.asarray(pixels, dtype=np.uint8)


def _check_jpeg_scans(data: bytes) -> None:
    """Each scan costs a pass over the whole image, however few bytes it has."""
    position = 2
    while data[position : position + 1] == b"\xff" and data[position + 1 : position + 2] != b"\xda":
        if data[position + 1 : position + 2] == b"\xff":  # a fill byte
            position += 1
        elif len(data) < position + 4:
            return
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    scans = data.count(b"\xff\xda", position)
    if scans > _MAX_JPEG_SCANS:
        raise ImageInvalid(f"The JPEG has {scans} scans; at most {_MAX_JPEG_SCANS} are allowed.", hint=_HINT)


def _check_png(data: bytes) -> None:
    """Every chunk whole and with its checksum, up to IEND: Pillow itself stops when it has enough rows."""
    position = 8
    while True:
        header = data[position : position + 8]
        if len(header) < 8:
            raise ImageInvalid("The image cannot be read whole: the PNG ends early.", hint=_HINT)
        length, kind = struct.unpack(">I4s", header)
        end = position + 8 + length
        if data[end : end + 4] != struct.pack(">I", zlib.crc32(memoryview(data)[position + 4 : end])):
            raise ImageInvalid(
                f"The image cannot be read whole: the PNG is corrupt or ends early at byte {position}.",
                hint=_HINT,
            )
        if kind == b"IEND":
            return
        position = end + 4


def _to_rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith("I"):  # 16-bit greyscale; Pillow's own conversion would clip at 255
        grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, layer)
    return np.asarray(image.convert("RGB"), dtype=np.uint8)
