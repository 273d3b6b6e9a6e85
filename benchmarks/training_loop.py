"""The whole training loop beside the bare step. Goal: 0.95 of its speed.

Ours is `detector.engine.train` on a materialised dataset, as the service runs it: images read and decoded,
later taken from the cache, augmented and resized, the step, the moving average, metrics and events on disk.
The reference is `Learner.step` of a second network with the same config and seed, on batches that are ready.
Both run in one process by turns: before each step the engine asks whether it shall end, and there the
reference takes its turn, between two windows of the engine's steps. No worker process can load ahead
meanwhile, since there are none (`num_workers` 0, the default).

A table says which part of the loop has how much of a step. Evaluations and checkpoints come between epochs,
outside of the windows; what they cost is a table of its own.
"""

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from rich.table import Table

from benchmarks.harness import console, in_its_own_process, report
from detector.allocator import keep_freed_memory
from detector.config import SSDLite320, TrainConfig
from detector.data.batches import EpochBatches
from detector.data.inspect import inspect
from detector.data.loading import Sample, TrainingSet
from detector.data.materialise import load, materialise
from detector.data.synthetic import write_synthetic
from detector.ema import WeightAverage
from detector.engine import train
from detector.events import AnyEvent, CheckpointEvent, EventWriter, PhaseEvent
from detector.models import build, input_specs
from detector.optimization import build_optimizer
from detector.parallel import Processes
from detector.precision import fix_randomness, resolve
from detector.step import Learner
from detector.threads import wait_briefly

GOAL = 0.95
IMAGES, VAL_IMAGES, SIZE = 400, 24, 640
WINDOW = 2  # steps of either side, by turns
EPOCHS = 2  # the first decodes, the second has what it decoded
CASES = ("images decoded", "images from the cache")  # of the epochs


class _Over(Exception):
    """The benchmark has seen enough."""


class Turns:
    """Asked before every step of the engine; at the ends of its windows the reference takes as many steps."""

    def __init__(self, learner: Learner, batches: list[list[Sample]], steps_per_epoch: int) -> None:
        self._learner, self._batches = learner, batches
        self._steps_per_epoch = steps_per_epoch
        self._asked = 0
        self._since = 0.0
        self._resting = False
        self.seconds: list[list[tuple[float, float]]] = [[] for _ in range(EPOCHS)]  # of windows: ours, bare
        self._bare()  # once uncounted

    def __call__(self) -> bool:
        now = time.perf_counter()
        epoch, batch = divmod(self._asked, self._steps_per_epoch)
        self._asked += 1
        if epoch == EPOCHS:
            raise _Over
        if batch and batch % WINDOW == 0:
            self.seconds[epoch].append((now - self._since, self._bare()))
        if batch % WINDOW == 0:
            self._since = time.perf_counter()
        return False

    def epoch(self) -> int | None:
        """Of the engine's step; None before the first, and while the reference takes its turn."""
        return None if self._resting or not self._asked else (self._asked - 1) // self._steps_per_epoch

    def _bare(self) -> float:
        self._resting = True
        begun = time.perf_counter()
        for number, batch in enumerate(self._batches):
            self._learner.step(batch, number)
        self._resting = False
        return time.perf_counter() - begun


class Parts:
    """How long the engine's parts take in each step, while its epochs run by turns with the reference."""

    _WATCHED = (
        (TrainingSet, "__getitems__", "loading, augmenting"),
        (Learner, "step", "the step"),
        (WeightAverage, "update", "moving average"),
    )

    def __init__(self, epoch: Callable[[], int | None]) -> None:
        """`epoch` is asked after each call: to which it belongs, or None if it is not the engine's."""
        self._epoch = epoch
        self._seconds: dict[tuple[int, str], list[float]] = defaultdict(list)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """All calls meanwhile."""
        patches = [patch.object(kind, name, self._timed(kind, name)) for kind, name, _ in self._WATCHED]
        for one in patches:
            one.start()
        try:
            yield
        finally:
            for one in patches:
                one.stop()

    def _timed(self, kind: type, name: str) -> Callable[..., object]:
        called = getattr(kind, name)
        title = next(title for k, n, title in self._WATCHED if (k, n) == (kind, name))

        def call(*arguments: object) -> object:
            begun = time.perf_counter()
            result = called(*arguments)
            epoch = self._epoch()
            if epoch is not None:
                self._seconds[epoch, title].append(time.perf_counter() - begun)
            return result

        return call

    def table(self, windows: list[list[tuple[float, float]]]) -> Table:
        """Medians, beside that of the whole windows, ours and bare."""
        table = Table("ms of a step, median", *CASES, title="where it goes")
        titles = [title for _, _, title in self._WATCHED]
        for title in titles:
            table.add_row(title, *(_ms(self._seconds[epoch, title]) for epoch in range(EPOCHS)))
        for title, side in (("the whole loop", 0), ("the bare step", 1)):
            table.add_row(title, *(_ms([pair[side] / WINDOW for pair in pairs]) for pairs in windows))
        return table


def _ms(seconds: list[float]) -> str:
    return f"{1e3 * statistics.median(seconds):.1f}"


class TimedWriter(EventWriter):
    """Remembers when each phase began and each checkpoint was there."""

    def __init__(self, run: Path) -> None:
        super().__init__(run)
        self.phase = ""
        self.moments: list[tuple[str, float]] = []

    def write(self, event: AnyEvent) -> None:
        super().write(event)
        if isinstance(event, PhaseEvent):
            self.phase = event.phase
        if isinstance(event, PhaseEvent | CheckpointEvent):
            name = event.phase if isinstance(event, PhaseEvent) else "checkpoint"
            self.moments.append((name, time.perf_counter()))


def main() -> bool:
    wait_briefly()  # as `python -m detector train` does; for the process below, whose torch is not loaded yet
    with in_its_own_process(_measuring) as measured:
        seconds, parts, between = measured()
    console.print(parts)
    console.print(between)
    rows = [
        (what, [ours for ours, _ in pairs], [bare for _, bare in pairs])
        for what, pairs in zip(CASES, seconds, strict=True)
    ]
    return report("training_loop", GOAL, rows, unit=f"ms for {WINDOW} steps")


def _measuring() -> Callable[[], tuple[list[list[tuple[float, float]]], Table, Table]]:
    return _measured


def _measured() -> tuple[list[list[tuple[float, float]]], Table, Table]:
    """Seconds of the windows of either epoch, ours and bare; where they go, and what comes between epochs."""
    keep_freed_memory()
    config = TrainConfig(architecture=SSDLite320(), epochs=EPOCHS + 1, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        data, run = Path(folder, "data"), Path(folder, "run")
        run.mkdir()
        _dataset(data)
        learner, batches, steps_per_epoch = _bare_side(config, data)
        turns = Turns(learner, batches, steps_per_epoch)
        parts = Parts(turns.epoch)
        writer = TimedWriter(run)
        try:
            with parts.watched():
                # Within an evaluation the engine asks, too.
                train(
                    config,
                    data,
                    run,
                    writer=writer,
                    interrupted=lambda: writer.phase == "training" and turns(),
                )
        except _Over:
            pass
        finally:
            writer.close()
    return turns.seconds, parts.table(turns.seconds), _between_epochs(writer.moments, steps_per_epoch, turns)


def _dataset(data: Path) -> None:
    archive_path = data.parent / "shapes.zip"
    write_synthetic(archive_path, images=IMAGES, val_images=VAL_IMAGES, size=SIZE)
    index, _ = inspect(archive_path)
    assert index is not None  # noqa: S101  # our own dataset
    materialise(archive_path, index, data)


def _bare_side(config: TrainConfig, data: Path) -> tuple[Learner, list[list[Sample]], int]:
    """A learner as the engine makes it, ready batches of the first epoch, and the length of an epoch."""
    index = load(data)
    images = [image for image in index.images if image.split == config.train_split]
    precision = resolve(config)
    fix_randomness(config.seed, precision.device)
    detector = build(config.architecture, config.loss, len(index.categories)).train()
    precision.prepare(detector)
    learner = Learner(
        detector,
        build_optimizer(detector, config.optimizer),
        config,
        precision,
        Processes(),
        images=config.batch_size,
        names={image.id: image.file_name for image in images},
    )
    samples = TrainingSet(
        data, images, index.categories, input_specs(config), config.augmentation, seed=config.seed
    )
    order = EpochBatches(len(images), config.batch_size, config.seed)
    batches = [[samples[key] for key in keys] for keys, _ in zip(order, range(WINDOW), strict=False)]
    return learner, batches, len(order)


def _between_epochs(moments: list[tuple[str, float]], steps_per_epoch: int, turns: Turns) -> Table:
    """What an epoch's evaluation and checkpoint cost, in seconds and in share of the epoch."""
    step = statistics.median(ours for pairs in turns.seconds for ours, _ in pairs) / WINDOW
    table = Table(
        "after epoch", "evaluation, s", "checkpoint, s", "share of the epoch", title="between epochs"
    )
    begun = [k for k, (name, _) in enumerate(moments) if name == "evaluating"][:EPOCHS]
    for epoch, k in enumerate(begun):
        resumed = next(time for name, time in moments[k:] if name == "training")
        saved = next(time for name, time in moments[k:] if name == "checkpoint")
        evaluation, checkpoint = resumed - moments[k][1], saved - resumed
        share = (evaluation + checkpoint) / (evaluation + checkpoint + steps_per_epoch * step)
        table.add_row(str(epoch + 1), f"{evaluation:.2f}", f"{checkpoint:.2f}", f"{share:.0%}")
    return table


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
