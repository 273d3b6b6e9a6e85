"""The training loop.

Everything that decides the next step is in the checkpoint or is a function of the config: the data order of
(seed, epoch), a sample's augmentation of (seed, epoch, image), the learning rate of the step. Evaluation
takes no random numbers. So a training that is killed and resumed ends, on a CPU, with the bits of an unbroken
one.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from detector import artifacts, batch_norm, checkpoint, initial_weights, manifest
from detector.config import TrainConfig
from detector.data import index_file
from detector.data.batches import EpochBatches, orientation
from detector.data.loading import EvaluationSet, Sample, TrainingSet
from detector.data.materialise import load
from detector.data.records import DatasetIndex, ImageRecord
from detector.ema import WeightAverage
from detector.errors import CheckpointCorrupt, ConfigInvalid, DatasetInvalid, DetectorError, OutOfMemory
from detector.evaluate.by_image import by_image
from detector.evaluate.coco import CocoMetrics, evaluate, evaluate_with_masks, evaluation, ground_truth
from detector.evaluate.model_report import Split, model_report, other_split
from detector.evaluate.served import CocoResults
from detector.evaluate.split import detect
from detector.events import CheckpointEvent, EventWriter, MetricEvent, NoticeEvent, PhaseEvent
from detector.files import write_json, write_json_lines
from detector.initial_weights import Given
from detector.memory import shortages_named
from detector.models import Detector, Losses, build, input_specs, pixels_to_unit
from detector.optimization import build_optimizer, set_learning_rate
from detector.parallel import Processes, together
from detector.precision import fix_randomness, resolve
from detector.reporting import ProgressReporter, TrainingMetrics
from detector.schedule import learning_rate_factor
from detector.step import Learner
from detector.sync_batch_norm import synchronised

CHECKPOINT_SECONDS = 60.0
BATCH_NORM_IMAGES = 64  # training images that batch norm's statistics are measured on before an evaluation

# A resumed training may differ in these: they say where, how often and how long, not what.
_OPERATIONAL = ("checkpoint_every_steps", "device", "num_workers", "time_budget_seconds")


Reason: TypeAlias = Literal["early_stopped", "stopped", "time_budget_reached"]


class Interrupted(Exception):
    """The training was asked to end and has written a checkpoint."""


def train(
    config: TrainConfig,
    data: Path,
    run: Path,
    *,
    resume: Path | None = None,
    initial: Given | None = None,
    writer: EventWriter,
    interrupted: Callable[[], bool] = lambda: False,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Trains on the materialised dataset `data`; leaves model, evaluation and events in `run` (see `events`).

    Args:
        resume: a checkpoint of the same config and dataset to continue from.
        initial: the weights that the config's `initial_weights` asks for where they are no published ones;
            not needed to resume.
        interrupted: asked before every step; when true a checkpoint is written and Interrupted raised.
        stop: asked before every step; when true no further step is taken, and what has been learned so far is
            evaluated and exported as at the end.

    Raises:
        DetectorError: what the user can act on, for example NonFiniteLoss, OutOfMemory, DatasetInvalid.
        Interrupted: see above.
    """
    on_gpu = torch.cuda.is_available() and config.device != "cpu"
    with together(on_gpu=on_gpu) as processes, shortages_named(config.batch_size):
        if processes.leads:
            (run / "result.json").unlink(missing_ok=True)
        else:
            writer.mute()
        writer.write(PhaseEvent(phase="preparing"))
        training = Training(
            config, data, run, writer, processes, interrupted, stop, resume is None, initial=initial
        )
        if resume is not None:
            training.restore(checkpoint.load(resume))
        training.run_epochs()
        processes.by_leader(training.finish)


@dataclass
class Best:
    """The best evaluation so far. `weights` are those of the average, on the CPU."""

    ap: float
    epoch: int
    weights: dict[str, Tensor]
    # Not in the checkpoint: a resumed training measures the best weights again at its end.
    measured: tuple[CocoMetrics, CocoResults] | None = None


@dataclass
class Position:
    """Where a training stands. `batch` equals the steps of an epoch while its evaluation is still to come."""

    epoch: int = 0  # complete ones
    batch: int = 0  # done in the epoch that has begun
    step: int = 0
    evaluated_step: int = -1  # the last evaluation's
    evaluations_without_improvement: int = 0
    seconds: float = 0.0  # of training over all attempts, up to the last checkpoint
    reason: Reason | None = None  # why training has ended before its last epoch


@dataclass
class Splits:
    """The images to learn from and those to measure on."""

    train: list[ImageRecord]
    evaluation: list[ImageRecord]
    evaluation_name: str = field(default="val")


class Training:
    """One training: its network, its data, and where it stands."""

    def __init__(
        self,
        config: TrainConfig,
        data: Path,
        run: Path,
        writer: EventWriter,
        processes: Processes,
        interrupted: Callable[[], bool],
        stop: Callable[[], bool],
        initialise: bool,
        *,
        initial: Given | None = None,
    ) -> None:
        """`initialise` is false when `restore` follows, so that initial weights need not be fetched again."""
        self._config = config
        self._run = run
        self._writer = writer
        self._processes = processes
        self._interrupted = interrupted
        self._stop = stop
        self._index = load(data)
        self._splits = choose_splits(self._index, config)
        self._precision = resolve(config)
        self._device = self._precision.device
        fix_randomness(config.seed, self._device)

        self._detector = build(config.architecture, config.loss, len(self._index.categories))
        self._initial: dict[str, Any] | None = None
        self._initial_hash: str | None = None
        if initialise:
            self._load_initial_weights(initial)
            self._initial_hash = manifest.weights_hash(self._detector.state_dict())
        self._precision.prepare(self._detector)
        self._average = WeightAverage(self._detector, config.ema_decay)
        if config.sync_batch_norm and processes.size > 1:
            # After the average was made, which is evaluated by one process alone.
            self._detector = synchronised(self._detector, self._device)
        self._optimizer = build_optimizer(self._detector, config.optimizer)

        spec = self._detector.input_spec
        images = self._splits.train
        self._learner = Learner(
            self._detector,
            self._optimizer,
            config,
            self._precision,
            processes,
            images=_images_per_step(config, len(images), processes),
            names={image.id: image.file_name for image in images},
        )
        specs = input_specs(config)
        training_set = TrainingSet(
            data,
            images,
            self._index.categories,
            specs,
            config.augmentation,
            seed=config.seed,
            masks=self._detector.has_masks,
            cache_bytes=(config.image_cache_mib << 20) // (max(1, config.num_workers) * processes.size),
        )
        self._batches = EpochBatches(
            len(images),
            config.batch_size,
            config.seed,
            groups=[orientation(image) for image in images] if config.groups_by_aspect_ratio else None,
            sizes=len(specs),
            processes=processes,
        )
        self._loader = DataLoader(
            training_set,
            batch_sampler=self._batches,
            collate_fn=list,
            num_workers=config.num_workers,
            persistent_workers=config.num_workers > 0,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator(),  # else the loader would take a number from torch's own
        )
        self._evaluation_set = EvaluationSet(data, self._splits.evaluation, spec)
        self._batch_norm_set = EvaluationSet(data, _spread(images, BATCH_NORM_IMAGES), spec)
        self._truth = ground_truth(self._splits.evaluation, self._index.categories)
        self._class_ids = [category.id for category in self._index.categories]

        self._steps_per_epoch = len(self._batches)
        self._steps = self._steps_per_epoch * config.epochs
        self._position = Position()
        self._best: Best | None = None
        self._last_checkpoint = self._begun = time.monotonic()
        self._progress = ProgressReporter(
            writer, steps=self._steps, steps_per_epoch=self._steps_per_epoch, epochs=config.epochs
        )
        self._metrics = TrainingMetrics(writer, steps=self._steps, steps_per_epoch=self._steps_per_epoch)

    def _load_initial_weights(self, given: Given | None) -> None:
        classes = [category.name for category in self._index.categories]
        report = initial_weights.load(self._detector, self._config.architecture, classes, given)
        if report is not None:
            self._initial = report.as_dict()
            self._writer.write(NoticeEvent(code="initial_weights", message=report.sentence()))

    # --- the loop ---

    def run_epochs(self) -> None:
        """Trains to the last epoch, or until there is a reason to end before."""
        at = self._position
        self._begun = time.monotonic()
        self._writer.write(PhaseEvent(phase="training"))
        self._progress.begin(at.step)
        self._progress.report(at.step, force=True)
        while not self._is_over():
            self._run_steps()
            if at.reason is not None:
                break
            done = at.epoch + 1
            if done % self._config.evaluate_every == 0 or done == self._config.epochs:
                self._follow(self._evaluate_epoch)
            at.epoch, at.batch = done, 0
            self._save_checkpoint()
        if at.evaluated_step < at.step:
            self._follow(self._evaluate)
            self._save_checkpoint()

    def finish(self) -> None:
        """Measures the best weights, exports them, and writes the result."""
        best = self._best
        if best is None:
            raise CheckpointCorrupt(
                "The checkpoint says that training is over, but holds no evaluated weights."
            )
        detector = self._average.model
        detector.load_state_dict(best.weights)
        self._writer.write(PhaseEvent(phase="evaluating"))
        measured, detections = best.measured or self._measure()
        report = self._report(detector, detections)
        self._leave_if_interrupted()

        self._writer.write(PhaseEvent(phase="exporting"))
        card = artifacts.card_of(self._config, detector, self._index.categories).model_copy(
            update={
                "split": self._splits.evaluation_name,
                "metrics": measured.metrics,
                "score_threshold": measured.score_threshold,
                "operating_points": artifacts.operating_points(report),
            }
        )
        folder = self._run / "artifacts"
        parity = artifacts.write_model(folder, detector, card, self._evaluation_set)
        write_json(folder / artifacts.DETECTIONS, detections)
        write_json(folder / artifacts.GROUND_TRUTH, self._truth)
        write_json(folder / artifacts.REPORT, report)
        write_json(folder / artifacts.MANIFEST, self._manifest())
        matched = evaluation(self._truth, detections)
        write_json_lines(folder / artifacts.IMAGES, by_image(matched, self._truth, detections))
        self._leave_if_interrupted()
        outcome = artifacts.Outcome(
            split=self._splits.evaluation_name,
            measured=measured,
            steps=self._position.step,
            epochs=self._position.epoch,
            best_epoch=best.epoch,
            reason=self._position.reason,
            initial_weights=self._initial,
        )
        artifacts.write_result(self._run, self._config, card, outcome, parity)

    def _manifest(self) -> dict[str, Any]:
        images = self._splits.train
        order = EpochBatches(
            len(images),
            self._config.batch_size,
            self._config.seed,
            groups=[orientation(image) for image in images] if self._config.groups_by_aspect_ratio else None,
            sizes=len(input_specs(self._config)),
        )
        return {
            "format": 1,
            "versions": manifest.versions(),
            "device": {"type": self._device.type, "name": manifest.device_name(self._device)},
            "precision": self._precision.name,
            "processes": self._processes.size,
            "threads": torch.get_num_threads(),
            "seed": self._config.seed,
            "config_sha256": config_hash(self._config),
            "dataset_sha256": dataset_hash(self._index),
            "data_order_sha256": manifest.order_hash([image.file_name for image in images], order),
            "initial_state_sha256": self._initial_hash,
        }

    def _report(self, detector: Detector, detections: CocoResults) -> dict[str, Any]:
        """Every measure of these detections; operating points are reported on a split that had no part."""
        data = self._evaluation_set.directory
        name = other_split(self._index, {self._config.train_split, self._splits.evaluation_name})
        images = [image for image in self._index.images if image.split == name]
        return model_report(
            detector,
            self._index,
            Split(self._splits.evaluation_name, self._evaluation_set),
            detections,
            Split(name, EvaluationSet(data, images, detector.input_spec)) if name is not None else None,
            batch_size=self._learner.micro_batch,
            between_batches=self._during_evaluation,
        )

    def _is_over(self) -> bool:
        return self._position.reason is not None or self._position.epoch >= self._config.epochs

    def _run_steps(self) -> None:
        """The rest of the epoch's steps, unless there is a reason to end before."""
        at = self._position
        self._batches.epoch, self._batches.start = at.epoch, at.batch
        if at.batch == self._steps_per_epoch:
            return
        self._detector.train()
        batches = iter(self._loader)
        while at.batch < self._steps_per_epoch:
            batch = self._next(batches)
            self._heed()
            if at.reason is not None:
                return
            self._step(batch)
            self._progress.report(at.step, force=at.step == self._steps)
            if self._checkpoint_is_due():
                self._save_checkpoint()

    def _next(self, batches: Iterator[list[Sample]]) -> list[Sample]:
        """This process's part of the next batch. An image that cannot be read ends all processes."""
        batch: list[Sample] = []
        error: DetectorError | None = None
        try:
            batch = next(batches)
        except DetectorError as met:
            error = met
        self._processes.agree(error)
        return batch

    def _step(self, batch: list[Sample]) -> None:
        at = self._position
        lr = self._config.optimizer.lr * learning_rate_factor(
            at.step,
            steps=self._steps,
            steps_per_epoch=self._steps_per_epoch,
            warmup_steps=self._config.warmup_steps,
            schedule=self._config.schedule,
        )
        set_learning_rate(self._optimizer, lr)
        losses = self._losses_of_step(batch)
        if self._processes.leads:
            self._average.update(self._detector)
        at.step += 1
        at.batch += 1
        self._metrics.add(at.step, losses, lr)

    def _losses_of_step(self, batch: list[Sample]) -> Losses:
        """Takes the step; where memory does not suffice, with half as many images at a time."""
        while True:
            try:
                return self._learner.step(batch, self._position.step)
            except OutOfMemory:
                if not self._learner.halve():
                    raise
            images = self._learner.micro_batch
            message = (
                f"Out of memory in step {self._position.step + 1}: from now on at most {images} "
                f"image{'s' if images > 1 else ''} at a time, with more micro-batches to a step."
            )
            self._writer.write(NoticeEvent(code="micro_batch_halved", message=message))

    def _follow(self, work: Callable[[], None]) -> None:
        """The leader does the work while the others wait; then all stand where it stands."""

        def told() -> Position:
            work()
            return self._position

        vars(self._position).update(vars(self._processes.by_leader(told)))

    def _evaluate_epoch(self) -> None:
        self._evaluate()
        self._stop_early_without_improvement(self._position.epoch + 1)
        self._writer.write(PhaseEvent(phase="training"))

    def _evaluate(self) -> None:
        """Measures the average, and keeps it if it is the best so far."""
        at = self._position
        epoch = at.epoch + at.batch / self._steps_per_epoch
        self._writer.write(PhaseEvent(phase="evaluating"))
        self._average.take_buffers(self._detector)
        batch_norm.measure(self._average.model, self._batch_norm_batches())
        measured, detections = self._measure()
        self._writer.write(
            MetricEvent(
                split=self._splits.evaluation_name,
                step=at.step,
                epoch=round(epoch, 6),
                values=measured.metrics,
            )
        )
        at.evaluated_step = at.step
        ap = measured.metrics["AP"] if measured.metrics["AP"] is not None else 0.0
        stopping = self._config.early_stopping
        if self._best is not None and ap <= self._best.ap + (stopping.min_delta if stopping else 0.0):
            at.evaluations_without_improvement += 1
        else:
            at.evaluations_without_improvement = 0
        # Of equals the last: it has been trained for longer.
        if self._best is None or ap >= self._best.ap:
            weights = {name: value.cpu().clone() for name, value in self._average.model.state_dict().items()}
            self._best = Best(ap, math.ceil(epoch), weights, (measured, detections))

    def _stop_early_without_improvement(self, epoch: int) -> None:
        """After the evaluation of so many epochs."""
        at, stopping = self._position, self._config.early_stopping
        if (
            stopping is not None
            and at.evaluations_without_improvement >= stopping.patience
            and epoch < self._config.epochs
        ):
            at.reason = "early_stopped"
            message = f"No better AP in {stopping.patience} evaluations; training ends after epoch {epoch}."
            self._writer.write(NoticeEvent(code="early_stopped", message=message))

    def _measure(self) -> tuple[CocoMetrics, CocoResults]:
        detections = detect(
            self._average.model,
            self._evaluation_set,
            self._class_ids,
            batch_size=self._learner.micro_batch,
            between_batches=self._during_evaluation,
        )
        measure = evaluate_with_masks if self._average.model.has_masks else evaluate
        return measure(self._truth, detections), detections

    def _batch_norm_batches(self) -> Iterator[list[Tensor]]:
        for indexes in self._batch_norm_set.batches(self._learner.micro_batch):
            self._during_evaluation()
            yield [
                pixels_to_unit(torch.from_numpy(self._batch_norm_set.pixels(i)).to(self._device))
                for i in indexes
            ]

    def _during_evaluation(self) -> None:
        self._progress.report(self._position.step)
        self._leave_if_interrupted()

    # --- ending early, coming back ---

    def _heed(self) -> None:
        """Before a step: does what was asked of this or another process.

        A reason to take no further step is noted. The checkpoint that follows remembers it, so that a
        training killed in its last evaluation does not go back to learning.
        """
        at, budget = self._position, self._config.time_budget_seconds
        late = budget is not None and self._seconds() >= budget
        interrupted, stopped, late = self._processes.any(self._interrupted(), self._stop(), late)
        if interrupted:
            self._processes.by_leader(self._save_checkpoint)
            raise Interrupted
        if stopped:
            at.reason = "stopped"
            message = f"Stopped on request after step {at.step} of {self._steps}."
        elif late:
            at.reason = "time_budget_reached"
            message = f"time_budget_seconds {budget:g} is used up after step {at.step} of {self._steps}."
        else:
            return
        self._writer.write(NoticeEvent(code=at.reason, message=message))
        self._save_checkpoint()

    def _leave_if_interrupted(self) -> None:
        """For the leader, while the others wait. The last checkpoint says everything once training is
        over."""
        if self._interrupted():
            if not self._is_over():
                self._save_checkpoint()
            raise Interrupted

    def _seconds(self) -> float:
        """Of training, over all attempts."""
        return self._position.seconds + time.monotonic() - self._begun

    def _checkpoint_is_due(self) -> bool:
        """Within an epoch: at its end one comes anyway, after the evaluation."""
        at, every = self._position, self._config.checkpoint_every_steps
        if at.batch == self._steps_per_epoch:
            return False
        return (every is not None and at.step % every == 0) or (
            time.monotonic() - self._last_checkpoint >= CHECKPOINT_SECONDS
        )

    def _save_checkpoint(self) -> None:
        """The leader's state is that of all."""
        if not self._processes.leads:
            return
        at, best = self._position, self._best
        at.seconds, self._begun = self._seconds(), time.monotonic()
        written = checkpoint.save(
            self._run / "checkpoints",
            at.step,
            {
                "config": self._config.model_dump(mode="json"),
                "config_sha256": config_hash(self._config),
                "dataset_sha256": dataset_hash(self._index),
                "classes": [{"id": c.id, "name": c.name} for c in self._index.categories],
                "position": dict(vars(at)),
                "model": self._detector.state_dict(),
                "average": self._average.model.state_dict(),
                "average_updates": self._average.updates,
                "optimizer": self._optimizer.state_dict(),
                "learner": self._learner.state(),
                "metrics": self._metrics.state(),
                "threads": torch.get_num_threads(),
                "precision": self._precision.name,
                "initial_weights": self._initial,
                "initial_state_sha256": self._initial_hash,
                "best": None
                if best is None
                else {"ap": best.ap, "epoch": best.epoch, "weights": best.weights},
            },
        )
        self._last_checkpoint = time.monotonic()
        self._writer.write(
            CheckpointEvent(
                path=str(written.path.relative_to(self._run)),
                sha256=written.sha256,
                bytes=written.bytes,
                step=at.step,
                epoch=round(at.epoch + at.batch / self._steps_per_epoch, 6),
            )
        )

    def restore(self, state: dict[str, Any]) -> None:
        """Continues from a checkpoint of this training. Raises CheckpointCorrupt for another's."""
        if state["config_sha256"] != config_hash(self._config):
            changed = _differences(state["config"], self._config.model_dump(mode="json"))
            raise CheckpointCorrupt(f"The checkpoint is of another config: {', '.join(changed)} differ.")
        if state["dataset_sha256"] != dataset_hash(self._index):
            raise CheckpointCorrupt("The checkpoint is of another dataset.")
        try:
            self._detector.load_state_dict(state["model"])
            self._average.model.load_state_dict(state["average"])
            self._average.updates = state["average_updates"]
            self._optimizer.load_state_dict(state["optimizer"])
            self._learner.load_state(state["learner"])
            self._metrics.load_state(state["metrics"], self._device)
            self._position = Position(**state["position"])
            if self._position.reason == "time_budget_reached":
                self._position.reason = None  # the budget may have grown
            self._best = Best(**state["best"]) if state["best"] is not None else None
            self._initial = state.get("initial_weights")
            self._initial_hash = state.get("initial_state_sha256")
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointCorrupt(f"The checkpoint does not fit this training: {error}") from error
        if self._device.type == "cpu":
            torch.set_num_threads(state["threads"])  # another number sums in another order
        before = state.get("precision", self._precision.name)
        if before != self._precision.name:  # `amp` is the same, but not the device
            message = f"Was trained in {before} so far; on this machine it goes on in {self._precision.name}."
            self._writer.write(NoticeEvent(code="precision_changed", message=message))


def _images_per_step(config: TrainConfig, images: int, processes: Processes) -> int:
    """Of all processes together. Raises ConfigInvalid when there is no equal part for each."""
    parts = processes.size * config.gradient_accumulation
    if config.batch_size % parts:
        raise ConfigInvalid(
            f"batch_size {config.batch_size} cannot be divided among {processes.size} processes with "
            f"gradient_accumulation {config.gradient_accumulation}.",
            hint=f"Set batch_size to a multiple of {parts}.",
        )
    if images < processes.size:
        raise ConfigInvalid(f"There are more processes ({processes.size}) than training images ({images}).")
    return min(config.batch_size, images)


def choose_splits(index: DatasetIndex, config: TrainConfig) -> Splits:
    """The images of `train_split` and `eval_split`.

    Raises DatasetInvalid without images or boxes, ConfigInvalid when the two are one.
    """
    present = index.splits()
    name = config.evaluation_split(present)
    for split in (config.train_split, name):
        if split not in present:
            raise DatasetInvalid(
                f"The dataset has no split {split!r}; it has {', '.join(sorted(present)) or 'none'}.",
                hint="Set train_split and eval_split to splits of the dataset.",
            )
    if name == config.train_split:
        raise ConfigInvalid(
            f"train_split and eval_split are both {name!r}: that would measure what was learned by heart.",
            hint="Set eval_split to another split, or leave it auto.",
        )
    training = [image for image in index.images if image.split == config.train_split]
    if not any(not a.iscrowd for image in training for a in image.annotations):
        raise DatasetInvalid(
            f"No image of split {config.train_split!r} has a box: there is nothing to learn."
        )
    return Splits(training, [image for image in index.images if image.split == name], name)


def config_hash(config: TrainConfig) -> str:
    """SHA-256 of everything in the config that decides the result."""
    decisive = config.model_dump(mode="json", exclude=set(_OPERATIONAL))
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def dataset_hash(index: DatasetIndex) -> str:
    """SHA-256 of the dataset's index."""
    digest = hashlib.sha256()
    for part in index_file.parts(index):
        digest.update(part)
    return digest.hexdigest()


def _spread(images: list[ImageRecord], count: int) -> list[ImageRecord]:
    """At most `count` images, evenly from the whole list."""
    if len(images) <= count:
        return images
    return [images[i * len(images) // count] for i in range(count)]


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [name for name in now if name not in _OPERATIONAL and before.get(name) != now[name]]
