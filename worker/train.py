"""The `train` job: dataset and checkpoint in, model and evaluation out."""

import json
import logging
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from store import models
from store.errors import ArtifactNotFound, BlobCorrupt, BlobNotFound, ModelNotFound, StoreError
from store.jobs import Claim
from store.models import NewArtifact, NewEvaluation, NewModel
from worker import curves, tracking
from worker.failures import JobFailed
from worker.files import dataset_folder, shipped
from worker.kinds import Ending, Kind, Workshop

log = logging.getLogger(__name__)


class Train(Kind):
    """`python -m detector train`."""

    def prepare(self, shop: Workshop, claim: Claim, run: Path) -> list[str]:
        config = run / "config.json"
        config.write_text(json.dumps(claim.resolved_config or claim.spec.get("config", {})))
        data = dataset_folder(shop, claim)
        initial = self._initial_weights(shop, claim, run)
        return ["train", "--data", str(data), "--config", str(config), "--run", str(run), *initial]

    def result(self, shop: Workshop, claim: Claim, run: Path) -> Ending:
        result: dict[str, Any] = json.loads((run / "result.json").read_bytes())
        model = NewModel(
            name=claim.spec.get("name") or f"{result['architecture']} {claim.job_id[-8:]}",
            architecture=result["architecture"],
            loss=result["loss"],
            classes=result["classes"],
            config=result["config"],
            metrics=result["metrics"],
            artifacts=[*shipped(shop, run, result), *_curves(shop, claim, run)],
            evaluation=NewEvaluation(
                split=result["split"], metrics=result["metrics"], per_class=result["per_class"]
            ),
        )

        def finish(session: Session) -> list[tuple[str, str]]:
            models.finish_training(session, claim, model=model, status_reason=result.get("reason"))
            return []

        return finish

    def succeeded(self, shop: Workshop, claim: Claim) -> None:
        if shop.settings.mlflow_tracking_uri is not None:
            config = claim.resolved_config or claim.spec.get("config", {})
            try:
                tracking.tell(
                    shop.settings, claim, config, curves.stored(shop.database, claim.project_id, claim.job_id)
                )
            except (StoreError, SQLAlchemyError) as error:
                log.warning("MLflow was not told of %s: %s", claim.job_id, type(error).__name__)

    def _initial_weights(self, shop: Workshop, claim: Claim, run: Path) -> list[str]:
        """The weights of the model to start from, and what they are of, in the run directory; a checkpoint
        needs them no more."""
        architecture = (claim.resolved_config or {}).get("architecture", {})
        asked = architecture.get("initial_weights") if isinstance(architecture, dict) else None
        if not isinstance(asked, dict) or claim.checkpoint_key is not None:
            return []
        folder = run / "initial"
        hint = "Start the training anew from another model."
        try:
            with shop.database.read() as session:
                model = models.get(session, claim.project_id, asked["model"])
                weights = models.artifact(session, claim.project_id, model.id, models.WEIGHTS)
            shop.blobs.fetch(weights.blob, folder / models.WEIGHTS, asked["sha256"])
        except (ModelNotFound, ArtifactNotFound, BlobNotFound, BlobCorrupt) as error:
            raise JobFailed(
                "weights_unavailable", f"The weights of {asked['model']} cannot be had: {error}", hint
            ) from error
        card = {"architecture": model.architecture, "classes": model.classes, "config": model.config}
        (folder / "model.json").write_text(json.dumps(card))
        return ["--initial-weights", str(folder)]


def _curves(shop: Workshop, claim: Claim, run: Path) -> list[NewArtifact]:
    """The events for TensorBoard, if the training has told numbers. A model is worth more than they are."""
    try:
        rows = curves.stored(shop.database, claim.project_id, claim.job_id)
        return [curves.artifact(rows, shop.blobs, run)] if rows else []
    except (StoreError, SQLAlchemyError, OSError) as error:
        log.warning("%s: no events for TensorBoard: %s", claim.job_id, error)
        return []
