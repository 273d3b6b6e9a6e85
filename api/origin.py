"""Whether a request that changes something was made by a page of somebody else's.

Browsers send cookies, and reach this machine's own loopback, on behalf of any page that is open in them. What
they say of the page that asks (Fetch Metadata, Origin) no page can forge.
"""

from starlette.types import Scope

from api.errors import Refusal

CHANGES = frozenset({"post", "put", "patch", "delete"})
"""The methods that no page of another site may use."""


class CrossSite(Refusal):
    """A page of another site may not do this in your name: send an API key, or use this service's pages."""

    status = 403
    code = "cross_site"


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
