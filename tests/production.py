"""`python -m tests.production [pytest's arguments]`: the suite on PostgreSQL, Redis and S3 of its own."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, closing

from tests.object_store import ObjectStore
from tests.servers import PostgreSQL, RedisServer, postgresql_programs

# The times of an embedded service: a test of a lost worker takes seconds.
_TIMES = {
    "HARMONICDET_HEARTBEAT_SECONDS": "1",
    "HARMONICDET_LEASE_SECONDS": "10",
    "HARMONICDET_LEASE_MARGIN_SECONDS": "3",
    "HARMONICDET_DISPATCH_SECONDS": "2",
}


def main(arguments: list[str]) -> int:
    """Exit code of pytest; 2 where a server is not installed."""
    programs = postgresql_programs()
    redis = shutil.which("redis-server") or shutil.which("valkey-server")
    if programs is None or redis is None:
        sys.stderr.write("needs PostgreSQL (initdb) and Redis (redis-server or valkey-server)\n")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the servers end with this
    with ExitStack() as stack:
        postgresql = stack.enter_context(closing(PostgreSQL(programs)))
        broker = stack.enter_context(closing(RedisServer(redis)))
        store = stack.enter_context(closing(ObjectStore()))
        for server in (postgresql, broker, store):
            server.start()
        environment = (
            _TIMES
            | dict(os.environ)
            | store.environment()
            | {
                "HARMONICDET_DATABASE_URL": postgresql.url(),
                "HARMONICDET_BROKER_URL": broker.url,
                "HARMONICDET_SECRET": "a secret of tests, long enough for one",
            }
        )
        return subprocess.run([sys.executable, "-m", "pytest", *arguments], env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
