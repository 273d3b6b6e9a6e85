"""What the harmonic loss costs: a training step with it against the same step with the detector's own loss.

Reference: torchvision's loss on the same network, weights, images and boxes. Goal: at most 1 % of the step.
One step's time scatters by several hundredths, so it takes many to see a thousandth of it.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.harness import interleaved, report
from detector.config import Architecture, BaselineLoss, FasterRCNN320, HarmonicLoss, SSDLite320
from detector.models import Detector, Target, build

CASES: list[tuple[Architecture, int]] = [(SSDLite320(), 120), (FasterRCNN320(), 30)]  # rounds of each
BATCH = 4
GOAL = 0.99


def main() -> bool:
    torch.manual_seed(0)
    rows: list[tuple[str, list[float], list[float]]] = []
    for architecture, rounds in CASES:
        harmonic = build(architecture, HarmonicLoss(), num_classes=3).train()
        baseline = build(architecture, BaselineLoss(), num_classes=3).train()
        baseline.load_state_dict(copy.deepcopy(harmonic.state_dict()))
        images, targets = _batch()
        times = interleaved(_step(harmonic, images, targets), _step(baseline, images, targets), rounds)
        rows.append((architecture.kind, *times))
    return report("loss_cost", GOAL, rows)


def _batch() -> tuple[list[Tensor], list[Target]]:
    images = [torch.rand(3, 320, 320) for _ in range(BATCH)]
    corners = torch.rand(BATCH, 6, 2) * 200
    boxes = torch.cat([corners, corners + 20 + torch.rand(BATCH, 6, 2) * 100], dim=2)
    return images, [{"boxes": boxes[i], "labels": torch.arange(6) % 3} for i in range(BATCH)]


def _step(detector: Detector, images: list[Tensor], targets: list[Target]) -> Callable[[], None]:
    # Nothing is learned: two detectors that go apart would propose, and suppress, other boxes.
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.0)

    def step() -> None:
        losses = detector(images, [dict(target) for target in targets])
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
