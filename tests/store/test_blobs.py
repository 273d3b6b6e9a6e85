"""Blobs: there whole or not at all, under keys of ours, verified when fetched."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from store import blobs as module
from store.blobs import LocalBlobs, content_key, open_blobs
from store.errors import BlobCorrupt, BlobNotFound, StorageFull
from store.settings import StoreSettings

DATA = b"detections" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "blobs")


def everything(blobs: LocalBlobs) -> list[Path]:
    """Every file, temporary ones included."""
    return [path for path in blobs.root.rglob("*") if path.is_file()]


def test_bytes_are_known_by_their_content(blobs: LocalBlobs) -> None:
    blob = blobs.put_bytes(DATA)
    assert (blob.key, blob.sha256, blob.bytes) == (content_key(SHA256), SHA256, len(DATA))
    assert blob.key == f"sha256/{SHA256[:2]}/{SHA256}"
    with blobs.open(blob.key) as file:
        assert file.read() == DATA
    assert blobs.size(blob.key) == len(DATA)
    assert everything(blobs) == [blobs.local_path(blob.key)]


def test_the_same_content_twice_is_one_blob(blobs: LocalBlobs, tmp_path: Path) -> None:
    first = blobs.put_bytes(DATA)
    path = blobs.local_path(first.key)
    assert path is not None
    inode = path.stat().st_ino
    (tmp_path / "same").write_bytes(DATA)
    assert blobs.put_file(tmp_path / "same") == first
    assert path.stat().st_ino == inode
    assert len(everything(blobs)) == 1


def test_a_file_is_stored_under_the_key_asked_for(blobs: LocalBlobs, tmp_path: Path) -> None:
    source = tmp_path / "step.pt"
    source.write_bytes(DATA)
    blob = blobs.put_file(source, key="jobs/job_1/3/step-00000120.pt")
    assert (blob.key, blob.sha256) == ("jobs/job_1/3/step-00000120.pt", SHA256)
    source.unlink()
    blobs.fetch(blob.key, tmp_path / "back" / "step.pt", SHA256)
    assert (tmp_path / "back" / "step.pt").read_bytes() == DATA


def test_other_content_under_the_same_key_replaces_it(blobs: LocalBlobs) -> None:
    blobs.put_bytes(b"old", key="jobs/job_1/1/a")
    blobs.put_bytes(b"new", key="jobs/job_1/1/a")
    with blobs.open("jobs/job_1/1/a") as file:
        assert file.read() == b"new"


def test_a_blob_cut_short_by_a_broken_disk_is_put_again(blobs: LocalBlobs) -> None:
    blob = blobs.put_bytes(DATA)
    path = blobs.local_path(blob.key)
    assert path is not None
    path.write_bytes(DATA[:10])
    blobs.put_bytes(DATA)
    assert path.read_bytes() == DATA


def test_a_stream_leaves_nothing_unless_committed(blobs: LocalBlobs) -> None:
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
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = blobs.root / "staging" / ".tmp-left"
    left.write_bytes(DATA)
    with blobs.staging() as staging:
        staging.write(DATA)
        LocalBlobs(blobs.root)
        assert left.exists(), "it may be being written"
        monkeypatch.setattr(module, "STALE_SECONDS", -1.0)
        LocalBlobs(blobs.root)
        assert not left.exists()
        blob = staging.commit()
    assert blobs.exists(blob.key), "who still writes is left alone"


def test_a_crash_before_the_rename_leaves_no_blob(
    blobs: LocalBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(DATA)

    def crash(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        blobs.put_file(tmp_path / "a")
    assert not blobs.exists(content_key(SHA256))
    assert list(blobs.iter()) == []


def test_bytes_reach_the_disk_before_they_get_their_name(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
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
    blobs.put_bytes(DATA)
    assert done[:2] == ["sync", "rename"]
    assert set(done[2:]) == {"sync"}, "then the directories"
    assert len(done) >= 5


def test_corrupt_bytes_are_not_handed_out(blobs: LocalBlobs, tmp_path: Path) -> None:
    blob = blobs.put_bytes(DATA)
    path = blobs.local_path(blob.key)
    assert path is not None
    path.write_bytes(DATA[:-1] + b"?")
    with pytest.raises(BlobCorrupt):
        blobs.fetch(blob.key, tmp_path / "out" / "x", SHA256)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_absent_is_said_to_be(blobs: LocalBlobs, tmp_path: Path) -> None:
    key = content_key(SHA256)
    assert not blobs.exists(key)
    for look in (blobs.open, blobs.local_path, blobs.size):
        with pytest.raises(BlobNotFound):
            look(key)
    with pytest.raises(BlobNotFound):
        blobs.fetch(key, tmp_path / "x", SHA256)
    blobs.delete(key)


def test_deleting_and_listing_by_prefix(blobs: LocalBlobs) -> None:
    for token in (1, 2):
        blobs.put_bytes(b"x", key=f"jobs/job_1/{token}/step-1.pt")
    blobs.put_bytes(DATA)
    assert list(blobs.iter("jobs/job_1/")) == ["jobs/job_1/1/step-1.pt", "jobs/job_1/2/step-1.pt"]
    blobs.delete("jobs/job_1/1/step-1.pt")
    assert list(blobs.iter("jobs/")) == ["jobs/job_1/2/step-1.pt"]


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a\\b", "a\0b", ".hidden", "a/.b", "staging/x", "a/"],
)
def test_a_key_that_leaves_the_root_is_refused(blobs: LocalBlobs, key: str) -> None:
    with pytest.raises(ValueError, match="no blob key"):
        blobs.exists(key)


def test_a_full_disk_is_said_to_be_full_and_nothing_stays(
    blobs: LocalBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(DATA)

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(module, "_copy", full)
    with pytest.raises(StorageFull):
        blobs.put_file(tmp_path / "a")
    assert everything(blobs) == []


def test_another_volume_is_copied_from(
    blobs: LocalBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(DATA)

    def elsewhere(*args: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", elsewhere)
    with blobs.open(blobs.put_file(tmp_path / "a").key) as file:
        assert file.read() == DATA


def test_the_settings_say_where(settings: StoreSettings) -> None:
    blob = open_blobs(settings).put_bytes(b"x")
    assert (settings.data / "blobs" / blob.key).read_bytes() == b"x"
