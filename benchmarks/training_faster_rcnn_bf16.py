"""The same in bfloat16 (`amp: bf16`), against torchvision's in float32. Goal: 2.0 times as fast."""

import torch

from benchmarks.torchvision_step import fasterrcnn_mobile_320, run
from detector.config import FasterRCNN320


def main() -> bool:
    return run("training_faster_rcnn_bf16", 2.0, FasterRCNN320(), fasterrcnn_mobile_320, half=torch.bfloat16)


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
