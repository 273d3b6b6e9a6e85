"""A training step of SSDlite320 on a CPU, against torchvision's. Goal: 1.8 times as fast."""

from benchmarks.torchvision_step import run, ssdlite320
from detector.config import SSDLite320


def main() -> bool:
    return run("training_ssdlite", 1.8, SSDLite320(), ssdlite320, half=None)


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
