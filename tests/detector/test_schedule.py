import itertools

import pytest

from detector.config import CosineSchedule, Schedule, StepSchedule
from detector.schedule import learning_rate_factor, warmup_length


def factor(step: int, schedule: Schedule, *, steps: int = 101, warmup: int = 0, epoch: int = 10) -> float:
    return learning_rate_factor(
        step, steps=steps, steps_per_epoch=epoch, warmup_steps=warmup, schedule=schedule
    )


def test_cosine_starts_at_the_peak_is_halfway_in_the_middle_and_ends_at_its_final_factor() -> None:
    schedule = CosineSchedule(final_factor=0.1)
    assert factor(0, schedule) == pytest.approx(1.0)
    assert factor(50, schedule) == pytest.approx((1.0 + 0.1) / 2)
    assert factor(100, schedule) == pytest.approx(0.1)


def test_cosine_never_rises() -> None:
    values = [factor(step, CosineSchedule()) for step in range(101)]
    assert all(a >= b for a, b in itertools.pairwise(values))


def test_warmup_rises_linearly_to_the_peak() -> None:
    schedule = StepSchedule(milestones=(9,))
    values = [factor(step, schedule, warmup=4) for step in range(6)]
    assert values == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_warmup_takes_at_most_a_quarter_of_all_steps() -> None:
    assert warmup_length(100, 1000) == 100
    assert warmup_length(100, 40) == 10
    assert warmup_length(100, 3) == 0


def test_steps_fall_at_their_epochs() -> None:
    schedule = StepSchedule(milestones=(2, 4), factor=0.1)
    assert factor(19, schedule) == pytest.approx(1.0)
    assert factor(20, schedule) == pytest.approx(0.1)
    assert factor(40, schedule) == pytest.approx(0.01)


def test_a_training_of_one_step_learns_at_the_peak() -> None:
    assert factor(0, CosineSchedule(), steps=1, warmup=100) == pytest.approx(1.0)
