"""The `evaluate` job: a model, or detections that were uploaded, and a dataset in; every measure of it out.

A model is measured through the graph that is served, by ONNX Runtime, so that the numbers are those of what
answers predictions. It starts anew when its worker is lost: there are no checkpoints.
"""

import json
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from store import evaluations, models
from store.errors import BlobCorrupt, BlobNotFound, NotFound
from store.jobs import Claim
from worker.failures import JobFailed
from worker.files import dataset_folder, dataset_index, shipped
from worker.kinds import Ending, Kind, Workshop


class Evaluate(Kind):
    """`python -m detector evaluate`."""

    def prepare(self, shop: Workshop, claim: Claim, run: Path) -> list[str]:
        if claim.spec.get("model_id") is not None:
            model = self._model(shop, claim, run / "model")
            what = ["--model", str(model), "--data", str(dataset_folder(shop, claim))]
        else:
            index = run / "index.json"
            dataset_index(shop, claim, index)
            what = ["--index", str(index), "--detections", str(self._detections(shop, claim, run))]
        return ["evaluate", *what, "--split", claim.spec["split"], "--run", str(run), *_wishes(claim)]

    def result(self, shop: Workshop, claim: Claim, run: Path) -> Ending:
        result: dict[str, Any] = json.loads((run / "result.json").read_bytes())
        files = shipped(shop, run, result)

        def finish(session: Session) -> list[tuple[str, str]]:
            evaluations.finish(
                session, claim, metrics=result["metrics"], per_class=result["per_class"], files=files
            )
            return []

        return finish

    def _model(self, shop: Workshop, claim: Claim, folder: Path) -> Path:
        """Graph and card of the model, in the run directory."""
        folder.mkdir(exist_ok=True)
        try:
            for name in (models.GRAPH, "model.json"):
                with shop.database.read() as session:
                    row = models.artifact(session, claim.project_id, claim.spec["model_id"], name)
                shop.blobs.fetch(row.blob, folder / name, row.sha256)
        except (NotFound, BlobNotFound, BlobCorrupt) as error:
            raise JobFailed("model_invalid", f"The model cannot be had: {error}") from error
        return folder

    def _detections(self, shop: Workshop, claim: Claim, run: Path) -> Path:
        destination = run / evaluations.DETECTIONS
        try:
            with shop.database.read() as session:
                file = evaluations.given(session, claim)
            shop.blobs.fetch(file.blob, destination, file.sha256)
        except (NotFound, BlobNotFound, BlobCorrupt) as error:
            raise JobFailed(
                "results_invalid", f"The detections cannot be had: {error}", "Upload them again."
            ) from error
        return destination


def _wishes(claim: Claim) -> list[str]:
    """What is asked of the report, as arguments."""
    options: dict[str, Any] = claim.spec.get("options", {})
    wishes = [
        f"--{name.replace('_', '-')}={options[name]!r}"  # one word: a negative number is no option
        for name in ("score_threshold", "precision")
        if options.get(name) is not None
    ]
    return [*wishes, "--voc-inclusive"] if options.get("voc_inclusive") else wishes
