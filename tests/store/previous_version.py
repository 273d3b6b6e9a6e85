"""A process of the version before: it knows the tables as they were when it began, and goes on with them.

    python -m tests.store.previous_version URL JOB

It heartbeats a job, tells its events and steps and reads it back, over and over, until its input is closed;
then it prints how often. What the real version would have tried again is tried again; anything
else ends it.
"""

import sys
import threading
import time

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from store.backup import _tables
from store.clock import database_now
from store.sessions import Database


def main(url: str, job_id: str) -> None:
    database = Database(url, patience_seconds=30)
    with database.read() as session:
        tables = {table.name: table for table in _tables(session.connection())}
    job, event, metric = tables["job"], tables["job_event"], tables["job_metric"]
    ended = threading.Event()

    def listen() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=listen, daemon=True).start()
    count = 0

    def beat(session: Session) -> None:
        kept = session.execute(
            update(job)
            .where(job.c.id == job_id, job.c.status == "running")
            .values(lease_until=database_now() + 30, log_tail=f"step {count}", next_event=count + 2)
        )
        assert kept.rowcount == 1, "the job was taken away"  # type: ignore[attr-defined]
        at = {"created_at": time.time()}
        told = {"job_id": job_id, "number": count + 1, "attempt": 1, "type": "job.notice", "data": {"a": 1}}
        session.execute(insert(event).values(told | at))
        step = {"job_id": job_id, "split": "train", "step": count, "epoch": 0.1, "values": {"loss": 1.0}}
        session.execute(insert(metric).values(step | at))
        assert session.execute(select(job).where(job.c.id == job_id)).mappings().one()["attempt"] == 1

    while not ended.is_set():
        database.run(beat)
        count += 1
        if count == 1:
            print("at work", flush=True)  # noqa: T201
        time.sleep(0.01)
    database.dispose()
    print(count)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
