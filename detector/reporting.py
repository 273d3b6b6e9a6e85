"""What a running training tells: progress now and then, numbers at steps that a replay hits again."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from detector.events import EventWriter, MetricEvent, ProgressEvent

PROGRESS_INTERVAL_SECONDS = 0.25
ROWS_PER_TRAINING = 400  # metric rows of a training's steps, about


class ProgressReporter:
    """Writes progress events, at most four a second, with the time that is left by the pace so far."""

    def __init__(
        self,
        writer: EventWriter,
        *,
        steps: int,
        steps_per_epoch: int,
        epochs: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = writer
        self._steps = steps
        self._steps_per_epoch = steps_per_epoch
        self._epochs = epochs
        self._clock = clock
        self._last = float("-inf")
        self._begun: tuple[float, int] | None = None

    def begin(self, step: int) -> None:
        """The pace counts from here: the training continues at this step."""
        self._begun = (self._clock(), step)

    def report(self, step: int, *, force: bool = False) -> None:
        """So many steps are done."""
        now = self._clock()
        if not force and now - self._last < PROGRESS_INTERVAL_SECONDS:
            return
        self._last = now
        self._writer.write(
            ProgressEvent(
                epoch=min(self._epochs, step // self._steps_per_epoch + 1),
                epochs=self._epochs,
                step=step,
                steps=self._steps,
                fraction=round(step / self._steps, 6),
                eta_seconds=self._eta(step, now),
            )
        )

    def _eta(self, step: int, now: float) -> float | None:
        if self._begun is None or step <= self._begun[1]:
            return None
        start, first = self._begun
        # Evaluations fall into the same time, so the pace includes their share once the first has passed.
        return round((now - start) / (step - first) * (self._steps - step), 1)


class TrainingMetrics:
    """Means of the losses over the steps since the last row.

    A row falls on every n-th step of the whole training, and the sums are part of the checkpoint, so that a
    replay gives the same rows.
    """

    def __init__(self, writer: EventWriter, *, steps: int, steps_per_epoch: int) -> None:
        self._writer = writer
        self._every = max(1, min(50, steps // ROWS_PER_TRAINING))
        self._steps = steps
        self._steps_per_epoch = steps_per_epoch
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, step: int, losses: dict[str, Tensor], lr: float) -> None:
        """The losses of a step, which counts from 1, and its learning rate."""
        for name, value in losses.items():
            value = value.detach().double()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += 1
        if step % self._every and step != self._steps:
            return
        totals = torch.stack(list(self._sums.values())).tolist()  # one transfer from a GPU, and only here
        values: dict[str, float | None] = {
            name: round(total / self._count, 6) for name, total in zip(self._sums, totals, strict=True)
        }
        self._writer.write(
            MetricEvent(
                split="train",
                step=step,
                epoch=round(step / self._steps_per_epoch, 6),
                values={
                    "loss": round(sum(v for v in values.values() if v is not None), 6),
                    "lr": lr,
                    **values,
                },
            )
        )
        self._sums, self._count = {}, 0

    def state(self) -> dict[str, object]:
        return {"sums": {name: value.cpu() for name, value in self._sums.items()}, "count": self._count}

    def load_state(self, state: dict[str, object], device: torch.device) -> None:
        sums, count = state["sums"], state["count"]
        assert isinstance(sums, dict) and isinstance(count, int)  # noqa: S101, PT018  # for the type checker
        self._sums = {name: value.to(device) for name, value in sums.items()}
        self._count = count
