"""Keeps the connection to the account stream alive, and says when there is something to look at."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn

import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from paiid.brokers import BrokerError
from paiid.brokers.tradier.connection import (
    StreamFault,
    TradierTimings,
    error_of,
    messages_of,
    open_stream,
    pause_after,
)
from paiid.brokers.tradier.session import Session
from paiid.core.clock import Clock
from paiid.wires.tradier.keys import Environment
from paiid.wires.values import word_of

__all__ = ["Listener", "StreamState"]

_log = structlog.get_logger("paiid.tradier")


@dataclass(frozen=True, slots=True)
class StreamState:
    """How the connection is. Instants in microseconds; `problem` is what ended the last one, None while connected: orders
    are then told by looking at the list alone. `account_number` None: not learned yet."""

    environment: Environment
    account_number: str | None = None
    connected: bool = False
    since_us: int | None = None
    last_event_us: int | None = None
    problem: str | None = "not connected yet"


class Listener:
    """The stream of one account. `run` never ends by itself."""

    def __init__(
        self,
        clock: Clock,
        session: Session,
        timings: TradierTimings,
        began: Callable[[], None],
        woken: Callable[[], None],
    ) -> None:
        """`began` hears of each connection, `woken` of each event."""
        self._clock = clock
        self._session = session
        self._timings = timings
        self._began = began
        self._woken = woken
        self._pause_s = 0.0
        self.state = StreamState(session.wire.keys.environment, session.number)

    async def run(self) -> None:
        """Connect, listen, connect again, until cancelled."""
        try:
            while True:
                await self._clock.sleep(await self._connect_once())
        finally:
            self._note(connected=False, since_us=None, problem="stopped")

    async def _connect_once(self) -> float:
        """One connection from its beginning to its end; how long to wait before the next."""
        began_s: float | None = None
        try:
            connection = await open_stream(self._clock, self._session, self._timings)
            try:
                began_s = self._clock.monotonic_s()
                self._note(
                    connected=True,
                    problem=None,
                    since_us=self._clock.now_us(),
                    account_number=self._session.number,
                )
                _log.info("tradier_stream_connected", account=self._session.number)
                self._began()
                await self._listen(connection)
            finally:
                await _close(connection)
        except TimeoutError:
            return self._failed("nothing was heard for too long", began_s, 0.0)
        except (StreamFault, BrokerError) as fault:
            return self._failed(str(fault), began_s, pause_after(fault, self._timings))
        except ConnectionClosed as closed:
            return self._failed(f"the connection was lost ({_code_of(closed)})", began_s, 0.0)

    async def _listen(self, connection: ClientConnection) -> NoReturn:
        while True:
            async with asyncio.timeout(self._timings.silence_s):
                frame = await connection.recv()
            self._hear(frame)

    def _hear(self, frame: str | bytes) -> None:
        """Whatever is no heartbeat wakes: an event that we do not know, or cannot read, may be about an order."""
        messages = messages_of(frame)
        if messages is None:
            _log.error("tradier_frame_unreadable", account=self._session.number, length=len(frame))
            self._woken()
            return
        for message in messages:
            fault = error_of(message)
            if fault is not None:
                raise fault
            if word_of(message.get("event")) != "heartbeat":
                self._note(last_event_us=self._clock.now_us())
                self._woken()

    def _failed(self, problem: str, began_s: float | None, least_s: float) -> float:
        """Note it; the pause before the next try, between half of it and all of it by chance: not all come at once."""
        timings = self._timings
        held = began_s is not None and self._clock.monotonic_s() - began_s >= timings.stable_s
        grown = timings.first_pause_s if held or not self._pause_s else self._pause_s * 2
        self._pause_s = min(timings.longest_pause_s, grown)
        chance = int.from_bytes(self._clock.random_bytes(2), "big") / 65_536
        if problem != self.state.problem:
            _log.warning(
                "tradier_stream_lost",
                keys=self._session.wire.keys.label,
                account=self._session.number,
                reason=problem,
            )
        self._note(connected=False, problem=problem, since_us=None)
        return max(least_s, self._pause_s * (0.5 + chance / 2))

    def _note(self, **changes: object) -> None:
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]


async def _close(connection: ClientConnection) -> None:
    """An abandoned socket may hold the account's only place: it is closed, or cut off where it does not answer."""
    try:
        await connection.close()
    finally:
        connection.transport.abort()


def _code_of(closed: ConnectionClosed) -> str:
    code = closed.rcvd or closed.sent
    return "without a word" if code is None else str(code.code)
