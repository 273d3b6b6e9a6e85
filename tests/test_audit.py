"""The audit of the locks: pip-audit itself, before a service of advisories that knows two packages."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests import audit

Services = dict[str, tuple[str, ...]]
Service = Callable[[dict[str, Any]], Services]
LOCK = """\
jinja2==3.0.0 \\
    --hash=sha256:077ce6014f7b40d03b47d1f1ca4b0fc8328a692bd284016f806ed0eaca390ad8
    # via nothing
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:00
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:00
"""


def advisory(name: str, fixed: str | None, **more: Any) -> dict[str, Any]:
    """As OSV tells it."""
    events = [{"introduced": "0"}, *([] if fixed is None else [{"fixed": fixed}])]
    ranges = [{"type": "ECOSYSTEM", "events": events}]
    affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": ranges}]
    return {"id": "PYSEC-0000-1", "modified": "2026-01-01T00:00:00Z", "affected": affected, **more}


JINJA2 = {"jinja2 2.10": [advisory("jinja2", "2.10.1")]}


@pytest.fixture
def service() -> Iterator[Service]:
    """Starts OSV's API, which knows advisories by `name version`."""
    servers: list[ThreadingHTTPServer] = []

    def start(known: dict[str, Any]) -> Services:
        class Osv(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                found = known.get(f"{asked['package']['name']} {asked['version']}")
                body = json.dumps({"vulns": found} if found else {}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Osv)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return {"OSV here": ("-s", "osv", "--osv-url", f"http://127.0.0.1:{server.server_port}/")}

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def locks(tmp_path: Path) -> Path:
    (tmp_path / "api.txt").write_text(LOCK)
    (tmp_path / "accepted.toml").write_text("")
    return tmp_path


def test_every_version_of_a_lock_is_asked_about_and_one_that_a_release_fixes_fails(
    locks: Path, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    known = JINJA2 | {
        "numpy 2.5.5": [advisory("numpy", "2.5.6", aliases=["CVE-0000-9"], summary="reads too far")],
        "jinja2 3.0.0": [advisory("jinja2", None, summary="nobody knows how")],
    }
    assert audit.main(locks, service(known)) == 1
    told = capsys.readouterr().out.splitlines()[1:]
    assert told[0] == "OSV here: 3 locked versions, 2 advisories"
    assert set(told[1:]) == {
        "known: jinja2 3.0.0 (api.txt), PYSEC-0000-1, in every release so far: nobody knows how",
        "FAILS: numpy 2.5.5 (api.txt), PYSEC-0000-1, CVE-0000-9, fixed in 2.5.6: reads too far",
    }


def test_what_is_accepted_fails_nothing_and_what_is_accepted_in_vain_is_told() -> None:
    found = audit.Advisory("numpy", "2.5.5", ("PYSEC-0000-1", "CVE-0000-9"), ("2.5.6",), "reads too far")
    accepted = {"CVE-0000-9": "never called", "CVE-0000-1": "forgotten"}
    assert found.fails({})
    assert not found.fails(accepted)
    answer = audit.Answer([found], unknown=["ours"])
    assert list(audit.lines(answer, {("numpy", "2.5.5"): ["api.txt", "dev.txt"]}, accepted)) == [
        "accepted (never called): numpy 2.5.5 (api.txt, dev.txt), PYSEC-0000-1, CVE-0000-9, fixed in 2.5.6: "
        "reads too far",
        "no longer needed: CVE-0000-1 is accepted, and no locked version has it",
        "never heard of there: ours",
    ]


def test_a_service_that_knows_no_advisories_is_no_audit(
    locks: Path, service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    unreachable: Services = {"nobody": ("-s", "osv", "--osv-url", "http://127.0.0.1:9/")}
    assert audit.main(locks, service({}) | unreachable) == 0
    _, first, second, last = capsys.readouterr().out.splitlines()
    assert first == "OSV here: nothing is known of jinja2 2.10, which has advisories"
    assert second.startswith("nobody: requests.exceptions.ConnectionError")
    assert last.startswith("NOT AUDITED")


def test_nothing_is_accepted_without_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "accepted.toml"
    path.write_text('CVE-0000-1 = " "')
    with pytest.raises(ValueError, match="CVE-0000-1 is accepted without a reason"):
        audit.accepted(path)


def test_the_locks_are_read_to_the_last_version() -> None:
    locks = sorted(audit.REQUIREMENTS.glob("*.txt"))
    listed = [line for lock in locks for line in lock.read_text().splitlines() if line[:1].isalnum()]
    found = audit.pins(locks)
    assert sum(map(len, found.values())) == len(listed) > 0
    assert all(canonicalize_name(name) == name for name, _ in found)  # as pip-audit answers
    assert all(str(Version(version)) == version for _, version in found)
    audit.accepted(audit.REQUIREMENTS / "accepted.toml")
