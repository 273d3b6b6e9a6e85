"""The learning rate as a function of the step: no state, so nothing to save."""

import math

from detector.config import CosineSchedule, Schedule


def warmup_length(warmup_steps: int, steps: int) -> int:
    """Steps of warm-up: as asked, but at most a quarter of all steps."""
    return min(warmup_steps, steps // 4)


def learning_rate_factor(
    step: int, *, steps: int, steps_per_epoch: int, warmup_steps: int, schedule: Schedule
) -> float:
    """What the peak learning rate is multiplied by in a step, 0 to 1.

    Args:
        step: counts from 0.
        steps: of the whole training.
        steps_per_epoch: for `step` schedules, whose milestones are epochs.
        warmup_steps: as configured; see `warmup_length`.
    """
    warmup = warmup_length(warmup_steps, steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if isinstance(schedule, CosineSchedule):
        position = (step - warmup) / max(1, steps - 1 - warmup)
        cosine = (1 + math.cos(math.pi * min(1.0, position))) / 2
        return schedule.final_factor + (1 - schedule.final_factor) * cosine
    passed = sum(step >= milestone * steps_per_epoch for milestone in schedule.milestones)
    return float(schedule.factor**passed)
