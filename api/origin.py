"""Whether a request was made by a page of somebody else's.

Browsers send cookies, and reach this machine's own loopback, on behalf of any page that is open in them. What
they say of the page that asks (Fetch Metadata, Origin) no page can forge. But a page may have its own name
point at this machine once it is open (DNS rebinding): to the browser this service is then that page's own
site. The name that it asks for (Host) gives it away.
"""

import ipaddress
import re
from functools import lru_cache

from starlette.types import Scope

from api.errors import Refusal

CHANGES = frozenset({"post", "put", "patch", "delete"})
"""The methods that no page of another site may use."""


class CrossSite(Refusal):
    """A page of another site may not do this in your name: send an API key, or use this service's pages."""

    status = 403
    code = "cross_site"


class HostUnknown(Refusal):
    """Without keys this service answers to `localhost` and to addresses, not to a name that anybody may have
    chosen: ask for it so, or set HARMONICDET_ALLOW_UNAUTHENTICATED=1 where something else guards the door."""

    status = 403
    code = "host_unknown"


_HOST = re.compile(r"(?:\[(?P<v6>[^]]*)\]|(?P<name>[^:[]*))(?::[0-9]*)?")


def require_local_name(scope: Scope) -> None:
    """Raise `HostUnknown` when the service is asked for under a name that others may have chosen."""
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")
    if not is_local_name(host):
        raise HostUnknown


@lru_cache(maxsize=64)
def is_local_name(host: bytes) -> bool:
    """Whether a Host header is `localhost`, or an address, which no page can give another meaning.

    Browsers always send one; who sends none is a program.
    """
    found = _HOST.fullmatch(host.decode("latin-1").lower())
    if found is None:
        return False
    name = found["name"]
    if name is not None and (name in ("", "localhost") or name.endswith(".localhost")):  # RFC 6761, 6.3
        return True
    try:
        ipaddress.ip_address(name if name is not None else found["v6"])
    except ValueError:
        return False
    return True


def require_own(scope: Scope, *, told: bool) -> None:
    """Raise `CrossSite` when another site's page asks for a change.

    `told`: whether the request has to say where it is from. Programs do not; they show keys.
    """
    if scope["method"].lower() not in CHANGES:
        return
    headers = dict(scope["headers"])
    site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
    if site is not None:
        own = site in (b"same-origin", b"none")
    elif origin is not None:
        host = headers.get(b"host", b"")
        own = host != b"" and origin.partition(b"://")[2] == host
    else:
        own = not told
    if not own:
        raise CrossSite
