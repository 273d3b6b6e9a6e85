"""How often a key may ask: counted in a sliding window, told in headers, refused with 429."""

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping

from limits import RateLimitItem, parse

from api.errors import Refusal


class RateLimited(Refusal):
    """This key asks too often; wait as long as Retry-After says."""

    status = 429
    code = "rate_limited"


class Rates:
    """Counts requests by key, in this process and on its event loop only.

    The headers are those of the IETF draft "RateLimit header fields for HTTP": `RateLimit-Policy` says how
    many requests (q) in how many seconds (w), `RateLimit` how many are left (r) and in how many seconds there
    are more (t). `limits` reads the setting. Its counters in memory are not used: they start a timer's thread
    for nearly every request that comes 10 ms after another, more CPU than all of a poll.
    """

    def __init__(self, limit: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        """`limit` such as `600/minute`; None for none."""
        self._item: RateLimitItem | None = None if limit is None else parse(limit)
        self._clock = clock
        # By key, the times of its requests within the window; the key that asked longest ago comes first.
        self._asked: OrderedDict[str, deque[float]] = OrderedDict()

    def count(self, key: str) -> Mapping[str, str]:
        """Count one request of `key`; the headers that tell about it. Raises `RateLimited`."""
        item = self._item
        if item is None:
            return {}
        window = item.get_expiry()
        now = self._clock()
        self._forget(now - window)
        asked = self._asked.setdefault(key, deque())
        while asked and asked[0] <= now - window:
            asked.popleft()
        allowed = len(asked) < item.amount
        if allowed:
            asked.append(now)
            self._asked.move_to_end(key)
        seconds = max(1, math.ceil(asked[0] + window - now))
        told = {
            "RateLimit-Policy": f'"key";q={item.amount};w={window}',
            "RateLimit": f'"key";r={item.amount - len(asked)};t={seconds}',
        }
        if not allowed:
            refusal = RateLimited()
            refusal.headers |= told | {"Retry-After": str(seconds)}
            raise refusal
        return told

    def _forget(self, before: float) -> None:
        """Drop the keys that have not asked since."""
        while self._asked:
            key, asked = next(iter(self._asked.items()))
            if asked[-1] > before:
                return
            del self._asked[key]
