import pytest
import torch

from detector.config import TrainConfig
from detector.errors import ConfigInvalid
from detector.precision import fix_randomness, resolve


def test_on_a_cpu_auto_is_full_precision() -> None:
    precision = resolve(TrainConfig(device="cpu"))
    assert precision.device.type == "cpu"
    assert precision.half is None
    assert not precision.scaler().is_enabled()


def test_bf16_works_on_a_cpu_and_fp16_does_not() -> None:
    precision = resolve(TrainConfig(device="cpu", amp="bf16"))
    with precision.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype is torch.bfloat16
    with pytest.raises(ConfigInvalid, match="fp16"):
        resolve(TrainConfig(device="cpu", amp="fp16"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="no GPU"):
        resolve(TrainConfig(device="cuda"))


def test_the_seed_fixes_torchs_numbers() -> None:
    fix_randomness(3, torch.device("cpu"))
    first = torch.rand(4)
    fix_randomness(3, torch.device("cpu"))
    assert torch.equal(first, torch.rand(4))
