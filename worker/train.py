"""The `train` job: dataset and checkpoint in, model and evaluation out."""

import json
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from detector.errors import DetectorError
from store import datasets, models
from store.errors import BlobCorrupt, BlobNotFound
from store.jobs import Claim
from store.models import NewArtifact, NewEvaluation, NewModel
from worker.failures import JobFailed
from worker.kinds import Ending, Kind, Workshop


class Train(Kind):
    """`python -m detector train`."""

    def prepare(self, shop: Workshop, claim: Claim, run: Path) -> list[str]:
        config = run / "config.json"
        config.write_text(json.dumps(claim.resolved_config or claim.spec.get("config", {})))
        data = self._dataset(shop, claim)
        return ["train", "--data", str(data), "--config", str(config), "--run", str(run)]

    def result(self, shop: Workshop, claim: Claim, run: Path) -> Ending:
        result: dict[str, Any] = json.loads((run / "result.json").read_bytes())
        artifacts = []
        for file in result["artifacts"]:
            blob = shop.blobs.put_file(run / "artifacts" / Path(file["path"]).name)
            if blob.sha256 != file["sha256"]:
                raise JobFailed("internal_error", f"{file['name']} is not what the trainer has written.")
            artifacts.append(
                NewArtifact(
                    name=file["name"],
                    media_type=file["media_type"],
                    blob=blob.key,
                    sha256=blob.sha256,
                    bytes=blob.bytes,
                )
            )
        model = NewModel(
            name=claim.spec.get("name") or f"{result['architecture']} {claim.job_id[-8:]}",
            architecture=result["architecture"],
            loss=result["loss"],
            classes=result["classes"],
            config=result["config"],
            metrics=result["metrics"],
            artifacts=artifacts,
            evaluation=NewEvaluation(
                split=result["split"], metrics=result["metrics"], per_class=result["per_class"]
            ),
        )

        def finish(session: Session) -> list[tuple[str, str]]:
            models.finish_training(session, claim, model=model, status_reason=result.get("reason"))
            return []

        return finish

    def _dataset(self, shop: Workshop, claim: Claim) -> Path:
        if claim.dataset_id is None:
            raise JobFailed("internal_error", "The job names no dataset.")
        with shop.database.read() as session:
            dataset = datasets.get(session, claim.project_id, claim.dataset_id)
        if dataset.index is None:
            raise JobFailed("dataset_invalid", "The dataset has not been validated.")
        try:
            return shop.cache.fetch(dataset.archive, dataset.archive_sha256, dataset.index)
        except DetectorError as error:
            raise JobFailed(error.code, error.message, error.hint) from error
        except (BlobNotFound, BlobCorrupt) as error:
            raise JobFailed(
                "dataset_invalid", f"The stored dataset cannot be read: {error}", "Upload the dataset again."
            ) from error
