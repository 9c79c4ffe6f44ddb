"""What the replicas of an installation have spent of each budget, told to each other over the bus (docs/adr/0026).

Each tells all that it has sent in this minute, not what has changed: a lost message is made good by the next. Nothing waits for the bus: with it
away, frozen or flushed each replica goes on by its own count and the broker's headers, and what it heard ages out within the minute.
"""

import asyncio
import hashlib
from typing import Annotated

import msgspec
import structlog
from msgspec import Meta

from paiid.core.bus import Bus
from paiid.core.clock import Clock
from paiid.core.tasks import Background
from paiid.wires.governor import Governor

__all__ = ["BUDGET", "SharedBudget"]

BUDGET = "budget"
GATHER_S = 0.05
"""What is spent within this time goes in one message."""
BEAT_S = 1.0
"""How often all is told again while there is something to tell."""
MOST_BUDGETS = 64
_MOST_SECONDS = 128
_log = structlog.get_logger("paiid.budget")

_Key = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
_AgoMs = Annotated[int, Meta(ge=0, le=60_000)]
_Count = Annotated[int, Meta(ge=1, le=1_000_000)]


class _Spent(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """One budget: requests of the last minute by how long ago, and for how long the broker takes none."""

    key: _Key
    sent: Annotated[list[tuple[_AgoMs, _Count]], Meta(max_length=_MOST_SECONDS)]
    closed_ms: _AgoMs


class _Told(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """All that one replica has to tell. `hello`: it has just come, and wants to hear the others."""

    replica: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    hello: bool
    budgets: Annotated[list[_Spent], Meta(max_length=MOST_BUDGETS)]


_DECODER = msgspec.msgpack.Decoder(_Told)


class SharedBudget:
    """Tells what our governors have spent, and them what others have. `Governors` gives it each of its own."""

    def __init__(self, clock: Clock, bus: Bus, *, gather_s: float = GATHER_S, beat_s: float = BEAT_S) -> None:
        self._clock = clock
        self._bus = bus
        self._gather_s = gather_s
        self._beat_s = beat_s
        self._replica = clock.random_bytes(8).hex()
        self._governors: dict[str, Governor] = {}
        self._dirty: set[str] = set()
        self._told: set[str] = set()
        """Budgets of which the last word was that something has been spent."""
        self._work = asyncio.Event()
        self._hello = True
        self._tasks = Background(clock)
        self.refused = 0
        """Messages that no replica of ours has sent, or none of this version."""
        bus.subscribe(BUDGET, self._hear)
        bus.on_change(self._bus_changed)

    def join(self, name: str, credential: str, governor: Governor) -> None:
        """Share a budget. Of name and credential only a digest leaves this process."""
        if len(self._governors) >= MOST_BUDGETS:
            _log.warning("budget_not_shared", name=governor.name)
            return
        key = key_of(name, credential)
        self._governors[key] = governor

        def changed() -> None:
            self._dirty.add(key)
            self._work.set()

        governor.changed = changed
        self._say_hello()

    @property
    def failing(self) -> dict[str, str]:
        """Background work that has broken just now, and on what: for the health page."""
        return self._tasks.failing

    async def start(self) -> None:
        """Begin; the bus is started by whoever made it. With no other replica there is nothing to do."""
        if self._bus.shared:
            self._tasks.begin("budget-tell", self._tell)
            self._tasks.begin("budget-beat", self._beat)

    async def stop(self) -> None:
        """End. What was spent here counts for the others until it is a minute old."""
        self._say(self._governors)
        await self._tasks.stop()

    async def _tell(self) -> None:
        while True:
            await self._work.wait()
            await self._clock.sleep(self._gather_s)
            self._work.clear()
            dirty, self._dirty = self._dirty, set()
            self._say({key: one for key, one in self._governors.items() if self._hello or key in dirty})

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(self._beat_s)
            # Once more when nothing of it counts any more: it may have ended with the broker's window, of which others know nothing.
            self._say(
                {key: one for key, one in self._governors.items() if one.window.spent() or key in self._told}
            )

    def _say(self, governors: dict[str, Governor]) -> None:
        if not self._bus.shared or not self._bus.up or not (governors or self._hello):
            return
        hello, self._hello = self._hello, False
        budgets = [
            _Spent(
                key,
                [
                    (min(60_000, int(ago_s * 1000)), count)
                    for ago_s, count in one.window.spent()[-_MOST_SECONDS:]
                ],
                min(60_000, int(one.window.closed_s * 1000)),
            )
            for key, one in governors.items()
        ]
        self._told -= governors.keys()
        self._told.update(one.key for one in budgets if one.sent)
        self._bus.publish(BUDGET, msgspec.msgpack.encode(_Told(self._replica, hello, budgets)))

    def _hear(self, body: bytes) -> None:
        try:
            told = _DECODER.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.refused += 1
            return
        for one in told.budgets:
            governor = self._governors.get(one.key)
            if governor is not None:
                spent = [(ago_ms / 1000, count) for ago_ms, count in one.sent]
                governor.hear(told.replica, spent, one.closed_ms / 1000)
        if told.hello:
            self._dirty.update(self._governors)
            self._work.set()

    def _say_hello(self) -> None:
        self._hello = True
        self._work.set()

    def _bus_changed(self, up: bool) -> None:
        if up:
            # What was spent meanwhile was told to nobody, here and there.
            self._say_hello()


def key_of(name: str, credential: str) -> str:
    """Names a budget on the bus without telling whose it is."""
    return hashlib.sha256(f"{name}\0{credential}".encode()).hexdigest()[:32]
