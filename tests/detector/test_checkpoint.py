import hashlib
from pathlib import Path

import pytest
import torch

from detector import checkpoint
from detector.errors import CheckpointCorrupt

STATE = {"weights": torch.arange(1000.0), "step": 7, "nested": {"names": ["a", "b"], "none": None}}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    written = checkpoint.save(tmp_path, 7, STATE)
    assert written.path == tmp_path / "step-00000007.pt"
    state = checkpoint.load(written.path)
    assert torch.equal(state["weights"], torch.arange(1000.0))
    assert state["nested"] == {"names": ["a", "b"], "none": None}


def test_size_and_hash_are_those_of_the_file(tmp_path: Path) -> None:
    written = checkpoint.save(tmp_path, 7, STATE)
    data = written.path.read_bytes()
    assert written.bytes == len(data)
    assert written.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("position", [0.0, 0.3, 0.6, 0.9, 0.999])
def test_one_changed_byte_is_found_wherever_it_is(tmp_path: Path, position: float) -> None:
    path = checkpoint.save(tmp_path, 7, STATE).path
    data = bytearray(path.read_bytes())
    data[int(position * len(data))] ^= 0x01
    path.write_bytes(data)
    with pytest.raises(CheckpointCorrupt):
        checkpoint.load(path)


@pytest.mark.parametrize("kept", [0, 10, 500, -1])
def test_a_truncated_file_is_found(tmp_path: Path, kept: int) -> None:
    path = checkpoint.save(tmp_path, 7, STATE).path
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointCorrupt):
        checkpoint.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointCorrupt, match=r"step-00000001\.pt"):
        checkpoint.load(tmp_path / "step-00000001.pt")


def test_a_file_of_torch_alone_is_refused(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "other.pt")
    with pytest.raises(CheckpointCorrupt, match="no whole checkpoint"):
        checkpoint.load(tmp_path / "other.pt")


def test_the_last_two_stay_on_disk_and_no_temporary_file(tmp_path: Path) -> None:
    for step in (1, 2, 10, 9, 100_000_000):
        checkpoint.save(tmp_path, step, STATE)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["step-00000010.pt", "step-100000000.pt"]
    assert [path.name for path in checkpoint.paths(tmp_path)] == names


def test_saving_the_same_step_again_replaces_it(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 3, {"step": 1})
    written = checkpoint.save(tmp_path, 3, {"step": 2})
    assert checkpoint.load(written.path)["step"] == 2
