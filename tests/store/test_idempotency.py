"""Keys of requests: one of several repeats does what was asked, the others get its answer."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from store import idempotency, projects
from store.clock import database_now
from store.errors import IdempotencyMismatch, ProjectNotFound, RequestInProgress
from store.idempotency import Answer, Asked
from store.sessions import Database
from store.tables import DEFAULT_PROJECT, Idempotency
from tests.store.helpers import do

ANSWER = Answer(202, {"Location": "/v1/jobs/job_a"}, '{"id":"job_a"}', "f")


def asked(holder: str, fingerprint: str = "f", operation: str = "create_job", key: str = "k") -> Asked:
    return Asked(DEFAULT_PROJECT, operation, key, holder, fingerprint)


def answered(database: Database, holder: str) -> None:
    do(database, idempotency.keep, asked(holder), ANSWER)


def age(database: Database, **values: object) -> None:
    database.run(lambda session: session.execute(update(Idempotency).values(**values)))


def test_a_repeat_gets_the_first_answer(database: Database) -> None:
    assert do(database, idempotency.begin, asked("a")) is None
    answered(database, "a")
    assert do(database, idempotency.begin, asked("b")) == ANSWER
    with pytest.raises(IdempotencyMismatch):
        do(database, idempotency.begin, asked("c", "other"))
    assert do(database, idempotency.begin, asked("d", "")) == ANSWER  # its body is still to be read


def test_a_key_belongs_to_an_operation_and_a_project(database: Database) -> None:
    do(database, idempotency.begin, asked("a"))
    assert do(database, idempotency.begin, asked("b", operation="create_dataset")) is None
    other = do(database, projects.ensure, "others").id
    assert do(database, idempotency.begin, Asked(other, "create_job", "k", "c", "f")) is None


def test_while_one_is_answered_the_others_wait(database: Database) -> None:
    do(database, idempotency.begin, asked("a"))
    with pytest.raises(RequestInProgress):
        do(database, idempotency.begin, asked("b"))
    with pytest.raises(IdempotencyMismatch):
        do(database, idempotency.begin, asked("b", "other"))
    do(database, idempotency.give_up, asked("b"))  # is not its own
    with pytest.raises(RequestInProgress):
        do(database, idempotency.begin, asked("b"))
    do(database, idempotency.give_up, asked("a"))
    assert do(database, idempotency.begin, asked("b", "other")) is None


def test_the_key_of_a_dead_process_is_free_when_its_lease_ends(database: Database) -> None:
    do(database, idempotency.begin, asked("a"), lease_seconds=0.0)
    assert do(database, idempotency.begin, asked("b")) is None
    assert not do(database, idempotency.extend, asked("a"))
    assert do(database, idempotency.extend, asked("b"))

    def done_twice(session: Session) -> None:
        projects.ensure(session, "made twice")
        idempotency.keep(session, asked("a"), ANSWER)

    with pytest.raises(RequestInProgress):
        database.run(done_twice)
    answered(database, "b")
    do(database, idempotency.give_up, asked("b"))  # too late: the answer stays
    assert do(database, idempotency.begin, asked("c")) == ANSWER
    with database.read() as session, pytest.raises(ProjectNotFound):
        projects.get(session, "made twice")


def test_after_a_day_a_key_is_new(database: Database) -> None:
    do(database, idempotency.begin, asked("a"))
    answered(database, "a")
    assert do(database, idempotency.forget_old) == 0
    age(database, expires_at=database_now() - 1)
    assert do(database, idempotency.begin, asked("b", "other")) is None
    answered(database, "b")
    age(database, expires_at=database_now() - 1)
    assert do(database, idempotency.forget_old) == 1
    assert do(database, idempotency.forget_old) == 0


def test_of_many_at_once_one_does_it(database: Database) -> None:
    def ask(number: int) -> str:
        try:
            mine = asked(str(number))
            if do(database, idempotency.begin, mine) is None:
                do(database, idempotency.keep, mine, ANSWER)
                return "done"
        except RequestInProgress:
            return "later"
        return "answered"

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(ask, range(24)))
    assert outcomes.count("done") == 1
    assert ask(99) == "answered"
