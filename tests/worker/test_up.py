"""What `harmonicdet up` refuses, and how its parts live and die. The whole of it runs in tests/acceptance."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harmonicdet import __version__, up
from harmonicdet.cli import app
from harmonicdet.up import CannotStart, Service, refuse_taken_port
from tests.servers import free_port
from tests.worker.helpers import is_alive, until


def test_version_is_printed() -> None:
    assert CliRunner().invoke(app, ["version"]).output.strip() == __version__


def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=f"port {port}"):
            refuse_taken_port("127.0.0.1", port)
        with pytest.raises(CannotStart, match=f"port {port}"), Service("127.0.0.1", port, tmp_path):
            pass
    assert not list(tmp_path.glob("logs/*"))


def test_an_address_open_to_strangers_is_refused_unless_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HARMONICDET_ALLOW_UNAUTHENTICATED", raising=False)
    monkeypatch.setenv("HARMONICDET_REQUIRE_KEYS", "0")
    with (
        pytest.raises(CannotStart, match="HARMONICDET_ALLOW_UNAUTHENTICATED"),
        Service("0.0.0.0", 8000, tmp_path),  # noqa: S104 - to be refused
    ):
        pass


def test_each_part_has_a_port_of_its_own_for_prometheus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARMONICDET_DATA", str(tmp_path))
    monkeypatch.setenv("HARMONICDET_METRICS_PORT", "9464")
    ports: dict[str, str] = {}

    def start(part: up._Part, logs: Path, environment: dict[str, str]) -> None:
        ports[part.name] = (environment | part.environment)["HARMONICDET_METRICS_PORT"]

    monkeypatch.setattr(up._Part, "start", start)
    with Service("127.0.0.1", free_port(), tmp_path, train_workers=2):
        pass
    assert ports == {
        "api": "9464",
        "worker-train": "9465",
        "worker-train-2": "9466",
        "worker-evaluate": "9467",
        "worker-ingest": "9468",
    }


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the data directory as `harmonicdet up` does."""
    program = (
        "import pathlib, sys, harmonicdet.up as up\n"
        "with up._lock(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_two_services_never_share_a_data_directory(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with (
        pytest.raises(CannotStart, match=f"process {holder.pid}"),
        Service("127.0.0.1", 8000, tmp_path),
    ):
        pass


def test_a_part_ends_with_its_parent(tmp_path: Path) -> None:
    """`harmonicdet.child` runs a module until the pipe to its parent closes."""
    module = tmp_path / "sleeper.py"
    module.write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    part = subprocess.Popen(
        [sys.executable, "-m", "harmonicdet.child", "sleeper"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )
    assert part.stdout is not None
    assert part.stdin is not None
    assert part.stdout.readline() == b"here\n"
    part.stdin.close()
    assert part.wait(5) == -signal.SIGTERM
    part.stdout.close()


def test_a_part_that_dies_is_started_again_and_the_end_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sleeper.py").write_text(
        "import os, time\nprint('pid', os.getpid(), flush=True)\ntime.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    service = Service("127.0.0.1", port, tmp_path / "data")
    for part in service._parts:
        part.command[:] = ["sleeper"]

    def processes() -> list[int]:
        log = service.logs / "api.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith("pid")]

    with service:
        until(lambda: len(processes()) == 1)
        os.kill(processes()[0], signal.SIGKILL)
        until(lambda: len(processes()) == 2)
        begin = time.monotonic()
    assert time.monotonic() - begin < 5
    assert not any(is_alive(pid) for pid in processes())
