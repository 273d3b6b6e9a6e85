from pathlib import Path

import pytest
import torch

from detector.events import EventReader, EventWriter, MetricEvent, ProgressEvent
from detector.reporting import ProgressReporter, TrainingMetrics


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def progress_of(run: Path) -> list[ProgressEvent]:
    return [event for event in EventReader(run).read() if isinstance(event, ProgressEvent)]


def metrics_of(run: Path) -> list[MetricEvent]:
    return [event for event in EventReader(run).read() if isinstance(event, MetricEvent)]


def test_progress_comes_at_most_four_times_a_second(tmp_path: Path) -> None:
    clock = Clock()
    reporter = ProgressReporter(
        EventWriter(tmp_path), steps=1000, steps_per_epoch=100, epochs=10, clock=clock
    )
    for step in range(1000):
        clock.now += 0.01
        reporter.report(step)
    assert 38 <= len(progress_of(tmp_path)) <= 41


def test_the_time_left_follows_the_pace_since_the_start_of_this_attempt(tmp_path: Path) -> None:
    clock = Clock()
    reporter = ProgressReporter(
        EventWriter(tmp_path), steps=1000, steps_per_epoch=100, epochs=10, clock=clock
    )
    reporter.begin(500)
    reporter.report(500)
    clock.now += 10
    reporter.report(550)
    first, second = progress_of(tmp_path)
    assert first.eta_seconds is None
    assert second.eta_seconds == pytest.approx(450 * 10 / 50)
    assert (second.epoch, second.fraction) == (6, 0.55)


def test_at_the_end_the_epoch_is_the_last(tmp_path: Path) -> None:
    reporter = ProgressReporter(EventWriter(tmp_path), steps=20, steps_per_epoch=10, epochs=2)
    reporter.report(20)
    (event,) = progress_of(tmp_path)
    assert (event.epoch, event.step, event.fraction) == (2, 20, 1.0)


def test_a_row_is_the_mean_over_its_steps(tmp_path: Path) -> None:
    metrics = TrainingMetrics(EventWriter(tmp_path), steps=1000, steps_per_epoch=100)
    for step in (1, 2, 3, 4):
        losses = {"classification": torch.tensor(float(step)), "localization": torch.tensor(1.0)}
        metrics.add(step, losses, lr=0.1)
    first, second = metrics_of(tmp_path)
    assert (first.step, second.step) == (2, 4)
    assert first.values == {"loss": 2.5, "lr": 0.1, "classification": 1.5, "localization": 1.0}
    assert second.values["classification"] == 3.5


def test_a_replay_from_between_two_rows_gives_the_same_rows(tmp_path: Path) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    for folder in (whole, halves):
        folder.mkdir()
    losses = [{"classification": torch.rand(())} for _ in range(40)]

    unbroken = TrainingMetrics(EventWriter(whole), steps=4000, steps_per_epoch=100)
    for step in range(1, 41):
        unbroken.add(step, losses[step - 1], 0.1)

    first = TrainingMetrics(EventWriter(halves), steps=4000, steps_per_epoch=100)
    for step in range(1, 26):
        first.add(step, losses[step - 1], 0.1)
    second = TrainingMetrics(EventWriter(halves), steps=4000, steps_per_epoch=100)
    second.load_state(first.state(), torch.device("cpu"))
    for step in range(26, 41):
        second.add(step, losses[step - 1], 0.1)
    assert metrics_of(halves) == metrics_of(whole)


def test_a_long_training_has_some_hundreds_of_rows_and_one_of_its_last_step(tmp_path: Path) -> None:
    metrics = TrainingMetrics(EventWriter(tmp_path), steps=9_999, steps_per_epoch=100)
    for step in range(1, 10_000):
        metrics.add(step, {"classification": torch.zeros(())}, 0.1)
    rows = metrics_of(tmp_path)
    assert 300 < len(rows) < 500
    assert rows[-1].step == 9_999
