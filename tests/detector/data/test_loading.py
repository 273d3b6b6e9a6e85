from pathlib import Path

import numpy as np
import pytest
import torch

from detector.config import Augmentation
from detector.data import loading
from detector.data.batches import EpochBatches, Key
from detector.data.loading import Cache, EvaluationSet, Pixels, TrainingSet, objects, read_image
from detector.data.materialise import image_path, load
from detector.data.records import Annotation, Category, ImageRecord
from detector.errors import DatasetInvalid
from detector.images import InputSpec
from tests.detector.helpers import write_dataset

SPEC = InputSpec(kind="shorter_side", size=64, max_size=128)


def keys(batches: EpochBatches, epoch: int, start: int = 0) -> list[list[Key]]:
    batches.epoch, batches.start = epoch, start
    return list(batches)


def test_an_epoch_shows_every_image_once_but_for_an_incomplete_batch() -> None:
    batches = EpochBatches(10, 3, seed=0)
    shown = [key.image for batch in keys(batches, 0) for key in batch]
    assert len(batches) == 3
    assert len(shown) == len(set(shown)) == 9


def test_the_only_batch_may_be_incomplete() -> None:
    assert [len(batch) for batch in keys(EpochBatches(3, 8, seed=0), 0)] == [3]


def test_the_order_follows_from_seed_and_epoch() -> None:
    batches = EpochBatches(50, 5, seed=1)
    assert keys(batches, 3) == keys(EpochBatches(50, 5, seed=1), 3)
    assert keys(batches, 3) != keys(batches, 4)
    assert keys(batches, 3) != keys(EpochBatches(50, 5, seed=2), 3)


def test_an_epoch_can_be_continued_in_its_middle() -> None:
    batches = EpochBatches(50, 5, seed=1)
    assert keys(batches, 2)[4:] == keys(batches, 2, start=4)


def test_the_order_takes_no_number_from_torchs_own_generator() -> None:
    before = torch.get_rng_state()
    keys(EpochBatches(50, 5, seed=1), 0)
    assert torch.equal(before, torch.get_rng_state())


def test_labels_are_positions_of_sparse_ids_and_crowds_are_left_out() -> None:
    annotations = [
        Annotation(1, 90, (0.0, 0.0, 5.0, 5.0), 25.0),
        Annotation(2, 1, (0.0, 0.0, 5.0, 5.0), 25.0, iscrowd=True),
        Annotation(3, 44, (1.0, 1.0, 1.0, 5.0), 0.0),
        Annotation(4, 44, (2.0, 2.0, 4.0, 6.0), 8.0),
    ]
    record = ImageRecord(1, "a.jpg", "train", 10, 10, annotations)
    boxes, labels = objects(record, [Category(1, "a"), Category(44, "b"), Category(90, "c")])
    assert labels.tolist() == [2, 1]
    assert boxes.tolist() == [[0.0, 0.0, 5.0, 5.0], [2.0, 2.0, 4.0, 6.0]]


def test_a_sample_does_not_depend_on_what_was_loaded_before(dataset: Path) -> None:
    index = load(dataset)
    sets = [
        TrainingSet(dataset, index.images, index.categories, SPEC, Augmentation(), seed=4, cache_bytes=size)
        for size in (0, 1 << 30)
    ]
    sets[1][Key(0, 3)]
    sets[1][Key(0, 5)]
    for key in (Key(0, 5), Key(1, 5), Key(0, 3)):
        assert torch.equal(sets[0][key].image, sets[1][key].image)
        assert torch.equal(sets[0][key].boxes, sets[1][key].boxes)


@pytest.mark.parametrize("cache_bytes", [0, 20_000, 1 << 30], ids=["no cache", "some", "all"])
def test_a_batch_has_the_samples_that_are_made_one_by_one(
    dataset: Path, cache_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = load(dataset)
    arguments = (dataset, index.images, index.categories, SPEC, Augmentation())
    singly, together = (TrainingSet(*arguments, seed=4, cache_bytes=size) for size in (0, cache_bytes))
    read: list[str] = []

    def counted(directory: Path, image: ImageRecord) -> Pixels:
        read.append(image.file_name)
        return read_image(directory, image)

    monkeypatch.setattr(loading, "read_image", counted)
    for numbers in ((3, 5, 0), (5, 3, 1)):
        keys = [Key(2, number) for number in numbers]
        read.clear()
        batch = together.__getitems__(keys)
        assert len(read) == len(set(read))  # none twice
        for key, sample in zip(keys, batch, strict=True):
            assert torch.equal(sample.image, singly[key].image)
            assert torch.equal(sample.boxes, singly[key].boxes)


def test_evaluation_batches_hold_images_of_one_shape_and_all_of_them(dataset: Path) -> None:
    data = EvaluationSet(dataset, load(dataset).images, SPEC)
    batches = list(data.batches(2))
    assert all(len({data.shape(i) for i in batch}) == 1 for batch in batches)
    assert sorted(i for batch in batches for i in batch) == list(range(len(data)))
    assert all(data.pixels(i).shape == (*data.shape(i), 3) for i in range(len(data)))


def test_a_missing_and_a_broken_image_are_named(tmp_path: Path) -> None:
    index = write_dataset(tmp_path, train=2, val=0)
    image_path(tmp_path, index.images[0]).unlink()
    broken = image_path(tmp_path, index.images[1])
    broken.write_bytes(broken.read_bytes()[:100])
    data = EvaluationSet(tmp_path, index.images, SPEC)
    with pytest.raises(DatasetInvalid, match="train/0"):
        data.pixels(0)
    with pytest.raises(DatasetInvalid, match="train/1"):
        data.pixels(1)


def test_the_cache_makes_once_what_fits_and_again_what_does_not() -> None:
    cache = Cache(150)
    made = []

    def make(number: int, size: int) -> None:
        def new() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
            made.append(number)
            return np.zeros(size, np.uint8)

        assert cache.get(number, new).nbytes == size

    for number, size in ((1, 100), (1, 100), (2, 100), (2, 100), (3, 50), (3, 50)):
        make(number, size)
    assert made == [1, 2, 2, 3]


def test_masks_come_only_where_they_are_wanted_and_there_must_be_some(dataset: Path) -> None:
    index = load(dataset)
    plain = TrainingSet(dataset, index.images, index.categories, SPEC, Augmentation(), seed=4)
    assert plain[Key(0, 0)].masks is None
    with pytest.raises(DatasetInvalid, match="has a mask"):
        TrainingSet(dataset, index.images, index.categories, SPEC, Augmentation(), seed=4, masks=True)


def test_a_crowds_mask_is_left_out_with_the_crowd(tmp_path: Path) -> None:
    index = write_dataset(tmp_path, train=1, val=0)
    (record,) = index.images
    polygon = [[10.0, 10.0, 60.0, 10.0, 60.0, 60.0]]
    crowd = Annotation(90, 7, (0.0, 0.0, 128.0, 128.0), 9.0, iscrowd=True, segmentation=polygon)
    masked = Annotation(91, 3, (10.0, 10.0, 60.0, 60.0), 1250.0, segmentation=polygon)
    changed = ImageRecord(100, record.file_name, "train", 128, 128, [crowd, *record.annotations, masked])
    still = Augmentation(horizontal_flip=0, photometric=False)
    data = TrainingSet(tmp_path, [changed], index.categories, SPEC, still, seed=0, masks=True)
    sample = data[Key(0, 0)]
    assert sample.masks is not None
    assert sample.masks.shape == (3, 64, 64)
    assert sample.masks.flatten(1).sum(dim=1).tolist() == [0, 0, pytest.approx(25 * 25 / 2, abs=25)]
