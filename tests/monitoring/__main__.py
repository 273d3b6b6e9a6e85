"""`python -m tests.monitoring`: fires every alert, and writes down how long that took."""

import argparse
import sys
from pathlib import Path

from tests.faults.deployments import ServersMissing
from tests.faults.notes import publish, report, say
from tests.monitoring.battery import FAULTS, NEED_SERVERS, PATIENCE, Told, run_all
from tests.monitoring.prometheus import program


def main() -> int:
    """0 when each alert has fired by its fault and cleared by its repair."""
    parser = argparse.ArgumentParser(prog="python -m tests.monitoring", description=__doc__)
    parser.add_argument("--alert", action="append", choices=FAULTS, help="only this one; may be repeated")
    parser.add_argument("--embedded", action="store_true", help="SQLite and the folder, without servers")
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    if program() is None:
        say("Prometheus is not installed: apt-get install prometheus")
        return 2
    names = [name for name in options.alert or FAULTS if not (options.embedded and name in NEED_SERVERS)]
    try:
        told = run_all(names, servers=not options.embedded, say=say)
    except ServersMissing:
        say("PostgreSQL or Redis is not installed; --embedded does without them")
        return 2
    publish(_report(told), options.report)
    return 0


def _report(told: list[Told]) -> str:
    text = (
        "\nEach fault was made in a real service while Debian's Prometheus scraped it every second, on the "
        f"rules of `docker/monitoring/rules.yml`: they waited (`for`) {PATIENCE:.4f} of what they say, and "
        "nothing else in them was changed. No alert fired before its fault; seconds count from the moment "
        "that the\nfault was complete, such as the last of sixty clients answered."
    )
    head = ["alert", "fault", "fired after s", "clear after s"]
    rows = [[one.alert, one.fault, one.fired, "-" if one.cleared is None else one.cleared] for one in told]
    return report("Alerts, fired by their faults", "python -m tests.monitoring", text, [[head, *rows]])


if __name__ == "__main__":
    sys.exit(main())
