"""`python -m api.health`: 0 when the service on this machine's port answers. The containers' health check."""

import http.client
import os
import sys

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


def main() -> int:
    """Reads the environment by itself: a health check every few seconds must not import the whole service."""
    host = os.environ.get("HARMONICDET_HOST") or "127.0.0.1"
    port = int(os.environ.get("HARMONICDET_PORT") or 8000)
    connection = http.client.HTTPConnection(_ANYWHERE.get(host, host), port, timeout=3)
    try:
        connection.request("GET", "/healthz")
        return 0 if connection.getresponse().status == 200 else 1
    except OSError:
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
