"""Is what makes training fast paid for in accuracy? The fast path and the plain one, from the same seeds.

    make accuracy DATA=dataset.zip SEEDS=3

Plain is `references/detection` of torchvision: its network, contiguous float32 images at their own size,
which it resizes itself, its `roi_align`, its losses, `torch.optim.SGD` as it comes. Fast is ours: resized by
the loader, channels_last, separable RoIAlign, the fused optimiser, and with `--amp bf16` half precision. Both
begin with the same weights and see the same images, mirrored alike, in the same order at the same learning
rates; both are measured by our evaluator (pycocotools' numbers to the last bit) with the weights of the last
step. The momentum of batch norms is a setting and no speed-up, so plain's have ours.

What is left to differ is the arithmetic and the resizing: the loader averages what a smaller image leaves
out, torchvision samples it. With `--same-pixels` plain is shown what the loader has resized, in training and
when it is measured, so that only the arithmetic differs.

The first table follows the loss where both see the very same pixels, in float64. The second has the AP of
each seed, the AP of the fast path's weights in plain's network, which tells learning from measuring, and the
95 % interval of the mean of the differences (Student's t).
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, ssdlite320_mobilenet_v3_large
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import mobilenet_backbone
from torchvision.ops import FrozenBatchNorm2d

from benchmarks.harness import console
from detector import initial_weights
from detector.config import (
    SGD,
    Architecture,
    Augmentation,
    BaselineLoss,
    CosineSchedule,
    FasterRCNNMobile,
    SSDLite320,
    TrainConfig,
)
from detector.data.batches import EpochBatches, Key
from detector.data.inspect import inspect
from detector.data.loading import EvaluationSet, TrainingSet
from detector.data.materialise import load, materialise
from detector.data.records import DatasetIndex, ImageRecord
from detector.data.transforms import sample_seed
from detector.engine import choose_splits
from detector.evaluate.coco import evaluate, ground_truth
from detector.evaluate.served import CocoResults, coco_results
from detector.evaluate.split import as_arrays, detect
from detector.images import InputSpec
from detector.models import Detection, Detector, build
from detector.optimization import build_optimizer, set_learning_rate
from detector.parallel import Processes
from detector.precision import resolve
from detector.schedule import learning_rate_factor
from detector.step import Learner

BATCH = 4
LR = 0.01
WARMUP_STEPS = 30
CURVE_STEPS = 8
FAMILIES = ("faster_rcnn", "ssdlite")
# Of Student's t, so that 95 % lie between minus it and it, by degrees of freedom.
_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True)
class Task:
    """What both paths learn."""

    config: TrainConfig
    directory: Path
    index: DatasetIndex
    train: list[ImageRecord]
    evaluation: list[ImageRecord]
    given: initial_weights.Given | None

    @property
    def classes(self) -> int:
        return len(self.index.categories)

    def samples(self, specs: Sequence[InputSpec]) -> TrainingSet:
        """The training images in these sizes."""
        config = self.config
        return TrainingSet(
            self.directory, self.train, self.index.categories, specs, config.augmentation, seed=config.seed
        )

    def detector(self) -> Detector:
        """Ours with its initial weights."""
        torch.manual_seed(self.config.seed)
        detector = build(self.config.architecture, self.config.loss, self.classes)
        names = [category.name for category in self.index.categories]
        initial_weights.load(detector, self.config.architecture, names, self.given)
        return detector


class Fast:
    """Ours: what a training of the service does in a step."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.detector = task.detector()
        precision = resolve(task.config)
        precision.prepare(self.detector)
        self._optimizer = build_optimizer(self.detector, task.config.optimizer)
        self._learner = Learner(
            self.detector,
            self._optimizer,
            task.config,
            precision,
            Processes(),
            images=task.config.batch_size,
            names={image.id: image.file_name for image in task.train},
        )
        self._samples = task.samples([self.detector.input_spec])

    def step(self, keys: Sequence[Key], number: int, lr: float) -> float:
        set_learning_rate(self._optimizer, lr)
        self.detector.train()
        losses = self._learner.step([self._samples[key] for key in keys], number)
        return float(torch.stack(list(losses.values())).sum())

    def results(self) -> CocoResults:
        task = self._task
        data = EvaluationSet(task.directory, task.evaluation, self.detector.input_spec)
        class_ids = [category.id for category in task.index.categories]
        return detect(self.detector, data, class_ids, batch_size=task.config.batch_size)


class Plain:
    """torchvision's: the same weights in its own network, which resizes its images itself.

    Args:
        resized: whether it is shown what ours sees instead, in ours' size.
    """

    def __init__(self, task: Task, *, resized: bool = False) -> None:
        self._task, self._resized = task, resized
        ours = task.detector()
        self._first_class = ours.first_class
        self.network = _torchvisions(task)
        self.load(ours)
        _take_momentum(self.network, ours.network)
        # Ours leaves biases and norms undecayed, so this does.
        decaying = build_optimizer(self.network, task.config.optimizer).param_groups
        groups = [{"params": group["params"], "weight_decay": group["weight_decay"]} for group in decaying]
        self._optimizer = torch.optim.SGD(groups, lr=LR, momentum=_sgd(task).momentum)
        if resized:
            self.network.transform._skip_resize = True
            self._specs = [ours.input_spec]
        else:
            sides = sorted({min(image.height, image.width) for image in task.train})
            self._specs = [InputSpec(kind="shorter_side", size=side) for side in sides]  # their own
        self._samples = task.samples(self._specs)

    def load(self, ours: Detector) -> None:
        """Takes the weights of ours."""
        self.network.load_state_dict(ours.network.state_dict())

    def step(self, keys: Sequence[Key], number: int, lr: float) -> float:
        set_learning_rate(self._optimizer, lr)
        self.network.train()
        samples = [self._samples[key._replace(size=self._own_size(key.image))] for key in keys]
        pixels = [sample.image.permute(2, 0, 1).contiguous().float() / 255 for sample in samples]
        targets = [{"boxes": s.boxes, "labels": s.labels + self._first_class} for s in samples]
        # Proposals are sampled as ours are.
        torch.manual_seed(sample_seed(self._task.config.seed, number, -2))
        losses: dict[str, Tensor] = self.network(pixels, targets)
        total = torch.stack(list(losses.values())).sum()
        self._optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return total.item()

    @torch.inference_mode()
    def results(self) -> CocoResults:
        task = self._task
        self.network.eval()
        data = EvaluationSet(task.directory, task.evaluation, self._specs[0])
        class_ids = [category.id for category in task.index.categories]
        found: CocoResults = []
        for place, image in enumerate(task.evaluation):
            given = data.pixels(place) if self._resized else data.original(place)
            pixels = torch.from_numpy(given).permute(2, 0, 1).contiguous().float() / 255
            (seen,) = self.network([pixels])
            labels = seen["labels"] - self._first_class
            detection = Detection(boxes=seen["boxes"], scores=seen["scores"], labels=labels)
            own = image.height, image.width
            found += coco_results(image, as_arrays(detection, given.shape[:2], own), class_ids)
        return found

    def _own_size(self, image: int) -> int:
        if len(self._specs) == 1:
            return 0
        record = self._task.train[image]
        return [spec.size for spec in self._specs].index(min(record.height, record.width))


def main() -> bool:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        tasks = [_task(options, Path(folder, "data"), seed) for seed in range(options.seeds)]
        kind, images = tasks[0].config.architecture.kind, len(tasks[0].train)
        print(f"{kind}, {images} images, {_steps(tasks[0])} steps of {BATCH}", flush=True)
        follow_losses(tasks[0])
        return report([compared(task, same_pixels=options.same_pixels) for task in tasks])


@dataclass(frozen=True)
class Compared:
    """AP of one seed, 0..1."""

    seed: int
    fast: float
    plain: float
    crossed: float
    """The fast path's weights, measured by plain."""

    @property
    def difference(self) -> float:
        return self.fast - self.plain


def compared(task: Task, *, same_pixels: bool) -> Compared:
    """Trains and measures both."""
    fast, plain = Fast(task), Plain(task, resized=same_pixels)
    train(task, fast)
    train(task, plain)
    of_fast, of_plain = measured(task, fast), measured(task, plain)
    plain.load(fast.detector)
    one = Compared(task.config.seed, of_fast, of_plain, crossed=measured(task, plain))
    print(f"seed {one.seed}: AP fast {one.fast:.4f}, plain {one.plain:.4f}", flush=True)
    return one


def follow_losses(task: Task) -> float:
    """Prints the losses of the first steps on the same pixels, in float64, so that a difference is none of
    rounding; gives the largest relative one."""
    task = replace(task, config=task.config.model_copy(update={"amp": "off"}))
    fast, plain = Fast(task), Plain(task, resized=True)
    for network in (fast.detector, plain.network):
        network.double().register_forward_pre_hook(_in_double)
    # Ours keeps them in float32, as a graph has them.
    transform = plain.network.transform
    transform.image_mean = np.float32(transform.image_mean).tolist()
    transform.image_std = np.float32(transform.image_std).tolist()
    table = Table(
        "step", "fast", "plain", "difference", title="loss of the first steps, float64", title_justify="left"
    )
    largest = 0.0
    for number, (keys, lr) in zip(range(CURVE_STEPS), _batches(task), strict=False):
        a, b = fast.step(keys, number, lr), plain.step(keys, number, lr)
        largest = max(largest, abs(a - b) / b)
        table.add_row(str(number + 1), f"{a:.5f}", f"{b:.5f}", f"{abs(a - b) / b:.1e}")
    console.print(table)
    print(f"largest relative difference of the loss: {largest:.1e}", flush=True)
    return largest


def train(task: Task, path: Fast | Plain) -> None:
    begun = time.monotonic()
    loss = math.nan
    for number, (keys, lr) in enumerate(_batches(task)):
        loss = path.step(keys, number, lr)
    took = time.monotonic() - begun
    print(
        f"seed {task.config.seed}: {type(path).__name__.lower()} took {took:.0f} s, last loss {loss:.4f}",
        flush=True,
    )


def measured(task: Task, path: Fast | Plain) -> float:
    """AP of its weights as they are."""
    truth = ground_truth(task.evaluation, task.index.categories)
    return evaluate(truth, path.results()).metrics["AP"] or 0.0


def report(found: Sequence[Compared]) -> bool:
    """Prints the AP of every seed and the closing line; whether no difference is among the likely ones."""
    table = Table(
        "seed", "fast", "plain", "difference", "fast, in plain's network", title="AP", title_justify="left"
    )
    rows = [(one.fast, one.plain, one.difference, one.crossed) for one in found]
    for one, values in zip(found, rows, strict=True):
        table.add_row(str(one.seed), *_in_words(values))
    columns = list(zip(*rows, strict=True))
    if len(found) > 1:
        table.add_row("mean", *_in_words([statistics.mean(column) for column in columns]))
        table.add_row("sd", *(f"{statistics.stdev(column):.4f}" for column in columns))
    console.print(table)
    differences = columns[2]
    mean = statistics.mean(differences)
    if len(found) < 2:
        print(f"name=accuracy difference={mean:+.4f} one seed says nothing of noise")
        return True
    low, high = interval(differences)
    fine = low <= 0 <= high
    verdict = "pass" if fine else "short"
    print(f"name=accuracy difference={mean:+.4f} interval={low:+.4f}..{high:+.4f} {verdict}", flush=True)
    return fine


def _in_words(values: Sequence[float]) -> list[str]:
    fast, plain, difference, crossed = values
    return [f"{fast:.4f}", f"{plain:.4f}", f"{difference:+.4f}", f"{crossed:.4f}"]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """In which the mean of normally distributed values is, of 20 such intervals in 19; of 2 to 11 values."""
    half = _QUANTILES[len(values) - 2] * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values) - half, statistics.mean(values) + half


def _in_double(_: nn.Module, arguments: Any) -> Any:
    images, targets = arguments
    return [image.double() for image in images], [
        target | {"boxes": target["boxes"].double()} for target in targets
    ]


def _batches(task: Task) -> Any:
    """The keys of every batch of the training, and its learning rate."""
    config = task.config
    order = EpochBatches(len(task.train), config.batch_size, config.seed)
    steps, number = _steps(task), 0
    for epoch in range(config.epochs):
        order.epoch = epoch
        for keys in order:
            factor = learning_rate_factor(
                number,
                steps=steps,
                steps_per_epoch=len(order),
                warmup_steps=config.warmup_steps,
                schedule=config.schedule,
            )
            yield keys, config.optimizer.lr * factor
            number += 1


def _steps(task: Task) -> int:
    return len(EpochBatches(len(task.train), task.config.batch_size, task.config.seed)) * task.config.epochs


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="dataset archive (zip)")
    parser.add_argument("--seeds", type=int, default=3, choices=range(1, 12), metavar="1..11")
    parser.add_argument("--family", choices=FAMILIES, default=FAMILIES[0])
    parser.add_argument("--backbone", type=Path, help="weights of mobilenet_v2, for faster_rcnn; else random")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--image-size", type=int, default=320)
    parser.add_argument("--same-pixels", action="store_true", help="let plain learn from what fast sees")
    parser.add_argument("--amp", choices=["off", "bf16"], default="off", help="of the fast path")
    return parser.parse_args()


def _task(options: argparse.Namespace, directory: Path, seed: int) -> Task:
    index, findings = inspect(options.data)
    if index is None:
        raise SystemExit(f"{options.data} is no dataset: {findings}")
    materialise(options.data, index, directory)
    config = TrainConfig(
        architecture=_architecture(options),
        loss=BaselineLoss(),
        optimizer=SGD(kind="sgd", lr=LR, momentum=0.9, weight_decay=5e-4),
        schedule=CosineSchedule(),
        augmentation=Augmentation(photometric=False),
        epochs=options.epochs,
        batch_size=BATCH,
        warmup_steps=WARMUP_STEPS,
        clip_grad_norm=None,  # as torchvision's step
        amp=options.amp,
        device="cpu",
        seed=seed,
    )
    given = None
    if options.backbone is not None:
        config, given = initial_weights.given_on_command_line(config, options.backbone)
    splits = choose_splits(index, config)
    return Task(config, directory, load(directory), splits.train, splits.evaluation, given)


def _architecture(options: argparse.Namespace) -> Architecture:
    if options.family == "ssdlite":
        return SSDLite320(image_size=options.image_size)
    return FasterRCNNMobile(
        backbone="mobilenet_v3_large" if options.backbone is None else "mobilenet_v2",
        image_size=options.image_size,
        max_size=2 * options.image_size,
    )


def _torchvisions(task: Task) -> Any:
    """torchvision's network of the same architecture, made by torchvision."""
    architecture = task.config.architecture
    if isinstance(architecture, SSDLite320):
        size = (architecture.image_size, architecture.image_size)
        network: Any = ssdlite320_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=task.classes + 1
        )
        network.transform.fixed_size = size
        return network
    assert isinstance(architecture, FasterRCNNMobile)  # noqa: S101  # see _architecture
    frozen = architecture.initial_weights != "random"
    backbone = mobilenet_backbone(
        backbone_name=architecture.backbone,
        weights=None,
        fpn=True,
        norm_layer=FrozenBatchNorm2d if frozen else nn.BatchNorm2d,
        trainable_layers=6,
    )
    # As in torchvision's builder for mobilenet_v3_large.
    anchors = AnchorGenerator(((32, 64, 128, 256, 512),) * 3, ((0.5, 1.0, 2.0),) * 3)
    return FasterRCNN(
        backbone,
        task.classes + 1,
        rpn_anchor_generator=anchors,
        rpn_score_thresh=0.05,
        min_size=architecture.image_size,
        max_size=architecture.max_size,
    )


def _take_momentum(network: nn.Module, ours: nn.Module) -> None:
    modules = dict(network.named_modules())
    for name, own in ours.named_modules():
        if isinstance(own, nn.BatchNorm2d):
            modules[name].momentum = own.momentum


def _sgd(task: Task) -> SGD:
    assert isinstance(task.config.optimizer, SGD)  # noqa: S101  # see _task
    return task.config.optimizer


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
