"""`python -m store migrate`: brings the database of the settings to this version's tables, then ends."""

import argparse
import logging
import sys

from sqlalchemy.exc import OperationalError

from store.errors import StoreError
from store.sessions import migrate
from store.settings import StoreSettings, read


def main(arguments: list[str] | None = None) -> int:
    """0 when the database is current; 1 when a setting is wrong or the database cannot be reached."""
    parser = argparse.ArgumentParser(prog="python -m store")
    parser.add_argument("command", choices=["migrate"])
    parser.parse_args(arguments)
    logging.basicConfig(level="INFO", stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    try:
        migrate(read(StoreSettings).database_url)
    except StoreError as error:
        logging.error("%s", error)
        return 1
    except OperationalError as error:
        logging.error("the database of HARMONICDET_DATABASE_URL cannot be reached: %s", error.orig)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
