"""Prefixed identifiers that sort by the time they were made: ``job_01k…`` (a ULID in lower case)."""

from typing import Literal

from ulid import ULID

Prefix = Literal["prj", "key", "ds", "job", "mdl", "evl", "cmp", "srch", "wrk", "whk", "msg", "upl", "mal"]


def new_id(prefix: Prefix) -> str:
    """A new identifier such as ``ds_01jz4m8x0v3s7q9k2b5c6d7e8f``."""
    return f"{prefix}_{str(ULID()).lower()}"
