"""One clock for every row: the database's own.

Processes on several hosts never compare their wall clocks. Every time in a row is UTC, stored as seconds
since 1970-01-01 in double precision, so that leases are arithmetic on SQLite and PostgreSQL alike; Python
sees an aware ``datetime``.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Dialect, Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator


class Timestamp(TypeDecorator[datetime]):
    """An aware UTC ``datetime`` in Python, seconds since 1970 (double precision) in the database."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> float | None:
        return None if value is None else value.timestamp()

    def process_result_value(self, value: float | None, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromtimestamp(value, UTC)

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        # `Job.lease_until + 30.0` adds seconds.
        return Double() if isinstance(value, int | float) else self


class database_now(FunctionElement[float]):  # noqa: N801 - reads as the SQL function it is
    """Seconds since 1970 by the database's clock; moves on within a transaction."""

    type = Double()
    inherit_cache = True


@compiles(database_now, "sqlite")
def _now_on_sqlite(element: database_now, compiler: SQLCompiler, **kwargs: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(database_now, "postgresql")
def _now_on_postgresql(element: database_now, compiler: SQLCompiler, **kwargs: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"
