"""A worker of every queue without Celery, to be killed: `python -m tests.worker.killable SETTINGS.json`."""

import sys
import threading
import time
from pathlib import Path

from store.blobs import open_blobs
from store.queue import Hints
from store.sessions import Database
from worker.cache import DatasetCache
from worker.kinds import Workshop
from worker.settings import WorkerSettings
from worker.supervise import Supervisor


def main(path: Path) -> None:
    settings = WorkerSettings.model_validate_json(path.read_text())
    database, blobs = Database(settings.database_url), open_blobs(settings)
    shop = Workshop(database, blobs, DatasetCache(settings.data / "cache", blobs), Hints(settings), settings)
    supervisor = Supervisor(shop, worker="killable", stopping=threading.Event())
    while True:
        for queue in ("train", "evaluate"):
            supervisor.work_off(queue)
        time.sleep(0.02)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
