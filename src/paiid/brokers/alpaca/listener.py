"""Keeps the connection of one account alive, and tells what comes of it in the order in which it is known."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import structlog
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from paiid.brokers import BrokerError, BrokerExecution, BrokerOrderView, BrokerUpdate
from paiid.brokers.alpaca.books import Books
from paiid.brokers.alpaca.connection import (
    STREAM,
    Form,
    KeysNotTaken,
    StreamFault,
    StreamTimings,
    TooManyConnections,
    Unauthorized,
    messages_of,
    open_stream,
)
from paiid.brokers.alpaca.events import EventReader, Reread, Told
from paiid.brokers.alpaca.families import Families
from paiid.brokers.alpaca.keys import Mode
from paiid.brokers.alpaca.sessions import Session
from paiid.core.clock import Clock
from paiid.wires.alpaca.handshake import code_of
from paiid.wires.deadline import Deadline

_MAX_REREADS = 1_000
_REREAD_TRIES = 5
_OTHER: dict[Form, Form] = {"documented": "current", "current": "documented"}
_log = structlog.get_logger("paiid.alpaca")


@dataclass(frozen=True, slots=True)
class StreamState:
    """How the connection of one account is. Instants in microseconds; `problem` is what ended the last one, None while
    connected. `account_number` None: not learned yet."""

    mode: Mode
    account_number: str | None = None
    connected: bool = False
    since_us: int | None = None
    last_event_us: int | None = None
    problem: str | None = "not connected yet"


class Listener:
    """One account's updates. `run` never ends by itself."""

    def __init__(
        self, clock: Clock, session: Session, books: Books, families: Families, timings: StreamTimings
    ) -> None:
        self._clock = clock
        self._session = session
        self._books = books
        self._timings = timings
        self._events = EventReader(families)
        self._form: Form = "documented"
        self._pause_s = 0.0
        self._rereads: OrderedDict[str, int] = OrderedDict()
        self._wanted = asyncio.Event()
        self.state = StreamState(session.keys.mode)

    async def run(self, queue: "asyncio.Queue[BrokerUpdate]") -> None:
        """Connect, listen, connect again, until cancelled."""
        try:
            # A defect in either ends both, and with them the stream: its reader begins again with a catch-up.
            async with asyncio.TaskGroup() as both:
                both.create_task(self._keep_rereading(queue), name="paiid-alpaca-reread")
                both.create_task(self._keep_connected(queue), name="paiid-alpaca-connection")
        finally:
            self._note(connected=False, since_us=None, problem="stopped")

    async def _keep_connected(self, queue: "asyncio.Queue[BrokerUpdate]") -> None:
        while True:
            pause_s = await self._connect_once(queue)
            await self._clock.sleep(pause_s)

    async def _connect_once(self, queue: "asyncio.Queue[BrokerUpdate]") -> float:
        """One connection from its beginning to its end; how long to wait before the next."""
        began_s: float | None = None
        try:
            number = await self._number()
            connection = await self._open()
            try:
                began_s = self._clock.monotonic_s()
                self._note(connected=True, problem=None, since_us=self._clock.now_us(), account_number=number)
                _log.info("alpaca_stream_connected", account=number)
                # Only now: what happens from here on is told, what happened before has to be fetched.
                await queue.put(BrokerUpdate(0, None, resync=number))
                await self._listen(connection, number, queue)
            finally:
                await _close(connection)
        except Unauthorized as fault:
            return self._failed(str(fault), began_s, self._timings.unauthorized_pause_s)
        except (StreamFault, BrokerError) as fault:
            least_s = self._timings.longest_pause_s / 6 if isinstance(fault, TooManyConnections) else 0.0
            return self._failed(str(fault), began_s, least_s)
        except ConnectionClosed as closed:
            return self._failed(f"the connection was lost ({code_of(closed)})", began_s, 0.0)
        return self._failed("the connection ended", began_s, 0.0)

    async def _number(self) -> str:
        if self._session.number is None:
            await self._session.fetch_account(Deadline(self._clock, self._timings.request_s))
        return self._session.number or ""

    async def _open(self) -> ClientConnection:
        """With the form that worked last, else with the other one, on a connection of its own: a server that does not
        like the first closes."""
        try:
            return await open_stream(self._session.keys, self._timings, self._form)
        except KeysNotTaken:
            other = _OTHER[self._form]
            connection = await open_stream(self._session.keys, self._timings, other)
            self._form = other
            return connection

    async def _listen(
        self, connection: ClientConnection, number: str, queue: "asyncio.Queue[BrokerUpdate]"
    ) -> None:
        async for frame in connection:
            messages = messages_of(frame)
            if messages is None:
                _log.error("alpaca_frame_unreadable", account=number, length=len(frame))
                await queue.put(BrokerUpdate(0, None, resync=number))
                continue
            for message in messages:
                if message.get("stream") == STREAM:
                    self._note(last_event_us=self._clock.now_us())
                    await self._tell(message.get("data"), number, queue)
                elif message.get("stream") == "authorization":
                    raise Unauthorized("the stream took back its acceptance of the keys")

    async def _tell(self, data: object, number: str, queue: "asyncio.Queue[BrokerUpdate]") -> None:
        news = self._events.read(data, number)
        if isinstance(news, Told):
            await queue.put(BrokerUpdate(0, news.view, news.execution))
        elif isinstance(news, Reread) and len(self._rereads) < _MAX_REREADS:
            self._rereads[news.broker_order_id] = 0
            self._wanted.set()
        else:
            await queue.put(BrokerUpdate(0, None, resync=number))

    async def _keep_rereading(self, queue: "asyncio.Queue[BrokerUpdate]") -> None:
        """Orders whose events do not say enough, one after the other; what cannot be read in a few tries is left to a
        catch-up of the whole account."""
        while True:
            self._wanted.clear()
            while self._rereads:
                order_id, tries = self._rereads.popitem(last=False)
                try:
                    await self._reread(order_id, queue)
                except BrokerError as problem:
                    await self._again_or_resync(order_id, tries + 1, problem, queue)
            await self._wanted.wait()

    async def _reread(self, order_id: str, queue: "asyncio.Queue[BrokerUpdate]") -> None:
        members, prints = await self._books.family(
            self._session, order_id, lambda: Deadline(self._clock, self._timings.request_s)
        )
        for one in prints:
            self._events.note_print(one)
        for update in _as_updates(members, prints):
            await queue.put(update)

    async def _again_or_resync(
        self, order_id: str, tries: int, problem: BrokerError, queue: "asyncio.Queue[BrokerUpdate]"
    ) -> None:
        if tries < _REREAD_TRIES:
            await self._clock.sleep(self._timings.reread_pause_s * 2 ** (tries - 1))
            # Behind the others, and not over a newer event of the same order.
            self._rereads.setdefault(order_id, tries)
            return
        _log.error(
            "alpaca_order_not_reread", account=self._session.number, order=order_id, reason=str(problem)
        )
        await queue.put(BrokerUpdate(0, None, resync=self._session.number))

    def _failed(self, problem: str, began_s: float | None, least_s: float) -> float:
        """Note it; the pause before the next try, between half of it and all of it by chance: not all come at once."""
        self._note(connected=False, problem=problem, since_us=None)
        timings = self._timings
        held = began_s is not None and self._clock.monotonic_s() - began_s >= timings.stable_s
        grown = timings.first_pause_s if held or not self._pause_s else self._pause_s * 2
        self._pause_s = min(timings.longest_pause_s, grown)
        chance = int.from_bytes(self._clock.random_bytes(2), "big") / 65_536
        pause_s = max(least_s, timings.first_pause_s, self._pause_s * (0.5 + chance / 2))
        _log.warning(
            "alpaca_stream_lost", keys=self._session.keys.label, account=self._session.number, reason=problem
        )
        return pause_s

    def _note(self, **changes: object) -> None:
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]


def _as_updates(members: list[BrokerOrderView], prints: list[BrokerExecution]) -> Iterator[BrokerUpdate]:
    """A parent before what hangs on it, each with its prints."""
    for view in members:
        own = [one for one in prints if one.broker_order_id == view.broker_order_id]
        for one in own:
            yield BrokerUpdate(0, view, one)
        if not own:
            yield BrokerUpdate(0, view)


async def _close(connection: ClientConnection) -> None:
    """An abandoned socket would hold the account's only place: it is closed, or cut off where it does not answer."""
    try:
        await connection.close()
    finally:
        connection.transport.abort()
