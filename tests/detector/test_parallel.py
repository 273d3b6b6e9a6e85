"""Two processes train as one does; what happens to one of them happens to both."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from detector import checkpoint, engine
from detector.config import TrainConfig
from detector.data.batches import EpochBatches
from detector.errors import ConfigInvalid
from detector.events import EventReader, MetricEvent
from detector.parallel import Processes
from tests.detector.helpers import config, run_training

ROOT = Path(__file__).parents[2]
# Batch norm over both processes' images, and steps so small that rounding stays rounding.
TRAINING = config(
    batch_size=4,
    epochs=3,
    evaluate_every=3,
    checkpoint_every_steps=1,
    sync_batch_norm=True,
    ema_decay=0.9,
    optimizer={"kind": "sgd", "lr": 1e-4},
)


def free_ports(count: int) -> list[str]:
    """Different ones, for a group of processes each: a store that is closing takes no new group."""
    with ExitStack() as held:
        found = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [str(one.getsockname()[1]) for one in found]


@pytest.fixture(scope="module")
def pair(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the two processes of `tests.detector.pair` have answered."""
    out = tmp_path_factory.mktemp("pair")
    ports = free_ports(4)
    shared = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": ports[0],
        "WORLD_SIZE": "2",
        "TORCHELASTIC_RUN_ID": "test",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "tests.detector.pair", str(dataset), str(out), *ports[1:]]
    started = [
        subprocess.Popen(command, env={**shared, "RANK": rank, "LOCAL_RANK": rank}, cwd=ROOT)
        for rank in ("0", "1")
    ]
    try:
        give_up = time.monotonic() + 280
        while any(one.poll() is None for one in started) and time.monotonic() < give_up:
            assert not any(one.returncode for one in started)  # the other would wait for it
            time.sleep(0.1)
        assert [one.poll() for one in started] == [0, 0]
    finally:
        for one in started:
            one.kill()
            one.wait()
    return [json.loads((out / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
def test_what_one_asks_or_meets_the_other_does_too(pair: list[dict[str, Any]]) -> None:
    first, second = (answers["basics"] for answers in pair)
    assert first["any"] == second["any"] == [True, True, False]
    assert (first["part"], second["part"]) == ([0, 1], [2, 3, 4])
    assert first["gathered"] == second["gathered"] == [0, 1]
    assert first["by_leader"] == second["by_leader"] == 0
    assert first["met"] == ["OutOfMemory: of the second", "ValueError: it is the leader's fault"]
    assert second["met"] == [
        "OutOfMemory: of the second",
        "FailedElsewhere: ValueError: it is the leader's fault",
    ]


def test_statistics_over_both_processes_are_those_of_the_whole_batch(pair: list[dict[str, Any]]) -> None:
    for answers in pair:
        assert max(answers["statistics"].values()) < 1e-5


def test_the_gradient_of_two_processes_is_that_of_the_whole_batch(pair: list[dict[str, Any]]) -> None:
    for answers in pair:
        assert max(answers["gradients"]) < 1e-5


def test_where_one_has_too_little_memory_both_take_smaller_parts(pair: list[dict[str, Any]]) -> None:
    for answers in pair:
        assert "no memory left for 2 images" in answers["memory"]["before"]
        assert (answers["memory"]["halved"], answers["memory"]["micro_batch"]) == (True, 1)


def test_both_name_the_images_of_the_one_whose_loss_is_not_finite(pair: list[dict[str, Any]]) -> None:
    for answers in pair:
        assert answers["not_finite"].endswith("its images are image 2, image 3.")


def test_running_statistics_are_the_same_in_both(pair: list[dict[str, Any]]) -> None:
    assert all(answers["buffers"] for answers in pair)


def test_what_ends_the_second_ends_both(pair: list[dict[str, Any]]) -> None:
    for answers in pair:
        assert answers["endings"] == {
            "interrupted": "Interrupted: ",
            "stopped": "finished",
            "unreadable": "DatasetInvalid: an image of the second process cannot be read",
        }


def start(data: Path, run: Path, *more: str) -> subprocess.Popen[bytes]:
    """`torchrun` with two processes; its own option --run-path would take our --run, but for the --."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = ["train", "--data", str(data), "--run", str(run), "--config", TRAINING.model_dump_json()]
    return subprocess.Popen(
        [*torchrun, "-m", "--", "detector", *arguments, *more],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        start_new_session=True,
    )


def losses(*runs: Path) -> dict[int, dict[str, float]]:
    """Of each step; a later run's replace those of an earlier one."""
    rows = (event for run in runs for event in EventReader(run).read())
    return {e.step: e.values for e in rows if isinstance(e, MetricEvent) and e.split == "train"}  # type: ignore[misc]


def assert_same_curve(found: dict[int, dict[str, float]], expected: dict[int, dict[str, float]]) -> None:
    assert found.keys() == expected.keys() == set(range(1, 7))
    for step, values in expected.items():
        assert found[step] == pytest.approx(values, rel=5e-3, abs=1e-3), step


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one_even_when_killed_and_resumed(
    dataset: Path, tmp_path: Path
) -> None:
    run_training(dataset, tmp_path / "one", TRAINING)
    expected = losses(tmp_path / "one")

    process = start(dataset, tmp_path / "killed")
    folder = tmp_path / "killed/checkpoints"
    deadline = time.monotonic() + 250
    while not (folder / "step-00000003.pt").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # torchrun gives each trainer a session of its own.
    for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        one.kill()
    assert process.wait(60) == -signal.SIGKILL
    assert not (tmp_path / "killed/result.json").exists()
    last = checkpoint.paths(folder)[-1]
    assert checkpoint.load(last)["position"]["step"] < 6

    resumed = start(dataset, tmp_path / "resumed", "--resume", str(last))
    assert resumed.wait(250) == 0
    assert_same_curve(losses(tmp_path / "killed", tmp_path / "resumed"), expected)
    # A training of two processes goes on with one.
    run_training(dataset, tmp_path / "alone", TRAINING, resume=last)
    assert_same_curve(losses(tmp_path / "killed", tmp_path / "alone"), expected)


def test_each_process_takes_its_part_of_the_same_batches() -> None:
    whole = EpochBatches(20, 4, seed=3)
    parts = [EpochBatches(20, 4, seed=3, processes=Processes(rank, 2)) for rank in (0, 1)]
    assert [a + b for a, b in zip(*parts, strict=True)] == list(whole)


def test_a_batch_that_cannot_be_divided_among_the_processes_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match=r"batch_size 8 .* 2 processes with gradient_accumulation 8"):
        engine._images_per_step(TrainConfig(gradient_accumulation=8), 100, Processes(0, 2))
    with pytest.raises(ConfigInvalid, match=r"more processes \(4\) than training images \(3\)"):
        engine._images_per_step(TrainConfig(), 3, Processes(0, 4))
    assert engine._images_per_step(TrainConfig(), 6, Processes(0, 4)) == 6
