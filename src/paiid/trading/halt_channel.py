"""The halts' channel: each user hears of every change of the halts that he may see, on every replica (contracts S1, K2).

The table is read at each change and told as a whole, so a message that was merged away is made good by the next. A nudge, from this
process or over the bus, only makes it be read now; the poll finds the rest within a second. Nothing here decides anything: every
claim reads the table itself.
"""

import asyncio
from collections.abc import Iterable

import structlog

from paiid.core.bus import Bus
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable
from paiid.core.instants import instant
from paiid.core.json import encode
from paiid.core.tasks import Background
from paiid.domain.halts import Halt
from paiid.stream.events import CatchUp, ChannelKind, Event, Place
from paiid.stream.hub import Hub
from paiid.trading.halt_channel_store import HaltState, load_epoch, load_state

_log = structlog.get_logger("paiid.trading.halt_channel")

PREFIX = "halts"
BUS_CHANNEL = "halts"
EPOCH = 1
"""Of the channel; its sequence is the epoch of the halts, which never starts anew."""
RIGHTS_EVERY = 10
"""Polls after which the users' rights are read again though no halt has changed."""


def nothing() -> None:
    """Told of a change of the halts where nobody listens."""


class _Told:
    """What the subscribers of one user's channel have been told; one that was closed and opened again is another."""

    __slots__ = ("data", "sequence")

    def __init__(self) -> None:
        self.data = b""
        self.sequence = -1


class HaltChannel:
    """Provider of `halts:USER`: what that user may see of the halts. `nudge` is called after every committed change."""

    kind: ChannelKind = "value"

    def __init__(self, db: Database, clock: Clock, hub: Hub, bus: Bus, *, poll_s: float = 1.0) -> None:
        self._db = db
        self._clock = clock
        self._hub = hub
        self._bus = bus
        self._poll_s = poll_s
        self._open: dict[str, _Told] = {}
        self._known = -1
        self._polls = 0
        self._wake = asyncio.Event()
        self._background = Background(clock)
        self.problem: str | None = None
        """Why the table could not be read at the last try; safe to show."""
        bus.subscribe(BUS_CHANNEL, lambda _: self._wake.set())
        bus.on_change(lambda _: self._wake.set())

    def nudge(self) -> None:
        """This process has committed a change of the halts."""
        self._wake.set()
        self._bus.publish(BUS_CHANNEL, b"{}")

    # -- the provider -------------------------------------------------------------------------------

    async def open(self, name: str) -> None:
        """Begin to tell this user's channel. Raises DatabaseUnavailable."""
        told = _Told()
        state = await self._load([name])
        told.data, told.sequence = _data(state, name), state.epoch
        self._open[name] = told

    def close(self, name: str) -> None:
        """Nobody listens to it any more."""
        self._open.pop(name, None)

    async def catch_up(self, name: str, since: Place | None) -> CatchUp:
        """The halts as the table has them now, unless the reader has seen just that. Raises DatabaseUnavailable."""
        state = await self._load([name])
        told = self._open.get(name)
        if told is not None:
            self._tell(name, told, state)
        now = Place(EPOCH, state.epoch)
        if since == now:
            return CatchUp(now)
        events = (_event(name, state, _data(state, name)),)
        if since is not None and (since.epoch != EPOCH or not 0 <= since.sequence <= now.sequence):
            return CatchUp(now, "unknown_place", None, events)
        return CatchUp(now, events=events)

    async def _load(self, users: Iterable[str]) -> HaltState:
        async with self._db.read() as tx:
            return await load_state(tx, list(users))

    # -- changes ------------------------------------------------------------------------------------

    @property
    def failing(self) -> dict[str, str]:
        """Background work that has broken just now, and on what: for the health page."""
        return self._background.failing

    async def start(self) -> None:
        """Begin to look for changes."""
        self._background.begin("halt-channel", self.run)

    async def stop(self) -> None:
        """End it."""
        await self._background.stop()

    async def run(self) -> None:
        """Read the table when there is news of it, and at each poll, until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self.look()
                self.problem = None
            except DatabaseUnavailable as problem:
                if self.problem is None:
                    _log.warning("halt_channel_waits", reason=str(problem))
                self.problem = str(problem)
            await self._pause()

    async def _pause(self) -> None:
        waking = asyncio.ensure_future(self._wake.wait())
        sleeping = asyncio.ensure_future(self._clock.sleep(self._poll_s))
        try:
            await asyncio.wait({waking, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()
            sleeping.cancel()

    async def look(self) -> None:
        """Tell every user what has changed for him; one call at a time. Raises DatabaseUnavailable."""
        if not self._open:
            return
        open_now = dict(self._open)
        async with self._db.read() as tx:
            epoch = await load_epoch(tx)
        self._polls += 1
        if epoch == self._known and self._polls % RIGHTS_EVERY:
            return
        state = await self._load(open_now)
        for name, told in open_now.items():
            if self._open.get(name) is told:
                self._tell(name, told, state)
        self._known = epoch

    def _tell(self, name: str, told: _Told, state: HaltState) -> None:
        data = _data(state, name)
        if state.epoch < told.sequence or data == told.data:
            return
        if state.epoch > told.sequence:
            self._hub.put(_event(name, state, data))
        else:
            # No halt has changed but what he may see of them, and there is no number for that.
            self._hub.reset(PREFIX, Place(EPOCH, state.epoch), "rights", data, name)
        told.data, told.sequence = data, state.epoch


def _data(state: HaltState, user_id: str) -> bytes:
    """`{halts, tradingHalted}`: the halts in force that the user may see, and whether trading is halted for everybody."""
    seen = state.seen_by(user_id)
    return encode(
        {
            "halts": [_view(halt) for halt in seen],
            "tradingHalted": any(halt.scope.kind == "global" for halt in seen),
        }
    )


def _view(halt: Halt) -> dict[str, object]:
    return {
        "scope": str(halt.scope),
        "mode": halt.mode.value,
        "epoch": halt.epoch,
        "reason": halt.reason,
        "set_at": instant(halt.set_at_us),
    }


def _event(name: str, state: HaltState, data: bytes) -> Event:
    return Event(f"{PREFIX}:{name}", "trading_alert", EPOCH, state.epoch, state.changed_us, "ledger", data)
