"""The benchmark of accuracy, on a dataset that is much too small to say anything of accuracy."""

from pathlib import Path

import pytest
from torch import nn

from benchmarks import accuracy
from detector.config import SGD, Augmentation, BaselineLoss, SSDLite320, TrainConfig
from detector.data.materialise import load
from detector.engine import choose_splits


def test_an_interval_holds_the_mean_of_differences() -> None:
    # Of 1, 2, 3: mean 2, standard deviation 1, and 4.303 of Student's t with 2 degrees of freedom.
    low, high = accuracy.interval([1.0, 2.0, 3.0])
    assert (low + high) / 2 == pytest.approx(2.0)
    assert high - 2.0 == pytest.approx(4.303 / 3**0.5)


def test_a_difference_that_no_seed_explains_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    def reported(*pairs: tuple[float, float]) -> bool:
        return accuracy.report(
            [accuracy.Compared(seed, fast, plain, fast) for seed, (fast, plain) in enumerate(pairs)]
        )

    assert reported((0.30, 0.31), (0.32, 0.31), (0.31, 0.31))
    assert not reported((0.30, 0.35), (0.31, 0.36), (0.31, 0.35))
    assert capsys.readouterr().out.splitlines()[-1].startswith("name=accuracy difference=-0.0467 interval=-0")


@pytest.fixture
def task(dataset: Path) -> accuracy.Task:
    """Two steps of four images of several sizes."""
    index = load(dataset)
    config = TrainConfig(
        architecture=SSDLite320(image_size=128),
        loss=BaselineLoss(),
        optimizer=SGD(kind="sgd", lr=accuracy.LR, momentum=0.9, weight_decay=5e-4),
        augmentation=Augmentation(photometric=False),
        epochs=1,
        batch_size=4,
        clip_grad_norm=None,
        device="cpu",
    )
    splits = choose_splits(index, config)
    return accuracy.Task(config, dataset, index, splits.train, splits.evaluation, None)


def test_both_paths_have_the_same_loss_where_they_see_the_same(task: accuracy.Task) -> None:
    assert accuracy.follow_losses(task) < 1e-9


def test_the_same_weights_find_the_same_in_either_network(task: accuracy.Task) -> None:
    fast, plain = accuracy.Fast(task), accuracy.Plain(task, resized=True)
    accuracy.train(task, fast)
    plain.load(fast.detector)
    found, crossed = fast.results(), plain.results()
    assert len(found) == len(crossed) > 100
    for one, other in zip(found, crossed, strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)
    assert accuracy.measured(task, fast) == pytest.approx(accuracy.measured(task, plain), abs=1e-4)


def test_either_path_is_trained_and_measured(task: accuracy.Task) -> None:
    found = accuracy.compared(task, same_pixels=False)
    for ap in (found.fast, found.plain, found.crossed):
        assert 0 <= ap < 0.9  # -1 of pycocotools is None here, and counts 0


def test_batch_norms_average_alike_in_either_network(task: accuracy.Task) -> None:
    fast, plain = accuracy.Fast(task), accuracy.Plain(task)
    momenta = [
        {name: one.momentum for name, one in network.named_modules() if isinstance(one, nn.BatchNorm2d)}
        for network in (fast.detector.network, plain.network)
    ]
    assert momenta[0] == momenta[1]
    assert len(momenta[0]) > 20
