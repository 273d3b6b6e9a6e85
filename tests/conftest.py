"""Fixtures for every room's tests."""

import os
from typing import Any

import pytest
from hypothesis import settings

from detector.threads import wait_briefly
from tests.backends import backends_of_a_file, backends_of_a_test
from tests.object_store import object_store
from tests.servers import postgresql_server, postgresql_url, redis_server, redis_url
from tests.spans import spans

__all__ = [
    "backends_of_a_file",
    "backends_of_a_test",
    "object_store",
    "postgresql_server",
    "postgresql_url",
    "redis_server",
    "redis_url",
    "spans",
]

# Before any test module imports torch.
wait_briefly()

# No test asserts a time: a busy machine is no fault. The same examples every time: a commit that passes here
# passes everywhere; new ones are looked for by the long batteries.
settings.register_profile("any machine", deadline=None, derandomize=True)
settings.load_profile("any machine")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores: many tests wait for processes of the real service."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what takes minutes each, unless it is asked for."""
    if os.environ.get("RUN_LONG_TESTS") == "1":
        return
    long = [item for item in items if item.get_closest_marker("long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Prints what tests have recorded as `table_row`, in whatever process: the table of families."""
    rows: list[dict[str, str]] = [
        value
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, value in getattr(report, "user_properties", [])
        if name == "table_row" and report.when == "call"
    ]
    if not rows:
        return
    columns = list(rows[0])
    widths = [max(len(column), *(len(row[column]) for row in rows)) for column in columns]
    terminalreporter.section("families")
    for row in [dict(zip(columns, columns, strict=True)), *sorted(rows, key=lambda row: list(row.values()))]:
        cells = (row[column].ljust(width) for column, width in zip(columns, widths, strict=True))
        terminalreporter.write_line("  ".join(cells).rstrip())
