"""Requests to addresses that users give: to public addresses only, however their names resolve.

A name is resolved once, every address it has is judged, and the connection goes to the address that was
judged: a name that changes its mind between the two (DNS rebinding) gains nothing. No redirect is followed,
and of the answer only the status is read.
"""

import ipaddress
import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpcore

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class TargetRefused(Exception):
    """This address is not one that the service sends to."""


def check_url(url: str, *, allow_private: bool) -> None:
    """Raise `TargetRefused`, with a sentence, for a URL that the service will not send to as things stand.

    `allow_private` permits plain http and every address: for an operator whose receivers are in the house.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:  # a bracket without its other one, a port that is no number
        raise TargetRefused(f"The URL cannot be read: {str(error)[:100]}.") from None
    if parts.scheme != "https" and not (allow_private and parts.scheme == "http"):
        raise TargetRefused("The URL must begin with https://.")
    if not parts.hostname or parts.username is not None or parts.password is not None or parts.fragment:
        raise TargetRefused("The URL must have a host, and neither a user nor a fragment.")
    resolve(parts.hostname, port or 443, allow_private=allow_private)


def resolve(host: str, port: int, *, allow_private: bool) -> list[str]:
    """The addresses of `host`. Raises `TargetRefused` when there is none, or one that is not public."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise TargetRefused(f"The host {host[:100]} has no address.") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not allow_private:
        for address in addresses:
            if not is_public(address):
                raise TargetRefused(f"The host {host[:100]} leads to an address that is not public.")
    return addresses


def is_public(address: str) -> bool:
    """Whether the address, and whatever IPv4 address is wrapped in it, is one of the internet's."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    inner: Iterable[ipaddress.IPv4Address | None] = ()
    if isinstance(ip, ipaddress.IPv6Address):
        teredo = ip.teredo
        inner = (ip.ipv4_mapped, ip.sixtofour, *(teredo or ()))
        if ip in _NAT64:
            inner = (*inner, ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
    wrapped = all(is_public(str(one)) for one in inner if one is not None)
    return ip.is_global and not ip.is_multicast and wrapped


class Outbound:
    """Sends bodies to URLs that users gave. Thread-safe."""

    def __init__(self, *, allow_private: bool, seconds: float = 15.0) -> None:
        """`seconds` bounds the connecting, the sending and the waiting for an answer, each."""
        self._allow_private = allow_private
        self._seconds = seconds
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(),
            network_backend=_Guarded(allow_private=allow_private),
            max_keepalive_connections=0,
            retries=0,
        )

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The HTTP status of the answer. Raises `TargetRefused`, and `OSError` when there is no answer."""
        check_url(url, allow_private=self._allow_private)
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), self._seconds)
        try:
            with self._pool.stream(
                "POST", url, headers=list(headers.items()), content=body, extensions={"timeout": timeout}
            ) as answer:
                return answer.status
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            raise OSError(f"{type(error).__name__}: {error}".rstrip(": ")) from error

    def close(self) -> None:
        """Let go of every connection."""
        self._pool.close()


class _Guarded(httpcore.NetworkBackend):
    """Connects to the very address that was judged; TLS still asks for the certificate of the name."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        addresses = resolve(host, port, allow_private=self._allow_private)
        return self._plain.connect_tcp(addresses[0], port, timeout, local_address, socket_options)
