"""`benchmarks.polling` on PostgreSQL, where its server is installed. Goal: 0.3 of hello-world."""

from benchmarks import polling
from tests.servers import PostgreSQL, postgresql_programs

GOAL = 0.3


def main() -> bool:
    programs = postgresql_programs()
    if programs is None:
        print(
            f"name=polling_postgresql ratio=nan goal={GOAL} missing: PostgreSQL is not installed", flush=True
        )
        return False
    server = PostgreSQL(programs)
    try:
        server.start()
        return polling.main("polling_postgresql", GOAL, server.new_database())
    finally:
        server.close()


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
