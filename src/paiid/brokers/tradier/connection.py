"""One connection to the account stream: a session over REST, then a WebSocket that is told which (tradier.md, sections 9.1, 9.5).

The stream is in beta, its events are thin, and whether the sandbox has one is not confirmed: it only says when to look.
"""

import json
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from paiid.brokers import BrokerError, BrokerRejected
from paiid.brokers.tradier.refusals import judge_read
from paiid.brokers.tradier.session import Session
from paiid.core.clock import Clock
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Priority
from paiid.wires.values import fields_of, message_of

__all__ = [
    "NotOffered",
    "StreamFault",
    "TooManySessions",
    "TradierTimings",
    "Unauthorized",
    "error_of",
    "messages_of",
    "open_stream",
    "pause_after",
]

_SESSION = "/accounts/events/session"
_STREAM = "/accounts/events"
_MAX_FRAME = 1 << 20
_MAX_FRAMES_WAITING = 64
_CLOSE_S = 0.3
_LONGEST_ID = 256


@dataclass(frozen=True, slots=True)
class TradierTimings:
    """How often is looked, and how long the stream waits for what, in seconds."""

    working_s: float = 2.0
    """Between two looks while an order works."""
    woken_working_s: float = 5.0
    """The same, while the stream says when to look."""
    idle_s: float = 15.0
    nudged_s: tuple[float, ...] = (0.15, 0.6)
    """After a nudge it is looked so much later."""
    gap_s: float = 0.2
    """Between two looks that something asks for, however much asks; more while the budget is small."""
    again_s: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0, 4.0)
    """An order whose numbers are not all there is looked at again so much later, then at the last of these."""
    first_pause_s: float = 1.0
    longest_pause_s: float = 60.0
    stable_s: float = 60.0
    """A connection that has held this long begins again with the first pause."""
    refused_pause_s: float = 30.0
    """After the token was not taken, or a session refused because there are too many."""
    not_offered_pause_s: float = 300.0
    """Where there is no stream."""
    silence_s: float = 150.0
    """Heartbeats come every 60 s: without anything for this long, the connection is given up."""
    reply_s: float = 5.0
    request_s: float = 10.0


class StreamFault(Exception):
    """The connection is of no use; the text says why and never holds the token or a session's id."""


class TooManySessions(StreamFault):
    """Another session is open, perhaps one of ours that the server has not given up yet."""


class Unauthorized(StreamFault):
    """The token is not taken."""


class NotOffered(StreamFault):
    """There is no account stream in this environment."""


class _NoRedirect(connect):
    """The library would follow a redirect, and the session's id would go to whoever it leads to."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def open_stream(clock: Clock, session: Session, timings: TradierTimings) -> ClientConnection:
    """A connection on which order events come from now on, as far as can be known: the server confirms nothing.

    Raises StreamFault, BrokerError.
    """
    session_id = await _session_id(clock, session, timings)
    connection = await _connect(session.wire.keys.stream_url + _STREAM, timings)
    try:
        wish = {"events": ["order"], "sessionid": session_id, "excludeAccounts": []}
        await connection.send(json.dumps(wish))
    except ConnectionClosed:
        raise StreamFault("the stream hung up at once") from None
    except BaseException:
        connection.transport.abort()
        raise
    return connection


async def _session_id(clock: Clock, session: Session, timings: TradierTimings) -> str:
    """A new one for each connection: it must be used within five minutes. The address that comes with it is not followed."""
    deadline = Deadline(clock, timings.request_s)
    answer = await session.send("POST", _SESSION, deadline, priority=Priority.BACKGROUND, form={})
    try:
        data = judge_read(answer)
    except BrokerRejected as refusal:
        if "too many sessions" in str(refusal).lower():
            raise TooManySessions("there are too many sessions already") from None
        if refusal.code == "rate_limited":
            raise TooManySessions("the budget for sessions is used up") from None
        if refusal.code == "invalid_credentials":
            raise Unauthorized("the token is not taken for the account stream") from None
        raise NotOffered(f"there is no account stream here ({refusal})") from None
    told_id = fields_of(fields_of(data).get("stream")).get("sessionid")
    if not isinstance(told_id, str) or not 0 < len(told_id) <= _LONGEST_ID:
        raise StreamFault("the broker's answer has no session that can be read")
    return told_id


async def _connect(url: str, timings: TradierTimings) -> ClientConnection:
    try:
        return await _NoRedirect(
            url,
            proxy=None,
            compression=None,
            open_timeout=timings.reply_s,
            close_timeout=_CLOSE_S,
            # Whether it answers to pings is not confirmed; it has heartbeats of its own.
            ping_interval=None,
            max_size=_MAX_FRAME,
            max_queue=_MAX_FRAMES_WAITING,
            user_agent_header="paiid",
        )
    except InvalidStatus as refused:
        status = refused.response.status_code
        if status == 429:
            raise TooManySessions("the stream has no place for us now (429)") from None
        if status in (404, 410, 501):
            raise NotOffered(f"there is no account stream here ({status})") from None
        raise StreamFault(f"the stream answered the handshake with {status}") from None
    except (OSError, TimeoutError, InvalidHandshake, WebSocketException) as error:
        raise StreamFault(f"the stream could not be reached ({type(error).__name__})") from None


def messages_of(frame: str | bytes) -> list[dict[str, Any]] | None:
    """The messages of a frame, of which there may be several, one to a line; None where one is no JSON object."""
    text = frame if isinstance(frame, str) else frame.decode("utf-8", "replace")
    found: list[dict[str, Any]] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(message, dict):
            return None
        found.append(message)
    return found


def error_of(message: dict[str, Any]) -> StreamFault | None:
    """The fault that a message tells, such as `{"error": "…"}`; None where it tells none."""
    words = message_of(message.get("error"))
    if not words:
        return None
    if "too many sessions" in words.lower():
        return TooManySessions("there are too many sessions already")
    return StreamFault(f"the stream told of an error: {words}")


def pause_after(problem: Exception, timings: TradierTimings) -> float:
    """The least time to leave the stream alone after this."""
    if isinstance(problem, NotOffered):
        return timings.not_offered_pause_s
    if isinstance(problem, TooManySessions | Unauthorized):
        return timings.refused_pause_s
    if isinstance(problem, BrokerError):
        return timings.first_pause_s
    return 0.0
