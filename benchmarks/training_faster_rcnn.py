"""A training step of Faster R-CNN mobilenet 320 on a CPU, against torchvision's. Goal: 1.25 times as fast."""

from benchmarks.torchvision_step import fasterrcnn_mobile_320, run
from detector.config import FasterRCNN320


def main() -> bool:
    return run("training_faster_rcnn", 1.25, FasterRCNN320(), fasterrcnn_mobile_320, half=None)


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
