"""What differs with and without `await`; `synchronous.backend` has the same names."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")

Sleep = Callable[[float], Awaitable[None]]

sleep: Sleep = asyncio.sleep


async def blocking(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call what reads or writes files or computes for long, in a thread: the loop goes on meanwhile."""
    return await asyncio.to_thread(function, *arguments, **options)


async def each(
    function: Callable[[U], Awaitable[T]], things: Iterable[U], *, at_once: int
) -> AsyncIterator[T]:
    """What the function says of each thing, in their order; it is asked of `at_once` things at a time."""
    limit = asyncio.Semaphore(at_once)

    async def call(thing: U) -> T:
        async with limit:
            return await function(thing)

    begun: deque[asyncio.Task[T]] = deque()
    try:
        for thing in things:
            begun.append(asyncio.create_task(call(thing)))
            if len(begun) > 2 * at_once:
                yield await begun.popleft()
        while begun:
            yield await begun.popleft()
    finally:
        for task in begun:
            task.cancel()


class Pictured:
    """A notebook cannot await a picture: it shows the text."""
