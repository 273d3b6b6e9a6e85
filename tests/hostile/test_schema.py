"""schemathesis over the whole description, in short: `python -m tests.hostile.schema` is the long battery."""

from pathlib import Path

import pytest

from tests.hostile.schema import EVERY_SCOPE, NOBODY, Part, register, run
from tests.hostile.seeded import SeededApi

PLAN = (
    Part(EVERY_SCOPE, ("fuzzing",), 0.7),
    Part(EVERY_SCOPE, ("stateful",), 0.2),
    Part(NOBODY, ("fuzzing",), 0.1),
)
REQUESTS = 150


@pytest.mark.acceptance
def test_every_answer_is_one_that_the_description_promises(tmp_path: Path) -> None:
    register()
    with SeededApi(tmp_path / "data", require_keys=True, webhooks_allow_private="1") as api:
        findings = run(api, api, requests=REQUESTS, seed=1, plan=PLAN)
    assert not findings.wrong, "\n".join(f"{fault}\n{findings.examples[fault]}" for fault in findings.wrong)
    assert findings.requests >= REQUESTS
    assert findings.operations > 50
    assert {200, 201, 202, 401, 404} <= findings.statuses.keys()
