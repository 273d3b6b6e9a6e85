"""`python -m benchmarks.step_profile [ssdlite|faster_rcnn] [bf16]`: where the time of a training step goes.

torch's profiler over the steps that `training_ssdlite` and `training_faster_rcnn` time: the share of each
kind of operator in the CPU time of the step, torchvision's and ours. Shares hold on a busy machine, too.
"""

import sys
from collections import defaultdict
from collections.abc import Callable

import torch
from rich.table import Table

from benchmarks.harness import console
from benchmarks.torchvision_step import _ours, _reference, fasterrcnn_mobile_320, ssdlite320
from detector.config import FasterRCNN320, SSDLite320

STEPS = 3
# The first that an operator's name contains.
KINDS = {
    "convolution, backward": ("convolution_backward",),
    "convolution": ("convolution", "conv2d"),
    "batch norm, backward": ("batch_norm_backward",),
    "batch norm": ("batch_norm",),
    "RoIAlign": ("roi_align",),
    "matrix products": ("mm", "linear"),
    "suppression": ("nms",),
    "resize, normalise": ("upsample", "interpolate"),
    "activations": ("hardswish", "hardsigmoid", "relu", "hardtanh"),
    "optimiser": ("fused_sgd", "sgd", "foreach"),
    "copies, layouts": ("copy_", "contiguous", "clone", "cat", "fill_", "zero_"),
    "index, sort": ("index", "sort", "gather", "scatter", "nonzero", "topk"),
}


def main() -> int:
    family = sys.argv[1] if len(sys.argv) > 1 else "ssdlite"
    half = torch.bfloat16 if "bf16" in sys.argv else None
    architecture, make = (
        (SSDLite320(), ssdlite320) if family == "ssdlite" else (FasterRCNN320(), fasterrcnn_mobile_320)
    )
    sides = [shares(side(architecture, make, half)) for side in (_reference, _ours)]
    table = Table("", "torchvision's", "ours, of torchvision's step", title=architecture.kind)
    whole = sum(sides[0].values())
    for kind in sorted(sides[0] | sides[1], key=lambda kind: -sides[0].get(kind, 0.0)):
        table.add_row(kind, *(f"{side.get(kind, 0.0) / whole:.1%}" for side in sides))
    table.add_row("all", *(f"{sum(side.values()) / whole:.1%}" for side in sides))
    console.print(table)
    return 0


def shares(step: Callable[[], object]) -> dict[str, float]:
    """Microseconds of CPU by kind of operator, of some steps after one that is not counted."""
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(STEPS):
            step()
    found: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        found[_kind(event.key)] += event.self_cpu_time_total
    return found


def _kind(operator: str) -> str:
    name = operator.removeprefix("aten::").lower()
    return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), "all else")


if __name__ == "__main__":
    sys.exit(main())
