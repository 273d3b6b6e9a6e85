"""What a training leaves behind: the files of `artifacts/` and `result.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from detector.config import TrainConfig
from detector.data.loading import EvaluationSet
from detector.data.records import Category
from detector.errors import ModelInvalid
from detector.evaluate.coco import CocoMetrics
from detector.export import Parity, check_parity, export
from detector.files import described, write_json
from detector.models import Detector, build
from detector.runtime import ModelCard, ModelClass, OnnxDetector, OperatingPoint

WEIGHTS, GRAPH, CARD = "model.safetensors", "model.onnx", "model.json"
DETECTIONS, GROUND_TRUTH = "detections.json", "ground_truth.json"
REPORT, IMAGES, MANIFEST = "report.json", "images.jsonl", "manifest.json"

_MEDIA_TYPES = {
    WEIGHTS: "application/octet-stream",
    GRAPH: "application/octet-stream",
    CARD: "application/json",
    DETECTIONS: "application/json",
    GROUND_TRUTH: "application/json",
    REPORT: "application/json",
    IMAGES: "application/jsonl",
    MANIFEST: "application/json",
}


@dataclass(frozen=True)
class Outcome:
    """How a training ended: steps and epochs done, and why it ended before its time, if it did."""

    split: str
    measured: CocoMetrics
    steps: int
    epochs: int
    best_epoch: int
    reason: str | None = None
    initial_weights: dict[str, Any] | None = None  # what was kept of them; None for random ones


def card_of(config: TrainConfig, detector: Detector, categories: Sequence[Category]) -> ModelCard:
    """The card of a model that has not been measured."""
    return ModelCard(
        architecture=config.architecture.kind,
        loss=config.loss.kind,
        input=detector.input_spec,
        masks=detector.has_masks,
        classes=[ModelClass(id=c.id, name=c.name) for c in categories],
        config=config.model_dump(mode="json"),
    )


def operating_points(report: Mapping[str, Any]) -> dict[str, OperatingPoint]:
    """Those of a report for the model's card."""
    points = report["operating_points"]
    return {
        name: OperatingPoint(
            overall=_threshold(points[kind]["all"]),
            per_class={int(one["class_id"]): _threshold(one) for one in points[kind]["per_class"]},
        )
        for name, kind in (("max_f1", "best_f1"), ("precision", "precision"))
    }


def _threshold(point: Mapping[str, Any]) -> float | None:
    return None if point["chosen"] is None else float(point["chosen"]["threshold"])


def write_model(folder: Path, detector: Detector, card: ModelCard, parity_images: EvaluationSet) -> Parity:
    """Writes weights, graph and card. Raises ExportMismatch when the graph is not the network."""
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(folder / WEIGHTS, detector)
    export(detector, folder / GRAPH)
    write_json(folder / CARD, card.model_dump(mode="json"))
    return check_parity(detector, OnnxDetector(folder / GRAPH, card), parity_images)


def write_result(run: Path, config: TrainConfig, card: ModelCard, outcome: Outcome, parity: Parity) -> None:
    """Writes `result.json`, the last file of a run, over the artifacts that are there."""
    write_json(
        run / "result.json",
        {
            "architecture": card.architecture,
            "loss": card.loss,
            "classes": [c.model_dump() for c in card.classes],
            "config": config.model_dump(mode="json"),
            "split": outcome.split,
            "metrics": outcome.measured.metrics,
            "per_class": [asdict(one) for one in outcome.measured.per_class],
            "score_threshold": card.score_threshold,
            "steps": outcome.steps,
            "epochs": outcome.epochs,
            "best_epoch": outcome.best_epoch,
            "reason": outcome.reason,
            "initial_weights": outcome.initial_weights,
            "parity": parity.as_dict(),
            "artifacts": [
                described(run / "artifacts" / name, media_type)
                for name, media_type in _MEDIA_TYPES.items()
                if (run / "artifacts" / name).exists()
            ],
        },
    )


def save_weights(path: Path, model: nn.Module) -> None:
    """All tensors of the model as safetensors; equal weights give equal bytes."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(state, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors makes it readable to its owner only


def load_model(folder: Path) -> tuple[Detector, ModelCard]:
    """The network of an artifacts folder, in torch, in evaluation mode. Raises ModelInvalid."""
    card = read_card(folder)
    if card.config is None:
        raise ModelInvalid("model.json has no training config, so torch cannot build the network.")
    config = TrainConfig.model_validate(card.config)
    detector = build(config.architecture, config.loss, len(card.classes))
    try:
        detector.load_state_dict(load_file(folder / WEIGHTS))
    except Exception as error:  # safetensors and torch raise several types
        raise ModelInvalid(f"{folder / WEIGHTS} does not fit the network: {error}") from error
    return detector.eval(), card


def read_card(folder: Path) -> ModelCard:
    """`model.json` of an artifacts folder. Raises ModelInvalid."""
    try:
        return ModelCard.model_validate_json((folder / CARD).read_bytes())
    except (OSError, ValueError) as error:
        raise ModelInvalid(f"{folder / CARD} cannot be read: {error}") from error
