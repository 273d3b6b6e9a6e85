"""The name users import and type: the command line and the client of HarmonicDet."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harmonicdet.client import Client as Client

try:
    __version__ = version("harmonicdet")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    """`Client` is imported when it is asked for: a command that needs none starts without httpx."""
    if name == "Client":
        from harmonicdet.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
