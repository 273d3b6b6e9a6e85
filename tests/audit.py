"""Whether a locked package has a known vulnerability: `python -m tests.audit`, `make audit`.

pip-audit asks for the advisories on every version of every lock, those for other machines and Pythons too.
The exit code is 1 when one is known that a release fixes and that `requirements/accepted.toml` does not
accept. Where no service gives advisories nothing is known of the locks: that is said, and fails nothing.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).parents[1] / "requirements"
SERVICES: Mapping[str, Sequence[str]] = {"PyPI": ("-s", "pypi"), "OSV": ("-s", "osv")}
# A service that knows nothing of this one gives no advisories, whatever else it answers.
KNOWN_TO_BE_VULNERABLE = ("jinja2", "2.10")
_PIN = re.compile(r"([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", re.IGNORECASE)

Pin = tuple[str, str]


class NotAsked(Exception):
    """The advisories could not be asked for."""


@dataclass(frozen=True)
class Advisory:
    """A known vulnerability of a locked version."""

    name: str
    version: str
    ids: tuple[str, ...]  # its own first, then those that others call it by
    fixed: tuple[str, ...]  # the releases without it
    summary: str

    def reason(self, accepted: Mapping[str, str]) -> str | None:
        """Why it is accepted, if it is."""
        return next((accepted[one] for one in self.ids if one in accepted), None)

    def fails(self, accepted: Mapping[str, str]) -> bool:
        """Whether it has to keep a build from passing: something can be done about it."""
        return bool(self.fixed) and self.reason(accepted) is None


@dataclass(frozen=True)
class Answer:
    """What a service knows: advisories, and the packages that it has never heard of."""

    advisories: Sequence[Advisory]
    unknown: Sequence[str]


def pins(locks: Sequence[Path]) -> dict[Pin, list[str]]:
    """Every pinned version, and the names of the locks that have it."""
    found: dict[Pin, list[str]] = defaultdict(list)
    for lock in locks:
        for line in lock.read_text().splitlines():
            if match := _PIN.match(line):
                found[match[1], match[2]].append(lock.name)
    return dict(found)


def accepted(path: Path) -> dict[str, str]:
    """Advisories that fail nothing, each with the reason. Raises `ValueError` for one without."""
    reasons: dict[str, Any] = tomllib.loads(path.read_text())
    for name, reason in reasons.items():
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"{path.name}: {name} is accepted without a reason")
    return reasons


def ask(wanted: Sequence[Pin], service: Sequence[str]) -> Answer:
    """What a service knows of these pins. Raises `NotAsked`."""
    if not any(one.get("vulns") for one in _report([KNOWN_TO_BE_VULNERABLE], service)):
        raise NotAsked("nothing is known of {} {}, which has advisories".format(*KNOWN_TO_BE_VULNERABLE))
    advisories, unknown = [], []
    for several in _without_repeats(wanted):
        # Without the service first, so that whatever fails after that is the service's.
        _run(several, "--dry-run").check_returncode()
        for one in _report(several, service):
            if "skip_reason" in one:
                unknown.append(one["name"])
            for found in one.get("vulns", ()):
                ids, fixed = (found["id"], *found["aliases"]), tuple(found["fix_versions"])
                advisories.append(Advisory(one["name"], one["version"], ids, fixed, found["description"]))
    return Answer(advisories, unknown)


def lines(answer: Answer, locked: Mapping[Pin, Sequence[str]], accepted: Mapping[str, str]) -> Iterator[str]:
    """What there is to tell of an answer."""
    for one in answer.advisories:
        where = ", ".join(locked[one.name, one.version])
        fixed = f"fixed in {', '.join(one.fixed)}" if one.fixed else "in every release so far"
        reason = one.reason(accepted)
        word = "FAILS" if one.fails(accepted) else "known" if reason is None else f"accepted ({reason})"
        found = f"{one.name} {one.version} ({where}), {', '.join(one.ids)}, {fixed}"
        yield f"{word}: {found}: {one.summary[:200]}"
    for name in sorted(set(accepted) - {name for one in answer.advisories for name in one.ids}):
        yield f"no longer needed: {name} is accepted, and no locked version has it"
    if answer.unknown:
        yield f"never heard of there: {', '.join(sorted(answer.unknown))}"


def main(requirements: Path = REQUIREMENTS, services: Mapping[str, Sequence[str]] = SERVICES) -> int:
    """Print what is known of the locks; 1 when that has to fail the build."""
    locked = pins(sorted(requirements.glob("*.txt")))
    known = accepted(requirements / "accepted.toml")
    print(f"pip-audit {version('pip-audit')}")  # noqa: T201
    for name, service in services.items():
        try:
            answer = ask(list(locked), service)
        except NotAsked as error:
            print(f"{name}: {error}")  # noqa: T201
            continue
        print(f"{name}: {len(locked)} locked versions, {len(answer.advisories)} advisories")  # noqa: T201
        for line in lines(answer, locked, known):
            print(line)  # noqa: T201
        return any(one.fails(known) for one in answer.advisories)
    print("NOT AUDITED: there are no advisories to be had here, so nothing is known of the locks")  # noqa: T201
    return 0


def _report(wanted: Sequence[Pin], service: Sequence[str]) -> list[dict[str, Any]]:
    """pip-audit's, package by package. Raises `NotAsked` with the last thing that it said."""
    done = _run(wanted, *service, "--format", "json")  # exit code 1 where something was found, too
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError:
        said = done.stderr.strip().splitlines() or ["pip-audit says nothing"]
        raise NotAsked(said[-1][:300]) from None
    return found


def _run(wanted: Sequence[Pin], *options: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "requirements.txt")
        file.write_text("".join(f"{name}=={version}\n" for name, version in wanted))
        # Nothing is to be resolved or fetched: these are all, each a whole version.
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(file), "--progress-spinner", "off"]
        return subprocess.run(
            [*command, "--no-deps", "--disable-pip", *options], capture_output=True, text=True
        )


def _without_repeats(wanted: Sequence[Pin]) -> list[list[Pin]]:
    """Lists with each name once, as pip-audit wants them; a lock may have a version for each Python."""
    found: list[dict[str, Pin]] = []
    for pin in wanted:
        home = next((one for one in found if pin[0] not in one), None)
        if home is None:
            found.append(home := {})
        home[pin[0]] = pin
    return [list(one.values()) for one in found]


if __name__ == "__main__":
    sys.exit(main())
