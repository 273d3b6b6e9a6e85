"""Hosts of network namespaces, joined by a bridge; one can be cut off from it and returned. Needs root."""

import os
import secrets
import shutil
import subprocess
import sys
from contextlib import suppress
from enum import Enum
from typing import Self

PREFIX = "10.77.0"
FIRST = f"{PREFIX}.1"  # address of the host that this process is
SUBNET = f"{PREFIX}.0/24"


class Cut(Enum):
    """How a host is lost to the others."""

    LINK = "its cable is pulled: the link is down"
    SWITCH = "the switch forgets its port: the link is up, nothing passes"


def why_not() -> str | None:
    """What is missing to make hosts here."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [program for program in ("ip", "unshare") if shutil.which(program) is None]
    if missing:
        return f"{' and '.join(missing)} not found (Debian: iproute2, util-linux)"
    command = ["unshare", "--net", "--uts", "ip", "link", "add", "name", "tried", "type", "bridge"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"no bridge can be made here: {tried.stderr.strip()}"


def on_a_host_of_its_own(arguments: list[str]) -> int:
    """Runs this Python with `arguments` in a new network namespace, which begins without any network."""
    command = ["unshare", "--net", "--", sys.executable, *arguments]
    return subprocess.run(command, check=False).returncode


class Network:
    """This process's own namespace is the first host and has the bridge; use as a context manager there."""

    def __init__(self, hosts: int) -> None:
        tag = secrets.token_hex(3)
        self._names = [f"harmonicdet-{tag}-{number}" for number in range(1, hosts + 1)]

    def __enter__(self) -> Self:
        try:
            _ip("link", "set", "lo", "up")
            _ip("link", "add", "name", "switch", "type", "bridge")
            _ip("address", "add", f"{FIRST}/24", "dev", "switch")
            _ip("link", "set", "switch", "up")
            for number, name in enumerate(self._names):
                _ip("netns", "add", name)
                port = _port(number)
                _ip("link", "add", port, "type", "veth", "peer", "name", "uplink", "netns", name)
                _ip("link", "set", port, "master", "switch", "up")
                _ip("-n", name, "address", "add", f"{PREFIX}.{number + 11}/24", "dev", "uplink")
                _ip("-n", name, "link", "set", "lo", "up")
                _ip("-n", name, "link", "set", "uplink", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._names:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", name)
        with suppress(subprocess.CalledProcessError):
            _ip("link", "delete", "switch")

    def on(self, host: int, name: str) -> list[str]:
        """Put before a command, it runs on that host, which is called `name`, and keeps its process id."""
        named = f'hostname {name} && exec "$@"'
        return ["ip", "netns", "exec", self._names[host], "unshare", "--uts", "sh", "-c", named, "--"]

    def cut(self, host: int, how: Cut) -> None:
        """From now on nothing passes between this host and any other, without a word to either."""
        if how is Cut.LINK:
            _ip("link", "set", _port(host), "down")
        else:
            _ip("link", "set", _port(host), "nomaster")

    def mend(self, host: int) -> None:
        """As before the cut."""
        _ip("link", "set", _port(host), "master", "switch", "up")


def _port(host: int) -> str:
    return f"host{host}"


def _ip(*arguments: str) -> None:
    command = ["ip", *arguments]
    subprocess.run(command, check=True, capture_output=True)
