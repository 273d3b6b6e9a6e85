"""What a reader of a job wants to know beside its row, on SQLite and PostgreSQL."""

from store import jobs
from store.overview import Overview, overview
from store.sessions import Database
from store.tables import DEFAULT_PROJECT
from tests.store.helpers import do, queue_training, running_training, upload


def seen(database: Database, job_id: str) -> Overview:
    with database.read() as session:
        return overview(session, jobs.get(session, DEFAULT_PROJECT, job_id))


def test_a_queued_job_has_a_place_and_a_reason_to_wait(database: Database) -> None:
    queue_training(database)
    second = queue_training(database)
    assert seen(database, second.id) == Overview(2, "worker", None, None, None, None, None)


def test_a_validation_has_no_metrics(database: Database) -> None:
    _, job = upload(database)
    assert seen(database, job.id) == Overview(1, "worker", None, None, None, None, None)


def test_the_best_evaluation_has_the_highest_ap_and_the_earlier_one_wins_a_tie(database: Database) -> None:
    claim = running_training(database)
    aps = [0.09, 0.4, 0.4, None, 0.1]
    do(
        database,
        jobs.record_metrics,
        claim,
        [("val", step, 1.0, {"AP": ap}) for step, ap in enumerate(aps)] + [("train", 9, 1.0, {"loss": 1.0})],
    )
    found = seen(database, claim.job_id)
    assert found.best is not None
    assert found.best.step == 1
    assert found.last is not None
    assert found.last.step == 4
    assert found.train is not None
    assert found.train.metrics == {"loss": 1.0}


def test_an_evaluation_without_ap_is_better_than_none(database: Database) -> None:
    claim = running_training(database)
    do(database, jobs.record_metrics, claim, [("val", 1, 1.0, {"AP": None})])
    found = seen(database, claim.job_id)
    assert found.best is not None
    assert found.best.metrics == {"AP": None}
