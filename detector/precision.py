"""Where and in which number format a training computes."""

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detector.config import TrainConfig
from detector.errors import ConfigInvalid


@dataclass(frozen=True)
class Precision:
    """The device, and the half-precision type of its matrix products; None for float32 throughout."""

    device: torch.device
    half: torch.dtype | None

    @property
    def name(self) -> str:
        """`float32`, `bfloat16` or `float16`."""
        return str(self.half or torch.float32).removeprefix("torch.")

    def autocast(self) -> AbstractContextManager[object]:
        """Around the forward pass and the losses."""
        return torch.autocast(self.device.type, dtype=self.half, enabled=self.half is not None)

    def prepare(self, model: nn.Module) -> None:
        """Moves the model to the device, in the memory layout that convolutions like."""
        model.to(self.device).to(memory_format=torch.channels_last)
        if self.device.type == "cpu" and self.half is torch.bfloat16:
            for module in model.modules():
                if type(module) is nn.Conv2d and module.groups > 1:
                    module.__class__ = _DepthwiseConv2d

    def scaler(self) -> torch.amp.GradScaler:
        """Keeps small gradients of fp16 from vanishing; does nothing for other formats."""
        return torch.amp.GradScaler(self.device.type, enabled=self.half is torch.float16)


def resolve(config: TrainConfig) -> Precision:
    """What `device` and `amp` mean on this machine. Raises ConfigInvalid when it lacks what they ask for."""
    has_gpu = torch.cuda.is_available()
    if config.device == "cuda" and not has_gpu:
        raise ConfigInvalid("device is cuda, but this machine has no GPU.", hint="Use device auto or cpu.")
    device = torch.device("cuda" if has_gpu and config.device != "cpu" else "cpu")
    if config.amp == "fp16" and device.type == "cpu":
        raise ConfigInvalid("amp is fp16, which needs a GPU.", hint="Use amp auto, off or bf16.")
    if config.amp == "auto":
        if device.type == "cpu":
            half = None
        else:
            half = (
                torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
            )
    else:
        half = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}[config.amp]
    return Precision(device, half)


def fix_randomness(seed: int, device: torch.device) -> None:
    """Seeds torch; on a CPU, also chooses algorithms that give the same bits every time."""
    torch.manual_seed(seed)
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def use_available_cores() -> None:
    """As many threads as this process may use, unless OMP_NUM_THREADS says otherwise."""
    if "OMP_NUM_THREADS" not in os.environ and hasattr(os, "sched_getaffinity"):
        torch.set_num_threads(len(os.sched_getaffinity(0)))


class _DepthwiseConv2d(nn.Conv2d):
    """Computes maps of one pixel in float32: for these, oneDNN's bfloat16 gradient of a strided depthwise
    convolution is now and then whatever stood in memory. SSDlite has such maps below 320 pixels."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        if input.shape[-2:] != (1, 1):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float())
