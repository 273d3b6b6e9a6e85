"""Random changes of a training image, and the resize that training, evaluation and serving share.

Everything geometric happens on the image at its own size, so that the one resize that follows is the only
resampling; colours are changed last, at the network's size, where it is cheapest.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from detector.config import Augmentation
from detector.data.masks import Segmentation
from detector.data.rasters import Window, rasterise
from detector.images import InputSpec, resize

Pixels: TypeAlias = NDArray[np.uint8]  # (H, W, 3)

_GREY = (123.0, 117.0, 104.0)  # ImageNet's mean colour, around an image that was made smaller
_SMALLEST_CROP = 16  # pixels: there is nothing to crop from a smaller image


class Augmented(NamedTuple):
    """A training image as the network wants it, and those objects that are still on it."""

    image: Pixels  # (h, w, 3)
    boxes: Tensor  # (N, 4) xyxy in its pixels, float32
    labels: Tensor  # (N,)
    masks: Tensor | None  # (N, h, w) uint8, 0 or 1; None where nobody asked for them


class Augment:
    """Random changes by `Augmentation`. Its randomness is a function of the seed given with each image."""

    def __init__(self, augmentation: Augmentation) -> None:
        jitter = augmentation.scale_jitter
        self._jitter = ScaleJitter(*jitter) if jitter is not None else None
        self._crop = v2.RandomIoUCrop() if augmentation.iou_crop else None
        self._flip = augmentation.horizontal_flip
        self._photometric = PhotometricDistort() if augmentation.photometric else None

    def __call__(
        self,
        image: Pixels,
        boxes: Tensor,
        labels: Tensor,
        spec: InputSpec,
        seed: int,
        segmentations: Sequence[Segmentation | None] | None = None,
    ) -> Augmented:
        """
        Args:
            image: (H, W, 3) RGB; left as it is.
            boxes: (N, 4) xyxy in its pixels, float32.
            labels: (N,)
            spec: what the network wants.
            seed: decides everything random; torch's own generator is left as it was.
            segmentations: of the N objects, in the image's pixels, where masks are wanted. They change
                nothing in the other results. An object's mask is empty where it has none, and where the
                augmentation has left nothing of it.
        """
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which would seed the GPU's generator too.
            torch.default_generator.manual_seed(seed)
            canvas = tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1))
            objects = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=image.shape[:2])
            kept = torch.arange(len(boxes))  # rows of the objects that are still there
            left = top = 0  # of the canvas, in the image's pixels
            if self._jitter is not None:
                place = self._jitter.make_params([canvas, objects])
                canvas, objects = (self._jitter.transform(thing, place) for thing in (canvas, objects))
                objects, kept = _still_there(objects, kept)
                left, top = -place["left"], -place["top"]
            if self._crop is not None and len(objects) and min(canvas.shape[-2:]) >= _SMALLEST_CROP:
                place = self._crop.make_params([canvas, objects])
                canvas, objects = (self._crop.transform(thing, place) for thing in (canvas, objects))
                left, top = left + place.get("left", 0), top + place.get("top", 0)
            mirrored = bool(torch.rand(1) < self._flip)
            if mirrored:
                canvas, objects = functional.horizontal_flip(canvas), functional.horizontal_flip(objects)
            pixels = np.ascontiguousarray(canvas.permute(1, 2, 0).numpy())
            window = Window(left, top, pixels.shape[1], pixels.shape[0], mirrored)
            pixels, boxes, kept = fit(pixels, objects.as_subclass(Tensor), kept, spec)
            if self._photometric is not None:
                distorted = self._photometric(tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1)))
                pixels = np.ascontiguousarray(distorted.permute(1, 2, 0).numpy())
        masks = None
        if segmentations is not None:
            shown = [segmentations[row] for row in kept.tolist()]
            size, shape = (image.shape[0], image.shape[1]), (pixels.shape[0], pixels.shape[1])
            masks = torch.from_numpy(rasterise(shown, size, window, shape))
        return Augmented(pixels, boxes, labels[kept], masks)


def fit(image: Pixels, boxes: Tensor, labels: Tensor, spec: InputSpec) -> tuple[Pixels, Tensor, Tensor]:
    """The image (H, W, 3) resized as `spec` says, its boxes (N, 4) scaled with it.

    Objects thinner than a pixel of the result are left out, and their labels (N,) with them: the network
    cannot see them.
    """
    height, width = image.shape[:2]
    shape = spec.shape_for(height, width)
    scale = torch.tensor([shape[1] / width, shape[0] / height] * 2, dtype=torch.float32)
    limit = torch.tensor([shape[1], shape[0]] * 2, dtype=torch.float32)
    boxes = torch.minimum((boxes * scale).clamp(min=0), limit)
    seen = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(dim=1)
    return resize(image, shape), boxes[seen], labels[seen]


def sample_seed(seed: int, epoch: int, image_id: int) -> int:
    """The seed of one image in one epoch; nothing else decides how it is changed, nothing has to be saved."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{image_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class ScaleJitter(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Objects larger by cropping, or smaller by laying the image on a larger canvas; nothing is resampled.

    The scale is drawn from `low` to `high`, evenly in its logarithm. A crop drops the objects whose centre it
    misses.
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self._range = (float(np.log(low)), float(np.log(high)))

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = flat_inputs[0].shape[-2:]
        low, high = self._range
        scale = float(torch.empty(1).uniform_(low, high).exp()) if high > low else float(np.exp(low))
        new_height, new_width = max(1, round(height / scale)), max(1, round(width / scale))
        place = torch.rand(2)
        top = (
            int((new_height - height + 1) * place[0])
            if scale < 1
            else -int((height - new_height + 1) * place[0])
        )
        left = (
            int((new_width - width + 1) * place[1]) if scale < 1 else -int((width - new_width + 1) * place[1])
        )
        return {"scale": scale, "top": top, "left": left, "height": new_height, "width": new_width}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        top, left, height, width = params["top"], params["left"], params["height"], params["width"]
        if params["scale"] < 1:
            old_height, old_width = functional.get_size(inpt)
            padding = [left, top, width - old_width - left, height - old_height - top]
            return functional.pad(
                inpt, padding, fill=list(_GREY) if isinstance(inpt, tv_tensors.Image) else 0
            )
        result = functional.crop(inpt, -top, -left, height, width)
        if isinstance(result, tv_tensors.BoundingBoxes):
            centre = (inpt[:, :2] + inpt[:, 2:]).as_subclass(Tensor) / 2 + torch.tensor([left, top])
            inside = ((centre >= 0) & (centre <= torch.tensor([width, height]))).all(dim=1)
            result[~inside] = 0
        return result


class PhotometricDistort(v2.RandomPhotometricDistort):  # type: ignore[misc]  # torchvision has no types
    """torchvision's, but for how a hue is turned, which took most of its time."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        hue = params["hue_factor"]
        if hue is None:
            return super().transform(inpt, params)
        # Of two contrasts one is drawn: that before the hue, or that after it.
        before = dict(params, hue_factor=None, channel_permutation=None)
        after = dict(params, hue_factor=None, brightness_factor=None, saturation_factor=None)
        (after if params["contrast_before"] else before)["contrast_factor"] = None
        pixels = super().transform(inpt, before).permute(1, 2, 0).numpy()
        turned = torch.from_numpy(turn_hue(np.ascontiguousarray(pixels), hue))
        return super().transform(tv_tensors.Image(turned.permute(2, 0, 1)), after)


def turn_hue(pixels: Pixels, share: float) -> Pixels:
    """torchvision's `adjust_hue` to within a level, in a tenth of its time: the hues of (H, W, 3) turned by a
    share of the circle, -0.5 to 0.5."""
    hsv = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hue = hsv[..., 0] + 360 * share
    hsv[..., 0] = np.where(hue >= 360, hue - 360, np.where(hue < 0, hue + 360, hue))
    return np.asarray(cv2.convertScaleAbs(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), alpha=255), dtype=np.uint8)


def _still_there(objects: Any, labels: Tensor) -> tuple[Any, Tensor]:
    """Without the boxes that a crop has set to nothing."""
    there = (objects[:, 2:] > objects[:, :2]).all(dim=1)
    return tv_tensors.wrap(objects[there], like=objects), labels[there]
