"""Every image becomes the same upright RGB, or is refused."""

import io
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pydantic import ValidationError

from detector.errors import ImageInvalid
from detector.images import InputSpec, Pixels, _plain_jpeg, decode, probe, resize
from tests.detector.data.builders import encoded, jpeg, picture

RGB = np.asarray(picture(width=90, height=60))


def rgb(mode: str = "RGB") -> Image.Image:
    return picture(width=90, height=60, mode=mode)


def close(left: Pixels, right: Pixels, tolerance: float = 6.0) -> bool:
    return left.shape == right.shape and float(np.abs(left.astype(int) - right).mean()) < tolerance


@pytest.mark.parametrize("format_", ["PNG", "BMP"])
def test_a_lossless_image_is_decoded_exactly(format_: str) -> None:
    assert np.array_equal(decode(encoded(rgb(), format_)), RGB)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 100}])
def test_a_jpeg_is_decoded_as_pillow_does(options: dict[str, Any]) -> None:
    data = encoded(rgb(), **options)
    assert close(decode(data), np.asarray(Image.open(io.BytesIO(data))), 0.01)


def test_webp_is_decoded() -> None:
    assert close(decode(encoded(rgb(), "WEBP", quality=95)), RGB)


def test_pixels_are_contiguous_rgb_bytes() -> None:
    pixels = decode(jpeg())
    assert pixels.dtype == np.uint8
    assert pixels.shape == (48, 64, 3)
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "BMP"])
def test_greyscale_becomes_three_equal_channels(format_: str) -> None:
    pixels = decode(encoded(rgb("L"), format_))
    assert np.array_equal(pixels[..., 0], pixels[..., 1])
    assert close(pixels, np.asarray(rgb("L").convert("RGB")), 2.0)


def test_cmyk_keeps_its_colours() -> None:
    assert close(decode(encoded(rgb("CMYK"), quality=95)), RGB)


def test_a_palette_is_looked_up() -> None:
    image = rgb().convert("P", palette=Image.Palette.ADAPTIVE)
    assert np.array_equal(decode(encoded(image, "PNG")), np.asarray(image.convert("RGB")))


def test_one_bit_images_are_black_and_white() -> None:
    pixels = decode(encoded(rgb("1"), "PNG"))
    assert set(np.unique(pixels)) == {0, 255}


def test_16_bit_greyscale_keeps_its_high_byte_instead_of_being_clipped() -> None:
    ramp = np.linspace(0, 65535, 60 * 90).reshape(60, 90).astype(np.uint16)
    pixels = decode(encoded(Image.fromarray(ramp), "PNG"))
    assert np.array_equal(pixels[..., 0], (ramp >> 8).astype(np.uint8))


@pytest.mark.parametrize("format_", ["PNG", "WEBP"])
def test_transparency_is_laid_over_white(format_: str) -> None:
    image = rgb("RGBA")
    image.putalpha(0)
    options = {"lossless": True} if format_ == "WEBP" else {}
    assert (decode(encoded(image, format_, **options)) == 255).all()
    image.putalpha(255)
    assert np.array_equal(decode(encoded(image, format_, **options)), RGB)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied_as_pillow_does(format_: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(rgb(), format_, exif=exif.tobytes())
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    pixels, info = decode(data), probe(data)
    assert close(pixels, expected, 0.01)
    assert (info.height, info.width) == pixels.shape[:2]
    assert info.exif_rotated == (orientation != 1)
    assert info.exif_swapped == (orientation >= 5)


@pytest.mark.parametrize("exif", [b"Exif\0\0MM\0*\0\0", b"Exif\0\0garbage garbage", b"Exif\0\0"])
def test_broken_exif_is_no_reason_to_refuse_an_image(exif: bytes) -> None:
    assert decode(encoded(rgb(), exif=exif)).shape == RGB.shape


def test_probe_names_the_format_and_the_size() -> None:
    assert (probe(jpeg(width=33, height=21)).format, probe(jpeg(width=33, height=21)).width) == ("JPEG", 33)


WHOLE = {
    "jpeg": jpeg(width=200, height=150),
    "progressive": encoded(picture(width=200, height=150), progressive=True),
    "grey": encoded(picture(width=200, height=150, mode="L")),
    "cmyk": encoded(picture(width=200, height=150, mode="CMYK")),
    "png": encoded(picture(width=200, height=150), "PNG"),
    "bmp": encoded(picture(width=200, height=150), "BMP"),
    "webp": encoded(picture(width=200, height=150), "WEBP", lossless=True),
}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.99])
def test_a_truncated_image_is_refused(kind: str, share: float) -> None:
    data = WHOLE[kind]
    with pytest.raises(ImageInvalid):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["jpeg", "progressive", "grey", "cmyk"])
def test_a_jpeg_without_its_end_marker_is_refused(kind: str) -> None:
    with pytest.raises(ImageInvalid, match="whole"):
        decode(WHOLE[kind][:-2])


@pytest.mark.parametrize("kind", ["progressive", "grey", "cmyk", "png"])
def test_an_image_corrupt_in_the_middle_is_refused(kind: str) -> None:
    data = bytearray(WHOLE[kind])
    middle = len(data) // 2
    data[middle : middle + 200] = b"\xff\x00\x00\x55" * 50
    with pytest.raises(ImageInvalid):
        decode(bytes(data))


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"GIF89a" + bytes(50), b"\xff\xd8\xff", b"<svg/>", bytes(1000)]
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    for read in (decode, probe):
        with pytest.raises(ImageInvalid):
            read(data)


@pytest.mark.parametrize("format_", ["GIF", "TIFF", "PPM"])
def test_a_format_off_the_list_is_refused(format_: str) -> None:
    with pytest.raises(ImageInvalid, match="JPEG, PNG, WebP or BMP"):
        decode(encoded(rgb(), format_))


def test_too_many_pixels_are_refused_by_the_header() -> None:
    with pytest.raises(ImageInvalid, match="5400 pixels"):
        decode(encoded(rgb()), max_pixels=5000)
    huge = encoded(Image.new("1", (20_000, 20_000)), "PNG")
    for read in (decode, probe):
        with pytest.raises(ImageInvalid, match="pixels"):
            read(huge)


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    data = WHOLE["progressive"]
    scan = data.rindex(b"\xff\xda")
    with pytest.raises(ImageInvalid, match="scans"):
        decode(data[:-2] + data[scan:-2] * 200 + b"\xff\xd9")


@given(st.binary(max_size=300), st.sampled_from(sorted(WHOLE)), st.integers(0, 10_000))
def test_only_image_invalid_comes_out_of_any_bytes(noise: bytes, kind: str, place: int) -> None:
    whole = WHOLE[kind]
    place %= len(whole)
    for data in (noise, whole[:place] + noise + whole[place + len(noise) :]):
        for read in (decode, probe):
            with suppress(ImageInvalid):
                read(data)


@given(
    kind=st.sampled_from(["jpeg", "progressive", "grey"]),
    place=st.integers(2, 700),
    value=st.integers(0, 255),
)
def test_a_plain_header_is_read_as_pillow_reads_it(kind: str, place: int, value: int) -> None:
    data = bytearray(WHOLE[kind])
    assert _plain_jpeg(bytes(data)) is not None
    data[place % len(data)] = value
    quick = _plain_jpeg(bytes(data))
    if quick is not None:
        with Image.open(io.BytesIO(data)) as image:
            assert (image.format, image.size) == ("JPEG", quick)
            assert image.getexif() == {}


def test_whatever_is_not_plain_is_left_to_pillow() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for data in (WHOLE["cmyk"], WHOLE["png"], encoded(rgb(), exif=exif), encoded(rgb(), icc_profile=b"x")):
        assert _plain_jpeg(data) is None


def test_a_square_spec_gives_a_square() -> None:
    assert InputSpec(kind="square", size=320).shape_for(480, 640) == (320, 320)


@pytest.mark.parametrize(
    ("height", "width", "shape"), [(480, 640, (320, 427)), (640, 480, (427, 320)), (100, 1000, (64, 640))]
)
def test_the_shorter_side_is_scaled_unless_the_longer_grows_too_long(
    height: int, width: int, shape: tuple[int, int]
) -> None:
    assert InputSpec(kind="shorter_side", size=320, max_size=640).shape_for(height, width) == shape


def test_both_sides_become_multiples_of_the_divisor() -> None:
    spec = InputSpec(kind="shorter_side", size=320, max_size=640, divisor=32)
    assert spec.shape_for(480, 640) == (320, 416)
    assert spec.shape_for(1, 10_000) == (32, 640)


def test_options_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValidationError, match="max_size"):
        InputSpec(kind="square", size=320, max_size=640)
    with pytest.raises(ValidationError, match="below size"):
        InputSpec(kind="shorter_side", size=320, max_size=100)


def test_resizing_averages_when_shrinking() -> None:
    checks = np.indices((40, 40)).sum(axis=0) % 2 * 255
    image = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    assert np.abs(resize(image, (20, 20)).astype(int) - 127).max() <= 1


def test_resizing_to_the_same_shape_changes_nothing() -> None:
    assert np.array_equal(resize(RGB, (60, 90)), RGB)


@pytest.mark.parametrize("shape", [(1, 1), (120, 30), (30, 200), (320, 320)])
def test_resizing_gives_the_shape_that_was_asked_for(shape: tuple[int, int]) -> None:
    assert resize(RGB, shape).shape == (*shape, 3)
