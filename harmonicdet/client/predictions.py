"""What a model has found on an image, as numbers and as a picture."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harmonicdet.client.errors import MissingPackage
from harmonicdet.client.shapes import PredictionView

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harmonicdet.client.transport import Transport


class Prediction(PredictionView):
    """Detections, best first; in a notebook the image with them drawn."""

    def __init__(self, raw: Mapping[str, Any], ask: "Asked") -> None:
        super().__init__(raw)
        self._ask = ask

    def __len__(self) -> int:
        return len(self.detections)

    def __repr__(self) -> str:
        found = ", ".join(f"{one.class_name} {one.score:.2f}" for one in self.detections[:3])
        return f"Prediction({len(self)} detections{': ' if found else ''}{found}{', …' * (len(self) > 3)})"

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

    def picture(self, kind: Literal["png", "jpeg"] = "png") -> bytes:
        """The upright image with the detections drawn, by the service."""
        return self._ask.picture(kind)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the picture; a name that ends in .jpg or .jpeg makes a JPEG, any other a PNG."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.picture("jpeg" if target.suffix.lower() in (".jpg", ".jpeg") else "png"))
        return target

    def _repr_png_(self) -> bytes:
        return self.picture("png")


class Asked:
    """A question to a model, which may be asked again for a picture."""

    def __init__(self, transport: "Transport", model_id: str, image: bytes, query: dict[str, Any]) -> None:
        self._transport = transport
        self._path = {"model_id": model_id}
        self._image = image
        self._query = query

    def answer(self) -> Prediction:
        """The detections."""
        return Prediction(self._asked("application/json").json(), self)

    def picture(self, kind: str) -> bytes:
        """The picture."""
        content: bytes = self._asked(f"image/{kind}").content
        return content

    def _asked(self, accept: str) -> Any:
        headers = {"Accept": accept, "Content-Type": "application/octet-stream"}
        return self._transport.ask(
            "predict", self._path, query=self._query, headers=headers, content=self._image
        )


def _array(values: list[Any], kind: str) -> Any:
    try:
        import numpy
    except ImportError:
        raise MissingPackage(
            "Arrays need NumPy: pip install harmonicdet[arrays]; `detections` has the same without it"
        ) from None
    return numpy.asarray(values, kind)
