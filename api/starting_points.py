"""Where a training starts when it starts from a model of this service."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from api.errors import invalid
from detector.config import TrainConfig
from detector.errors import InitialWeightsUnfit
from detector.origins import Origin, origin_of, resolve
from store import models
from store.errors import ArtifactNotFound

_POINTER = "architecture/initial_weights"


@dataclass(frozen=True)
class Start:
    """A config with all that its initial weights decide, and the model that these are of, if any."""

    config: TrainConfig
    model_id: str | None = None
    origin: Origin | None = None
    """What that model's weights are weights of."""


def find(session: Session, project_id: str, config: TrainConfig, pointer: str = "/config") -> Start:
    """The config, with the id and the hash of the model's weights in place of whatever names the model.

    `pointer` leads to it in the body.
    Raises `ModelNotFound`; `InitialWeightsUnfit` where nothing of the model fits; `Invalid` for no model.
    """
    asked = config.architecture.initial_weights
    if isinstance(asked, str):
        return Start(config)
    if asked.model is None:
        detail = "say which model: here is no command line to give a file"
        raise invalid(f"{pointer}/{_POINTER}/model", "missing", detail)
    model = models.resolve(session, project_id, asked.model)
    try:
        weights = models.artifact(session, project_id, model.id, models.WEIGHTS)
    except ArtifactNotFound as missing:
        raise InitialWeightsUnfit(f"The model {model.id} has no {models.WEIGHTS}.") from missing
    origin = origin_of(model.architecture, model.classes, model.config)
    resolved = resolve(config, origin, model=model.id, sha256=weights.sha256)
    return Start(resolved, model.id, origin)
