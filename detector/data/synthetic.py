"""The demo dataset: irregular discs, triangles and stars that overlap on textured backgrounds, as a COCO zip.

Everything follows from the seed, byte for byte. A class shows in its shape and, less surely, in its colour:
position, size, aspect, rotation, outline, shade and texture vary.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import msgspec
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from detector.images import Pixels

Box: TypeAlias = tuple[float, float, float, float]  # xyxy
Rng: TypeAlias = np.random.Generator

CLASSES = ("disc", "triangle", "star")

_HUES = {"disc": (0.00, 0.13), "triangle": (0.30, 0.46), "star": (0.58, 0.80)}  # of the colour circle
_SPLITS = {"train": 0, "val": 1}  # part of an image's seed; a single image has another
_SINGLE = 2
_LEAST_VISIBLE = 0.35  # of an object's area, or it would be a box around what nobody can see
_TRIES = 20
_SUBPIXEL = 4  # bits of a coordinate behind the point, for OpenCV
_SHADOW = 0.45
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip's oldest date: the same bytes whenever it is written


def write_synthetic(
    path: Path, *, images: int = 240, val_images: int = 40, size: int = 320, seed: int = 0
) -> None:
    """Write a COCO zip: `images` for training and `val_images` for validation, each `size` x `size` pixels.

    Members: `annotations/instances_{train,val}.json` with boxes and polygons, `{train,val}/000001.jpg`, ….
    """
    with zipfile.ZipFile(path, "w") as archive:
        image_id = annotation_id = 0
        for split, count in (("train", images), ("val", val_images)):
            records: list[dict[str, Any]] = []
            annotations: list[dict[str, Any]] = []
            for position in range(count):
                image_id += 1
                name = f"{image_id:06d}.jpg"
                pixels, things = _paint(np.random.default_rng([seed, _SPLITS[split], position]), size)
                jpeg = simplejpeg.encode_jpeg(pixels, quality=90, colorspace="RGB", colorsubsampling="444")
                _add(archive, f"{split}/{name}", jpeg, zipfile.ZIP_STORED)
                records.append({"id": image_id, "file_name": name, "width": size, "height": size})
                for thing in things:
                    annotation_id += 1
                    annotations.append(_annotation(annotation_id, image_id, thing))
            document = {
                "info": {"description": "HarmonicDet synthetic shapes", "version": "1"},
                "images": records,
                "annotations": annotations,
                "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)],
            }
            json = msgspec.json.encode(document)
            _add(archive, f"annotations/instances_{split}.json", json, zipfile.ZIP_DEFLATED)


def synthetic_image(seed: int, size: int = 320) -> tuple[Pixels, list[tuple[str, Box]]]:
    """One image that no dataset of `write_synthetic` holds: (size, size, 3) and (class, box) per object."""
    pixels, things = _paint(np.random.default_rng([seed, _SINGLE]), size)
    return pixels, [(thing.name, thing.box) for thing in things]


@dataclass(frozen=True)
class _Thing:
    name: str
    outline: NDArray[np.float64]  # (K, 2) in pixels, all within the image

    @property
    def box(self) -> Box:
        (x1, y1), (x2, y2) = self.outline.min(axis=0), self.outline.max(axis=0)
        return float(x1), float(y1), float(x2), float(y2)


def _annotation(annotation_id: int, image_id: int, thing: _Thing) -> dict[str, Any]:
    x1, y1, x2, y2 = thing.box
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": CLASSES.index(thing.name) + 1,
        "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
        "area": round(float(cv2.contourArea(thing.outline.astype(np.float32))), 2),
        "segmentation": [thing.outline.reshape(-1).tolist()],
        "iscrowd": 0,
    }


def _add(archive: zipfile.ZipFile, name: str, data: bytes, method: int) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = method
    info.external_attr = 0o644 << 16
    archive.writestr(info, data)


def _paint(rng: Rng, size: int) -> tuple[Pixels, list[_Thing]]:
    """A textured background and two to five objects, the later ones over the earlier."""
    canvas = _background(rng, size)
    placed: list[
        tuple[_Thing, NDArray[np.float32], float]
    ] = []  # thing, what of its mask is visible, its area
    for _ in range(int(rng.integers(2, 6))):
        for _ in range(_TRIES):
            thing = _thing(rng, size)
            mask = _mask(thing.outline, size)
            if all(
                float((visible * (1 - mask)).sum()) >= _LEAST_VISIBLE * area for _, visible, area in placed
            ):
                placed = [(other, visible * (1 - mask), area) for other, visible, area in placed]
                placed.append((thing, mask, float(mask.sum())))
                _draw(rng, canvas, thing, mask)
                break
    canvas += np.float32(rng.uniform(1.0, 5.0)) * rng.standard_normal(canvas.shape, dtype=np.float32)
    return canvas.clip(0, 255).astype(np.uint8), [thing for thing, _, _ in placed]


def _background(rng: Rng, size: int) -> NDArray[np.float32]:
    """(size, size, 3): a gradient of two dull colours, cloudy noise and, often, stripes or checks."""
    across, down = _grid(size)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = (np.cos(angle) * across + np.sin(angle) * down) / size
    ramp = ((ramp - ramp.min()) / (np.ptp(ramp) + 1e-6))[:, :, None]
    near = _colour(rng, (0.0, 1.0), (0.05, 0.35), (0.35, 0.9))
    far = _colour(rng, (0.0, 1.0), (0.05, 0.35), (0.35, 0.9))
    canvas = near * (1 - ramp) + far * ramp
    for cells in (4, 12, 40):
        canvas += rng.uniform(4.0, 16.0) * _clouds(rng, size, cells)[:, :, None]
    pattern = rng.integers(0, 4)
    if pattern:
        strength = rng.uniform(5.0, 18.0)
        waves = _stripes(rng, size)
        if pattern == 2:
            waves = waves * _stripes(rng, size)
        canvas += strength * waves[:, :, None]
    return np.asarray(canvas, dtype=np.float32)


def _thing(rng: Rng, size: int) -> _Thing:
    """An object of 40 to 160 pixels (in an image of 320), wholly within the image."""
    name = CLASSES[int(rng.integers(len(CLASSES)))]
    outline = {"disc": _disc, "triangle": _triangle, "star": _star}[name](rng)
    outline = outline * (1.0, rng.uniform(0.62, 1.0))  # the aspect, before the rotation
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    outline = outline @ turn.T
    outline -= outline.min(axis=0)
    longest = np.exp(rng.uniform(np.log(40.0), np.log(160.0))) * size / 320
    outline *= longest / outline.max()
    room = size - outline.max(axis=0)
    return _Thing(name, np.round(outline + rng.uniform(0.0, room), 2).clip(0, size))


def _disc(rng: Rng) -> NDArray[np.float64]:
    """A circle whose radius swells and shrinks a little."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = 1.0 + sum(
        rng.uniform(0.0, 0.07) * np.cos(waves * angle + rng.uniform(0, 2 * np.pi)) for waves in (2, 3, 4)
    )
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _triangle(rng: Rng) -> NDArray[np.float64]:
    """Three corners, none of them too sharp."""
    angle = 2 * np.pi * (np.arange(3) / 3 + rng.uniform(-0.05, 0.05, 3))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _star(rng: Rng) -> NDArray[np.float64]:
    """Five or six points of slightly different length."""
    points = int(rng.integers(5, 7))
    angle = 2 * np.pi * np.arange(2 * points) / (2 * points)
    radius = np.where(np.arange(2 * points) % 2, rng.uniform(0.38, 0.52), 1.0)
    radius = radius * rng.uniform(0.9, 1.0, 2 * points)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _draw(rng: Rng, canvas: NDArray[np.float32], thing: _Thing, mask: NDArray[np.float32]) -> None:
    """Paint the object, shaded and textured, with a soft shadow under it."""
    size = canvas.shape[0]
    shift = rng.uniform(2.0, 5.0, 2) * size / 320
    shadow = cv2.GaussianBlur(_mask(thing.outline + shift, size), (0, 0), 3.0 * size / 320)
    canvas *= 1 - _SHADOW * (shadow * (1 - mask))[:, :, None]

    base = _colour(rng, _HUES[thing.name], (0.55, 0.95), (0.55, 0.95))
    across, down = _grid(size)
    angle = rng.uniform(0, 2 * np.pi)
    x1, y1, x2, y2 = thing.box
    slope = (np.cos(angle) * (across - (x1 + x2) / 2) + np.sin(angle) * (down - (y1 + y2) / 2)) / max(
        x2 - x1, y2 - y1
    )
    light = 1 + rng.uniform(0.1, 0.4) * slope
    if rng.random() < 0.5:
        light = light + rng.uniform(0.05, 0.16) * _stripes(rng, size)
    light = light + rng.uniform(0.02, 0.08) * _clouds(rng, size, 24)
    alpha = mask[:, :, None]
    canvas *= 1 - alpha
    canvas += alpha * base * light[:, :, None].astype(np.float32)


def _mask(outline: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """(size, size) from 0 to 1, anti-aliased. OpenCV's pixel centres are at whole numbers, ours at halves."""
    mask = np.zeros((size, size), np.uint8)
    points = np.round((outline - 0.5) * (1 << _SUBPIXEL)).astype(np.int32)
    cv2.fillPoly(mask, [points], (255,), lineType=cv2.LINE_AA, shift=_SUBPIXEL)
    return np.asarray(mask / np.float32(255), dtype=np.float32)


def _colour(
    rng: Rng, hue: tuple[float, float], saturation: tuple[float, float], value: tuple[float, float]
) -> NDArray[np.float32]:
    """(3,) RGB from 0 to 255, drawn from ranges of hue, saturation and value."""
    hsv = np.array([[[360 * rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value)]]], np.float32)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0] * 255, dtype=np.float32)


def _clouds(rng: Rng, size: int, cells: int) -> NDArray[np.float32]:
    """(size, size) smooth noise of about unit variance with `cells` bumps a side."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _stripes(rng: Rng, size: int) -> NDArray[np.float32]:
    """(size, size) waves from -1 to 1 in some direction."""
    across, down = _grid(size)
    angle = rng.uniform(0, np.pi)
    period = rng.uniform(10.0, 40.0) * size / 320
    phase = (np.cos(angle) * across + np.sin(angle) * down) * (2 * np.pi / period)
    return np.asarray(np.sin(phase + rng.uniform(0, 2 * np.pi)), dtype=np.float32)


def _grid(size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    line = np.arange(size, dtype=np.float32)
    return line[None, :], line[:, None]
