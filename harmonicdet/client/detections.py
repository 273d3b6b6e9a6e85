"""What a model has found on an image, as numbers."""

from typing import TYPE_CHECKING, Any

from harmonicdet.client.errors import MissingPackage
from harmonicdet.client.shapes import PredictionView

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Detections(PredictionView):
    """Detections, best first."""

    def __len__(self) -> int:
        return len(self.detections)

    def __repr__(self) -> str:
        found = ", ".join(f"{one.class_name} {one.score:.2f}" for one in self.detections[:3])
        told = f"{len(self)} detections{': ' if found else ''}{found}{', …' * (len(self) > 3)}"
        return f"{type(self).__name__}({told})"

    @property
    def boxes(self) -> "NDArray[np.float32]":
        """(N, 4) in pixels of the upright image, as `box_format` says."""
        found: NDArray[np.float32] = _array([one.box for one in self.detections], "float32").reshape(-1, 4)
        return found

    @property
    def scores(self) -> "NDArray[np.float32]":
        """(N,), 0 to 1, falling."""
        found: NDArray[np.float32] = _array([one.score for one in self.detections], "float32")
        return found

    @property
    def class_ids(self) -> "NDArray[np.int64]":
        """(N,), the dataset's own ids."""
        found: NDArray[np.int64] = _array([one.class_id for one in self.detections], "int64")
        return found


def _array(values: list[Any], kind: str) -> Any:
    try:
        import numpy
    except ImportError:
        raise MissingPackage(
            "Arrays need NumPy: pip install harmonicdet[arrays]; `detections` has the same without it"
        ) from None
    return numpy.asarray(values, kind)
