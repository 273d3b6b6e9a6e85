"""Hints: sent when the broker is there, given up quickly when it is not."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery
from kombu import Connection

from store.queue import QUEUES, Hints, broker_options
from store.settings import StoreSettings
from tests.servers import RedisServer, free_port


def received(settings: StoreSettings, queue: str) -> list[str]:
    """Job ids of the hints that wait in a queue, taken as a worker would."""
    options = broker_options(settings)
    found = []
    with Connection(
        options["broker_url"], transport_options=options["broker_transport_options"]
    ) as connection:
        simple = connection.SimpleQueue(next(q for q in options["task_queues"] if q.name == queue))
        while True:
            try:
                message = simple.get(timeout=0.3)
            except simple.Empty:
                break
            assert message.headers["task"] == "job.run"
            found.append(message.payload[0][0])
            message.ack()
        simple.close()
    return found


def on(broker_url: str, tmp_path: Path) -> StoreSettings:
    return StoreSettings(data=tmp_path, broker_url=broker_url)


@pytest.mark.embedded
class TestFolder:
    def test_a_hint_waits_in_the_folder_of_its_queue(self, settings: StoreSettings) -> None:
        hints = Hints(settings)
        assert hints.ping()
        assert hints.send("job_1", "train")
        assert hints.send("job_2", "ingest")
        assert hints.send("job_3", "train")
        assert received(settings, "train") == ["job_1", "job_3"]
        assert received(settings, "ingest") == ["job_2"]
        assert received(settings, "train") == []

    def test_everything_stays_below_the_data_directory(self, settings: StoreSettings) -> None:
        Hints(settings).send("job_1", "train")
        options = broker_options(settings)["broker_transport_options"]
        for name in ("data_folder_in", "data_folder_out", "control_folder", "processed_folder"):
            assert Path(options[name]).is_relative_to(settings.data)
            assert Path(options[name]).is_dir()
        (message,) = (settings.data / "broker" / "messages").iterdir()
        json.loads(message.read_text())

    def test_a_torn_message_is_dropped_and_the_next_one_read(self, settings: StoreSettings) -> None:
        hints = Hints(settings)
        (settings.data / "broker" / "messages" / "0_torn.train.msg").write_text('{"body": "W1')
        hints.send("job_1", "train")
        assert received(settings, "train") == ["job_1"]

    def test_a_folder_that_is_gone_is_a_hint_not_sent(self, settings: StoreSettings) -> None:
        hints = Hints(settings)
        for folder in ("messages", "processed"):
            (settings.data / "broker" / folder).rmdir()
        assert hints.send("job_1", "train") is False


class TestDeadRedis:
    @pytest.fixture
    def silent_port(self) -> Iterator[int]:
        """Takes connections and never says a word."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            yield listener.getsockname()[1]

    def test_a_closed_port_is_given_up_at_once(self, tmp_path: Path) -> None:
        hints = Hints(on(f"redis://127.0.0.1:{free_port()}/0", tmp_path))
        started = time.monotonic()
        assert hints.send("job_1", "train") is False
        assert hints.ping() is False
        assert time.monotonic() - started < 2

    def test_silence_is_given_up_when_patience_ends(self, tmp_path: Path, silent_port: int) -> None:
        hints = Hints(on(f"redis://127.0.0.1:{silent_port}/0", tmp_path), patience_seconds=0.3)
        started = time.monotonic()
        assert hints.send("job_1", "train") is False
        assert time.monotonic() - started < 2

    def test_a_name_that_takes_for_ever_to_look_up_is_given_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hints = Hints(on("redis://broker.invalid:6379/0", tmp_path), patience_seconds=0.2)
        looking, found = threading.Event(), threading.Event()

        def slow(*args: object, **kwargs: object) -> list[object]:
            looking.set()
            found.wait(60)
            return []

        monkeypatch.setattr(socket, "getaddrinfo", slow)
        try:
            assert hints.send("job_1", "train") is False
            assert looking.wait(30)
            assert hints.send("job_2", "train") is False, "the first is still looking"
            assert not found.is_set()
        finally:
            found.set()
            for thread in threading.enumerate():
                if thread.name == "hint":
                    thread.join(30)


class TestRedis:
    def test_a_hint_reaches_the_queue(self, redis_url: str, tmp_path: Path) -> None:
        settings = on(redis_url, tmp_path)
        hints = Hints(settings)
        assert hints.ping()
        assert hints.send("job_1", "train")
        with redis.Redis.from_url(redis_url) as client:
            assert client.llen("train") == 1
        assert received(settings, "train") == ["job_1"]
        hints.close()

    def test_a_broker_that_comes_back_takes_hints_again(
        self, redis_server: RedisServer, redis_url: str, tmp_path: Path
    ) -> None:
        hints = Hints(on(redis_url, tmp_path))
        assert hints.send("job_1", "train")
        redis_server.kill()
        try:
            assert hints.send("job_2", "train") is False
        finally:
            redis_server.start()
        assert hints.send("job_3", "train")
        assert received(on(redis_url, tmp_path), "train") == ["job_3"]
        hints.close()


def test_sender_and_receiver_share_queues_and_manners(settings: StoreSettings) -> None:
    app = Celery("worker", set_as_current=False)
    app.conf.update(broker_options(settings))
    assert [queue.name for queue in app.conf.task_queues] == list(QUEUES)
    assert app.conf.task_publish_retry is False
    assert app.conf.task_ignore_result is True
    assert app.conf.accept_content == ["json"]
