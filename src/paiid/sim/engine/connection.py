"""The connection below a request: what a fault needs to cut it, which ASGI alone does not give."""

import os
import socket
import struct
from collections.abc import MutableMapping
from typing import Any, Protocol

from paiid.core.clock import Clock

__all__ = ["KEY", "Connection", "connection_of", "reset", "taken"]

KEY = "paiid.connection"
"""The scope's key under which the server puts the connection."""
_LOOK_S = 0.01
_TAKE_S = 0.1
_ABORT = struct.pack("ii", 1, 0)


class Connection(Protocol):
    """One client's connection."""

    def reset(self) -> None:
        """Cut it so that the client sees a reset; what is not sent yet is lost."""
        ...

    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        ...

    def deafen(self) -> None:
        """Read nothing any more and answer no ping, without closing."""
        ...


def connection_of(scope: MutableMapping[str, Any]) -> Connection | None:
    """The connection of a request; None where there is no server below (a test over ASGI)."""
    found: Connection | None = scope.get(KEY)
    return found


async def taken(connection: Connection | None, clock: Clock) -> None:
    """Wait until all that was sent has gone out, and a moment for the client to take it: a reset throws away what he
    has not read."""
    while connection is not None and connection.unsent() > 0:
        await clock.sleep(_LOOK_S)
    await clock.sleep(_TAKE_S)


def reset(transport: Any) -> None:
    """Close a transport with a reset in place of an end."""
    below = transport.get_extra_info("socket")
    if below is not None and below.fileno() >= 0:
        # The option belongs to the connection and not to the descriptor; a duplicate reaches it below any event loop.
        with socket.socket(fileno=os.dup(below.fileno())) as twin:
            twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    transport.abort()
