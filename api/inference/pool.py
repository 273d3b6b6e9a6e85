"""A bounded number of threads with a bounded queue: beyond it, an honest 503 is better than a long wait."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from api.errors import Overloaded

P = ParamSpec("P")
T = TypeVar("T")


class BoundedPool:
    """`threads` calls at a time, at most `limit` running or waiting. Belongs to one event loop."""

    def __init__(self, threads: int, limit: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="predict")
        self._limit = limit
        self._pending = 0

    @property
    def pending(self) -> int:
        """Calls that run or wait."""
        return self._pending

    def check(self) -> None:
        """Raise `Overloaded` when nothing more is taken at the moment: ask before reading a large body."""
        if self._pending >= self._limit:
            raise Overloaded("Too many images are waiting; try again soon.")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `function` in one of the threads. Raises `Overloaded`."""
        self.check()
        loop = asyncio.get_running_loop()
        self._pending += 1
        future = self._executor.submit(function, *args, **kwargs)

        def done(_: Future[T]) -> None:
            # Also when the waiter has gone: the thread counts until it is free.
            loop.call_soon_threadsafe(self._ended)

        future.add_done_callback(done)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Wait for what runs, drop what waits."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _ended(self) -> None:
        self._pending -= 1
