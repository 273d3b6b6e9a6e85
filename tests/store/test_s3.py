"""Blobs in S3: what only an object store can do, and what only a network can break."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from botocore.exceptions import ClientError

from store import s3
from store.blobs import content_key, open_blobs
from store.errors import BlobCorrupt, BlobsUnavailable, SettingsInvalid, StorageFull
from store.s3 import S3Blobs
from store.settings import StoreSettings, read
from tests.faults.proxy import Proxy, Weather
from tests.object_store import BUCKET, ObjectStore

DATA = b"detections" * 1000
MIB = 1 << 20


@pytest.fixture
def settings(object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreSettings:
    for name, value in object_store.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HARMONICDET_DATA", str(tmp_path / "data"))
    return read(StoreSettings)


@pytest.fixture
def blobs(settings: StoreSettings) -> S3Blobs:
    return S3Blobs(settings)


@pytest.fixture
def proxy(object_store: ObjectStore) -> Iterator[Proxy]:
    with Proxy(object_store.port) as proxy:
        yield proxy


def through(settings: StoreSettings, port: int) -> S3Blobs:
    """The same blobs over another port."""
    return S3Blobs(settings.model_copy(update={"s3_endpoint_url": f"http://127.0.0.1:{port}"}))


def unfinished(blobs: S3Blobs) -> int:
    """Uploads in parts that have begun."""
    return len(blobs._client.list_multipart_uploads(Bucket=BUCKET, Prefix=blobs._prefix).get("Uploads", []))


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if 12 MiB were a large file."""
    monkeypatch.setattr(s3, "ONE_REQUEST", 5 * MIB)
    monkeypatch.setattr(s3, "PART", 5 * MIB)


@pytest.mark.usefixtures("in_parts")
def test_a_large_file_is_put_in_parts_with_checksums(blobs: S3Blobs, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(12 * MIB))
    blob = blobs.put_file(tmp_path / "large")
    found = blobs._client.head_object(Bucket=BUCKET, Key=blobs._name(blob.key), ChecksumMode="ENABLED")
    assert found["ETag"].strip('"').endswith("-3")
    assert found["ChecksumSHA256"]
    assert found["Metadata"] == {"sha256": blob.sha256}
    blobs.fetch(blob.key, tmp_path / "back", blob.sha256)
    assert (tmp_path / "back").read_bytes() == (tmp_path / "large").read_bytes()
    assert blobs.put_file(tmp_path / "large") == blob
    assert unfinished(blobs) == 0


@pytest.mark.usefixtures("in_parts")
def test_an_upload_torn_in_the_middle_leaves_nothing(
    blobs: S3Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large").write_bytes(os.urandom(12 * MIB))
    send = blobs._client.upload_part

    def torn(**part: object) -> object:
        if part["PartNumber"] == 2:
            raise ClientError({"Error": {"Code": "InternalError"}}, "UploadPart")
        return send(**part)  # type: ignore[arg-type]

    monkeypatch.setattr(blobs._client, "upload_part", torn)
    with pytest.raises(BlobsUnavailable):
        blobs.put_file(tmp_path / "large")
    assert list(blobs.iter()) == []
    assert unfinished(blobs) == 0


def test_what_a_killed_process_has_begun_to_put_is_swept_when_it_is_old(
    blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs._client.create_multipart_upload(Bucket=BUCKET, Key=blobs._name(content_key("ab" * 32)))
    monkeypatch.setattr(s3, "_ABANDONED_SECONDS", 100 * 365 * 24 * 3600.0)  # moto says that all began in 2010
    blobs.sweep()
    assert unfinished(blobs) == 1, "it may be going on"
    monkeypatch.undo()
    blobs.sweep()
    assert unfinished(blobs) == 0


class _Breaking(Proxy):
    """Resets the first connection: when it comes, or when its answer does, after so many bytes of it."""

    def __init__(self, target: int, *, answer_bytes: int | None) -> None:
        super().__init__(target)
        self._answer_bytes = answer_bytes
        self.broken = 0

    def _pump(self, source: Any, sink: Any, answers: bool) -> None:
        if self.broken:
            super()._pump(source, sink, answers)
        elif self._answer_bytes is None or answers:
            self.broken += 1
            if self._answer_bytes is not None:
                left = self._answer_bytes
                while left > 0 and (data := source.recv(min(left, 65536))):
                    sink.sendall(data)
                    left -= len(data)
                source.recv(1)  # the rest is on its way
            self._reset_all()
        else:
            super()._pump(source, sink, answers)


@pytest.mark.parametrize("answer_bytes", [None, 0])
def test_a_put_whose_connection_breaks_is_tried_again(
    settings: StoreSettings, object_store: ObjectStore, answer_bytes: int | None
) -> None:
    """Before the request has arrived; and when it was done already, but nobody heard so."""
    with _Breaking(object_store.port, answer_bytes=answer_bytes) as proxy:
        blob = through(settings, proxy.port).put_bytes(DATA)
        assert proxy.broken == 1
    assert S3Blobs(settings).size(blob.key) == len(DATA)


def test_a_read_that_breaks_off_goes_on(
    settings: StoreSettings, blobs: S3Blobs, object_store: ObjectStore, tmp_path: Path
) -> None:
    blob = blobs.put_bytes(os.urandom(3 * MIB))
    with _Breaking(object_store.port, answer_bytes=100_000) as proxy:
        through(settings, proxy.port).fetch(blob.key, tmp_path / "back", blob.sha256)
        assert proxy.broken == 1
    assert (tmp_path / "back").stat().st_size == blob.bytes


def test_an_object_store_that_is_away_is_said_to_be(
    settings: StoreSettings, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(s3, "_ATTEMPTS", 1)
    blobs = through(settings, proxy.port)
    blob = blobs.put_bytes(DATA)
    proxy.set(Weather.CUT)
    for attempt in (
        blobs.check,
        blobs.sweep,
        lambda: blobs.put_bytes(b"other"),
        lambda: blobs.open(blob.key),
        lambda: blobs.fetch(blob.key, tmp_path / "x", blob.sha256),
        lambda: blobs.exists(blob.key),
        lambda: list(blobs.iter()),
        lambda: blobs.delete(blob.key),
        lambda: blobs.discard(blob.key, older_than_seconds=-1),
    ):
        with pytest.raises(BlobsUnavailable):
            attempt()
    proxy.set(Weather.FAIR)
    assert list(blobs.iter()) == [blob.key]


def test_a_bucket_that_is_not_there_is_no_blob_that_is_not_there(settings: StoreSettings) -> None:
    blobs = S3Blobs(settings.model_copy(update={"blobs": "s3://another-bucket"}))
    for attempt in (blobs.check, lambda: blobs.open("identity"), lambda: list(blobs.iter())):
        with pytest.raises(BlobsUnavailable):
            attempt()


def test_what_is_known_by_its_content_is_written_once(
    settings: StoreSettings, blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process puts the same bytes between the look and the put."""
    send, write = blobs._send, blobs._write
    outcomes = []

    def late(*arguments: Any) -> None:
        S3Blobs(settings).put_bytes(DATA)
        send(*arguments)

    def noted(*arguments: Any) -> bool:
        outcomes.append(write(*arguments))
        return outcomes[-1]

    monkeypatch.setattr(blobs, "_send", late)
    monkeypatch.setattr(blobs, "_write", noted)
    blob = blobs.put_bytes(DATA)
    assert outcomes == [False], "the store has refused the second"
    assert list(blobs.iter()) == [blob.key]


def test_a_store_without_conditional_writes_will_do(blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    put = blobs._client.put_object

    def old(**arguments: Any) -> object:
        if "IfNoneMatch" in arguments:
            raise ClientError({"Error": {"Code": "NotImplemented"}}, "PutObject")
        return put(**arguments)

    monkeypatch.setattr(blobs._client, "put_object", old)
    for data in (DATA, b"other"):
        key = blobs.put_bytes(data).key
        with blobs.open(key) as file:
            assert file.read() == data
        assert blobs.discard(key, older_than_seconds=-1)


def test_a_put_while_the_same_blob_is_discarded_is_not_lost(
    settings: StoreSettings, blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector has looked, and is about to delete, when another process puts the same bytes."""
    key = blobs.put_bytes(DATA).key
    putting = threading.Thread(target=lambda: S3Blobs(settings).put_bytes(DATA))
    delete = blobs._delete_once

    def slow(url: str) -> None:
        signed = parse_qs(urlsplit(url).query)
        assert int(signed["X-Amz-Expires"][0]) < s3._MARK_SECONDS, "or it could come after a put"
        putting.start()
        putting.join(2)
        assert putting.is_alive(), "it waits for what will become of the blob"
        delete(url)

    monkeypatch.setattr(blobs, "_delete_once", slow)
    assert blobs.discard(key, older_than_seconds=-1)
    putting.join(30)
    assert not putting.is_alive()
    with blobs.open(key) as file:
        assert file.read() == DATA


def test_a_blob_that_is_put_again_before_the_collector_looks_stays(
    settings: StoreSettings, blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = blobs.put_bytes(DATA).key
    time.sleep(2.1)
    condemn = blobs._condemn

    def put_meanwhile(one: str) -> bool:
        S3Blobs(settings).put_bytes(DATA)
        return condemn(one)

    monkeypatch.setattr(blobs, "_condemn", put_meanwhile)
    assert not blobs.discard(key, older_than_seconds=1.5)
    assert blobs.exists(key)


def test_the_mark_of_a_collector_that_died_loses_its_meaning(
    settings: StoreSettings, blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = blobs.put_bytes(DATA).key

    def die(url: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(blobs, "_delete_once", die)
    with pytest.raises(KeyboardInterrupt):
        blobs.discard(key, older_than_seconds=-1)
    assert not S3Blobs(settings).discard(key, older_than_seconds=-1), "another is at it"
    monkeypatch.setattr(s3, "_MARK_SECONDS", -10.0)
    assert S3Blobs(settings).put_bytes(DATA).key == key
    assert S3Blobs(settings).discard(key, older_than_seconds=-1)
    assert list(blobs.iter()) == []


def test_nothing_is_deleted_where_clocks_differ(blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    key = blobs.put_bytes(DATA).key
    monkeypatch.setattr(s3, "_SKEW_SECONDS", -1.0)
    assert not blobs.discard(key, older_than_seconds=-1)
    assert blobs.exists(key)


def test_a_blob_replaced_while_it_is_read_is_not_handed_out_mixed(blobs: S3Blobs) -> None:
    blobs.put_bytes(os.urandom(MIB), key="jobs/job_1/1/step.pt")
    with blobs.open("jobs/job_1/1/step.pt") as file:
        file.read(1000)
        blobs.put_bytes(os.urandom(MIB), key="jobs/job_1/1/step.pt")
        with pytest.raises(BlobCorrupt):
            file.read()


def test_every_page_of_a_listing_is_read(blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_PAGE", 2)
    keys = sorted(blobs.put_bytes(bytes([number])).key for number in range(5))
    assert [entry.key for entry in blobs.entries()] == keys


def test_a_store_that_is_full_is_said_to_be(blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**arguments: object) -> None:
        raise ClientError(
            {"Error": {"Code": "QuotaExceeded"}, "ResponseMetadata": {"HTTPStatusCode": 403}},  # type: ignore[typeddict-item]
            "PutObject",
        )

    monkeypatch.setattr(blobs._client, "put_object", full)
    with pytest.raises(StorageFull):
        blobs.put_bytes(DATA)


def test_a_download_can_be_handed_over_to_the_store(blobs: S3Blobs) -> None:
    blob = blobs.put_bytes(DATA)
    url = blobs.url(blob.key, seconds=60, name="model.onnx", media_type="application/octet-stream")
    assert url is not None
    answer = httpx.get(url)
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["content-disposition"] == 'attachment; filename="model.onnx"'
    part = httpx.get(url, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, b"detections")
    signed = parse_qs(urlsplit(url).query)
    assert signed["X-Amz-Expires"] == ["60"]
    assert "test-secret-key" not in url


def test_such_a_download_names_the_store_as_clients_reach_it(settings: StoreSettings) -> None:
    public = settings.model_copy(update={"s3_public_endpoint_url": "https://files.example.com"})
    url = S3Blobs(public).url("identity", seconds=60, name="a", media_type="text/plain")
    assert str(url).startswith(f"https://files.example.com/{BUCKET}/")


def test_the_settings_say_where_and_keep_quiet_about_the_secret(
    settings: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(open_blobs(settings), S3Blobs)
    assert settings.staging == settings.data / "staging"
    assert "test-secret-key" not in repr(settings)
    monkeypatch.delenv("HARMONICDET_S3_SECRET_ACCESS_KEY")
    with pytest.raises(SettingsInvalid, match="go together"):
        read(StoreSettings)


def test_the_secret_may_be_a_file(
    settings: StoreSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("access_key_id", "secret_access_key"):
        monkeypatch.delenv(f"HARMONICDET_S3_{name.upper()}")
        (tmp_path / f"harmonicdet_s3_{name}").write_text(f"{name} of a file\n")
    monkeypatch.setenv("HARMONICDET_SECRETS_DIR", str(tmp_path))
    secret = read(StoreSettings).s3_secret_access_key
    assert secret is not None
    assert secret.get_secret_value() == "secret_access_key of a file"
