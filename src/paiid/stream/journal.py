"""The account channels: every event of an account told in order on every replica, from the rows of the ledger (contracts S1, S2).

The rows are the truth. A nudge, from this process or over the bus, only makes a replica read them now; the poll finds within a
second what no nudge has told. So nothing is lost with the bus, and a database that was away is read on from where it was.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

import msgspec
import structlog

from paiid.core.bus import Bus
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable
from paiid.core.tasks import Background
from paiid.stream.events import CatchUp, ChannelKind, Event, EventType, Place
from paiid.stream.hub import Hub
from paiid.stream.journal_store import EventRow, Head, load_behind, load_heads

_log = structlog.get_logger("paiid.stream.journal")

PREFIX = "account"
BUS_CHANNEL = "accounts"
MOST_REPLAYED = 10_000
"""Events that a reader who comes back is given one by one; who missed more gets the state instead."""
PAGE = 2_000
"""Rows that one query reads, of all accounts together."""
MOST_AT_ONCE = 50
"""Accounts that one query reads rows of."""
REPLAYS_AT_ONCE = 4

Told = Callable[[Collection[str]], None]
"""Hears which accounts have new events, after the commit; neither waits nor raises."""
Snapshot = Callable[[str], Awaitable[bytes]]
"""The state of an account as a JSON object. Raises KeyError, DatabaseUnavailable."""

_TYPES: dict[str, EventType] = {
    "order": "order_update",
    "fill": "order_update",
    "position": "position_update",
    "halt": "trading_alert",
}


def nobody(account_ids: Collection[str]) -> None:
    """Told of new events where nobody listens."""


class _Reader:
    """An open channel; `place` is the last event given to the hub. One that was closed and opened again is another."""

    __slots__ = ("place",)

    def __init__(self, place: Place) -> None:
        self.place = place


class _Watch:
    """Whoever is to know that an account has moved, and how far it had come when he was told."""

    __slots__ = ("head", "tell")

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.head: Head | None = None


class Journal:
    """Provider of `account:ID`. `nudge` is called on the event loop after every commit that wrote events."""

    kind: ChannelKind = "log"

    def __init__(
        self,
        db: Database,
        clock: Clock,
        hub: Hub,
        bus: Bus,
        snapshot: Snapshot,
        *,
        poll_s: float = 1.0,
        gather_s: float = 0.005,
    ) -> None:
        """`gather_s`: how long a nudge waits for others, so that a busy account is read a few hundred times a second at most."""
        self._db = db
        self._clock = clock
        self._hub = hub
        self._bus = bus
        self._snapshot = snapshot
        self._poll_s = poll_s
        self._gather_s = gather_s
        self._open: dict[str, _Reader] = {}
        self._watches: dict[str, _Watch] = {}
        self._news: set[str] = set()
        self._unpublished: set[str] = set()
        self._wake = asyncio.Event()
        self._poll_at_s = 0.0
        self._replays = asyncio.Semaphore(REPLAYS_AT_ONCE)
        self._background = Background(clock)
        self.problem: str | None = None
        """Why the rows could not be read at the last try; safe to show."""
        bus.subscribe(BUS_CHANNEL, self._hear)
        bus.on_change(self._bus_changed)

    # -- news ---------------------------------------------------------------------------------------

    def nudge(self, account_ids: Collection[str]) -> None:
        """These accounts have new events, committed by this process."""
        self._note(account_ids)
        if self._bus.shared and account_ids:
            if not self._unpublished:
                # The calls that shared a commit come one after the other: one message for all of them.
                asyncio.get_running_loop().call_soon(self._publish)
            self._unpublished.update(account_ids)

    def watch(self, account_id: str, tell: Callable[[str], None]) -> None:
        """Call `tell` with the account's id whenever its events or its row have moved; at least once, soon. One watcher an account."""
        self._watches[account_id] = _Watch(tell)

    def unwatch(self, account_id: str) -> None:
        """No more of that."""
        self._watches.pop(account_id, None)

    def _note(self, account_ids: Iterable[str]) -> None:
        wanted = [one for one in account_ids if one in self._open or one in self._watches]
        if wanted:
            self._news.update(wanted)
            self._wake.set()

    def _publish(self) -> None:
        told, self._unpublished = sorted(self._unpublished), set()
        self._bus.publish(BUS_CHANNEL, msgspec.json.encode(told))

    def _hear(self, body: bytes) -> None:
        try:
            self._note(msgspec.json.decode(body, type=list[str]))
        except msgspec.DecodeError:
            _log.warning("nudge_unreadable", size=len(body))

    def _bus_changed(self, up: bool) -> None:
        """What was said while it was away is looked for at once."""
        self._poll_at_s = 0.0
        self._wake.set()

    # -- the provider -------------------------------------------------------------------------------

    async def open(self, name: str) -> None:
        """Begin to tell the hub what happens from now on. Raises KeyError for no such account, DatabaseUnavailable."""
        self._open[name] = _Reader(await self._load_place(name))

    def close(self, name: str) -> None:
        """Nobody listens to it any more."""
        self._open.pop(name, None)

    async def catch_up(self, name: str, since: Place | None) -> CatchUp:
        """What was missed since a place, event by event; the state where that cannot be told. Raises KeyError, DatabaseUnavailable."""
        now = await self._load_place(name)
        if since is None or since == now:
            return CatchUp(now)
        why = _why_not(since, now)
        if why is None:
            async with self._replays:
                events = await self._load_missed(name, since, now)
            if events is not None:
                return CatchUp(now, events=events)
            why = "not_kept"
        # The place was read before the state, so nothing after it can be missing from both.
        return CatchUp(now, why, await self._snapshot(name))

    async def _load_place(self, name: str) -> Place:
        async with self._db.read() as tx:
            heads = await load_heads(tx, [name])
        return heads[name].place

    async def _load_missed(self, name: str, since: Place, now: Place) -> list[Event] | None:
        """The events behind `since` up to `now`; None where one of them is gone."""
        events: list[Event] = []
        at = since.sequence
        while at < now.sequence:
            each = min(PAGE, now.sequence - at)
            async with self._db.read() as tx:
                rows = (await load_behind(tx, {name: at}, each))[name]
            if [row.sequence for row in rows] != list(range(at + 1, at + 1 + each)):
                return None
            if any(row.epoch != since.epoch for row in rows):
                return None
            events.extend(_event(row) for row in rows)
            at += each
        return events

    # -- reading on ---------------------------------------------------------------------------------

    @property
    def failing(self) -> dict[str, str]:
        """Background work that has broken just now, and on what: for the health page."""
        return self._background.failing

    async def start(self) -> None:
        """Begin to read."""
        self._background.begin("journal", self.run)

    async def stop(self) -> None:
        """End it; readers go on from their places elsewhere."""
        await self._background.stop()

    async def run(self) -> None:
        """Read what there is news of, and everything each `poll_s`, until cancelled."""
        while True:
            now_s = self._clock.monotonic_s()
            everything = now_s >= self._poll_at_s
            if everything:
                self._poll_at_s = now_s + self._poll_s
            news, self._news = self._news, set()
            try:
                await self.look(None if everything else news)
                self.problem = None
            except DatabaseUnavailable as problem:
                # Nothing is forgotten: every reader knows his place, and the next poll asks for all of them.
                if self.problem is None:
                    _log.warning("journal_waits", reason=str(problem))
                self.problem = str(problem)
            await self._pause()

    async def _pause(self) -> None:
        left_s = self._poll_at_s - self._clock.monotonic_s()
        if left_s > 0 and not self._wake.is_set():
            waking = asyncio.ensure_future(self._wake.wait())
            sleeping = asyncio.ensure_future(self._clock.sleep(left_s))
            try:
                await asyncio.wait({waking, sleeping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waking.cancel()
                sleeping.cancel()
        if self._wake.is_set():
            await self._clock.sleep(self._gather_s)
        self._wake.clear()

    async def look(self, account_ids: Collection[str] | None = None) -> None:
        """Tell the hub everything new of these accounts, or of all; one call at a time. Raises DatabaseUnavailable."""
        known = self._open.keys() | self._watches.keys()
        wanted = sorted(known if account_ids is None else known & set(account_ids))
        if not wanted:
            return
        # Taken before the heads are read, which can thus not be older than the readers' places.
        readers = {name: self._open[name] for name in wanted if name in self._open}
        async with self._db.read() as tx:
            heads = await load_heads(tx, wanted)
        for name, head in heads.items():
            self._tell_watch(name, head)
        behind = {
            name: reader
            for name, reader in readers.items()
            if name in heads and heads[name].place != reader.place
        }
        while behind:
            some = dict(list(behind.items())[:MOST_AT_ONCE])
            after = {name: reader.place.sequence for name, reader in some.items()}
            async with self._db.read() as tx:
                rows = await load_behind(tx, after, PAGE // len(some))
            for name, reader in some.items():
                await self._advance(name, reader, heads[name].place, rows[name])
                if self._is_closed(name, reader) or not _is_behind(reader.place, heads[name].place):
                    del behind[name]

    def _tell_watch(self, name: str, head: Head) -> None:
        watch = self._watches.get(name)
        if watch is not None and watch.head != head:
            watch.head = head
            watch.tell(name)

    async def _advance(self, name: str, reader: _Reader, head: Place, rows: Sequence[EventRow]) -> None:
        """Give the hub the rows that follow the reader's place. The channel begins anew where an epoch does, and where the very next
        row is gone or never was: pruned, or the database was put back to an earlier state."""
        began = reader.place
        ready: list[Event] = []
        for row in rows:
            at = ready[-1] if ready else reader.place
            if row.sequence != at.sequence + 1 or row.epoch < at.epoch:
                break
            if row.epoch > at.epoch:
                self._give(name, reader, ready)
                ready = []
                await self._begin_anew(name, reader, Place(row.epoch, row.sequence - 1), "epoch")
            ready.append(_event(row))
        self._give(name, reader, ready)
        if reader.place == began:
            await self._begin_anew(name, reader, head, "not_kept")

    def _give(self, name: str, reader: _Reader, events: Sequence[Event]) -> None:
        if events and not self._is_closed(name, reader):
            self._hub.append(events)
            reader.place = Place(events[-1].epoch, events[-1].sequence)

    async def _begin_anew(self, name: str, reader: _Reader, place: Place, why: str) -> None:
        # The place is older than the state: what comes after it is told once more, and nothing can be missing.
        state = await self._snapshot(name)
        if not self._is_closed(name, reader):
            self._hub.reset(PREFIX, place, why, state, name)
            reader.place = place

    def _is_closed(self, name: str, reader: _Reader) -> bool:
        return self._open.get(name) is not reader


def _is_behind(place: Place, head: Place) -> bool:
    return place.sequence < head.sequence or place.epoch < head.epoch


def _why_not(since: Place, now: Place) -> str | None:
    """Why a reader cannot go on from where he says he was."""
    if since.epoch != now.epoch:
        return "epoch" if 0 < since.epoch < now.epoch else "unknown_place"
    if not 0 <= since.sequence <= now.sequence:
        return "unknown_place"
    if now.sequence - since.sequence > MOST_REPLAYED:
        return "too_many"
    return None


def _event(row: EventRow) -> Event:
    """The stored object with its kind in front; it is not parsed."""
    data = row.data.encode()
    kind = b'{"event":"' + row.kind.encode() + b'"'
    return Event(
        f"{PREFIX}:{row.account_id}",
        _TYPES.get(row.kind, "portfolio_update"),
        row.epoch,
        row.sequence,
        row.ts_event_us,
        row.source,
        kind + (b"}" if data == b"{}" else b"," + data[1:]),
    )
