"""What it takes to train the same again, and to tell whether two trainings began alike: `manifest.json`."""

import hashlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor

from detector.data.batches import EpochBatches

_PACKAGES = ("harmonicdet", "torch", "torchvision", "numpy", "onnx", "onnxruntime", "pillow", "pycocotools")


def versions() -> dict[str, str | None]:
    """Of Python and of the packages that decide numbers; null for one that is not installed as a package."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found | {"torch": str(torch.__version__)}  # says for which CUDA it was built, too


def device_name(device: torch.device) -> str:
    """Such as "NVIDIA H100 80GB HBM3", or the processor's architecture."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of all tensors of a `state_dict`, with their names, types and shapes."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        # A view as bytes: numpy has no bfloat16.
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def order_hash(file_names: Sequence[str], batches: EpochBatches) -> str:
    """SHA-256 of the images and of the first epoch's batches: which images, at which input size.

    The epochs after it follow from the same seed.
    """
    digest = hashlib.sha256()
    _update(digest, file_names)
    batches.epoch, batches.start = 0, 0
    _update(digest, (f"{key.image} {key.size}" for batch in batches for key in batch))
    digest.update(f"{len(batches)}".encode())
    return digest.hexdigest()


def _update(digest: Any, lines: Iterable[str]) -> None:
    for line in lines:
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
