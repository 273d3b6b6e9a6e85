"""The demo dataset: right by its own reader, the same for a seed, and worth learning from."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from detector.data.archive import open_archive
from detector.data.inspect import inspect
from detector.data.synthetic import CLASSES, synthetic_image, write_synthetic
from detector.images import decode


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic") / "shapes.zip"
    write_synthetic(path, images=12, val_images=4, seed=3)
    return path


def test_it_is_a_valid_coco_dataset_without_findings(archive: Path) -> None:
    index, report = inspect(archive, on_invalid="reject")
    assert index is not None
    assert report.findings == []
    assert (report.format, index.splits()) == ("coco", {"train": 12, "val": 4})
    assert [category.name for category in index.categories] == list(CLASSES)


def test_objects_are_large_enough_and_two_to_five_an_image(archive: Path) -> None:
    index, _ = inspect(archive)
    assert index is not None
    for image in index.images:
        assert (image.width, image.height) == (320, 320)
        assert 2 <= len(image.annotations) <= 5
        for item in image.annotations:
            x1, y1, x2, y2 = item.box
            assert 40 - 0.1 <= max(x2 - x1, y2 - y1) <= 160 + 0.1
            assert isinstance(item.segmentation, list)
            assert 0.2 * (x2 - x1) * (y2 - y1) < item.area <= (x2 - x1) * (y2 - y1)


def test_some_objects_overlap(archive: Path) -> None:
    index, _ = inspect(archive)
    assert index is not None
    pairs = 0
    for image in index.images:
        boxes = [item.box for item in image.annotations]
        pairs += sum(
            min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])
            for place, a in enumerate(boxes)
            for b in boxes[:place]
        )
    assert pairs >= 5


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_synthetic(tmp_path / name, images=2, val_images=1, size=96, seed=seed)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


def test_a_single_image_is_none_of_the_dataset(archive: Path) -> None:
    pixels, objects = synthetic_image(3, 320)
    assert pixels.shape == (320, 320, 3)
    assert pixels.dtype == np.uint8
    assert {name for name, _ in objects} <= set(CLASSES)
    with open_archive(archive) as members:
        for name in members.members:
            if name.endswith(".jpg"):
                assert np.abs(decode(members.read(name)).astype(int) - pixels).mean() > 3


def test_a_box_is_where_its_object_is() -> None:
    """The hue inside a disc's box is that of discs: red to orange, which no background is as vividly."""
    found = 0
    for seed in range(20):
        pixels, objects = synthetic_image(seed)
        hue, saturation, _ = np.moveaxis(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), 2, 0)
        vivid = ((hue < 26) | (hue > 174)) & (saturation > 110)
        discs = [box for name, box in objects if name == "disc"]
        if len(discs) != 1 or len(objects) != 2:
            continue
        x1, y1, x2, y2 = (round(value) for value in discs[0])
        inside = vivid[y1:y2, x1:x2].sum()
        assert inside > 0.9 * vivid.sum()
        found += 1
    assert found >= 1
