"""The name users import and type: the command line and the client of HarmonicDet."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("harmonicdet")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0+unknown"
