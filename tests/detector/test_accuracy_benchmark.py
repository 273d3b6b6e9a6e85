"""The benchmark of accuracy, on a dataset that is much too small to say anything of accuracy."""

from pathlib import Path

import pytest

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
    assert accuracy.report([(0.30, 0.31), (0.32, 0.31), (0.31, 0.31)])
    assert not accuracy.report([(0.30, 0.35), (0.31, 0.36), (0.31, 0.35)])
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


def test_either_path_is_trained_and_measured(task: accuracy.Task) -> None:
    for path in (accuracy.Fast(task), accuracy.Plain(task)):
        assert 0 <= accuracy.measured(task, path) < 0.9  # -1 of pycocotools is None here, and counts 0
