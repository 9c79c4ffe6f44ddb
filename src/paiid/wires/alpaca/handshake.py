"""Opening a WebSocket at Alpaca: no redirect, no proxy, no compression, and an end that says what it was (alpaca.md, sections 14, 15)."""

from collections.abc import Mapping

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

__all__ = ["Refused", "Unreachable", "code_of", "open_socket"]

_CLOSE_S = 0.3


class Refused(Exception):
    """The handshake was answered with something else than a yes."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the handshake was answered with {status}")
        self.status = status


class Unreachable(Exception):
    """There was no answer, or none that is a handshake. The text is safe to show."""


class _NoRedirect(connect):
    """The library would follow a redirect, and the keys would go to whoever it leads to."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def open_socket(
    url: str,
    *,
    reply_s: float,
    most_bytes: int,
    most_waiting: int,
    ping_s: float | None,
    silence_s: float | None,
    headers: Mapping[str, str] | None = None,
) -> ClientConnection:
    """An open socket. Frames have `most_bytes` at most, and `most_waiting` may wait to be read; a ping every `ping_s` must be answered within
    `silence_s`. Raises Refused, Unreachable."""
    try:
        return await _NoRedirect(
            url,
            additional_headers=headers,
            proxy=None,
            compression=None,
            open_timeout=reply_s,
            close_timeout=_CLOSE_S,
            ping_interval=ping_s,
            ping_timeout=silence_s,
            max_size=most_bytes,
            max_queue=most_waiting,
            user_agent_header="paiid",
        )
    except InvalidStatus as refused:
        raise Refused(refused.response.status_code) from None
    except (OSError, TimeoutError, InvalidHandshake, WebSocketException) as error:
        raise Unreachable(type(error).__name__) from None


def code_of(closed: ConnectionClosed) -> str:
    """The code with which a connection was closed."""
    code = closed.rcvd or closed.sent
    return "without a word" if code is None else str(code.code)
