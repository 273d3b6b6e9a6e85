"""Blobs: there whole or not at all, under keys of ours, verified when fetched."""

import errno
import hashlib
import io
import os
import time
import zipfile
from pathlib import Path

import pytest

from store import blobs as module
from store.blobs import Blobs, LocalBlobs, content_key, open_blobs
from store.errors import BlobCorrupt, BlobNotFound, StorageFull
from store.settings import StoreSettings
from tests.object_store import ObjectStore

DATA = b"detections" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def local(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "blobs")


@pytest.fixture(params=["local", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Blobs:
    """Empty blobs, once of each kind."""
    if request.param == "local":
        return LocalBlobs(tmp_path / "blobs")
    object_store: ObjectStore = request.getfixturevalue("object_store")
    for name, value in object_store.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HARMONICDET_DATA", str(tmp_path / "data"))
    return open_blobs(StoreSettings())


def everything(blobs: Blobs) -> list[Path]:
    """Every file on this host, temporary ones included."""
    root = blobs.root if isinstance(blobs, LocalBlobs) else StoreSettings().staging
    return [path for path in root.rglob("*") if path.is_file()]


def test_bytes_are_known_by_their_content(blobs: Blobs) -> None:
    blob = blobs.put_bytes(DATA)
    assert (blob.key, blob.sha256, blob.bytes) == (content_key(SHA256), SHA256, len(DATA))
    assert blob.key == f"sha256/{SHA256[:2]}/{SHA256}"
    with blobs.open(blob.key) as file:
        assert file.read() == DATA
    assert blobs.size(blob.key) == len(DATA)
    path = blobs.local_path(blob.key)
    assert everything(blobs) == [path for path in [path] if path is not None]


def test_the_same_bytes_twice_are_one_blob_that_is_young_again(blobs: Blobs, tmp_path: Path) -> None:
    first = blobs.put_bytes(DATA)
    time.sleep(1.2)  # the clock of an object store counts seconds
    (tmp_path / "same").write_bytes(DATA)
    before = next(blobs.entries()).age_seconds
    assert blobs.put_file(tmp_path / "same") == first
    (entry,) = blobs.entries()
    assert (entry.key, entry.bytes) == (first.key, len(DATA))
    assert entry.age_seconds < before


def test_a_file_can_be_read_from_anywhere_in_it(blobs: Blobs) -> None:
    """As zipfile does: the directory at the end first, then the members."""
    content = io.BytesIO()
    members = {f"{number}.bin": os.urandom(400_000) for number in range(3)}
    with zipfile.ZipFile(content, "w") as zipped:
        for name, data in members.items():
            zipped.writestr(name, data)
    with blobs.open(blobs.put_bytes(content.getvalue()).key) as file, zipfile.ZipFile(file) as zipped:
        for name in reversed(members):
            assert zipped.read(name) == members[name]
    with blobs.open(blobs.put_bytes(b"one\ntwo\n").key) as file:
        assert list(file) == [b"one\n", b"two\n"]
        assert file.read() == b""
        file.seek(4)
        assert file.read(3) == b"two"
    with blobs.open(blobs.put_bytes(b"").key) as file:
        assert file.read() == b""


def test_bytes_that_are_not_those_asked_for_are_not_handed_out(blobs: Blobs, tmp_path: Path) -> None:
    blob = blobs.put_bytes(DATA)
    with pytest.raises(BlobCorrupt):
        blobs.fetch(blob.key, tmp_path / "out" / "x", "0" * 64)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_old_is_discarded_and_what_is_young_stays(blobs: Blobs) -> None:
    key = blobs.put_bytes(DATA).key
    assert not blobs.discard(key, older_than_seconds=100.0)
    assert blobs.exists(key)
    assert blobs.discard(key, older_than_seconds=-1.0)
    assert not blobs.exists(key)
    assert not blobs.discard(key, older_than_seconds=-1.0)
    assert list(blobs.iter()) == []
    assert blobs.exists(blobs.put_bytes(DATA).key)


def test_bytes_can_be_put(blobs: Blobs) -> None:
    blobs.check()
    blobs.sweep()
    assert list(blobs.iter()) == []


def test_the_same_content_twice_is_one_blob(local: LocalBlobs, tmp_path: Path) -> None:
    first = local.put_bytes(DATA)
    path = local.local_path(first.key)
    assert path is not None
    inode = path.stat().st_ino
    (tmp_path / "same").write_bytes(DATA)
    assert local.put_file(tmp_path / "same") == first
    assert path.stat().st_ino == inode
    assert len(everything(local)) == 1


def test_a_file_is_stored_under_the_key_asked_for(blobs: Blobs, tmp_path: Path) -> None:
    source = tmp_path / "step.pt"
    source.write_bytes(DATA)
    blob = blobs.put_file(source, key="jobs/job_1/3/step-00000120.pt")
    assert (blob.key, blob.sha256) == ("jobs/job_1/3/step-00000120.pt", SHA256)
    source.unlink()
    blobs.fetch(blob.key, tmp_path / "back" / "step.pt", SHA256)
    assert (tmp_path / "back" / "step.pt").read_bytes() == DATA


def test_other_content_under_the_same_key_replaces_it(blobs: Blobs) -> None:
    blobs.put_bytes(b"old", key="jobs/job_1/1/a")
    blobs.put_bytes(b"new", key="jobs/job_1/1/a")
    with blobs.open("jobs/job_1/1/a") as file:
        assert file.read() == b"new"


def test_a_blob_cut_short_by_a_broken_disk_is_put_again(local: LocalBlobs) -> None:
    blob = local.put_bytes(DATA)
    path = local.local_path(blob.key)
    assert path is not None
    path.write_bytes(DATA[:10])
    local.put_bytes(DATA)
    assert path.read_bytes() == DATA


def test_a_stream_leaves_nothing_unless_committed(blobs: Blobs) -> None:
    with blobs.staging() as staging:
        staging.write(DATA[:5000])
        assert staging.size == 5000
        assert list(blobs.iter()) == []
    assert everything(blobs) == []
    with pytest.raises(TypeError), blobs.staging() as staging:
        staging.write("the client went away")  # type: ignore[arg-type]
    assert everything(blobs) == []
    with blobs.staging() as staging:
        for start in range(0, len(DATA), 999):
            staging.write(DATA[start : start + 999])
        blob = staging.commit()
    assert (blob.sha256, blob.bytes) == (SHA256, len(DATA))
    assert list(blobs.iter()) == [blob.key]


def test_what_a_killed_process_was_receiving_is_removed_later(
    local: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = local.root / "staging" / ".tmp-left"
    left.write_bytes(DATA)
    with local.staging() as staging:
        staging.write(DATA)
        LocalBlobs(local.root)
        assert left.exists(), "it may be being written"
        monkeypatch.setattr(module, "STALE_SECONDS", -1.0)
        LocalBlobs(local.root)
        assert not left.exists()
        blob = staging.commit()
    assert local.exists(blob.key), "who still writes is left alone"


def test_a_crash_before_the_rename_leaves_no_blob(
    local: LocalBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(DATA)

    def crash(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        local.put_file(tmp_path / "a")
    assert not local.exists(content_key(SHA256))
    assert list(local.iter()) == []


def test_bytes_reach_the_disk_before_they_get_their_name(
    local: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        done.append("sync")
        fsync(descriptor)

    def noted_replace(path: Path, target: Path) -> Path:
        done.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    local.put_bytes(DATA)
    assert done[:2] == ["sync", "rename"]
    assert set(done[2:]) == {"sync"}, "then the directories"
    assert len(done) >= 5


def test_corrupt_bytes_are_not_handed_out(local: LocalBlobs, tmp_path: Path) -> None:
    blob = local.put_bytes(DATA)
    path = local.local_path(blob.key)
    assert path is not None
    path.write_bytes(DATA[:-1] + b"?")
    with pytest.raises(BlobCorrupt):
        local.fetch(blob.key, tmp_path / "out" / "x", SHA256)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_absent_is_said_to_be(blobs: Blobs, tmp_path: Path) -> None:
    key = content_key(SHA256)
    assert not blobs.exists(key)
    assert isinstance(blobs, LocalBlobs) or blobs.local_path(key) is None
    for look in (blobs.open, blobs.size, *([blobs.local_path] if isinstance(blobs, LocalBlobs) else [])):
        with pytest.raises(BlobNotFound):
            look(key)
    with pytest.raises(BlobNotFound):
        blobs.fetch(key, tmp_path / "x", SHA256)
    blobs.delete(key)


def test_deleting_and_listing_by_prefix(blobs: Blobs) -> None:
    for token in (1, 2):
        blobs.put_bytes(b"x", key=f"jobs/job_1/{token}/step-1.pt")
    blobs.put_bytes(DATA)
    assert list(blobs.iter("jobs/job_1/")) == ["jobs/job_1/1/step-1.pt", "jobs/job_1/2/step-1.pt"]
    blobs.delete("jobs/job_1/1/step-1.pt")
    assert list(blobs.iter("jobs/")) == ["jobs/job_1/2/step-1.pt"]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a//b",
        "a\\b",
        "a\0b",
        ".hidden",
        "a/.b",
        "staging/x",
        "condemned/x",
        "a/",
    ],
)
def test_a_key_that_leaves_the_root_is_refused(blobs: Blobs, key: str) -> None:
    with pytest.raises(ValueError, match="no blob key"):
        blobs.exists(key)


def test_a_full_disk_is_said_to_be_full_and_nothing_stays(
    local: LocalBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(DATA)

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(module, "_copy", full)
    with pytest.raises(StorageFull):
        local.put_file(tmp_path / "a")
    assert everything(local) == []


def test_another_volume_is_copied_from(
    local: LocalBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(DATA)

    def elsewhere(*args: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", elsewhere)
    with local.open(local.put_file(tmp_path / "a").key) as file:
        assert file.read() == DATA


@pytest.mark.embedded
def test_the_settings_say_where(settings: StoreSettings) -> None:
    blob = open_blobs(settings).put_bytes(b"x")
    assert (settings.data / "blobs" / blob.key).read_bytes() == b"x"
