"""The other batteries, short: cancels in every phase, partitions, full disks."""

import random
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from threading import Thread

import pytest

from tests.faults import cancels, full_disk, partitions
from tests.faults.full_disk import CannotMount
from tests.faults.marks import Mark
from tests.faults.notes import quantile
from tests.faults.proxy import Proxy, Weather
from tests.servers import postgresql_programs

SEED = 6


@pytest.mark.acceptance
def test_a_cancel_in_every_phase_ends_the_job_and_leaves_nothing() -> None:
    done, wrong = cancels.run(1, SEED, servers=False, workers=2)
    assert wrong == []
    assert sorted(one.phase for one in done) == sorted(cancels.PHASES)


@pytest.mark.acceptance
def test_partitions_give_no_job_two_trainers_at_once() -> None:
    if postgresql_programs() is None or not (shutil.which("redis-server") or shutil.which("valkey-server")):
        pytest.skip("PostgreSQL or Redis is not installed")
    outcome = partitions.run(3, SEED, workers=3)
    assert outcome.whole, (dict(outcome.findings.broken), outcome.left)
    assert outcome.counted.total() == 3


@pytest.mark.slow
@pytest.mark.acceptance
def test_a_disk_that_is_full_during_a_checkpoint_costs_time_and_nothing_else() -> None:
    try:
        (round_,) = full_disk.run(1, SEED, servers=False)
    except CannotMount as error:
        pytest.skip(f"no small disk to fill up: {error}")
    assert round_.wrong == []


@pytest.fixture
def echo() -> Iterator[int]:
    """Port of a server that sends back what it gets."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                Thread(target=_echo, args=(connection,), daemon=True).start()

        Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _echo(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(100):
            connection.sendall(data)


def test_the_proxy_passes_stalls_swallows_and_cuts(echo: int) -> None:
    with Proxy(echo) as proxy, closing(socket.create_connection(("127.0.0.1", proxy.port))) as client:
        client.settimeout(5)
        client.sendall(b"fair")
        assert client.recv(10) == b"fair"
        for weather in (Weather.STALL, Weather.DEAF):
            proxy.set(weather)
            client.sendall(b"late")
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.recv(10)
            proxy.set(Weather.FAIR)
            client.settimeout(5)
            assert client.recv(10) == b"late"
        proxy.set(Weather.CUT)
        assert _is_gone(client)
        with closing(socket.create_connection(("127.0.0.1", proxy.port))) as another:
            another.settimeout(5)
            assert _is_gone(another)


def _is_gone(client: socket.socket) -> bool:
    try:
        client.sendall(b"still there?")
        return client.recv(10) == b""
    except ConnectionError:
        return True


def test_the_nearest_two_trainers_are_measured() -> None:
    second = 1_000_000_000
    marks = [
        Mark(0, "a", 1, 10, "begin", 0, 0),
        Mark(3 * second, "a", 1, 10, "step", 1, 1),
        Mark(4 * second, "b", 1, 11, "begin", 0, 0),
        Mark(5 * second, "a", 2, 12, "begin", 1, 0),
    ]
    random.Random(SEED).shuffle(marks)
    assert partitions.closest(marks) == 2.0


def test_a_quantile_is_a_value_that_was_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1.0)) == (50.0, 99.0, 100.0)
    assert quantile([3.0], 0.99) == 3.0
