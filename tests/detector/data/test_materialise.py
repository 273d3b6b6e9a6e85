"""A dataset on local disk: whole or not at all."""

import threading
from pathlib import Path

import msgspec
import pytest

from detector.data.inspect import inspect
from detector.data.materialise import image_path, load, materialise
from detector.data.records import DatasetIndex
from detector.data.refusals import ArchiveRefused
from detector.errors import DatasetInvalid
from tests.detector.data.builders import coco_members, write_zip


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_zip(tmp_path / "a.zip", coco_members())


@pytest.fixture
def index(archive: Path) -> DatasetIndex:
    index, _ = inspect(archive)
    assert index is not None
    return index


def test_index_and_images_are_written_under_our_names(
    tmp_path: Path, archive: Path, index: DatasetIndex
) -> None:
    there = tmp_path / "cache" / "dataset"
    materialise(archive, index, there)
    assert load(there) == index
    assert sorted(path.name for path in (there / "images").iterdir()) == [
        f"0000000{n}.jpg" for n in range(1, 6)
    ]
    members = coco_members()
    for image in index.images:
        assert image_path(there, image).read_bytes() == members[image.file_name]


def test_nothing_else_is_left_behind(tmp_path: Path, archive: Path, index: DatasetIndex) -> None:
    materialise(archive, index, tmp_path / "cache" / "dataset")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["dataset"]


def test_a_whole_dataset_is_left_alone(tmp_path: Path, archive: Path, index: DatasetIndex) -> None:
    there = tmp_path / "dataset"
    materialise(archive, index, there)
    before = (there / "dataset.json").stat().st_mtime_ns
    archive.unlink()
    materialise(archive, index, there)
    assert (there / "dataset.json").stat().st_mtime_ns == before


def test_an_index_of_another_archive_leaves_nothing(
    tmp_path: Path, archive: Path, index: DatasetIndex
) -> None:
    other = msgspec.structs.replace(
        index, images=[*index.images, msgspec.structs.replace(index.images[0], file_name="x.jpg")]
    )
    with pytest.raises(DatasetInvalid, match=r"x\.jpg"):
        materialise(archive, other, tmp_path / "cache" / "dataset")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_broken_archive_leaves_nothing(tmp_path: Path, archive: Path, index: DatasetIndex) -> None:
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(ArchiveRefused):
        materialise(archive, index, tmp_path / "cache" / "dataset")
    assert list((tmp_path / "cache").iterdir()) == []


def test_several_at_once_make_one(tmp_path: Path, archive: Path, index: DatasetIndex) -> None:
    there = tmp_path / "cache" / "dataset"
    failures: list[BaseException] = []

    def work() -> None:
        try:
            materialise(archive, index, there)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert load(there) == index
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["dataset"]


@pytest.mark.parametrize("name", ["../../a.jpg", "/etc/passwd", "a.sh", "a.jpg\n", "a"])
def test_no_name_of_the_archive_becomes_a_path(tmp_path: Path, index: DatasetIndex, name: str) -> None:
    path = image_path(tmp_path, msgspec.structs.replace(index.images[0], id=7, file_name=name))
    assert path.parent == tmp_path / "images"
    assert path.name in ("00000007.jpg", "00000007.img")


def test_a_folder_without_a_dataset_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetInvalid, match="no dataset"):
        load(tmp_path)
    (tmp_path / "dataset.json").write_text('{"format": 3}')
    with pytest.raises(DatasetInvalid, match="no dataset index"):
        load(tmp_path)
