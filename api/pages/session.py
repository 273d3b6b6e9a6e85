"""A browser that has shown a key once: a signed cookie in the key's stead.

The cookie names the key by its visible prefix and says until when it is good; the signature is made under the
server's own secret, of both and of the key's digest. So it is not the key, needs no table, and ends with the
key: whoever shows it, the key's row is looked up as it is for the key itself.
"""

import hmac
import re
import time
from http.cookies import CookieError, SimpleCookie

from starlette.types import Scope

from store.keys import RowT

COOKIE = "harmonicdet"
LASTS = 12 * 3600
"""Seconds."""
_TOKEN = re.compile(r"(hd_[0-9a-f]{10})\.(\d{1,12})\.([0-9a-f]{64})")


def name(scope: Scope) -> str:
    """Of the cookie: over https one that no other host of the domain, and no plain http, can have set."""
    return f"__Host-{COOKIE}" if secure(scope) else COOKIE


def secure(scope: Scope) -> bool:
    """Whether the browser asks by https. A proxy that ends TLS says so; who lies about it harms himself."""
    return scope["scheme"] == "https" or (b"x-forwarded-proto", b"https") in scope["headers"]


def token(secret: bytes, prefix: str, digest: str, until: int) -> str:
    """What the cookie holds, good until this time (Unix seconds)."""
    return f"{prefix}.{until}.{_signature(secret, prefix, digest, until)}"


def shown(scope: Scope) -> str | None:
    """The cookie of this request, if there is one."""
    headers = [value.decode("latin-1") for key, value in scope["headers"] if key == b"cookie"]
    try:
        found = SimpleCookie("; ".join(headers)).get(name(scope))
    except CookieError:
        return None
    return None if found is None else found.value


def prefix_of(text: str) -> str | None:
    """The prefix of the key that this cookie stands for; None where it is none, or is over."""
    parts = _TOKEN.fullmatch(text)
    return None if parts is None or int(parts[2]) <= time.time() else parts[1]


def recognised(row: RowT | None, secret: bytes, text: str) -> RowT | None:
    """The valid row that the prefix has found, if this cookie was made for it."""
    parts = _TOKEN.fullmatch(text)
    if parts is None or row is None:
        return None
    right = _signature(secret, parts[1], row.digest, int(parts[2]))
    return row if hmac.compare_digest(right, parts[3]) else None


def _signature(secret: bytes, prefix: str, digest: str, until: int) -> str:
    own = hmac.digest(secret, b"a page's session", "sha256")  # keys are hashed under the secret itself
    return hmac.digest(own, f"{prefix}.{until}.{digest}".encode(), "sha256").hex()
