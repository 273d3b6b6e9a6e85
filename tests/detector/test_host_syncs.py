"""A step asks a GPU for as little as it can: whoever asks waits until all that was queued is done.

The first tests need no GPU. They watch a step on a CPU for operators whose result has a size, or becomes a
Python number, that only the device knows: on a GPU each of them waits. The others let CUDA itself say it.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from detector.config import Architecture, HarmonicLoss
from detector.models import Detector
from detector.models.positives import Positives
from tests.detector.models.families import FCOS_, MASK_RCNN, RETINANET
from tests.detector.models.helpers import FASTER_RCNN, SSD
from tests.detector.test_step import REFINEDET, difference, gradients, learner, samples
from tests.detector.test_step import detector as without_chance

WAITING = {
    "_local_scalar_dense",  # .item(), float(), if tensor:
    "nonzero",  # also torch.where of one argument
    "masked_select",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "repeat_interleave",  # without its output_size
    "equal",
}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}

# By the function that asks, what a step may ask for, and why.
THE_FINITE_CHECK = {"detector/step.py:_are_finite": 1}  # no weight is changed by a loss or gradient like that
DEGENERATE_BOXES = {  # torchvision looks at each image's boxes, before the backbone, when nothing is queued
    "detection/ssd.py:forward": 4,
    "detection/retinanet.py:forward": 4,
    "detection/fcos.py:forward": 4,
    "detection/generalized_rcnn.py:forward": 4,
}
LOW_QUALITY_MATCHES = {"detection/_utils.py:set_low_quality_matches_": 3}  # per image with an object
TWO_STAGES = {  # torchvision's proposals and samples are lists, whose lengths are found on the way
    "detection/_utils.py:__call__": 16,  # of anchors and of proposals: positives and negatives per image
    "detection/rpn.py:filter_proposals": 4,
    "detection/rpn.py:compute_loss": 2,
    "detection/roi_heads.py:subsample": 4,
    "ops/boxes.py:remove_small_boxes": 4,
    "ops/boxes.py:_batched_nms_vanilla": 28,  # of 4,000 boxes and more; on a GPU 20,000
    "models/roi_align.py:_pool": 32,  # on a CPU only; on a GPU torchvision's own pooler
    "models/mask_rcnn.py:mask_loss": 4,  # the mask head computes positives alone
}
ALLOWED: list[tuple[Architecture, dict[str, int]]] = [
    (REFINEDET, THE_FINITE_CHECK),
    (SSD, THE_FINITE_CHECK | DEGENERATE_BOXES),
    (FCOS_, THE_FINITE_CHECK | DEGENERATE_BOXES),
    (RETINANET, THE_FINITE_CHECK | DEGENERATE_BOXES | LOW_QUALITY_MATCHES),
    (FASTER_RCNN, THE_FINITE_CHECK | DEGENERATE_BOXES | LOW_QUALITY_MATCHES | TWO_STAGES),
    (MASK_RCNN, THE_FINITE_CHECK | DEGENERATE_BOXES | LOW_QUALITY_MATCHES | TWO_STAGES),
]


class Questions(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operators that would make a GPU wait, by the function of ours or torchvision's they are in."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.asked: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in WAITING or (name in INDEXING and _by_mask(name, args)):
            self.note()
        return func(*args, **(kwargs or {}))

    def note(self) -> None:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and not _ours_or_torchvisions(frame.f_code.co_filename):
            frame = frame.f_back
        assert frame is not None
        folder, file = frame.f_code.co_filename.split("/")[-2:]
        self.asked[f"{folder}/{file}:{frame.f_code.co_name}"] += 1


def _by_mask(operator: str, args: Any) -> bool:
    """By a boolean index, whose size is counted first; writing one number there is a fill, which is not."""
    masks = [index for index in args[1] if index is not None and index.dtype == torch.bool]
    writes_one_number = operator != "index" and args[2].numel() == 1 and len(args[1]) == 1
    return bool(masks) and not writes_one_number


def _ours_or_torchvisions(path: str) -> bool:
    return ("/torchvision/" in path or "/detector/" in path) and "/tests/" not in path


@contextmanager
def questions(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Also `tolist`, which is no operator."""
    mode, honest = Questions(), Tensor.tolist

    def tolist(self: Tensor) -> Any:
        mode.note()
        return honest(self)

    with monkeypatch.context() as patch:
        patch.setattr(Tensor, "tolist", tolist)
        with mode:
            yield mode.asked


@contextmanager
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All anchors are computed and masked."""
    honest = Positives.of.__func__  # type: ignore[attr-defined]

    def masked(cls: type[Positives], matched_idxs: list[Tensor]) -> Positives:
        return honest(cls, matched_idxs, masked=True)  # type: ignore[no-any-return]

    with monkeypatch.context() as patch:
        patch.setattr(Positives, "of", classmethod(masked))
        yield


@pytest.mark.parametrize(("architecture", "allowed"), ALLOWED, ids=lambda value: getattr(value, "kind", ""))
def test_a_step_asks_a_gpu_for_nothing_that_is_not_listed(
    architecture: Architecture, allowed: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = learner(without_chance(architecture, HarmonicLoss()), clip_grad_norm=10.0)
    with as_on_a_gpu(monkeypatch), questions(monkeypatch) as asked:
        it.step(samples(), 0)
    assert asked["detector/step.py:_are_finite"] == 1
    unexpected = {place: count for place, count in asked.items() if count > allowed.get(place, 0)}
    assert not unexpected


def test_the_watch_sees_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the test above could not fail."""
    from detector.losses.baseline import in_full_precision  # a frame of ours

    numbers = torch.arange(4.0)
    waits = [
        lambda: numbers.sum().item(),
        lambda: numbers[numbers > 1],
        lambda: torch.where(numbers > 1)[0],
        lambda: numbers.masked_select(numbers > 1),
        lambda: torch.unique_consecutive(numbers),
        lambda: numbers.tolist(),  # looked up when it is called
    ]
    does_not = [
        lambda: torch.where(numbers > 1, numbers, 0),
        lambda: numbers[torch.tensor([0, 2])],
        lambda: numbers.clone().__setitem__(numbers > 1, 0.0),
    ]

    class Lazily:
        """Acts when it is asked for its type, within a function of ours."""

        def __init__(self, act: Any) -> None:
            self._act = act

        @property
        def dtype(self) -> torch.dtype:
            self._act()
            return torch.float32

    for act, seen in [*((act, True) for act in waits), *((act, False) for act in does_not)]:
        with questions(monkeypatch) as asked:
            in_full_precision(Lazily(act))  # type: ignore[arg-type]
        assert bool(asked) is seen


@pytest.mark.parametrize("architecture", [SSD, RETINANET, FCOS_], ids=lambda a: a.kind)
def test_masked_anchors_give_the_losses_and_gradients_of_the_chosen_ones(
    architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the order in which a sum adds up; one of the images has no object."""
    model = without_chance(architecture)
    expected_losses = learner(model).step(samples(), 0)
    expected = gradients(model)
    with as_on_a_gpu(monkeypatch):
        losses = learner(model).step(samples(), 0)
    for name, value in expected_losses.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-5, atol=1e-6)
    assert difference(gradients(model), expected) < 1e-5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA itself is asked, which needs a GPU")
@pytest.mark.parametrize("architecture", [SSD, RETINANET, FCOS_, REFINEDET], ids=lambda a: a.kind)
def test_no_loss_of_ours_makes_a_gpu_wait(architecture: Architecture) -> None:
    """CUDA raises an error for whatever waits while the losses and their gradient are computed."""
    model: Detector = without_chance(architecture).cuda()
    network: Any = model.network
    owner = network if hasattr(network, "criterion") else network.head
    honest = owner.compute_loss

    def watched(*args: Any) -> Any:
        torch.cuda.set_sync_debug_mode("error")
        try:
            return honest(*args)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    owner.compute_loss = watched
    targets = [{"boxes": s.boxes.cuda(), "labels": s.labels.cuda()} for s in samples()]
    images = [s.image.cuda().permute(2, 0, 1) / 255 for s in samples()]
    for _ in range(2):  # the first allocates and chooses kernels
        losses = model(images, targets)
    assert all(torch.isfinite(value) for value in losses.values())
