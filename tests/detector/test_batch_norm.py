import torch
from torch import Tensor, nn

from detector.batch_norm import measure
from detector.images import InputSpec
from detector.models import Detector


class Network(nn.Module):
    """A batch norm that sees the images as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3, momentum=0.01)

    def forward(self, images: list[Tensor], targets: object = None) -> list[dict[str, Tensor]]:
        self.norm(torch.stack(images))
        return []


def test_the_statistics_are_the_plain_mean_over_the_batches_whatever_they_were() -> None:
    network = Network()
    detector = Detector(network, InputSpec(kind="square", size=4))
    nn.init.constant_(network.norm.running_mean, 99.0)  # type: ignore[arg-type]
    batches = [[torch.rand(3, 4, 4) + k for _ in range(5)] for k in range(3)]
    measure(detector, batches)
    stacked = [torch.stack(batch) for batch in batches]
    torch.testing.assert_close(
        network.norm.running_mean, torch.stack([b.mean((0, 2, 3)) for b in stacked]).mean(0)
    )
    torch.testing.assert_close(
        network.norm.running_var, torch.stack([b.var((0, 2, 3)) for b in stacked]).mean(0)
    )
    assert network.norm.momentum == 0.01
    assert not network.norm.training


def test_a_network_without_batch_norm_sees_no_images() -> None:
    detector = Detector(nn.Identity(), InputSpec(kind="square", size=4))
    batches = iter([[torch.zeros(3, 4, 4)]])
    measure(detector, batches)
    assert len(list(batches)) == 1
