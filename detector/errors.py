"""Expected failures of the detector: they reach the user as written, with a code and a hint."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from detector.data.records import Finding


class DetectorError(Exception):
    """Something the user can act on. Subclasses name the code; the message is a sentence for the user."""

    code: ClassVar[str] = "detector_error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def as_dict(self) -> dict[str, str]:
        """`{code, message}` and, where there is one, `hint`: the data of the `error` event."""
        problem = {"code": self.code, "message": self.message}
        return problem | ({"hint": self.hint} if self.hint else {})


class ConfigInvalid(DetectorError):
    """The training config asks for something that does not exist or does not fit together."""

    code = "config_invalid"


class DatasetInvalid(DetectorError):
    """The dataset cannot be used as it is; its report says why."""

    code = "dataset_invalid"


class ImageInvalid(DetectorError):
    """The bytes are no image that can be read whole."""

    code = "image_invalid"


class ResultsInvalid(DetectorError):
    """The COCO files to evaluate do not fit together, or are no COCO files."""

    code = "results_invalid"

    def __init__(self, message: str, *, hint: str | None = None, findings: "Sequence[Finding]" = ()) -> None:
        super().__init__(message, hint=hint)
        self.findings = list(findings)


class ClassesDiffer(DetectorError):
    """The dataset has none of the model's classes."""

    code = "classes_differ"


class EvaluationTooLarge(DetectorError):
    """There is more to compare than an evaluation takes."""

    code = "evaluation_too_large"


class ComparisonInvalid(DetectorError):
    """The comparison, or a run that it names, cannot be used."""

    code = "comparison_invalid"


class SearchInvalid(DetectorError):
    """The search cannot be used, or none of its values makes a config."""

    code = "search_invalid"


class WeightsUnavailable(DetectorError):
    """The initial weights cannot be had, for example without a network."""

    code = "weights_unavailable"


class StorageFull(DetectorError):
    """There is no room left on the disk of the run directory."""

    code = "storage_full"


class WeightsInvalid(DetectorError):
    """The file holds no weights that can be read."""

    code = "weights_invalid"


class InitialWeightsUnfit(DetectorError):
    """The initial weights are of another network than the one to train."""

    code = "initial_weights_unfit"


class CheckpointCorrupt(DetectorError):
    """The checkpoint cannot be read, or is not of this training."""

    code = "checkpoint_corrupt"


class ModelInvalid(DetectorError):
    """The model's files cannot be used."""

    code = "model_invalid"


class NonFiniteLoss(DetectorError):
    """The loss became infinite or not a number."""

    code = "non_finite_loss"


class OutOfMemory(DetectorError):
    """The device has no memory left for this batch."""

    code = "out_of_memory"


class ExportMismatch(DetectorError):
    """The exported ONNX graph does not give what torch gives."""

    code = "export_mismatch"
