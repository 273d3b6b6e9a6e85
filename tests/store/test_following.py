"""News of many jobs by one question, on SQLite and PostgreSQL."""

from store import jobs
from store.following import News, news
from store.sessions import Database
from store.tables import DEFAULT_PROJECT, RequestedAction
from tests.store.helpers import do, queue_training, running_training


def asked(database: Database, known: dict[str, int], limit: int = 1000) -> dict[str, News]:
    with database.read() as session:
        return news(session, known, limit=limit)


def numbers(found: dict[str, News]) -> dict[str, list[int]]:
    return {job_id: [event.number for event in one.events] for job_id, one in found.items()}


def test_only_what_is_new_is_told_in_order(database: Database) -> None:
    running = running_training(database)
    quiet, unasked = queue_training(database).id, queue_training(database).id
    for phase in ("training", "evaluating"):
        do(database, jobs.set_phase, running, phase)
    found = asked(database, {running.job_id: 1, quiet: 1})
    assert numbers(found) == {running.job_id: [2, 3, 4]}
    assert [event.type for event in found[running.job_id].events] == ["job.started", "job.phase", "job.phase"]
    assert (found[running.job_id].over, found[running.job_id].gone) == (False, False)
    assert numbers(asked(database, {quiet: 0, unasked: 1})) == {quiet: [1]}
    assert asked(database, {}) == {}


def test_the_end_comes_with_its_event_and_is_told_again_to_who_asks_again(database: Database) -> None:
    job_id = queue_training(database).id
    do(database, jobs.request, DEFAULT_PROJECT, job_id, RequestedAction.CANCEL)
    assert numbers(asked(database, {job_id: 1})) == {job_id: [2]}
    assert asked(database, {job_id: 1})[job_id].over
    assert asked(database, {job_id: 2}) == {job_id: News([], over=True, gone=False)}


def test_of_a_job_that_the_limit_cuts_the_end_is_told_later(database: Database) -> None:
    claim = running_training(database)
    for _ in range(3):
        do(database, jobs.append_event, claim, "notice", {})
    do(database, jobs.succeed, claim)
    first = asked(database, {claim.job_id: 0}, limit=4)
    assert numbers(first) == {claim.job_id: [1, 2, 3, 4]}
    assert not first[claim.job_id].over
    rest = asked(database, {claim.job_id: 4}, limit=4)
    assert (numbers(rest), rest[claim.job_id].over) == ({claim.job_id: [5, 6]}, True)


def test_a_job_that_is_not_there_is_gone(database: Database) -> None:
    assert asked(database, {"job_0": 3}) == {"job_0": News([], over=False, gone=True)}
