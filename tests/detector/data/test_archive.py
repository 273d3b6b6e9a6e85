"""A zip that a stranger made is judged before it is unpacked."""

import os
import stat
import struct
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.data import refusals
from detector.data.archive import Limits, open_archive
from detector.data.refusals import ArchiveRefused
from tests.detector.data.builders import write_zip


def raw_zip(path: Path, *names: str | bytes) -> Path:
    """A zip with exactly these names, byte by byte: zipfile itself would tidy some of them."""
    placeholders = [letter * len(name) for letter, name in zip("QWZ", names, strict=False)]
    write_zip(path, dict.fromkeys(placeholders, b"x"))
    data = path.read_bytes()
    for placeholder, name in zip(placeholders, names, strict=True):
        data = data.replace(placeholder.encode(), name if isinstance(name, bytes) else name.encode())
    path.write_bytes(data)
    return path


def refused(path: Path, limits: Limits | None = None) -> ArchiveRefused:
    with pytest.raises(ArchiveRefused) as caught:
        open_archive(path, limits)
    return caught.value


def test_members_are_read_by_name(tmp_path: Path) -> None:
    with open_archive(write_zip(tmp_path / "a.zip", {"a/b.txt": b"hello", "a/c.txt": b""})) as archive:
        assert archive.members == ("a/b.txt", "a/c.txt")
        assert archive.read("a/b.txt") == b"hello"
        assert (archive.size("a/b.txt"), archive.read("a/c.txt")) == (5, b"")
        assert "a/b.txt" in archive
        assert "a/d.txt" not in archive
        with pytest.raises(refusals.MemberMissing):
            archive.read("a/d.txt")


def test_folders_and_what_macos_adds_are_not_members(tmp_path: Path) -> None:
    members = {"a/": b"", "a/b.txt": b"1", "__MACOSX/a/._b.txt": b"2", "a/.DS_Store": b"3", "a/._c.jpg": b"4"}
    with open_archive(write_zip(tmp_path / "a.zip", members)) as archive:
        assert archive.members == ("a/b.txt",)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("/etc/passwd", "archive_absolute_path"),
        ("//server/share", "archive_absolute_path"),
        ("a/../../b", "archive_path_traversal"),
        ("..", "archive_path_traversal"),
        ("a\\b.jpg", "archive_backslash"),
        ("C:/a.jpg", "archive_drive_letter"),
        ("c:a.jpg", "archive_drive_letter"),
        ("a\0.jpg", "archive_control_character"),
        ("a\n.jpg", "archive_control_character"),
        ("x" * 1001, "archive_name_too_long"),
    ],
)
def test_a_name_that_may_harm_is_refused_by_its_code(tmp_path: Path, name: str, code: str) -> None:
    refusal = refused(raw_zip(tmp_path / "a.zip", "fine.jpg", name))
    assert refusal.code == code
    assert refusal.member == name
    assert "\0" not in refusal.message


@pytest.mark.parametrize(
    "pair", [("a.jpg", "A.JPG"), ("caf\u00e9.jpg", "cafe\u0301.jpg"), ("stra\u00dfe", "STRASSE")]
)
def test_names_that_some_disk_would_mix_up_are_refused(tmp_path: Path, pair: tuple[str, str]) -> None:
    refusal = refused(write_zip(tmp_path / "a.zip", dict.fromkeys(pair, b"x")))
    assert (refusal.code, refusal.member) == ("archive_duplicate_name", pair[1])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.jpg", b"1")
        archive.writestr("a.jpg", b"2")
    assert refused(tmp_path / "a.zip").code == "archive_duplicate_name"


def test_a_file_that_is_also_a_folder_is_refused(tmp_path: Path) -> None:
    assert refused(write_zip(tmp_path / "a.zip", {"a": b"1", "A/": b""})).code == "archive_duplicate_name"


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert refused(tmp_path / "a.zip").code == "archive_symlink"


def patched(path: Path, offset: int, value: bytes) -> Path:
    """The zip with bytes of its one central directory entry changed."""
    data = bytearray(path.read_bytes())
    start = data.index(b"PK\x01\x02") + offset
    data[start : start + len(value)] = value
    path.write_bytes(data)
    return path


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = patched(write_zip(tmp_path / "a.zip", {"a": b"x"}), 8, struct.pack("<H", 1))
    assert refused(path).code == "archive_encrypted"


def test_a_method_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = patched(write_zip(tmp_path / "a.zip", {"a": b"x"}), 10, struct.pack("<H", 97))
    assert refused(path).code == "archive_compression_unknown"


def test_an_archive_in_the_archive_is_refused(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "inner", {"a": b"x"}).read_bytes()
    assert refused(write_zip(tmp_path / "a.zip", {"inner.ZIP": inner})).code == "archive_nested"
    hidden = write_zip(tmp_path / "b.zip", {"inner.jpg": inner})
    with open_archive(hidden) as archive, pytest.raises(refusals.NestedArchive):
        archive.read("inner.jpg")


def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    refusal = refused(write_zip(tmp_path / "a.zip", {"a.json": bytes(2_000_000)}))
    assert (refusal.code, refusal.member) == ("archive_ratio_too_high", "a.json")


def test_a_small_member_may_be_packed_tightly(tmp_path: Path) -> None:
    with open_archive(write_zip(tmp_path / "a.zip", {"a.json": bytes(900_000)})) as archive:
        assert len(archive.read("a.json")) == 900_000


def test_a_member_that_is_larger_than_it_says_is_refused_while_it_is_read(tmp_path: Path) -> None:
    path = patched(
        write_zip(tmp_path / "a.zip", {"a.json": bytes(2_000_000)}), 24, struct.pack("<I", 500_000)
    )
    with open_archive(path) as archive, pytest.raises(ArchiveRefused):
        archive.read("a.json")


def test_limits_on_count_and_bytes_hold(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a": os.urandom(600), "b": os.urandom(600)})
    assert refused(path, Limits(members=1)).code == "archive_too_many_members"
    assert refused(path, Limits(member_bytes=599)).code == "archive_member_too_large"
    assert refused(path, Limits(total_bytes=1000)).code == "archive_too_large"


def test_bytes_in_all_are_counted_as_read_and_once_per_member(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a": os.urandom(600), "b": os.urandom(600)})
    with open_archive(path, Limits(total_bytes=1300)) as archive:
        for _ in range(3):
            assert len(archive.read("a") + archive.read("b")) == 1200


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"PK\x03\x04" + bytes(100), b"Rar!\x1a\x07\x00" + bytes(100)]
)
def test_what_is_no_zip_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    assert refused(path).code == "archive_unreadable"


def test_a_truncated_zip_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a": os.urandom(500), "b": os.urandom(500)})
    path.write_bytes(path.read_bytes()[:-60])
    assert refused(path).code == "archive_unreadable"


def test_a_corrupt_member_is_found_when_it_is_read(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a": os.urandom(500)})
    data = bytearray(path.read_bytes())
    data[100] ^= 0xFF
    path.write_bytes(data)
    with open_archive(path) as archive, pytest.raises(refusals.MemberCorrupt) as caught:
        archive.read("a")
    assert caught.value.member == "a"


def test_an_archive_without_files_is_refused(tmp_path: Path) -> None:
    assert refused(write_zip(tmp_path / "a.zip", {})).code == "archive_empty"
    assert refused(write_zip(tmp_path / "b.zip", {"a/": b"", ".DS_Store": b"x"})).code == "archive_empty"


def test_the_other_reasons_are_told_too(tmp_path: Path) -> None:
    refusal = refused(raw_zip(tmp_path / "a.zip", "/a", "b\\c", "../d"))
    assert [refusal.code, *(other.code for other in refusal.also)] == [
        "archive_absolute_path",
        "archive_backslash",
        "archive_path_traversal",
    ]


def test_every_reason_has_its_own_code() -> None:
    codes = [kind.code for kind in ArchiveRefused.__subclasses__()]
    assert len(set(codes)) == len(codes) == 19
    assert all(code.startswith("archive_") for code in codes)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_only_archive_refused_comes_out_of_a_damaged_zip(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "a.zip"
    whole = write_zip(path, {"a.json": b"{}" * 50, "b/caf\u00e9.jpg": bytes(range(256))}).read_bytes()
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(
        damaged[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else damaged
    )
    with suppress(ArchiveRefused), open_archive(path) as archive:
        for name in archive.members:
            archive.read(name)
