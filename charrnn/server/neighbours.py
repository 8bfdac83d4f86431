"""Who is near a server: another charrnn on its port, and the address by which others find it."""

from __future__ import annotations

import socket
from contextlib import suppress

_SECONDS = 0.5  # that another server has for its answer
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
# Addresses for documentation: a datagram socket that is connected to one sends nothing.
_ELSEWHERE = {"0.0.0.0": (socket.AF_INET, "192.0.2.1"), "::": (socket.AF_INET6, "2001:db8::1")}


def reachable(host: str) -> str:
    """Return the address by which this machine reaches what listens on `host`.

    >>> reachable("0.0.0.0"), reachable("10.0.0.7")
    ('127.0.0.1', '10.0.0.7')
    """
    return _EVERY_ADDRESS.get(host, host)


def is_charrnn(host: str, port: int) -> bool:
    """Return whether what listens on an address is `charrnn serve`."""
    from http.client import HTTPConnection, HTTPException  # only a start that fails needs it

    caller = HTTPConnection(reachable(host), port, timeout=_SECONDS)
    try:
        caller.request("GET", "/", headers={"Accept": "application/json"})
        return caller.getresponse().read(40).startswith(b'{"message":"charrnn answers ')
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        caller.close()


def own_address(host: str) -> str | None:
    """Return the address by which other machines reach what listens on every one, 0.0.0.0 or ::.

    None where `host` is one address, or the machine has no network.
    """
    if host not in _ELSEWHERE:
        return None
    family, elsewhere = _ELSEWHERE[host]
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((elsewhere, 9))
        found: str = probe.getsockname()[0]
        return None if found == reachable(host) else found
    return None
