"""A training step of ours beside torchvision's own: same network, weights, pixels and boxes, drawn alike.

The reference is what torchvision's `references/detection` does in a step: float images of their own size into
its detector, which resizes and pads them, the sum of the losses, `torch.optim.SGD`. Ours starts from the same
decoded bytes, and its resizing is counted, though in a training other processes do it beside the step. Each
is a process of its own: ours waits and keeps memory as `python -m detector train` does, the reference has the
defaults of torch and of the C library.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn
from torchvision.models.detection import (
    fasterrcnn_mobilenet_v3_large_320_fpn,
    ssdlite320_mobilenet_v3_large,
)

from benchmarks.harness import console, in_its_own_process, interleaved, report
from detector.allocator import keep_freed_memory
from detector.config import SGD, Architecture, BaselineLoss, TrainConfig
from detector.data.loading import Sample
from detector.data.transforms import fit, sample_seed
from detector.images import Pixels
from detector.models import Detector, build
from detector.optimization import build_optimizer
from detector.parallel import Processes
from detector.precision import Precision
from detector.step import Learner

BATCH = 8
ROUNDS = 8
CURVE_STEPS = 5
CURVE_TOLERANCE = 1e-4  # once rounding decides which of two nearly equal anchors is mined, losses part
CLASSES = 3
_SGD = SGD(kind="sgd", lr=0.001, momentum=0.9, weight_decay=5e-4)

Make = Callable[[Detector], nn.Module]
"""torchvision's detector with the weights of one of ours."""


def run(name: str, goal: float, architecture: Architecture, make: Make, *, half: torch.dtype | None) -> bool:
    """Prints the loss curves' difference, the table and the closing line; whether the goal is met."""
    arguments = (architecture, make, half)
    with in_its_own_process(_ours, *arguments) as ours, in_its_own_process(_reference, *arguments) as theirs:
        times = interleaved(ours, theirs, ROUNDS)
    _compare_curves(architecture, make)
    precision = "float32" if half is None else str(half).removeprefix("torch.")
    return report(name, goal, [(f"{architecture.kind}, {precision}, batch {BATCH}", *times)])


def _ours(architecture: Architecture, make: Make, half: torch.dtype | None) -> Callable[[], float]:
    keep_freed_memory()
    return _our_step(*_pair(architecture, make, half)[0], _photographs())


def _reference(architecture: Architecture, make: Make, half: torch.dtype | None) -> Callable[[], float]:
    return _their_step(_pair(architecture, make, half)[1], _photographs())


def ssdlite320(like: Detector) -> nn.Module:
    """torchvision's SSDlite with the weights of ours."""
    network: Any = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES + 1)
    network.load_state_dict(like.network.state_dict())
    return network  # type: ignore[no-any-return]


def fasterrcnn_mobile_320(like: Detector) -> nn.Module:
    """torchvision's Faster R-CNN mobilenet 320 with the weights of ours."""
    network: Any = fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=CLASSES + 1
    )
    network.load_state_dict(like.network.state_dict())
    return network  # type: ignore[no-any-return]


def _photographs() -> list[tuple[Pixels, Tensor, Tensor]]:
    return [photograph(k, 480, 640) for k in range(BATCH)]


def photograph(seed: int, height: int, width: int) -> tuple[Pixels, Tensor, Tensor]:
    """Smooth noise with rectangles on it, (h, w, 3) uint8; their boxes (6, 4) xyxy; their labels (6,)."""
    random = np.random.default_rng(seed)
    coarse = torch.from_numpy(random.random((1, 3, height // 16, width // 16), np.float32))
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0]
    pixels = (smooth.permute(1, 2, 0) * 255).byte().numpy().copy()
    boxes = []
    for _ in range(6):
        w, h = random.integers(width // 12, width // 3), random.integers(height // 12, height // 3)
        x, y = random.integers(0, width - w), random.integers(0, height - h)
        pixels[y : y + h, x : x + w] = random.integers(0, 255, 3)
        boxes.append([float(x), float(y), float(x + w), float(y + h)])
    return pixels, torch.tensor(boxes), torch.from_numpy(random.integers(0, CLASSES, 6))


def _pair(
    architecture: Architecture, make: Make, half: torch.dtype | None
) -> tuple[tuple[Detector, Learner], nn.Module]:
    torch.manual_seed(0)
    config = TrainConfig(
        architecture=architecture,
        loss=BaselineLoss(),
        optimizer=_SGD,
        batch_size=BATCH,
        clip_grad_norm=None,  # as torchvision's step
    )
    detector = build(architecture, config.loss, CLASSES).train()
    theirs = make(detector).train()
    precision = Precision(torch.device("cpu"), half)
    precision.prepare(detector)
    learner = Learner(
        detector,
        build_optimizer(detector, _SGD),
        config,
        precision,
        Processes(),
        images=BATCH,
        names={k: str(k) for k in range(BATCH)},
    )
    return (detector, learner), theirs


def _our_step(
    detector: Detector, learner: Learner, images: list[tuple[Pixels, Tensor, Tensor]]
) -> Callable[[], float]:
    numbers = iter(range(10**6))

    def step() -> float:
        batch = []
        for k, image in enumerate(images):
            pixels, boxes, labels = fit(*image, detector.input_spec)
            batch.append(Sample(torch.from_numpy(pixels), boxes, labels, k))
        return sum(loss.item() for loss in learner.step(batch, next(numbers)).values())

    return step


def _their_step(network: nn.Module, images: list[tuple[Pixels, Tensor, Tensor]]) -> Callable[[], float]:
    decaying = build_optimizer(network, _SGD).param_groups  # ours leaves biases and norms alone: so does this
    groups = [{"params": group["params"], "weight_decay": group["weight_decay"]} for group in decaying]
    optimizer = torch.optim.SGD(groups, lr=_SGD.lr, momentum=_SGD.momentum)
    pixels = [torch.from_numpy(image).permute(2, 0, 1).contiguous().float() / 255 for image, _, _ in images]
    targets = [{"boxes": boxes, "labels": labels + 1} for _, boxes, labels in images]
    numbers = iter(range(10**6))

    def step() -> float:
        # Proposals are sampled as ours are.
        torch.manual_seed(sample_seed(0, next(numbers), -2))
        losses: dict[str, Tensor] = network(pixels, targets)
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return total.item()

    return step


def _compare_curves(architecture: Architecture, make: Make) -> None:
    """From the same weights, on images that neither has to resize; in float64, so that it is no rounding."""
    (detector, learner), theirs = _pair(architecture, make, None)
    height, width = detector.input_spec.shape_for(480, 640)
    transform: Any = theirs.transform
    transform._skip_resize = True
    # Ours keeps them in float32, as a graph has them.
    transform.image_mean = np.float32(transform.image_mean).tolist()
    transform.image_std = np.float32(transform.image_std).tolist()
    for network in (detector, theirs):
        network.double().register_forward_pre_hook(_in_double)
    images = [photograph(k, height, width) for k in range(BATCH)]
    mine, reference = _our_step(detector, learner, images), _their_step(theirs, images)
    table = Table(
        "step", "our loss", "torchvision's", "difference", title="loss curves, float64", title_justify="left"
    )
    for number in range(CURVE_STEPS):
        a, b = mine(), reference()
        difference = abs(a - b) / b
        if difference > CURVE_TOLERANCE:
            raise RuntimeError(f"not the same training: at step {number + 1} the losses are {a} and {b}")
        table.add_row(str(number + 1), f"{a:.5f}", f"{b:.5f}", f"{difference:.1e}")
    console.print(table)


def _in_double(_: nn.Module, arguments: Any) -> Any:
    images, targets = arguments
    return [image.double() for image in images], [
        target | {"boxes": target["boxes"].double()} for target in targets
    ]
