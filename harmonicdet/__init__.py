"""The name users import and type: the command line and the client of HarmonicDet."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harmonicdet.client import AsyncClient as AsyncClient
    from harmonicdet.client import Client as Client

try:
    __version__ = version("harmonicdet")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    """The clients are imported when they are asked for: a command that needs none starts without httpx."""
    if name in ("Client", "AsyncClient"):
        from harmonicdet import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
