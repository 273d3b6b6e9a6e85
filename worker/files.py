"""What kinds of jobs have in common: a dataset to work on, and files that a run leaves."""

from pathlib import Path
from typing import Any

from detector.errors import DetectorError
from store import datasets
from store.errors import BlobCorrupt, BlobNotFound
from store.jobs import Claim
from store.models import NewArtifact
from store.tables import Dataset
from worker.failures import JobFailed
from worker.kinds import Workshop

_UPLOAD_AGAIN = "Upload the dataset again."


def dataset_of(shop: Workshop, claim: Claim) -> Dataset:
    """The dataset of the job, which has been validated. Raises JobFailed."""
    if claim.dataset_id is None:
        raise JobFailed("internal_error", "The job names no dataset.")
    with shop.database.read() as session:
        dataset = datasets.get(session, claim.project_id, claim.dataset_id)
    if dataset.index is None:
        raise JobFailed("dataset_invalid", "The dataset has not been validated.")
    return dataset


def dataset_folder(shop: Workshop, claim: Claim) -> Path:
    """The unpacked dataset of the job. Raises JobFailed."""
    dataset = dataset_of(shop, claim)
    try:
        return shop.cache.fetch(dataset.archive, dataset.archive_sha256, str(dataset.index))
    except DetectorError as error:
        raise JobFailed(error.code, error.message, error.hint) from error
    except (BlobNotFound, BlobCorrupt) as error:
        raise JobFailed(
            "dataset_invalid", f"The stored dataset cannot be read: {error}", _UPLOAD_AGAIN
        ) from error


def dataset_index(shop: Workshop, claim: Claim, destination: Path) -> None:
    """The index of the job's dataset, without its images. Raises JobFailed."""
    dataset = dataset_of(shop, claim)
    try:
        with shop.blobs.open(str(dataset.index)) as file:
            destination.write_bytes(file.read())
    except (BlobNotFound, BlobCorrupt) as error:
        raise JobFailed(
            "dataset_invalid", f"The stored dataset cannot be read: {error}", _UPLOAD_AGAIN
        ) from error


def shipped(shop: Workshop, run: Path, result: dict[str, Any]) -> list[NewArtifact]:
    """The files that `result.json` lists, in the blobs. Raises JobFailed when one is not what it says."""
    files = []
    for file in result["artifacts"]:
        blob = shop.blobs.put_file(run / "artifacts" / Path(file["path"]).name)
        if blob.sha256 != file["sha256"]:
            raise JobFailed("internal_error", f"{file['name']} is not what the detector has written.")
        files.append(
            NewArtifact(
                name=file["name"],
                media_type=file["media_type"],
                blob=blob.key,
                sha256=blob.sha256,
                bytes=blob.bytes,
            )
        )
    return files
