"""One step of the optimiser: losses, gradients, new weights; in micro-batches, and over processes.

However a batch is divided, its gradient is that of the whole: each part's losses are weighted by what they
have been divided by (`detector.models.normalisers`). What differs all the same: batch norm's statistics are
those of a micro-batch (of all processes' micro-batches together with `sync_batch_norm`).

Random numbers within a network, such as the proposals that Faster R-CNN samples, are a function of the seed,
the step and the micro-batch's place in the batch: nothing has to be saved, and two processes draw what one
process draws with two micro-batches.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

from detector import batch_norm
from detector.config import TrainConfig
from detector.data.loading import Sample
from detector.data.transforms import sample_seed
from detector.errors import DetectorError, NonFiniteLoss, OutOfMemory
from detector.memory import is_shortage, shortage
from detector.models import Detector, Losses, Target, pixels_to_unit
from detector.models.normalisers import Count, counting
from detector.parallel import Processes
from detector.precision import Precision

T = TypeVar("T")


@dataclass(frozen=True)
class MicroBatch:
    """Images that are computed together."""

    samples: Sequence[Sample]
    first: int  # their place in the whole batch


class Learner:
    """Moves the weights of a detector.

    Args:
        images: of a whole batch, over all processes.
        names: of the images, by id, for messages.
    """

    def __init__(
        self,
        detector: Detector,
        optimizer: torch.optim.Optimizer,
        config: TrainConfig,
        precision: Precision,
        processes: Processes,
        *,
        images: int,
        names: dict[int, str],
    ) -> None:
        self._detector = detector
        self._optimizer = optimizer
        self._precision = precision
        self._processes = processes
        self._names = names
        self._seed = config.seed
        self._clip_grad_norm = config.clip_grad_norm
        self._images = images
        self._own_images = max(1, images // processes.size)
        self._micro_batches = min(config.gradient_accumulation, self._own_images)
        self._halved = False
        self._waits_within = config.sync_batch_norm and processes.size > 1
        self._scaler = precision.scaler()
        self._parameters = [p for p in detector.parameters() if p.requires_grad]

    @property
    def micro_batch(self) -> int:
        """The most images that are computed together."""
        return math.ceil(self._own_images / self._micro_batches)

    def halve(self) -> bool:
        """From now on half as many images together, twice as often; false where it is one already."""
        if self._micro_batches >= self._own_images or self._waits_within:
            return False
        self._micro_batches = min(2 * self._micro_batches, self._own_images)
        self._halved = True
        if self._precision.device.type == "cuda":
            torch.cuda.empty_cache()
        return True

    def step(self, batch: Sequence[Sample], number: int) -> Losses:
        """One step with this process's part of a batch; `number` counts from 0.

        Returns:
            The whole batch's losses, detached; the same in every process.

        Raises:
            NonFiniteLoss: before the weights are changed. It names the images.
            OutOfMemory: before the weights are changed. After `halve` the step may be tried again, but not
                where batch norm waits for other processes: then no process can go on.
        """
        self._optimizer.zero_grad(set_to_none=True)
        parts = self._divided(batch)
        if len(parts) == 1 and self._processes.size == 1:
            total, losses = self._together(lambda: self._plain(parts[0], number))
            unknown = {"loss": total}
        else:
            losses = self._weighted(parts, number)
            unknown = {}
        if self._clip_grad_norm is not None:
            self._scaler.unscale_(self._optimizer)
            norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._clip_grad_norm)
            # The scaler of fp16 skips such a step by itself.
            if not self._scaler.is_enabled():
                unknown["gradient"] = norm
        # The one place of a step, but for what torchvision's networks count, that waits for a GPU.
        for what, fine in zip(unknown, _are_finite(list(unknown.values())), strict=True):
            if not fine:
                raise self._non_finite(what, losses, number, self._names_of_all(batch))
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return losses

    def state(self) -> dict[str, object]:
        """What a checkpoint keeps: also how far the micro-batch had to be halved."""
        return {
            "scaler": self._scaler.state_dict(),
            "micro_batch": self.micro_batch if self._halved else None,
        }

    def load_state(self, state: dict[str, object]) -> None:
        scaler, micro_batch = state["scaler"], state["micro_batch"]
        assert isinstance(scaler, dict) and isinstance(micro_batch, int | None)  # noqa: S101, PT018  # for mypy
        self._scaler.load_state_dict(scaler)
        if micro_batch is not None:
            wanted = math.ceil(self._own_images / micro_batch)
            self._micro_batches = max(self._micro_batches, wanted)
            self._halved = True

    # --- gradients ---

    def _plain(self, part: MicroBatch, number: int) -> tuple[Tensor, Losses]:
        """The gradient of the whole batch at once; what it is of, and the losses which that sums up."""
        losses, _ = self._forward(part, number)
        total = torch.stack(list(losses.values())).sum()
        self._scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        return total.detach(), {name: loss.detach() for name, loss in losses.items()}

    def _weighted(self, parts: list[MicroBatch], number: int) -> Losses:
        """The gradient of the whole batch, from its parts.

        A loss of the whole is the sum over the parts of loss * count, over the sum of the counts. Where all
        losses have one count in common, the gradient is divided by it when the last part has told its own.
        Where they have several, all counts must be known before the first gradient: with micro-batches, by a
        pass without gradients.
        """
        total: dict[tuple[str, ...], Tensor] | None = None
        kept: list[tuple[Losses, dict[tuple[str, ...], Tensor]]] | None = None
        if not self._detector.one_normaliser:
            if len(parts) == 1:
                kept = [self._together(lambda: self._forward(parts[0], number))]
                counts = kept[0][1]
            else:
                counts = self._together(lambda: self._counted(parts, number))
            total = self._over_processes(counts)

        losses, own_count = self._together(lambda: self._backward(parts, kept, total, number))
        names = list(losses)
        tail = torch.stack([*losses.values(), own_count]).float()
        tail = self._sum_over_processes(tail)
        *values, count = tail.unbind()
        if total is None:
            factor = self._images / count.clamp(min=1)
            gradients = [p.grad for p in self._parameters if p.grad is not None]
            torch._foreach_mul_(gradients, factor)
            values = [value * factor for value in values]
        return dict(zip(names, values, strict=True))

    def _backward(
        self,
        parts: list[MicroBatch],
        kept: list[tuple[Losses, dict[tuple[str, ...], Tensor]]] | None,
        total: dict[tuple[str, ...], Tensor] | None,
        number: int,
    ) -> tuple[Losses, Tensor]:
        """Adds up the gradients of this process's parts.

        Returns:
            The sums of the weighted losses, and where all losses share a count, the sum of that.
        """
        sums: Losses = {}
        own_count = torch.zeros((), device=self._precision.device)
        plain, totals = [], []
        for k, part in enumerate(parts):
            losses, counts = kept[k] if kept is not None else self._forward(part, number)
            weighted: Losses = {}
            for group, count in counts.items():
                whole = self._images if total is None else total[group].clamp(min=1)
                weight = count.clamp(min=1) / whole
                weighted |= {name: losses[name] * weight for name in group}
            if total is None:
                own_count = own_count + next(iter(counts.values()))
            combined = torch.stack(list(weighted.values())).sum()
            self._scaler.scale(combined).backward()  # type: ignore[no-untyped-call]
            for name, loss in weighted.items():
                sums[name] = sums[name] + loss.detach() if name in sums else loss.detach()
            plain.append({name: loss.detach() for name, loss in losses.items()})
            totals.append(combined.detach())
        self._check(totals, plain, parts, number)
        return sums, own_count

    def _forward(self, part: MicroBatch, number: int) -> tuple[Losses, dict[tuple[str, ...], Tensor]]:
        """The losses of a part, and by which counts they have been divided."""
        torch.manual_seed(sample_seed(self._seed, number, -2 - part.first))  # -2 - n is no image and no epoch
        device = self._precision.device
        images = [pixels_to_unit(sample.image.to(device, non_blocking=True)) for sample in part.samples]
        targets = [_target(sample, device) for sample in part.samples]
        with self._precision.autocast(), counting() as said:
            losses: Losses = self._detector(images, targets)
        return losses, _by_group(said, losses, len(part.samples), device)

    def _counted(self, parts: list[MicroBatch], number: int) -> dict[tuple[str, ...], Tensor]:
        """The sums over the parts of what their losses are divided by."""
        sums: dict[tuple[str, ...], Tensor] = {}
        with torch.no_grad(), batch_norm.at_rest(self._detector):
            for part in parts:
                for group, count in self._forward(part, number)[1].items():
                    sums[group] = sums[group] + count if group in sums else count
        return sums

    def _divided(self, batch: Sequence[Sample]) -> list[MicroBatch]:
        first, _ = self._processes.bounds(self._images)
        count = min(self._micro_batches, len(batch))
        edges = [k * len(batch) // count for k in range(count + 1)]
        return [MicroBatch(batch[a:b], first + a) for a, b in pairwise(edges)]

    # --- what the processes do together ---

    def _together(self, work: Callable[[], T]) -> T:
        """What `work` gives; an error that the user can act on is raised in all processes, if in any."""
        result: T
        failure: DetectorError | None = None
        try:
            result = work()
        except DetectorError as error:
            failure = error
        except (RuntimeError, MemoryError) as error:
            if not is_shortage(error):
                raise
            # Not raised from the error: its traceback would hold the tensors that are to make room.
            failure = shortage(self.micro_batch, error)
            if self._waits_within:  # the others wait in a batch norm, and cannot be asked
                raise failure from None
        if isinstance(failure, OutOfMemory):
            self._optimizer.zero_grad(set_to_none=True)
        self._processes.agree(failure)
        return result

    def _over_processes(self, counts: dict[tuple[str, ...], Tensor]) -> dict[tuple[str, ...], Tensor]:
        together = torch.stack([count.float() for count in counts.values()])
        self._processes.sum_(together)
        return dict(zip(counts, together.unbind(), strict=True))

    def _sum_over_processes(self, numbers: Tensor) -> Tensor:
        """Adds up the gradients, in place, and the numbers (n,); batch norm's running statistics become the
        mean of the processes', so that the state of one process is that of all."""
        if self._processes.size == 1:
            return numbers
        # A parameter that no process has used keeps having no gradient.
        used = self._processes.any(*(p.grad is not None for p in self._parameters))
        for parameter, anywhere in zip(self._parameters, used, strict=True):
            if anywhere and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        statistics = batch_norm.running_statistics(self._detector)
        tensors = [*gradients, *statistics]
        flat = torch.cat([*(tensor.flatten() for tensor in tensors), numbers])
        self._processes.sum_(flat)
        sizes = [tensor.numel() for tensor in tensors]
        *values, numbers = torch.split(flat, [*sizes, len(numbers)])
        for tensor, value in zip(tensors, values, strict=True):
            tensor.copy_(value.view_as(tensor))
        if statistics:
            torch._foreach_div_(statistics, self._processes.size)
        return numbers

    # --- what is not finite ---

    def _check(
        self, totals: list[Tensor], losses: list[Losses], parts: list[MicroBatch], number: int
    ) -> None:
        """Raises NonFiniteLoss for the first part whose loss is no finite number."""
        for fine, own, part in zip(_are_finite(totals), losses, parts, strict=True):
            if not fine:
                raise self._non_finite("loss", own, number, self._names_of(part.samples))

    def _non_finite(self, what: str, losses: Losses, number: int, names: list[str]) -> NonFiniteLoss:
        parts = ", ".join(f"{name} {value.item():.4g}" for name, value in losses.items())
        return NonFiniteLoss(
            f"The {what} of step {number + 1} is not finite ({parts}); its images are {', '.join(names)}.",
            hint="Lower optimizer.lr, set clip_grad_norm, or turn amp off; then look at these images' boxes.",
        )

    def _names_of(self, samples: Sequence[Sample]) -> list[str]:
        return [self._names[sample.image_id] for sample in samples]

    def _names_of_all(self, batch: Sequence[Sample]) -> list[str]:
        """Of all processes' samples; each must ask."""
        return [name for names in self._processes.gathered(self._names_of(batch)) for name in names]


def _are_finite(numbers: list[Tensor]) -> list[bool]:
    """Of each, in one transfer."""
    return torch.stack(numbers).isfinite().tolist() if numbers else []


def _target(sample: Sample, device: torch.device) -> Target:
    target = Target(
        boxes=sample.boxes.to(device, non_blocking=True), labels=sample.labels.to(device, non_blocking=True)
    )
    if sample.masks is not None:
        target["masks"] = sample.masks.to(device, non_blocking=True)
    return target


def _by_group(
    said: dict[tuple[str, ...], Count], losses: Losses, images: int, device: torch.device
) -> dict[tuple[str, ...], Tensor]:
    """The counts as tensors, by the losses that there are; what nothing is said of is a mean over images."""
    counts: dict[tuple[str, ...], Tensor] = {}
    unsaid = dict.fromkeys(losses)
    for names, count in said.items():
        group = tuple(name for name in names if name in losses)
        for name in group:
            del unsaid[name]
        if group:
            counts[group] = count if isinstance(count, Tensor) else _number(count, device)
    if unsaid:
        counts[tuple(unsaid)] = _number(images, device)
    return counts


def _number(value: int, device: torch.device) -> Tensor:
    """Filled on the device: copying it there would make a GPU wait."""
    return torch.full((), float(value), device=device)
