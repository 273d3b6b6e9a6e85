"""What two processes do together; run twice by `test_parallel`, as torchrun would, which reads their answers.

python -m tests.detector.pair DATA OUT PORT PORT PORT
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detector.batch_norm import running_statistics
from detector.config import TrainConfig
from detector.data import loading
from detector.engine import Interrupted, Training, train
from detector.errors import DatasetInvalid, DetectorError, OutOfMemory
from detector.events import EventWriter
from detector.models import Detector
from detector.parallel import FailedElsewhere, Processes, together
from detector.precision import Precision
from detector.step import Learner
from detector.sync_batch_norm import SyncBatchNorm
from tests.detector.helpers import config
from tests.detector.models.helpers import SSD
from tests.detector.test_step import REFINEDET, detector, difference, gradients, learner, samples

CPU = torch.device("cpu")


def main(data: Path, out: Path, ports: list[str]) -> None:
    torch.set_num_threads(1)
    with together(on_gpu=False) as processes:
        answers = {
            "basics": basics(processes),
            "statistics": statistics(processes),
            "gradients": [same_gradient(processes, architecture) for architecture in (SSD, REFINEDET)],
            "memory": memory(processes),
            "not_finite": not_finite(processes),
            "buffers": buffers(processes),
        }
        rank = processes.rank
    answers["endings"] = endings(data, out, rank, ports)
    (out / f"{rank}.json").write_text(json.dumps(answers))


def basics(processes: Processes) -> dict[str, Any]:
    met: list[str] = []
    first = processes.leads

    def fail() -> None:
        raise ValueError("it is the leader's fault")

    attempts: list[Callable[[], object]] = [
        lambda: processes.agree(None),
        lambda: processes.agree(OutOfMemory("of the second") if not first else None),
        lambda: processes.by_leader(fail),
    ]
    for attempt in attempts:
        try:
            attempt()
        except (DetectorError, FailedElsewhere, ValueError) as error:
            met.append(f"{type(error).__name__}: {error}")
    return {
        "any": processes.any(first, not first, False),
        "part": list(processes.part(range(5))),
        "gathered": processes.gathered(processes.rank),
        "by_leader": processes.by_leader(lambda: processes.rank),
        "met": met,
    }


def statistics(processes: Processes) -> dict[str, float]:
    """The largest difference of the layer over two processes from `nn.BatchNorm2d` over the whole batch."""
    torch.manual_seed(0)
    whole = torch.randn(5, 3, 4, 4) * 3 + 10  # parts of 2 and 3
    weights = torch.randn(5, 3, 4, 4)
    plain, ours = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    ours.__class__ = SyncBatchNorm  # type: ignore[assignment]
    with torch.no_grad():
        for norm in (plain, ours):
            norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
    whole.requires_grad_()
    expected = plain(whole)
    (expected * weights).sum().backward()
    assert whole.grad is not None

    first, end = processes.bounds(5)
    own = whole.detach()[first:end].clone().requires_grad_()
    found = ours(own)
    (found * weights[first:end]).sum().backward()
    assert own.grad is not None
    return {
        "result": _largest(found - expected[first:end]),
        "gradient": _largest(own.grad - whole.grad[first:end]),
        "running": max(
            _largest(a - b) for a, b in zip(running_statistics(ours), running_statistics(plain), strict=True)
        ),
    }


def same_gradient(processes: Processes, architecture: Any) -> float:
    model = detector(architecture)
    learner(model).step(samples(), 0)
    expected = gradients(model)
    of_pair(model, processes).step(processes.part(samples()), 0)
    return difference(gradients(model), expected)


def memory(processes: Processes) -> dict[str, Any]:
    """One process has no room for two images at a time; both go on with one."""
    model = detector(SSD)
    honest: Callable[..., Any] = model.forward

    def narrow(images: list[Tensor], targets: Any) -> Any:
        if not processes.leads and len(images) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return honest(images, targets)

    model.forward = narrow  # type: ignore[method-assign,assignment]
    it = of_pair(model, processes)
    before = ""
    try:
        it.step(processes.part(samples()), 0)
    except OutOfMemory as error:
        before = error.message
    halved = it.halve()
    it.step(processes.part(samples()), 0)
    return {"before": before, "halved": halved, "micro_batch": it.micro_batch}


def not_finite(processes: Processes) -> str:
    model = detector(SSD)
    honest: Callable[..., Any] = model.forward

    def wild(images: list[Tensor], targets: Any) -> Any:
        factor = 1.0 if processes.leads else float("inf")
        return {name: value * factor for name, value in honest(images, targets).items()}

    model.forward = wild  # type: ignore[method-assign,assignment]
    try:
        of_pair(model, processes).step(processes.part(samples()), 0)
    except DetectorError as error:
        return error.message
    return ""


def buffers(processes: Processes) -> bool:
    """After a step the running statistics are the same in both, though their images differed."""
    model = detector(SSD).train()
    of_pair(model, processes).step(processes.part(samples()), 0)
    own = torch.cat([value.flatten() for value in running_statistics(model)])
    return all(torch.equal(own, other) for other in processes.gathered(own))


def endings(data: Path, out: Path, rank: int, ports: list[str]) -> dict[str, str]:
    """How a training ends when something happens to the second process alone; each meets at its own port."""
    second = rank == 1
    honest = loading.read_image
    Training.finish = lambda _: None  # type: ignore[method-assign,assignment]  # what is exported is another's matter

    def unreadable(*arguments: Any) -> Any:
        if second:
            raise DatasetInvalid("an image of the second process cannot be read")
        return honest(*arguments)

    ended = {}
    for name, port in zip(("interrupted", "stopped", "unreadable"), ports, strict=True):
        os.environ["MASTER_PORT"] = port
        if name == "unreadable":
            loading.read_image = unreadable  # type: ignore[assignment]
        run = out / name
        run.mkdir(exist_ok=True)
        writer = EventWriter(run)
        try:
            train(
                config(ema_decay=None),
                data,
                run,
                writer=writer,
                interrupted=lambda name=name: second and name == "interrupted",  # type: ignore[misc]
                stop=lambda name=name: second and name == "stopped",  # type: ignore[misc]
            )
        except (DetectorError, Interrupted) as error:
            ended[name] = f"{type(error).__name__}: {error}"
        else:
            ended[name] = "finished"
    loading.read_image = honest
    return ended


def of_pair(model: Detector, processes: Processes) -> Learner:
    training = TrainConfig.model_validate({"batch_size": 4, "clip_grad_norm": None})
    return Learner(
        model,
        torch.optim.SGD(model.parameters(), lr=0.0),
        training,
        Precision(CPU, None),
        processes,
        images=4,
        names={number: f"image {number}" for number in range(4)},
    )


def _largest(values: Tensor) -> float:
    return float(values.detach().abs().max())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
