"""What a model has found on an image, and the picture of it."""

# Written by `make client` from asynchronous/predictions.py.

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harmonicdet.client.detections import Detections
from harmonicdet.client.synchronous.backend import Pictured, blocking

if TYPE_CHECKING:
    from harmonicdet.client.synchronous.transport import Transport


class Prediction(Pictured, Detections):
    """Detections, best first, and the image with them drawn."""

    def __init__(self, raw: Mapping[str, Any], ask: "Asked") -> None:
        super().__init__(raw)
        self._ask = ask

    def picture(self, kind: Literal["png", "jpeg"] = "png") -> bytes:
        """The upright image with the detections drawn, by the service."""
        return self._ask.picture(kind)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the picture; a name that ends in .jpg or .jpeg makes a JPEG, any other a PNG."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        picture = self.picture("jpeg" if target.suffix.lower() in (".jpg", ".jpeg") else "png")
        blocking(target.write_bytes, picture)
        return target


class Asked:
    """A question to a model, which may be asked again for a picture."""

    def __init__(self, transport: "Transport", model_id: str, image: bytes, query: dict[str, Any]) -> None:
        self._transport = transport
        self._path = {"model_id": model_id}
        self._image = image
        self._query = query

    def answer(self) -> Prediction:
        """The detections."""
        answer = self._asked("application/json")
        return Prediction(answer.json(), self)

    def picture(self, kind: str) -> bytes:
        """The picture."""
        answer = self._asked(f"image/{kind}")
        content: bytes = answer.content
        return content

    def _asked(self, accept: str) -> Any:
        headers = {"Accept": accept, "Content-Type": "application/octet-stream"}
        return self._transport.ask(
            "predict", self._path, query=self._query, headers=headers, content=self._image
        )
