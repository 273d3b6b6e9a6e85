"""How large a detector sees an image. Imports without torch."""

from detector.config import SSD300, Architecture, FasterRCNN320, RefineDet320, RefineDet512, SSDLite320
from detector.images import InputSpec

SSD300_SIZE = 300


def input_spec(architecture: Architecture) -> InputSpec:
    """How images are resized before they reach the detector."""
    if isinstance(architecture, SSDLite320 | RefineDet320 | RefineDet512):
        return InputSpec(kind="square", size=architecture.image_size, max_size=None, divisor=1)
    if isinstance(architecture, SSD300):
        return InputSpec(kind="square", size=SSD300_SIZE, max_size=None, divisor=1)
    size = architecture.image_size
    longest = 2 * size if isinstance(architecture, FasterRCNN320) else architecture.max_size
    return InputSpec(kind="shorter_side", size=size, max_size=longest, divisor=1)
