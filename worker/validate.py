"""The `validate` job: an archive in, a dataset that is ready or invalid out."""

import json
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from detector.data import index_file
from detector.data.records import Report
from store import datasets
from store.errors import BlobCorrupt, BlobNotFound
from store.jobs import Claim
from worker.failures import JobFailed, log_tail, problem
from worker.kinds import Ending, Kind, Workshop


class Validate(Kind):
    """`python -m detector inspect`."""

    def prepare(self, shop: Workshop, claim: Claim, run: Path) -> list[str]:
        with shop.database.read() as session:
            dataset = datasets.get(session, claim.project_id, claim.spec["dataset_id"])
        archive = shop.blobs.local_path(dataset.archive)
        if archive is None:
            archive = run / "archive.zip"
            try:
                shop.blobs.fetch(dataset.archive, archive, dataset.archive_sha256)
            except (BlobNotFound, BlobCorrupt) as error:
                raise JobFailed("dataset_invalid", f"The archive cannot be read back: {error}") from error
        options = run / "options.json"
        options.write_text(json.dumps(dataset.options))
        return ["inspect", "--archive", str(archive), "--run", str(run), "--options", str(options)]

    def result(self, shop: Workshop, claim: Claim, run: Path) -> Ending:
        report = msgspec.json.decode((run / "artifacts" / "report.json").read_bytes(), type=Report)
        findings = [msgspec.to_builtins(finding) for finding in report.findings]
        if not report.valid or report.format is None:
            rejected = next((f for f in report.findings if f.action == "rejected"), None)
            failure = JobFailed(
                "dataset_invalid",
                f"{rejected.location}: {rejected.message}" if rejected else "The dataset cannot be used.",
                "The report lists every finding.",
            )
            return _invalid(claim, report.format, report.summary, findings, failure, run)
        file = run / "artifacts" / "index.json"
        index = index_file.decode(file.read_bytes(), masks=False)
        blob = shop.blobs.put_file(file)
        images = [
            {
                "file_name": image.file_name,
                "split": image.split,
                "width": image.width,
                "height": image.height,
                "boxes": len(image.annotations),
            }
            for image in index.images
        ]

        def finish(session: Session) -> list[tuple[str, str]]:
            return datasets.mark_ready(
                session,
                claim,
                index=blob.key,
                format=index.format,
                summary=report.summary,
                images=images,
                findings=findings,
            )

        return finish

    def failure(self, shop: Workshop, claim: Claim, run: Path, failure: JobFailed) -> Ending | None:
        if failure.code == "internal_error":
            return None  # our fault, not the dataset's
        finding = {
            "severity": "error",
            "code": failure.code,
            "location": "",
            "message": failure.detail,
            "action": "rejected",
        }
        return _invalid(claim, None, None, [finding], failure, run)


def _invalid(
    claim: Claim,
    format_: str | None,
    summary: dict[str, Any] | None,
    findings: list[dict[str, Any]],
    failure: JobFailed,
    run: Path,
) -> Ending:
    error = problem(failure, log_tail(run / "log.txt"))

    def finish(session: Session) -> list[tuple[str, str]]:
        datasets.mark_invalid(session, claim, format=format_, summary=summary, findings=findings, error=error)
        return []

    return finish
