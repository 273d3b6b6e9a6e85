import threading
import time

import pytest

from store.errors import Fenced, Unavailable
from store.tables import RequestedAction
from worker.lease import Lease


def lease(beat: object, lost: threading.Event, *, ttl: float = 0.5, margin: float = 0.2) -> Lease:
    return Lease(
        beat,  # type: ignore[arg-type]
        since=time.monotonic(),
        every=0.05,
        ttl=ttl,
        margin=margin,
        on_lost=lost.set,
    )


def test_a_lease_lives_as_long_as_heartbeats_succeed() -> None:
    lost = threading.Event()
    with lease(lambda: None, lost) as held:
        assert not lost.wait(0.6)
        held.check()


def test_a_fenced_heartbeat_loses_the_lease_at_once() -> None:
    def fenced() -> None:
        raise Fenced

    lost = threading.Event()
    with lease(fenced, lost, ttl=60) as held:
        assert lost.wait(5)
        with pytest.raises(Fenced):
            held.check()


def test_failing_heartbeats_lose_the_lease_before_anybody_else_can_claim() -> None:
    def away() -> None:
        raise Unavailable

    lost = threading.Event()
    start = time.monotonic()
    with lease(away, lost, ttl=3, margin=1.5):
        assert lost.wait(10)
        assert 1.4 < time.monotonic() - start < 3


def test_a_lease_lost_to_the_database_is_told_apart_from_one_lost_in_our_own_sleep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away() -> None:
        raise Unavailable

    awake = threading.Event()
    with lease(away, awake, ttl=2.3, margin=2.0) as held:
        assert awake.wait(5)
    assert held.cut_off

    asleep = threading.Event()
    now = time.monotonic
    with lease(away, asleep, ttl=2.3, margin=2.0) as held:
        monkeypatch.setattr("worker.lease.time.monotonic", lambda: now() + 5)
        assert asleep.wait(5)
        monkeypatch.undo()
    assert not held.cut_off


def test_a_heartbeat_that_hangs_does_not_keep_the_watch_from_fencing() -> None:
    hanging = threading.Event()
    lost = threading.Event()
    with lease(lambda: hanging.wait(5), lost):
        assert lost.wait(2)
    hanging.set()


def test_a_late_success_does_not_revive_a_lost_lease() -> None:
    lost = threading.Event()
    late = threading.Event()
    with lease(lambda: late.wait(5) and None, lost) as held:
        assert lost.wait(2)
        late.set()
        time.sleep(0.1)
        assert held.lost


def test_what_was_asked_of_the_job_is_passed_on() -> None:
    with lease(lambda: RequestedAction.CANCEL, threading.Event()) as held:
        deadline = time.monotonic() + 5
        while held.requested is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert held.requested is RequestedAction.CANCEL
