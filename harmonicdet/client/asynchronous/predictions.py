"""What a model has found on an image, and the picture of it."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harmonicdet.client.asynchronous.backend import Pictured, blocking
from harmonicdet.client.detections import Detections

if TYPE_CHECKING:
    from harmonicdet.client.asynchronous.transport import AsyncTransport


class AsyncPrediction(Pictured, Detections):
    """Detections, best first, and the image with them drawn."""

    def __init__(self, raw: Mapping[str, Any], ask: "AsyncAsked") -> None:
        super().__init__(raw)
        self._ask = ask

    async def picture(self, kind: Literal["png", "jpeg"] = "png") -> bytes:
        """The upright image with the detections drawn, by the service."""
        return await self._ask.picture(kind)

    async def save(self, path: str | PathLike[str]) -> Path:
        """Write the picture; a name that ends in .jpg or .jpeg makes a JPEG, any other a PNG."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        picture = await self.picture("jpeg" if target.suffix.lower() in (".jpg", ".jpeg") else "png")
        await blocking(target.write_bytes, picture)
        return target


class AsyncAsked:
    """A question to a model, which may be asked again for a picture."""

    def __init__(
        self, transport: "AsyncTransport", model_id: str, image: bytes, query: dict[str, Any]
    ) -> None:
        self._transport = transport
        self._path = {"model_id": model_id}
        self._image = image
        self._query = query

    async def answer(self) -> AsyncPrediction:
        """The detections."""
        answer = await self._asked("application/json")
        return AsyncPrediction(answer.json(), self)

    async def picture(self, kind: str) -> bytes:
        """The picture."""
        answer = await self._asked(f"image/{kind}")
        content: bytes = answer.content
        return content

    async def _asked(self, accept: str) -> Any:
        headers = {"Accept": accept, "Content-Type": "application/octet-stream"}
        return await self._transport.ask(
            "predict", self._path, query=self._query, headers=headers, content=self._image
        )
