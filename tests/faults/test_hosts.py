"""Several hosts, one cut off twice. Opt-in (RUN_LONG_TESTS=1): minutes, and root for the namespaces."""

import pytest

from tests.faults.network import on_a_host_of_its_own, why_not


@pytest.mark.long
@pytest.mark.acceptance
@pytest.mark.timeout(1800)
def test_twenty_jobs_end_once_each_while_a_host_is_cut_off_twice() -> None:
    missing = why_not()
    if missing is not None:
        pytest.skip(missing)
    assert on_a_host_of_its_own(["-m", "tests.faults.hosts", "--on-the-first-host", "--seed", "7"]) == 0
