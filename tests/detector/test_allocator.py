"""Freed memory is used again. Each case has a process of its own, as it cannot be undone."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the setting is one of glibc")

ROUNDS, PAGES = 20, 64 << 8  # of 64 MiB
SCRIPT = f"""
import resource, sys
import numpy
from detector.allocator import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit("this C library cannot")
for _ in range({ROUNDS}):
    numpy.ones(64 << 17)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def page_faults(mode: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, mode],
        env=os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def test_pages_are_asked_for_once() -> None:
    assert page_faults("as it is") > ROUNDS * PAGES * 0.9
    assert page_faults("keep") < 2 * PAGES
