"""A table of family x loss x {trains, exports, parity}: every cell yes."""

from pathlib import Path

import pytest
import torch

from detector.config import Architecture, BaselineLoss, HarmonicLoss, Loss
from detector.export import Limits, compare, detect_one, export
from detector.runtime import ModelCard, ModelClass, OnnxDetector
from tests.detector.models.families import FAMILIES, lively, small
from tests.detector.models.helpers import CLASSES, objects, pictures, train_losses

pytestmark = pytest.mark.slow

LOSSES: list[Loss] = [HarmonicLoss(), BaselineLoss()]
CELLS: dict[tuple[str, str], dict[str, str]] = {}
every_cell = pytest.mark.parametrize(
    ("architecture", "loss"),
    [(architecture, loss) for architecture in FAMILIES for loss in LOSSES],
    ids=lambda option: option.kind,
)


def loss_curve(architecture: Architecture, loss: Loss) -> list[float]:
    """The loss of a few steps on the same two images, of which the same proposals are sampled."""
    detector = small(architecture, loss)
    images, targets = pictures((128, 128), (128, 128)), objects()[::2]
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.01, momentum=0.5)
    curve = []
    for _ in range(5):
        torch.manual_seed(0)
        total = torch.stack(list(train_losses(detector, images, targets).values())).sum()
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 10.0)
        optimizer.step()
        curve.append(total.item())
    return curve


@every_cell
def test_it_trains_exports_and_finds_the_same_in_onnx_runtime(
    architecture: Architecture, loss: Loss, tmp_path: Path
) -> None:
    cell = CELLS.setdefault((architecture.kind, loss.kind), {})
    first, *later = loss_curve(architecture, loss)
    assert min(later) < 0.97 * first
    cell["trains"] = f"{first:.2f} -> {min(later):.2f}"

    detector = lively(small(architecture, loss))
    export(detector, tmp_path / "model.onnx")
    cell["exports"] = "yes"

    card = ModelCard(
        architecture=architecture.kind,
        loss=loss.kind,
        input=detector.input_spec,
        masks=detector.has_masks,
        classes=[ModelClass(id=k, name=str(k)) for k in range(CLASSES)],
    )
    served = OnnxDetector(tmp_path / "model.onnx", card)
    parities = []
    for shape in ((128, 128), (128, 250)):
        pixels = (pictures(shape, seed=5)[0] * 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
        assert detector.input_spec.shape_for(*shape) == shape
        parities.append(
            compare(detect_one(detector, pixels, shape), served.run(pixels), Limits.of(detector), str(shape))
        )
        assert parities[-1].detections > 3
    boxes = sum(parity.detections for parity in parities)
    off = max(parity.max_box_difference for parity in parities)
    cell["parity"] = f"{boxes} boxes within {off:.0e} px"


def test_every_cell_of_the_table_is_yes(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints what the tests above have found."""
    if len(CELLS) < len(FAMILIES) * len(LOSSES):
        pytest.skip("the tests above did not all run in this process")
    with capsys.disabled():
        print(f"\n{'family':36}{'loss':10}{'trains':18}{'exports':9}parity")  # noqa: T201
        for (family, loss), cell in CELLS.items():
            row = (cell.get(column, "no") for column in ("trains", "exports", "parity"))
            print("{:36}{:10}{:18}{:9}{}".format(family, loss, *row))  # noqa: T201
    assert all(cell.keys() == {"trains", "exports", "parity"} for cell in CELLS.values())
