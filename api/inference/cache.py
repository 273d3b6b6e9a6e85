"""Models in memory: loaded once however many ask, off the event loop; the one used longest ago makes room."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from detector.runtime import OnnxDetector

ModelT = TypeVar("ModelT", bound=Hashable)


@dataclass
class Tally:
    """What has happened since the start."""

    hits: int = 0
    misses: int = 0  # also of those that wait for the same load
    loads: int = 0
    evictions: int = 0


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to detect; `size` is that of its ONNX file in bytes."""

    detector: OnnxDetector
    size: int


class ModelCache(Generic[ModelT]):
    """Least-recently-used cache of at most `most` models of together at most `most_bytes`.

    What names a model to `load` names it here. One model is always kept, even when it is larger than
    `most_bytes`. Belongs to one event loop.
    """

    def __init__(self, load: Callable[[ModelT], LoadedModel], *, most: int, most_bytes: int) -> None:
        """`load(model)` runs in a thread of its own, so that a slow load holds up no prediction."""
        self._load = load
        self._most = most
        self._most_bytes = most_bytes
        self._loaded: OrderedDict[ModelT, LoadedModel] = OrderedDict()
        self._loading: dict[ModelT, asyncio.Task[LoadedModel]] = {}
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="model-load")
        self.tally = Tally()

    async def get(self, model: ModelT) -> OnnxDetector:
        """The model, loaded first if need be. Raises what `load` raises; the next call then tries again."""
        found = self._loaded.get(model)
        if found is not None:
            self._loaded.move_to_end(model)
            self.tally.hits += 1
            return found.detector
        self.tally.misses += 1
        task = self._loading.get(model)
        if task is None:
            task = asyncio.create_task(self._fetch(model))
            self._loading[model] = task
            task.add_done_callback(lambda done: self._arrived(model, done))
        # One waiter's cancellation must not end the load for the others.
        return (await asyncio.shield(task)).detector

    @property
    def count(self) -> int:
        """Models that are loaded."""
        return len(self._loaded)

    @property
    def bytes(self) -> int:
        """Of their files together."""
        return sum(one.size for one in list(self._loaded.values()))

    def forget(self, model: ModelT) -> None:
        """Drop a model that was deleted."""
        self._loaded.pop(model, None)

    def close(self) -> None:
        """Let go of every model and of the loading thread."""
        self._loader.shutdown(wait=True, cancel_futures=True)
        self._loaded.clear()

    async def _fetch(self, model: ModelT) -> LoadedModel:
        return await asyncio.get_running_loop().run_in_executor(self._loader, self._load, model)

    def _arrived(self, model: ModelT, task: asyncio.Task[LoadedModel]) -> None:
        del self._loading[model]
        if task.cancelled() or task.exception() is not None:
            return
        self._loaded[model] = task.result()
        self.tally.loads += 1
        while len(self._loaded) > 1 and (len(self._loaded) > self._most or self.bytes > self._most_bytes):
            self._loaded.popitem(last=False)
            self.tally.evictions += 1
