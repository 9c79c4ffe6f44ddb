"""Ports for servers on this machine: never one that the kernel may give to an outgoing connection, for of those any can take it
between the look and the listening, or while its server is down for a moment."""

import secrets
import socket
from pathlib import Path

_FIRST, _LAST = 10_000, 32_767
"""Where the kernel does not say what it keeps for connections: what is below that by default."""
_KERNEL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TRIES = 10_000
_given: set[int] = set()


def free_port() -> int:
    """A port nobody listens on, and nobody in this process has been given before. Raises RuntimeError."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of so many in a row. Raises RuntimeError."""
    last = _last_port()
    for _ in range(_TRIES):
        first = _FIRST + secrets.randbelow(last - _FIRST - count + 2)
        row = range(first, first + count)
        if _given.isdisjoint(row) and all(_is_free(port) for port in row):
            _given.update(row)
            return first
    raise RuntimeError(f"no {count} free ports in a row between {_FIRST} and {last}")


def _last_port() -> int:
    try:
        lowest = int(_KERNEL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _LAST
    return lowest - 1 if lowest - _FIRST > 1_000 else _LAST


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
