"""`python -m tests.hostile.schema`: schemathesis over the whole OpenAPI description, against a real process.

Requests made from the description, valid and not, one by one and in chains (a job that was just made is read,
paused, cancelled, retried), with keys and without. Every answer has to be one that the description promises:
status, media type, headers, body; none is 5xx. Prints a report and writes it to docs/security-schema.md. 1
when anything was not as it must be.
"""

import argparse
import math
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import schemathesis
from hypothesis import strategies as st
from requests import PreparedRequest, Response
from requests.auth import AuthBase
from rich.console import Console
from schemathesis.engine import events, from_schema
from schemathesis.hooks import GLOBAL_HOOK_DISPATCHER
from schemathesis.transport.serialization import Binary

from api import tus
from store.keys import Scope
from tests.api.helpers import encoded, picture
from tests.api.test_model_import import BACKBONE, DETECTOR
from tests.hostile.datasets import broken_images, good
from tests.hostile.seeded import SeededApi, fill, measure

REPORT = Path(__file__).parents[2] / "docs" / "security-schema.md"
PATIENCE_SECONDS = 120
# Server errors that are no fault: the answer says truthfully that there is no room, or too much to do.
TRUTHFUL = {503, 507}
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "allow_header_conformance",
)
_STEPS = 8  # of a chain
# Files that are what the operations want, and some that are not quite.
FILES = (
    good(),
    encoded(picture(), "JPEG"),
    encoded(picture()),
    BACKBONE,
    DETECTOR,
    b"hello",
    *(data for _, data in list(broken_images())[::8]),
)
# How often a parameter names something that is there.
_FOUND = 0.6


@dataclass(frozen=True)
class Part:
    """So much of the requests is made by this caller in this way."""

    caller: str
    phases: tuple[str, ...]
    share: float


EVERY_SCOPE, READ_ONLY = "a key of every scope", "a read-only key"
NOBODY, STRANGER, NEEDLESS = "no key", "a made-up key", "no key where none is needed"
PLAN = (
    Part(EVERY_SCOPE, ("examples", "coverage"), 0.25),
    Part(EVERY_SCOPE, ("fuzzing",), 0.2),
    Part(EVERY_SCOPE, ("stateful",), 0.25),
    Part(NEEDLESS, ("examples", "fuzzing"), 0.08),
    Part(NEEDLESS, ("stateful",), 0.08),
    Part(READ_ONLY, ("fuzzing",), 0.06),
    Part(NOBODY, ("fuzzing",), 0.04),
    Part(STRANGER, ("fuzzing",), 0.04),
)


@dataclass
class Findings:
    """What was asked, and what the answers lacked."""

    answers: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    callers: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    operations: int = 0
    slowest: float = 0.0
    malformed: set[str] = field(default_factory=set)
    measured: Path | None = None
    until: float = math.inf

    @property
    def is_late(self) -> bool:
        return time.monotonic() > self.until

    @property
    def requests(self) -> int:
        return sum(sum(counted.values()) for counted in self.answers.values())

    @property
    def statuses(self) -> Counter[int]:
        return sum(self.answers.values(), Counter())

    def note(self, fault: str, example: str = "") -> None:
        self.wrong[fault] += 1
        self.examples.setdefault(fault, example)


class _Shown(AuthBase):
    """Shows a key with every request, and a new one once the old one was revoked: that is asked for, too."""

    def __init__(self, new: Callable[[], str]) -> None:
        self._new = new
        self._text = new()

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._text}"
        request.register_hook("response", self._look)
        return request

    def _look(self, response: Response, *_: object, **__: object) -> None:
        if response.status_code == 401:
            self._text = self._new()


def register() -> None:
    """What schemathesis cannot know: what our files look like, and that tus sends plain bytes."""
    files = st.one_of(st.sampled_from(FILES), st.binary(max_size=200)).map(Binary)
    schemathesis.openapi.format("binary", files)
    schemathesis.serializer.alias(tus.PART, "application/octet-stream")


def run(
    guarded: SeededApi,
    opened: SeededApi,
    *,
    requests: int,
    seed: int,
    plan: Sequence[Part] = PLAN,
    until: float = math.inf,
    measured: Path | None = None,
) -> Findings:
    """Make about so many requests, by the plan.

    Args:
        guarded: wants keys.
        opened: wants none.
        until: no more requests are begun when `time.monotonic` is here.
        measured: see `fill`.
    """
    findings = Findings(until=until, measured=measured)
    for number, part in enumerate(plan):
        most = findings.requests + round(requests * part.share)
        _play(findings, guarded, opened, part, most=most, seed=seed * 1000 + number)
    number = len(plan)
    while findings.requests < requests and not findings.is_late:
        part = Part(EVERY_SCOPE, ("stateful",) if number % 2 else ("fuzzing",), 0)
        before = findings.requests
        _play(findings, guarded, opened, part, most=requests, seed=seed * 1000 + number)
        if findings.requests == before:
            findings.note("no more requests could be made")
            break
        number += 1
    return findings


def _play(
    findings: Findings, guarded: SeededApi, opened: SeededApi, part: Part, *, most: int, seed: int
) -> None:
    """Let the caller ask until there are `most` requests, or nothing more to ask in this way."""
    if findings.is_late:
        return
    api = opened if part.caller == NEEDLESS else guarded
    made = fill(api, api.key(), findings.measured)
    schema = schemathesis.openapi.from_url(f"{api.address}/openapi.json", config=None)
    findings.operations = sum(1 for _ in schema.get_all_operations())
    quota = most - findings.requests
    schema = schemathesis.openapi.from_url(
        f"{api.address}/openapi.json", config=_config(part, seed, quota, findings.operations, made)
    )
    if part.caller in (EVERY_SCOPE, READ_ONLY):
        scopes = (Scope.READ,) if part.caller == READ_ONLY else ()
        schema.auth.set_from_requests(_Shown(lambda: api.key(*scopes)))

    def after_call(context: Any, case: Any, response: Any) -> None:
        findings.answers[case.operation.label][response.status_code] += 1
        findings.callers[part.caller, part.phases[-1]] += 1
        findings.slowest = max(findings.slowest, response.elapsed)

    schema.hooks.register_hook_with_name(after_call, "after_call")
    told = f"{part.caller}, {' and '.join(part.phases)}: from {findings.requests} to {most} requests"
    print(told, flush=True)  # noqa: T201 - it takes a while
    with _webhooks_stay_here(api):
        stream = from_schema(schema).execute()
        for event in stream:
            _look(findings, event)
            if findings.requests >= most or findings.is_late:
                stream.stop()


def _config(part: Part, seed: int, quota: int, operations: int, made: dict[str, str]) -> schemathesis.Config:
    values: dict[str, list[str | int]] = {
        "path.dataset_id": [made["dataset_id"]],
        "path.job_id": [made["job_id"], made["running_job_id"], made["failed_job_id"]],
        "path.model_id": [made["model_id"], made["spare_model_id"]],
        "path.alias": [made["alias"]],
        "path.evaluation_id": [made["evaluation_id"]],
        "path.comparison_id": [made["comparison_id"], made["finished_comparison_id"]],
        "path.search_id": [made["search_id"], made["finished_search_id"]],
        "path.figure": ["pr", "loss_curves"],
        "path.upload_id": [made["upload_id"]],
        "path.webhook_id": [made["webhook_id"]],
        "path.key_id": [made["key_id"]],
        "path.worker_id": [made["worker_id"]],
        "path.position": [0, 1],
        "path.name": ["model.onnx", "model.json", "ssdlite320_mobilenet_v3_large", "production"],
        "header.Tus-Resumable": [tus.VERSION],
        "header.Upload-Offset": [0],
        "header.Upload-Length": [5],
        "body.dataset_id": [made["dataset_id"]],
        "body.model": [made["model_id"]],
        "body.model_id": [made["model_id"]],
        "body.upload_id": [made["upload_id"]],
    }
    each = max(1, quota // operations)
    phases: dict[str, Any] = {
        name: {"enabled": name in part.phases} for name in ("examples", "coverage", "fuzzing", "stateful")
    }
    phases["fuzzing"]["generation"] = {"max-examples": each}
    phases["stateful"] |= {"max-steps": _STEPS, "generation": {"max-examples": max(2, quota // _STEPS)}}
    return schemathesis.Config.from_dict(
        {
            "seed": seed,
            "dictionaries": {name.replace(".", "_"): {"values": some} for name, some in values.items()},
            "parameters": {
                name: {"dictionary": name.replace(".", "_"), "probability": _FOUND} for name in values
            },
            "request-timeout": PATIENCE_SECONDS,
            "continue-on-failure": True,
            "phases": phases,
            "generation": {
                "no-shrink": True,
                "database": "none",
                "with-security-parameters": part.caller == STRANGER,
            },
            "checks": {"enabled": False}
            | {name: {"enabled": True} for name in CHECKS}
            | {
                "ignored_auth": {"enabled": part.caller != NEEDLESS},
                "not_a_server_error": {
                    "enabled": True,
                    "expected-statuses": ["2xx", "3xx", "4xx", *(str(status) for status in TRUTHFUL)],
                },
            },
        }
    )


@contextmanager
def _webhooks_stay_here(api: SeededApi) -> Iterator[None]:
    """No message goes to whatever address comes out of chance: all of them go to a receiver of ours."""

    def before_call(context: Any, case: Any, kwargs: Any) -> None:
        url = case.body.get("url") if isinstance(case.body, dict) else None
        if isinstance(url, str) and url.lower().startswith("http"):
            with suppress(ValueError):  # what is no URL leads nowhere
                case.body = case.body | {"url": f"{api.receiver}{urlsplit(url).path[:100]}"}

    GLOBAL_HOOK_DISPATCHER.register_hook_with_name(before_call, "before_call")
    try:
        yield
    finally:
        GLOBAL_HOOK_DISPATCHER.unregister(before_call)


def _look(findings: Findings, event: events.EngineEvent) -> None:
    if isinstance(event, events.ScenarioFinished):
        for case_id, checks in event.recorder.checks.items():
            for check in checks:
                if check.failure_info is None:
                    continue
                failure = check.failure_info.failure
                label = event.recorder.cases[case_id].value.operation.label
                fault = f"{label}: {check.name}: {failure.title}: {' '.join(failure.message.split())[:300]}"
                response = event.recorder.find_response(case_id=case_id)
                if response is not None and _is_the_doors(response):
                    findings.malformed.add(case_id)
                    continue
                body = "" if response is None else response.text[:500]
                findings.note(fault, f"{check.failure_info.code_sample}\n{body}")
    elif isinstance(event, events.NonFatalError):
        findings.note(f"{event.label}: {event.info.title}: {event.info.message[:300]}")
    elif isinstance(event, events.FatalError):
        raise event.exception


def _is_the_doors(response: Any) -> bool:
    """Whether uvicorn itself answered what is no HTTP, such as a control character in a header: what never
    came to the application has no request id, and no problem object."""
    return (
        response.status_code == 400
        and "x-request-id" not in response.headers
        and response.content == b"Invalid HTTP request received."
    )


def report(findings: Findings, *, requests: int, seed: int, seconds: float) -> str:
    """The findings as a page of the documentation."""
    statuses = findings.statuses
    errors = {status: number for status, number in statuses.items() if status >= 500}
    truthful = {status: number for status, number in errors.items() if status in TRUTHFUL}
    verdict = (
        f"{findings.requests} requests to {findings.operations} operations of a real API process in "
        f"{seconds:.0f} s: {sum(errors.values()) - sum(truthful.values())} answers 5xx, "
        f"{sum(findings.wrong.values())} answers outside of the description"
    )
    if truthful:
        verdict += f"; {_counted(Counter(truthful))} (no room, or too much to do: declared, and true)"
    if findings.malformed:
        verdict += f"; {len(findings.malformed)} were no HTTP, and refused by uvicorn itself with 400"
    command = f"`python -m tests.hostile.schema --requests {requests} --seed {seed}`"
    lines = [
        "# schemathesis over the whole description",
        "",
        f"{command}, {datetime.now(UTC):%Y-%m-%d}, schemathesis {version('schemathesis')}: {verdict}.",
        "",
        f"Checks: {', '.join(CHECKS)}, and ignored_auth where keys are needed.",
        "",
        "| caller | way | requests |",
        "|---|---|---|",
        *(f"| {caller} | {way} | {number} |" for (caller, way), number in findings.callers.items()),
        "",
        f"Answers by status: {_counted(statuses)}. The slowest took {findings.slowest:.2f} s.",
        "",
        "| operation | requests | answers |",
        "|---|---|---|",
        *(
            f"| `{label}` | {sum(counted.values())} | {_counted(counted)} |"
            for label, counted in sorted(findings.answers.items(), key=lambda pair: pair[0].split()[::-1])
        ),
    ]
    if findings.wrong:
        lines += [
            "",
            "Not as it must be:",
            "",
            *(f"- {n} times {fault}" for fault, n in findings.wrong.items()),
        ]
    return "\n".join(lines) + "\n"


def _counted(statuses: Counter[int]) -> str:
    return ", ".join(f"{status}: {number}" for status, number in sorted(statuses.items()))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.schema", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop asking after so long")
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args(arguments)
    started = time.monotonic()
    register()
    # Uploads that chance begins are never ended, and webhooks go to a receiver on this machine.
    most, here = str(options.requests), "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            SeededApi(
                folder / "guarded", require_keys=True, uploads_limit=most, webhooks_allow_private=here
            ) as guarded,
            SeededApi(folder / "opened", uploads_limit=most, webhooks_allow_private=here) as opened,
        ):
            findings = run(
                guarded,
                opened,
                requests=options.requests,
                seed=options.seed,
                until=started + 60 * options.minutes,
                measured=measure(folder),
            )
    if findings.requests < options.requests:
        findings.note(f"only {findings.requests} requests were made")
    text = report(findings, requests=options.requests, seed=options.seed, seconds=time.monotonic() - started)
    options.report.write_text(text)
    console = Console(width=160)
    console.print(text, markup=False)
    for fault, example in findings.examples.items():
        console.print(f"== {fault}\n{example}\n", markup=False, highlight=False)
    return 1 if findings.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
