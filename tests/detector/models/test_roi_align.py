"""RoIAlign by products is torchvision's, forward and backward."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign, roi_align

from detector.models import roi_align as ours
from detector.models.roi_align import SeparableRoIAlign, bin_weights, separable_roi_align

SCALE = 1 / 16
SHAPES = [(480, 640), (320, 640)]  # pixels


def some_boxes(count: int, *, seed: int = 0, pixels: float = 640.0) -> Tensor:
    """(count, 4) xyxy of every size, some of them partly or wholly outside of the image, some empty."""
    random = torch.Generator().manual_seed(seed)
    corner = (torch.rand(count, 2, generator=random, dtype=torch.float64) * 1.4 - 0.2) * pixels
    size = torch.rand(count, 2, generator=random, dtype=torch.float64) ** 3 * pixels
    size[::7] = 0.0
    return torch.cat([corner, corner + size], 1)


def with_gradient(align: Callable[[Tensor], Tensor], features: Tensor) -> tuple[Tensor, Tensor]:
    """What comes out, and a gradient of it that tells all bins apart."""
    leaf = features.clone().requires_grad_()
    pooled = align(leaf)
    random = torch.Generator().manual_seed(1)
    pooled.backward(torch.randn(pooled.shape, generator=random, dtype=pooled.dtype))  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    return pooled.detach(), leaf.grad


@pytest.mark.parametrize("cells", [(20, 40), (1, 1), (2, 30)])
@pytest.mark.parametrize(("bins", "samples"), [((7, 7), 2), ((14, 14), 2), ((3, 5), 3), ((1, 1), 1)])
def test_it_is_torchvisions_to_the_last_digits(
    cells: tuple[int, int], bins: tuple[int, int], samples: int
) -> None:
    features = torch.randn(8, *cells, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    boxes = some_boxes(60, pixels=16.0 * max(cells))
    mine = with_gradient(lambda x: separable_roi_align(x, boxes, bins, SCALE, samples), features)
    theirs = with_gradient(lambda x: roi_align(x[None], [boxes], bins, SCALE, samples), features)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


def test_the_cells_of_a_bin_weigh_one_in_all_and_a_bin_far_outside_nothing() -> None:
    weights = bin_weights(torch.tensor([2.0, -50.0]), torch.tensor([9.0, -40.0]), 7, 2, 12)
    torch.testing.assert_close(weights.sum(2), torch.tensor([[1.0] * 7, [0.0] * 7]))
    assert weights[0, 0].nonzero().flatten().tolist() == [2, 3]


@pytest.fixture
def pools() -> tuple[MultiScaleRoIAlign, SeparableRoIAlign]:
    """torchvision's pooler over two maps, and ours of it."""
    pool = MultiScaleRoIAlign(["a", "b"], 7, 2)
    with torch.no_grad():
        pool(maps(torch.float32), [torch.zeros(1, 4)] * 2, SHAPES)
    return pool, SeparableRoIAlign(pool)


def maps(dtype: torch.dtype) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(3)
    coarse = {"a": (30, 40), "b": (15, 20)}
    return {
        name: torch.randn(2, 6, *cells, generator=random, dtype=dtype).contiguous(
            memory_format=torch.channels_last
        )
        for name, cells in coarse.items()
    } | {"unused": torch.zeros(1)}


@pytest.mark.parametrize("limit", [0, 700, 10_000])  # cells: the kernel alone, both, products alone
def test_boxes_of_all_levels_and_images_come_out_in_their_order(
    pools: tuple[MultiScaleRoIAlign, SeparableRoIAlign], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "CELLS_LIMIT", limit)
    theirs, mine = pools
    features = maps(torch.float64)
    boxes = [some_boxes(40), some_boxes(30, seed=5)]
    torch.testing.assert_close(
        mine(features, boxes, SHAPES), theirs(features, boxes, SHAPES), rtol=0, atol=1e-11
    )


def test_no_boxes_give_no_bins_and_a_gradient_of_nought(
    pools: tuple[MultiScaleRoIAlign, SeparableRoIAlign],
) -> None:
    features = maps(torch.float32)
    features["a"].requires_grad_()
    pooled = pools[1](features, [torch.zeros(0, 4)] * 2, SHAPES)
    assert pooled.shape == (0, 6, 7, 7)
    pooled.sum().backward()
    assert features["a"].grad is not None
    assert not features["a"].grad.any()


def test_in_evaluation_it_is_torchvisions_bit_for_bit(
    pools: tuple[MultiScaleRoIAlign, SeparableRoIAlign],
) -> None:
    theirs, mine = pools
    features, boxes = maps(torch.float32), [some_boxes(40).float(), some_boxes(30, seed=5).float()]
    assert torch.equal(mine.eval()(features, boxes, SHAPES), theirs(features, boxes, SHAPES))


def test_half_precision_is_reckoned_in_full() -> None:
    pool = MultiScaleRoIAlign(["a"], 7, 2)
    features = {"a": maps(torch.float32)["a"][:, :, :15, :20]}
    boxes = [some_boxes(20, pixels=320).float()] * 2
    expected = pool(features, boxes, [(240, 320)] * 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = SeparableRoIAlign(pool)(features, boxes, [(240, 320)] * 2)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
