"""Backup, wipe, restore: every answer is the same, on the same kinds of storage and on others."""

import gzip
import io
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from api.app import create_app
from api.services import Services
from api.settings import Settings
from harmonicdet.cli import app
from store import backup, chores, collect, datasets, jobs
from store.__main__ import main
from store.backup import MANIFEST
from store.blobs import Blobs, open_blobs
from store.errors import BackupDamaged, BackupRefused, ChoreTaken
from store.sessions import Database, migrate
from tests.api.helpers import FINDING, SUMMARY, claimed, encoded, picture, trained
from tests.api.test_comparisons import compared
from tests.api.test_dataset_images import FILES, INDEX, NAMES
from tests.api.test_searches import drawn
from tests.object_store import ObjectStore
from tests.servers import PostgreSQL
from tests.store.helpers import measure

# What the service says of itself, and streams.
NOT_COMPARED = re.compile(r"/healthz|/readyz|/metrics|/openapi.json|/v1/(system|workers|me).*")
Place = Callable[[str], Settings]
Filled = tuple[Settings, Services, jobs.Claim]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Settings of a new place: `local` is SQLite and a directory, `hosts` PostgreSQL and S3."""

    def place(kind: str) -> Settings:
        data = tmp_path / f"data{len(list(tmp_path.iterdir()))}"
        data.mkdir()
        given: dict[str, Any] = {
            "data": data,
            "database_url": f"sqlite:///{data}/harmonicdet.db",
            "blobs": str(data / "blobs"),
            "broker_url": "filesystem://",
        }
        if kind == "hosts":
            server: PostgreSQL = request.getfixturevalue("postgresql_server")
            store: ObjectStore = request.getfixturevalue("object_store")
            given["database_url"] = server.new_database()
            for name, value in store.environment().items():
                given[name.removeprefix("HARMONICDET_").lower()] = value
        return Settings(
            **given, min_free_bytes=0, dispatch_seconds=3600, lease_seconds=3600, collect_seconds=0
        )

    return place


@contextmanager
def service(settings: Settings) -> Iterator[tuple[TestClient, Services]]:
    application = create_app(settings)
    with TestClient(application, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client, application.state.services


@contextmanager
def opened(settings: Settings) -> Iterator[tuple[Database, Blobs]]:
    database = Database(settings.database_url)
    try:
        yield database, open_blobs(settings)
    finally:
        database.dispose()


def fill(client: TestClient, services: Services) -> tuple[dict[str, list[str]], jobs.Claim]:
    """Something of everything: the ids that may stand in a path, and the claim of the job that runs."""
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as file:
        for name in NAMES:
            file.writestr(name, FILES[name])
    zip_type = {"Content-Type": "application/zip"}
    dataset = client.post("/v1/datasets?name=shapes", content=zipped.getvalue(), headers=zip_type).json()
    claim = claimed(services, dataset["validation_job_id"])
    images = [
        {"file_name": one.file_name, "split": one.split, "width": one.width, "height": one.height}
        | {"boxes": len(one.annotations)}
        for one in INDEX.images
    ]
    index = services.blobs.put_bytes(msgspec.json.encode(INDEX)).key
    services.database.run(
        lambda s: datasets.mark_ready(
            s, claim, index=index, format="coco", summary=SUMMARY, images=images, findings=[FINDING]
        )
    )
    ask = {
        "kind": "train",
        "dataset_id": dataset["id"],
        "config": {"epochs": 2},
        "metadata": {"an": "ä\u2028"},
    }
    done, running, queued = (client.post("/v1/jobs", json=ask).json()["id"] for _ in range(3))
    model = trained(services, done)
    begun = claimed(services, running)
    measure(services.database, begun, 1, 2, 3)
    checkpoint(services, begun, 3)
    alias = client.put("/v1/model-aliases/production", json={"model_id": model})
    assert alias.status_code == 201, alias.text
    hook = {"url": "https://hooks.example.com/x", "events": ["job.*"]}
    assert client.post("/v1/webhooks", json=hook).status_code in (201, 422)
    sides = {"dataset_id": dataset["id"], "arms": [{"name": "one"}, {"name": "other"}]}
    comparison = client.post("/v1/comparisons", json=sides).json()
    compared(services, comparison)
    space = {"optimizer.lr": {"kind": "float", "low": 0.001, "high": 0.1, "log": True}}
    search = client.post("/v1/searches", json={"dataset_id": dataset["id"], "space": space}).json()
    drawn(services, search["id"], 0.01)
    evaluations = [one["id"] for one in client.get("/v1/evaluations").json()["data"]]
    assert evaluations
    ids = {
        "dataset_id": [dataset["id"]],
        "job_id": [done, running, queued, dataset["validation_job_id"]],
        "model_id": [model, "production"],
        "alias": ["production"],
        "evaluation_id": evaluations,
        "comparison_id": [comparison["id"]],
        "search_id": [search["id"]],
        "figure": ["pr"],
        "position": ["0", "2"],
        "name": ["model.onnx", "model.json", "detections.json"],
    }
    return ids, begun


def checkpoint(services: Services, claim: jobs.Claim, step: int) -> str:
    key = f"jobs/{claim.job_id}/{claim.token}/step-{step:08d}.pt"
    blob = services.blobs.put_bytes(f"checkpoint {step}".encode(), key=key)
    told: dict[str, Any] = {
        "key": key,
        "sha256": blob.sha256,
        "bytes": blob.bytes,
        "step": step,
        "epoch": 1.0,
    }
    services.database.run(lambda s: jobs.record_checkpoint(s, claim, **told))
    return key


def answers(client: TestClient, ids: dict[str, list[str]]) -> dict[str, Any]:
    """Of every GET, as the description of the API lists them, and of a prediction."""
    found: dict[str, Any] = {}
    for template, operations in client.get("/openapi.json").json()["paths"].items():
        names = re.findall(r"{(\w+)}", template)
        if "get" not in operations or NOT_COMPARED.fullmatch(template) or not set(names) <= ids.keys():
            continue
        for values in product(*(ids[name] for name in names)):
            path = template.format(**dict(zip(names, values, strict=True)))
            answer = client.get(path)
            body: Any = answer.content
            if answer.headers.get("content-type", "").endswith("json"):
                body = answer.json()
                if isinstance(body, dict):
                    body.pop("request_id", None)
            found[path] = (answer.status_code, answer.headers.get("repr-digest"), body)
    image = client.post(
        "/v1/models/production/predict", content=encoded(picture()), headers={"Content-Type": "image/png"}
    )
    found["prediction"] = (image.status_code, image.json()["detections"])
    assert image.json()["detections"]
    return found


@pytest.mark.parametrize(("before", "after"), [("local", "local"), ("local", "hosts"), ("hosts", "local")])
def test_after_backup_wipe_and_restore_every_answer_is_the_same(
    place: Place, tmp_path: Path, before: str, after: str
) -> None:
    settings = place(before)
    migrate(settings.database_url)
    with service(settings) as (client, services):
        ids, _ = fill(client, services)
        expected = answers(client, ids)
        # The service is at work meanwhile.
        made = backup.backup(services.database, services.blobs, tmp_path / "backup")
    assert made.damaged == ()
    good = [path for path, (status, *_) in expected.items() if status == 200]
    assert len(good) > 30, expected.keys()
    with opened(settings) as (_, blobs):
        kept = {entry.key: entry.bytes for entry in blobs.entries()}
        for key in kept:
            blobs.delete(key)
    shutil.rmtree(settings.data)
    settings = place(after)
    with opened(settings) as (database, blobs):
        restored = backup.restore(database, blobs, tmp_path / "backup")
        assert (restored.rows, restored.blobs, restored.bytes) == (made.rows, made.blobs, made.bytes)
        assert {entry.key: entry.bytes for entry in blobs.entries()} == kept
        assert collect.plan(database, blobs, grace_seconds=-1).summary()["unreferenced"]["blobs"] == 0
    with service(settings) as (client, _):
        assert answers(client, ids) == expected


@pytest.fixture
def filled(place: Place) -> Iterator[Filled]:
    settings = place("local")
    migrate(settings.database_url)
    with service(settings) as (client, services):
        _, claim = fill(client, services)
        yield settings, services, claim


def test_a_checkpoint_that_is_replaced_meanwhile_is_no_hole(
    filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker stores the next one and deletes it between the reading of the rows and the copying."""
    _, services, claim = filled
    (old,) = services.blobs.iter("jobs/")
    dump = backup._dump
    rounds = []

    def late(*arguments: Any) -> Any:
        snapshot = dump(*arguments)
        rounds.append(old in snapshot.wanted)
        if len(rounds) == 1:
            for step in (4, 5, 6):
                checkpoint(services, claim, step)
            for key in services.database.run(lambda s: jobs.drop_checkpoints(s, claim)):
                services.blobs.delete(key)
        return snapshot

    monkeypatch.setattr(backup, "_dump", late)
    made = backup.backup(services.database, services.blobs, tmp_path / "backup")
    assert rounds == [True, False]
    assert made.damaged == ()
    files = {path.name for path in (tmp_path / "backup" / "blobs" / "jobs").rglob("*.pt")}
    assert files == {Path(key).name for key in services.blobs.iter("jobs/")}


def test_nothing_is_collected_while_a_backup_is_made(
    filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, services, _ = filled
    copy = backup._copy
    tried = []

    def busy(*arguments: Any) -> Any:
        with pytest.raises(ChoreTaken):
            collect.run(services.database, services.blobs, settings)
        tried.append(1)
        return copy(*arguments)

    monkeypatch.setattr(backup, "_copy", busy)
    backup.backup(services.database, services.blobs, tmp_path / "backup")
    assert tried == [1]
    collect.run(services.database, services.blobs, settings)
    with services.database.read() as session:
        assert chores.done_at(session, collect.CHORE) is not None


def test_a_blob_that_is_lost_or_rotten_does_not_keep_the_rest_from_being_saved(
    filled: Filled, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, services, _ = filled
    lost, rotten, *others = sorted(key for key in services.blobs.iter() if key.startswith("sha256/"))
    services.blobs.delete(lost)
    path = services.blobs.local_path(rotten)
    assert path is not None
    path.write_bytes(b"rotten")
    for name, value in settings.model_dump(include={"data", "database_url", "blobs"}).items():
        monkeypatch.setenv(f"HARMONICDET_{name.upper()}", str(value))
    assert main(["backup", str(tmp_path / "backup")]) == 1, "it is said"
    with opened(place("local")) as (database, blobs):
        restored = backup.restore(database, blobs, tmp_path / "backup")
        assert restored.damaged == (lost, rotten)
        assert sorted(key for key in blobs.iter() if key.startswith("sha256/")) == others


def test_what_is_not_empty_is_neither_written_to_nor_restored_to(
    filled: Filled, tmp_path: Path, place: Place
) -> None:
    _, services, _ = filled
    target = tmp_path / "backup"
    backup.backup(services.database, services.blobs, target)
    with pytest.raises(BackupRefused, match="is there already"):
        backup.backup(services.database, services.blobs, target)
    with pytest.raises(BackupRefused, match="has rows in"):
        backup.restore(services.database, services.blobs, target)
    with pytest.raises(BackupRefused, match="is no backup"):
        backup.restore(services.database, services.blobs, tmp_path)
    with opened(place("local")) as (database, blobs):
        blobs.put_bytes(b"another's")
        with pytest.raises(BackupRefused, match="not empty"):
            backup.restore(database, blobs, target)


@pytest.mark.parametrize("what", ["rows", "blob", "missing blob"])
def test_a_damaged_backup_is_not_restored(filled: Filled, tmp_path: Path, place: Place, what: str) -> None:
    _, services, _ = filled
    target = tmp_path / "backup"
    backup.backup(services.database, services.blobs, target)
    if what == "rows":
        (target / "rows" / "job.jsonl.gz").write_bytes(gzip.compress(b"{}\n"))
    else:
        blob = next(path for path in (target / "blobs" / "sha256").rglob("*") if path.is_file())
        blob.unlink() if what == "missing blob" else blob.write_bytes(blob.read_bytes() + b"?")
    settings = place("local")
    with opened(settings) as (database, blobs):
        with pytest.raises(BackupDamaged):
            backup.restore(database, blobs, target)
        assert not backup._has_tables(database)


def test_a_restore_that_broke_off_may_be_repeated(
    filled: Filled, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the tables may have been migrated before, as a deployment does."""
    _, services, _ = filled
    made = backup.backup(services.database, services.blobs, tmp_path / "backup")
    settings = place("local")
    migrate(settings.database_url)
    load = backup._load

    def broken(*arguments: Any) -> None:
        load(*arguments)
        raise KeyboardInterrupt

    with opened(settings) as (database, blobs):
        with monkeypatch.context() as patch:
            patch.setattr(backup, "_load", broken)
            with pytest.raises(KeyboardInterrupt):
                backup.restore(database, blobs, tmp_path / "backup")
        assert backup.restore(database, blobs, tmp_path / "backup").rows == made.rows


def test_a_backup_of_a_newer_version_is_refused(filled: Filled, tmp_path: Path, place: Place) -> None:
    _, services, _ = filled
    backup.backup(services.database, services.blobs, tmp_path / "backup")
    path = tmp_path / "backup" / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"revision": "9999"}))
    with opened(place("local")) as (database, blobs), pytest.raises(BackupRefused, match="newer version"):
        backup.restore(database, blobs, tmp_path / "backup")


@pytest.mark.embedded
def test_the_secret_of_an_embedded_service_goes_with_it(
    filled: Filled, tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, *_ = filled
    secret = (settings.data / "secret").read_bytes()
    for name, value in settings.model_dump(include={"data", "database_url", "blobs"}).items():
        monkeypatch.setenv(f"HARMONICDET_{name.upper()}", str(value))
    assert main(["backup", str(tmp_path / "backup")]) == 0
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "backup" / "secret").stat().st_mode & 0o777 == 0o600
    new = place("local")
    for name in ("DATABASE_URL", "BLOBS"):  # below the data
        monkeypatch.delenv(f"HARMONICDET_{name}")
    done = CliRunner().invoke(app, ["restore", str(tmp_path / "backup"), "--data", str(new.data)])
    assert done.exit_code == 0, done.output
    assert (new.data / "secret").read_bytes() == secret
    assert (new.data / "harmonicdet.db").exists()
