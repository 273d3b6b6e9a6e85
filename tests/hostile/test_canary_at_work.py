"""Secrets while there is work: validated, trained, evaluated and predicted with, and found in no log.

The keys that a user and the server hold, the secret of a webhook, and a plain word in everything a user may
name; looked for in what API, workers and detectors have written, and in the command lines of all of them.
"""

from pathlib import Path
from typing import Any

import psutil
import pytest

from api.settings import Settings, server_secret
from store.sessions import Database
from tests.acceptance.service import CONFIG, RunningService
from tests.hostile.seeded import Receiver, new_key
from tests.hostile.test_canary import WORD

SMALL = CONFIG | {"epochs": 1, "evaluate_every": 1}


@pytest.mark.acceptance
def test_no_process_that_works_writes_down_a_secret(tmp_path: Path, archive: Path) -> None:
    data = tmp_path / "data"
    environment = {"HARMONICDET_REQUIRE_KEYS": "1", "HARMONICDET_WEBHOOKS_ALLOW_PRIVATE": "1"}
    with Receiver() as receiver, RunningService(data, environment=environment) as service:
        settings = Settings(data=data)
        database = Database(settings.database_url)
        key = new_key(settings, database)
        database.dispose()
        service.client.headers["Authorization"] = f"Bearer {key}"
        hook = {"url": f"{receiver.address}/{WORD}", "events": ["job.*", "dataset.ready"]}
        secret = made(service, "/v1/webhooks", 201, json=hook)["secret"]
        secrets = {
            "key": key.rpartition("_")[2],
            "server": server_secret(settings).decode(),
            "webhook": secret.partition("_")[2],
            "word": WORD,
        }

        told: dict[str, Any] = {"name": f"{WORD} {key}", "metadata": {WORD: key}}
        dataset = uploaded(service, archive, told["name"])
        asked = {"kind": "train", "dataset_id": dataset, "config": SMALL, **told}
        training = made(service, "/v1/jobs", 202, json=asked, headers={"Idempotency-Key": f"{WORD}-{key}"})
        lines = command_lines(service, training["id"])
        model = service.ended(training["id"])["model_id"]
        asked = {"kind": "evaluate", "dataset_id": dataset, "model": model, "metadata": told["metadata"]}
        evaluation = made(service, "/v1/jobs", 202, json=asked)
        assert service.ended(evaluation["id"])["status"] == "succeeded"
        answer = service.client.post(f"/v1/models/{model}/predict?{WORD}={key}", content=WORD.encode())
        assert answer.status_code == 415
        service.until(lambda: receiver.received >= 3)

        ids = [training["id"], evaluation["id"], service.get(f"/v1/datasets/{dataset}")["validation_job_id"]]
        logs = {f"log of {one}": service.client.get(f"/v1/jobs/{one}/logs").text for one in ids}
        assert all(logs.values())
        events = {f"events of {one}": service.client.get(f"/v1/jobs/{one}/events").text for one in ids}
    files = [data.with_suffix(".log"), *(data / "logs").iterdir()]
    written = {file.name: file.read_text() for file in files}
    assert {"api.log", "worker-train.log"} <= written.keys()
    assert training["id"] in written["worker-train.log"]
    found = [
        (where, what)
        for where, text in {**logs, **events, **written, "command lines": lines}.items()
        for what, secret in secrets.items()
        if secret in text
    ]
    assert found == []


def made(service: RunningService, path: str, status: int, **request: Any) -> dict[str, Any]:
    answer = service.client.post(path, **request)
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


def uploaded(service: RunningService, archive: Path, name: str) -> str:
    """Id of the dataset, when it is ready."""
    files = {"file": (f"{WORD}.zip", archive.read_bytes(), "application/zip")}
    dataset: str = made(service, "/v1/datasets", 202, files=files, data={"name": name})["id"]
    service.until(lambda: service.get(f"/v1/datasets/{dataset}")["status"] == "ready")
    return dataset


def command_lines(service: RunningService, job_id: str) -> str:
    """Of all processes of the service while it trains."""
    service.until(lambda: service.job(job_id)["phase"] == "training")
    processes = [service.parent, *service.parent.children(recursive=True)]
    lines = []
    for process in processes:
        try:
            lines.append(" ".join(process.cmdline()))
        except psutil.NoSuchProcess:
            continue
    assert any(" train " in line for line in lines), lines
    return "\n".join(lines)
