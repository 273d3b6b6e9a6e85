"""A materialised dataset as samples: how images reach the network."""

from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from itertools import compress
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from detector.config import Augmentation
from detector.data.batches import Key
from detector.data.columns import learnable, rows_of
from detector.data.materialise import read_pixels
from detector.data.mixing import mosaic, paste
from detector.data.records import Annotation, Category, ImageRecord
from detector.data.transforms import Augment, Augmented, sample_seed
from detector.errors import DatasetInvalid
from detector.images import InputSpec, resize

Pixels: TypeAlias = NDArray[np.uint8]  # (H, W, 3)

TRAINING_CACHE_BYTES = 1 << 30
EVALUATION_CACHE_BYTES = 512 << 20


class Sample(NamedTuple):
    """One training image as the network wants it."""

    image: Tensor  # (h, w, 3) uint8
    boxes: Tensor  # (N, 4) xyxy in its pixels, float32
    labels: Tensor  # (N,) int64, 0-based
    image_id: int
    masks: Tensor | None = None  # (N, h, w) uint8 of 0 and 1, for detectors that learn masks


class TrainingSet(Dataset[Sample]):
    """Augmented images. A sample is a function of the seed and its `Key`, whatever was loaded before it.

    With `masks` every sample has those of its objects; an object that was recorded without a segmentation
    has an empty one. Raises DatasetInvalid where no object has a segmentation.

    Args:
        spec: what the network wants; of several, the key says which.
        cache_bytes: of decoded images that are kept, by each process that loads.
    """

    def __init__(
        self,
        directory: Path,
        images: Sequence[ImageRecord],
        categories: Sequence[Category],
        spec: InputSpec | Sequence[InputSpec],
        augmentation: Augmentation,
        *,
        seed: int,
        masks: bool = False,
        cache_bytes: int = TRAINING_CACHE_BYTES,
    ) -> None:
        self.images = list(images)
        self._directory = directory
        self._specs = [spec] if isinstance(spec, InputSpec) else list(spec)
        self._seed = seed
        self._masks = masks
        self._mosaic, self._copy_paste = augmentation.mosaic, augmentation.copy_paste
        self._augment = Augment(augmentation)
        self._objects = [objects(image, categories) for image in self.images]
        if masks and not any(a.segmentation for image in self.images for a in learned(image)):
            raise DatasetInvalid(
                "No object of the training images has a mask, which this detector is to learn.",
                hint="Give the objects polygons or run lengths, or choose a detector of boxes.",
            )
        self._cache = Cache(cache_bytes)
        self._ahead: dict[int, Pixels] = {}  # of the batch that is being made

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, keys: Sequence[Key]) -> list[Sample]:
        """A batch, as a DataLoader asks for it: what `__getitem__` gives, decoded on all cores."""
        # Processes that load are as many as the user wants busy; random numbers are of one thread.
        if get_worker_info() is None:
            missing = sorted({key.image for key in keys} - self._cache.numbers)
            with ThreadPoolExecutor(torch.get_num_threads(), "decode") as pool:
                self._ahead = dict(zip(missing, pool.map(self._read, missing), strict=True))
        try:
            return [self[key] for key in keys]
        finally:
            self._ahead = {}

    def __getitem__(self, key: Key) -> Sample:
        record = self.images[key.image]
        seed = sample_seed(self._seed, key.epoch, record.id)
        made = self._augmented(key.image, key.size, seed)
        if self._mosaic or self._copy_paste:
            made = self._mixed(made, key.size, torch.Generator().manual_seed(seed))
        pixels, boxes, labels, masks = made
        return Sample(torch.from_numpy(pixels), boxes, labels, record.id, masks if self._masks else None)

    def _augmented(self, image: int, size: int, seed: int) -> Augmented:
        """The image by itself."""
        wanted = self._masks or self._copy_paste
        segmentations = [one.segmentation for one in learned(self.images[image])] if wanted else None
        return self._augment(
            self._pixels(image), *self._objects[image], self._specs[size], seed, segmentations
        )

    def _mixed(self, made: Augmented, size: int, generator: torch.Generator) -> Augmented:
        """The image with what others lend it; these are changed for themselves before."""

        def another() -> Augmented:
            image, seed = torch.randint(2**62, (2,), generator=generator).tolist()
            return self._augmented(image % len(self.images), size, seed)

        mosaics, pastes = torch.rand(2, generator=generator).tolist()
        if mosaics < self._mosaic:
            made = mosaic([made, another(), another(), another()], generator)
        if pastes < self._copy_paste:
            made = paste(made, another(), generator)
        return made

    def _pixels(self, index: int) -> Pixels:
        ahead = self._ahead.get(index)
        return self._cache.get(index, lambda: self._read(index) if ahead is None else ahead)

    def _read(self, index: int) -> Pixels:
        return read_image(self._directory, self.images[index])


class EvaluationSet:
    """Images as they are, resized for the network; kept in that size between two evaluations."""

    def __init__(
        self,
        directory: Path,
        images: Sequence[ImageRecord],
        spec: InputSpec,
        *,
        cache_bytes: int = EVALUATION_CACHE_BYTES,
    ) -> None:
        self.images = list(images)
        self.directory = directory
        self._spec = spec
        self._cache = Cache(cache_bytes)

    def __len__(self) -> int:
        return len(self.images)

    def shape(self, index: int) -> tuple[int, int]:
        """(height, width) in which the network sees the image."""
        return self._spec.shape_for(self.images[index].height, self.images[index].width)

    def pixels(self, index: int) -> Pixels:
        """(h, w, 3) uint8 as the network sees it."""
        return self._cache.get(index, lambda: self._resized(index))

    def original(self, index: int) -> Pixels:
        """(H, W, 3) uint8 at the image's own size."""
        return read_image(self.directory, self.images[index])

    def batches(self, batch_size: int) -> Iterator[list[int]]:
        """Indexes in batches of images of one shape.

        Nothing is padded to another image's size, so that an image gives what it gives alone, as in serving.
        """
        by_shape: dict[tuple[int, int], list[int]] = {}
        for index in range(len(self.images)):
            by_shape.setdefault(self.shape(index), []).append(index)
        for indexes in by_shape.values():
            for start in range(0, len(indexes), batch_size):
                yield indexes[start : start + batch_size]

    def _resized(self, index: int) -> Pixels:
        return resize(self.original(index), self.shape(index))


class Cache:
    """Arrays by number within a bound. When full it takes no more: the order is random, nothing is old."""

    def __init__(self, max_bytes: int) -> None:
        self._free = max_bytes
        self._arrays: dict[int, Pixels] = {}

    @property
    def numbers(self) -> Set[int]:
        """Of the arrays that are here."""
        return self._arrays.keys()

    def get(self, number: int, make: Callable[[], Pixels]) -> Pixels:
        """The array of this number, made now unless it is here; not to be written to."""
        array = self._arrays.get(number)
        if array is None:
            array = make()
            if array.nbytes <= self._free:
                self._free -= array.nbytes
                self._arrays[number] = array
        return array


def learned(image: ImageRecord) -> list[Annotation]:
    """The objects to learn from: crowds are left out, as everywhere in training, and boxes without area."""
    return list(compress(image.annotations, learnable(rows_of(image.annotations))))


def objects(image: ImageRecord, categories: Sequence[Category]) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) xyxy in the image's own pixels and labels (N,), the indexes of their categories, of the
    objects to learn from."""
    label = {category.id: k for k, category in enumerate(categories)}
    rows = rows_of(image.annotations)
    rows = rows[learnable(rows)]
    boxes = torch.from_numpy(rows["box"].astype(np.float32))
    return boxes, torch.tensor([label[id_] for id_ in rows["category_id"].tolist()], dtype=torch.int64)


def read_image(directory: Path, image: ImageRecord) -> Pixels:
    """The decoded image (H, W, 3), writable, as torch wants it. Raises DatasetInvalid."""
    return np.require(read_pixels(directory, image), requirements="W")
