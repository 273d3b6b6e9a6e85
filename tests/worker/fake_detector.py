"""Speaks the detector's protocol (`detector.events`) and does nothing else. It refuses every archive.

The config of a training is `{"fake": {...}}` with, all optional:

    steps, pace             how many steps, seconds each
    checkpoint_every        steps between checkpoints
    fail_at, code           a step to fail at, and the error code (default internal_error)
    crash_at, signal, exit_code   a step to die at, by a signal or an exit code
    hang_at                 a step to stop telling anything
    chatter_at              a step to stop at, talking on
    full_at                 a step at which the disk of the run directory is full
    stubborn                whether SIGTERM is ignored
    slow_finish             seconds between the last step and the result
    mark                    a file that gets a line "step pid" for every step, for tests to look at
    blur                    what the model finds is so many pixels out of place, drawn by the config's seed

A whole config, as a search makes it, is a step for each epoch, an evaluation after each, and an AP that is
best at a learning rate of 0.01.

SIGUSR1 ends the steps and goes on to the result, with reason "stopped". To compare, and to suggest what to
try next, is left to the real one.
"""

import argparse
import hashlib
import json
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from detector.events import (
    EXIT_COMPLETE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_STORAGE_FULL,
    CheckpointEvent,
    ErrorEvent,
    EventWriter,
    MetricEvent,
    NoticeEvent,
    PhaseEvent,
    ProgressEvent,
)
from detector.lifeline import tie_to_supervisor

CLASSES = [{"id": 3, "name": "disc"}, {"id": 7, "name": "star"}]
METRICS = {"AP": 0.5, "AP50": 0.8, "AP75": None}


def train(run: Path, config: dict[str, Any], resume: Path | None, *, stop: bool) -> int:
    ap = None if "fake" in config or "optimizer" not in config else quality(config["optimizer"]["lr"])
    fake = config.get("fake", {}) if ap is None else {"steps": config["epochs"], "pace": 0.05}
    interrupted: list[int] = []
    if fake.get("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda number, _: interrupted.append(number))
    stops: list[int] = [0] if stop else []
    signal.signal(signal.SIGUSR1, lambda number, _: stops.append(number))
    writer = EventWriter(run)
    (run / "checkpoints").mkdir()
    (run / "artifacts").mkdir()
    step = json.loads(resume.read_bytes())["step"] if resume else 0
    steps = fake.get("steps", 4)
    sys.stderr.write(f"fake training from step {step}\n")
    writer.write(PhaseEvent(phase="training"))
    while step < steps and not stops:
        time.sleep(fake.get("pace", 0.02))
        step += 1
        if "mark" in fake:
            with Path(fake["mark"]).open("a") as file:
                file.write(f"{step} {os.getpid()}\n")
        if step == fake.get("fail_at"):
            sys.stderr.write("about to fail\n")
            writer.write(
                ErrorEvent(code=fake.get("code", "internal_error"), message="As asked.", hint="Ask less.")
            )
            return EXIT_FAILED
        if step == fake.get("crash_at"):
            if "signal" in fake:
                os.kill(os.getpid(), fake["signal"])
            return int(fake.get("exit_code", 5))
        while step == fake.get("hang_at"):
            time.sleep(0.05)
        while step == fake.get("chatter_at"):
            time.sleep(0.05)
            writer.write(NoticeEvent(code="chatter", message="Still here."))
        if step == fake.get("full_at"):
            return EXIT_STORAGE_FULL
        writer.write(MetricEvent(split="train", step=step, epoch=step / steps, values={"loss": 1.0 / step}))
        if ap is not None:
            values = {"AP": ap * step / steps}
            writer.write(MetricEvent(split="val", step=step, epoch=step, values=values))
        writer.write(
            ProgressEvent(epoch=1, epochs=1, step=step, steps=steps, fraction=step / steps, eta_seconds=None)
        )
        if interrupted or step % fake.get("checkpoint_every", 1) == 0:
            writer.write(_checkpoint(run, step, steps))
        if interrupted:
            return EXIT_INTERRUPTED
    writer.write(PhaseEvent(phase="exporting"))
    writer.write(NoticeEvent(code="fake", message="This is no training."))
    time.sleep(fake.get("slow_finish", 0.0))
    files = {name: f"{name} after {steps} steps".encode() for name in ("model.onnx", "model.json")}
    if "blur" in fake:
        files |= measured(config["seed"], fake["blur"])
    artifacts = []
    for name, data in files.items():
        (run / "artifacts" / name).write_bytes(data)
        artifacts.append(
            {
                "name": name,
                "path": f"artifacts/{name}",
                "media_type": "application/json" if name.endswith("json") else "application/octet-stream",
                "sha256": hashlib.sha256(data).hexdigest(),
                "bytes": len(data),
            }
        )
    _result(
        run,
        {
            "architecture": "fake",
            "loss": "harmonic",
            "classes": CLASSES,
            "config": config,
            "split": "val",
            "metrics": METRICS if ap is None else METRICS | {"AP": ap},
            "per_class": [{"id": 3, "name": "disc", "AP": 0.5, "AP50": 0.8, "boxes": 2}],
            "steps": step,
            "epochs": 1,
            "best_epoch": 1,
            "reason": "stopped" if stops else fake.get("reason"),
            "parity": {},
            "artifacts": artifacts,
        },
    )
    return EXIT_COMPLETE


def quality(rate: float) -> float:
    """AP of a detector that was trained with this learning rate."""
    return 1.0 / (1.0 + abs(math.log10(rate) + 2.0))


def measured(seed: int, blur: float) -> dict[str, bytes]:
    """What a model found on 30 images, what was there, and what its training began with."""
    from tests.detector.compare.builders import detections, truth

    began = {"data_order_sha256": f"order of {seed}", "initial_state_sha256": f"weights of {seed}"}
    written = {
        "ground_truth.json": truth(),
        "detections.json": detections(truth(), seed, blur),
        "manifest.json": began,
    }
    return {name: json.dumps(value).encode() for name, value in written.items()}


def _checkpoint(run: Path, step: int, steps: int) -> CheckpointEvent:
    data = json.dumps({"step": step}).encode()
    path = run / "checkpoints" / f"step-{step:08d}.pt"
    path.with_suffix(".tmp").write_bytes(data)
    path.with_suffix(".tmp").rename(path)
    return CheckpointEvent(
        path=f"checkpoints/{path.name}",
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        step=step,
        epoch=step / steps,
    )


def _result(run: Path, result: dict[str, Any]) -> None:
    (run / "result.tmp").write_text(json.dumps(result))
    (run / "result.tmp").rename(run / "result.json")


def main() -> int:
    if sys.argv[1] in ("compare", "suggest"):
        from detector.__main__ import main as detector

        return detector()
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["train", "inspect"])
    parser.add_argument("--archive", type=Path)
    parser.add_argument("--options")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--stop", action="store_true")
    parser.add_argument("--supervised", action="store_true")
    options = parser.parse_args()
    tie_to_supervisor()
    if options.command == "inspect":
        EventWriter(options.run).write(ErrorEvent(code="archive_refused", message="bad.zip is no archive."))
        return EXIT_FAILED
    return train(options.run, json.loads(options.config.read_text()), options.resume, stop=options.stop)


if __name__ == "__main__":
    sys.exit(main())
