"""`python -m detector.probe --config …`: in which number format a training is faster on this machine.

The answer is for the config, as `"amp": "bf16"` or `"amp": "off"`. A training does not ask by itself: what is
timed differs from run to run, and two runs of one config shall give one model (docs/decisions/0028).
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from detector.config import TrainConfig
from detector.data.loading import Sample
from detector.input_sizes import input_spec
from detector.models import build
from detector.optimization import build_optimizer
from detector.parallel import Processes
from detector.precision import Precision, fix_randomness, resolve, use_available_cores
from detector.step import Learner

OBJECTS = 6  # of an image
CLASSES = 3
WORTH = 1.1  # less than a tenth is not worth another number format


@dataclass(frozen=True)
class Timing:
    """Seconds of each step, by turns in float32 and in bfloat16, on one machine."""

    float32: list[float]
    bfloat16: list[float]

    @property
    def ratio(self) -> float:
        """How many times as fast bfloat16 is: the median over the pairs."""
        return statistics.median(a / b for a, b in zip(self.float32, self.bfloat16, strict=True))

    @property
    def advice(self) -> str:
        """The value of `amp`."""
        return "bf16" if self.ratio >= WORTH else "off"


def probe(config: TrainConfig, steps: int = 5) -> Timing:
    """Times so many steps of either format, after two that are not counted, of images of noise."""
    device = resolve(config).device
    float32, bfloat16 = (_side(config, Precision(device, half)) for half in (None, torch.bfloat16))
    batch = _noise(config)
    times: tuple[list[float], list[float]] = [], []
    for number in range(steps + 2):
        for learner, seconds in zip((float32, bfloat16), times, strict=True):
            begun = time.perf_counter()
            losses = learner.step(batch, number)
            _ = [float(loss) for loss in losses.values()]  # waits for a GPU
            if number >= 2:
                seconds.append(time.perf_counter() - begun)
    return Timing(*times)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table and the advice."""
    parser = argparse.ArgumentParser(prog="python -m detector.probe", description=__doc__.split("\n")[0])
    parser.add_argument("--config", default="{}", help="file with a training config, or the JSON itself")
    parser.add_argument("--steps", type=int, default=5, help="to time of either format")
    options = parser.parse_args(arguments)
    text = options.config if options.config.lstrip().startswith("{") else Path(options.config).read_text()
    config = TrainConfig.model_validate_json(text)
    use_available_cores()
    found = probe(config, options.steps)
    for name, seconds in (("float32", found.float32), ("bfloat16", found.bfloat16)):
        took = 1e3 * statistics.median(seconds)
        sys.stdout.write(f"{name:9} {took:8.1f} ms a step of {config.batch_size}\n")
    sys.stdout.write(f'bfloat16 is {found.ratio:.2f} times as fast here: "amp": "{found.advice}"\n')
    return 0


def _side(config: TrainConfig, precision: Precision) -> Learner:
    fix_randomness(config.seed, precision.device)
    detector = build(config.architecture, config.loss, CLASSES).train()
    precision.prepare(detector)
    for group in (optimizer := build_optimizer(detector, config.optimizer)).param_groups:
        group["lr"] = 0.0  # random weights stay what they are
    return Learner(
        detector,
        optimizer,
        config,
        precision,
        Processes(),
        images=config.batch_size,
        names={number: f"noise {number}" for number in range(config.batch_size)},
    )


def _noise(config: TrainConfig) -> list[Sample]:
    """A batch of pictures of 640 x 480 pixels, in the size that the network sees."""
    height, width = input_spec(config.architecture).shape_for(480, 640)
    generator = torch.Generator().manual_seed(0)
    samples = []
    for number in range(config.batch_size):
        corner = torch.rand(OBJECTS, 2, generator=generator) * 0.6
        size = 0.1 + 0.3 * torch.rand(OBJECTS, 2, generator=generator)
        boxes = torch.cat([corner, corner + size], dim=1) * torch.tensor([width, height] * 2)
        pixels = torch.randint(256, (height, width, 3), generator=generator, dtype=torch.uint8)
        masks = torch.ones(OBJECTS, height, width, dtype=torch.uint8)
        samples.append(Sample(pixels, boxes, torch.arange(OBJECTS) % CLASSES, number, masks))
    return samples


if __name__ == "__main__":
    sys.exit(main())
