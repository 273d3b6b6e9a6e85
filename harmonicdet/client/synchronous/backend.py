"""What differs with and without `await`; `asynchronous.backend` has the same names."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")

Sleep = Callable[[float], None]

sleep: Sleep = time.sleep


def blocking(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call it: nothing else waits."""
    return function(*arguments, **options)


def each(function: Callable[[U], T], things: Iterable[U], *, at_once: int) -> Iterator[T]:
    """What the function says of each thing, in their order; it is asked of `at_once` things at a time."""
    begun: deque[Future[T]] = deque()
    with ThreadPoolExecutor(at_once) as pool:
        try:
            for thing in things:
                begun.append(pool.submit(function, thing))
                if len(begun) > 2 * at_once:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()


class Pictured:
    """A notebook shows the picture."""

    def picture(self, kind: Literal["png", "jpeg"] = "png") -> bytes:
        """The picture, as PNG or JPEG."""
        raise NotImplementedError

    def _repr_png_(self) -> bytes:
        return self.picture("png")
