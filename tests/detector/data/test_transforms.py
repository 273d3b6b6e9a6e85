import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_masks
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from detector.config import Augmentation
from detector.data.masks import Segmentation
from detector.data.transforms import Augment, PhotometricDistort, ScaleJitter, fit, sample_seed, turn_hue
from detector.images import InputSpec

SQUARE = InputSpec(kind="square", size=64)
NOTHING = Augmentation(horizontal_flip=0, photometric=False, iou_crop=False)
EVERYTHING = Augmentation(scale_jitter=(0.5, 2.0))


def picture(height: int = 80, width: int = 120) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8)


def marked(box: tuple[int, int, int, int], height: int = 80, width: int = 120) -> NDArray[np.uint8]:
    """Black, with a white rectangle in the box."""
    image = np.zeros((height, width, 3), np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 255
    return image


def bounds(image: NDArray[np.uint8]) -> list[float]:
    """The box around what is bright."""
    rows, columns = np.nonzero(image[:, :, 0] > 127)
    return [float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)]


BOXES = torch.tensor([[20.0, 10.0, 60.0, 50.0]])
LABELS = torch.tensor([1])


def test_without_augmentation_the_image_is_only_resized() -> None:
    image, boxes, labels, _ = Augment(NOTHING)(picture(), BOXES, LABELS, SQUARE, seed=0)
    expected, expected_boxes, _ = fit(picture(), BOXES, LABELS, SQUARE)
    assert np.array_equal(image, expected)
    assert torch.equal(boxes, expected_boxes)
    assert torch.equal(labels, LABELS)


def test_boxes_are_scaled_with_the_image() -> None:
    image, boxes, _ = fit(marked((30, 20, 90, 60)), torch.tensor([[30.0, 20.0, 90.0, 60.0]]), LABELS, SQUARE)
    assert image.shape == (64, 64, 3)
    torch.testing.assert_close(boxes, torch.tensor([[16.0, 16.0, 48.0, 48.0]]))
    assert bounds(image) == pytest.approx(boxes[0].tolist(), abs=1)


def test_objects_thinner_than_a_pixel_are_left_out() -> None:
    boxes = torch.tensor([[0.0, 0.0, 1.0, 40.0], [10.0, 10.0, 30.0, 30.0], [5.0, 5.0, 5.0, 9.0]])
    _, kept, labels = fit(picture(), boxes, torch.tensor([0, 1, 2]), SQUARE)
    assert labels.tolist() == [1]
    assert len(kept) == 1


def test_boxes_outside_the_image_are_clipped_to_it() -> None:
    _, boxes, _ = fit(picture(), torch.tensor([[-30.0, -5.0, 60.0, 400.0]]), LABELS, SQUARE)
    assert boxes.tolist() == [[0.0, 0.0, 32.0, 64.0]]


def test_an_image_without_objects_passes_through_everything() -> None:
    image, boxes, labels, _ = Augment(EVERYTHING)(
        picture(), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), SQUARE, seed=3
    )
    assert image.shape == (64, 64, 3)
    assert boxes.shape == (0, 4)
    assert labels.shape == (0,)


def test_two_flips_are_none() -> None:
    flip = Augment(Augmentation(horizontal_flip=1, photometric=False, iou_crop=False))
    spec = InputSpec(kind="square", size=100)
    image = marked((20, 10, 60, 50), 100, 100)
    once, boxes, _, _ = flip(image, BOXES, LABELS, spec, seed=0)
    assert boxes.tolist() == [[40.0, 10.0, 80.0, 50.0]]
    assert bounds(once) == boxes[0].tolist()
    twice, boxes, _, _ = flip(once, boxes, LABELS, spec, seed=0)
    assert np.array_equal(twice, image)
    assert torch.equal(boxes, BOXES)


@pytest.mark.parametrize("seed", range(40))
def test_the_box_follows_its_object_through_every_geometric_change(seed: int) -> None:
    geometry = Augmentation(photometric=False, scale_jitter=(0.5, 2.0))
    spec = InputSpec(kind="square", size=200)
    image = marked((40, 20, 80, 60), 100, 120)
    out, boxes, labels, _ = Augment(geometry)(
        image, torch.tensor([[40.0, 20.0, 80.0, 60.0]]), LABELS, spec, seed=seed
    )
    assert len(boxes) == len(labels)
    if len(boxes):  # else a crop has missed its centre
        white = out.min(axis=2) > 200  # the canvas around a smaller image is grey
        rows, columns = np.nonzero(white)
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert [float(v) for v in seen] == pytest.approx(boxes[0].tolist(), abs=5)


@pytest.mark.parametrize("scale", [0.5, 0.8, 1.0, 1.5, 3.0])
def test_scale_jitter_scales_by_what_it_says(scale: float) -> None:
    torch.manual_seed(0)
    canvas = tv_tensors.Image(torch.zeros(3, 90, 150, dtype=torch.uint8))
    # An object over the whole image is there whatever part is cut out.
    boxes = tv_tensors.BoundingBoxes([[0.0, 0.0, 150.0, 90.0]], format="XYXY", canvas_size=(90, 150))
    out, moved = ScaleJitter(scale, scale)(canvas, boxes)
    assert tuple(out.shape[-2:]) == (round(90 / scale), round(150 / scale))
    if scale <= 1:
        size = (moved[0, 2:] - moved[0, :2]).tolist()
        assert size == [150.0, 90.0]
    assert moved.canvas_size == tuple(out.shape[-2:])


def test_a_sample_is_a_function_of_its_seed() -> None:
    augment = Augment(EVERYTHING)
    first, first_boxes, _, _ = augment(picture(), BOXES, LABELS, SQUARE, seed=sample_seed(0, 1, 17))
    augment(picture(), BOXES, LABELS, SQUARE, seed=5)
    again, again_boxes, _, _ = augment(picture(), BOXES, LABELS, SQUARE, seed=sample_seed(0, 1, 17))
    assert np.array_equal(first, again)
    assert torch.equal(first_boxes, again_boxes)


def test_epochs_and_images_differ() -> None:
    seeds = {sample_seed(seed, epoch, image) for seed in range(5) for epoch in range(5) for image in range(5)}
    assert len(seeds) == 125
    assert max(seeds) < 2**63


def test_torchs_own_generator_is_left_as_it_was() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    Augment(EVERYTHING)(picture(), BOXES, LABELS, SQUARE, seed=1)
    assert torch.equal(before, torch.get_rng_state())


def test_the_decoded_image_is_not_written_to() -> None:
    image = picture()
    image.flags.writeable = True
    before = image.copy()
    for seed in range(10):
        Augment(EVERYTHING)(image, BOXES, LABELS, SQUARE, seed=seed)
    assert np.array_equal(image, before)


def test_the_smallest_images_survive() -> None:
    for height, width in ((1, 1), (1, 50), (17, 3)):
        image, *_ = Augment(EVERYTHING)(
            picture(height, width), torch.tensor([[0.0, 0.0, 1.0, 1.0]]), LABELS, SQUARE, seed=0
        )
        assert image.shape == (64, 64, 3)


def areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)


@pytest.mark.parametrize("seed", range(20))
def test_every_box_that_comes_out_has_an_area_inside_the_image(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    corners = torch.rand(12, 2, generator=random) * 70
    boxes = torch.cat([corners, corners + 3 + torch.rand(12, 2, generator=random) * 30], dim=1)
    _, out, labels, _ = Augment(EVERYTHING)(picture(110, 110), boxes, torch.arange(12), SQUARE, seed=seed)
    assert len(out) == len(labels)
    assert (areas(out) >= 1).all()
    assert ((out >= 0) & (out <= 64)).all()


# --- masks ---

POLYGON = [40.0, 20.0, 80.0, 20.0, 80.0, 60.0, 60.0, 60.0, 60.0, 40.0, 40.0, 40.0]  # an L on its head


def painted() -> NDArray[np.uint8]:
    """Black, with the polygon in white."""
    image = marked((40, 20, 80, 60), 100, 120)
    image[40:60, 40:60] = 0
    return image


def as_run_lengths() -> Segmentation:
    rle = coco_masks.encode(np.asfortranarray(painted()[:, :, 0] > 0))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("segmentation", [[POLYGON], as_run_lengths()], ids=["polygons", "run lengths"])
def test_the_mask_covers_its_object_after_every_geometric_change(
    segmentation: Segmentation, seed: int
) -> None:
    geometry = Augmentation(photometric=False, scale_jitter=(0.5, 2.0), iou_crop=seed % 2 == 0)
    spec = InputSpec(kind="square", size=200)
    box = torch.tensor([[40.0, 20.0, 80.0, 60.0]])
    image, boxes, _, masks = Augment(geometry)(painted(), box, LABELS, spec, seed, [segmentation])
    assert masks is not None
    assert masks.shape == (len(boxes), 200, 200)
    for mask in masks.numpy() > 0:
        white = image.min(axis=2) > 200  # the canvas around a smaller image is grey
        assert (mask & white).sum() / (mask | white).sum() > 0.93


def test_masks_change_nothing_else_and_keep_to_their_objects() -> None:
    boxes = torch.tensor([[40.0, 20.0, 80.0, 60.0], [0.0, 0.0, 0.2, 50.0], [90.0, 70.0, 120.0, 100.0]])
    labels = torch.tensor([0, 1, 2])
    for seed in range(10):
        plain = Augment(EVERYTHING)(painted(), boxes, labels, SQUARE, seed)
        masked = Augment(EVERYTHING)(painted(), boxes, labels, SQUARE, seed, [[POLYGON], [POLYGON], None])
        assert plain.masks is None
        assert masked.masks is not None
        assert np.array_equal(plain.image, masked.image)
        assert torch.equal(plain.boxes, masked.boxes)
        assert torch.equal(plain.labels, masked.labels)
        assert 1 not in masked.labels  # thinner than a pixel
        has_mask = masked.masks.flatten(1).any(dim=1)
        assert torch.equal(has_mask, masked.labels == 0)


@pytest.mark.parametrize("share", [-0.5, -0.05, 0.0, 0.03, 0.5])
def test_a_hue_is_turned_as_by_torchvision(share: float) -> None:
    """To within a level: OpenCV rounds where torchvision cuts off."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    expected = (
        functional.adjust_hue(torch.from_numpy(pixels).permute(2, 0, 1), share).permute(1, 2, 0).numpy()
    )
    found = turn_hue(pixels, share)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


def test_colours_are_distorted_as_by_torchvision() -> None:
    """The same numbers are drawn and the same is done in the same order; a contrast doubles a level."""
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    image = tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1))
    for seed in range(40):
        torch.manual_seed(seed)
        expected = v2.RandomPhotometricDistort()(image)
        torch.manual_seed(seed)
        found = PhotometricDistort()(image)
        assert (found.int() - expected.int()).abs().max() <= 3
