"""`python -m api`: the HTTP process as containers start it, with everything from the environment."""

import logging
import signal
import sys

import uvicorn

from api.app import create_app
from api.settings import ListenRefused, Settings, check_listen
from store import logs, tracing
from store.errors import SettingsInvalid
from store.settings import read


def main() -> int:
    """Serves until SIGTERM. 1 when a setting is wrong or the address is open to strangers."""
    # uvicorn sends itself the signal once more when it has ended in good order; that is no death by a signal.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logs.configure()
    try:
        settings = read(Settings)
        logs.configure(settings.log_format)
        check_listen(settings)
        tracing.configure(settings, "api")
        app = create_app(settings)
    except (SettingsInvalid, ListenRefused) as error:
        logging.error("%s", error)
        return 1
    # An open event stream would otherwise hold up the end for as long as its job takes.
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,  # it would log queries; see api.logs
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
