"""Market data for this replica: it leads and listens to the feed, follows the one that does, or asks by itself (S5, S6)."""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Literal

import structlog

from paiid.core.bus import Bus
from paiid.core.clock import Clock
from paiid.core.leases import Leases
from paiid.core.tasks import Background
from paiid.domain.calendar import MarketHours
from paiid.feeds import Feed
from paiid.market.board import Board
from paiid.market.demand import Demand
from paiid.market.follower import Follower
from paiid.market.freshness import Freshness
from paiid.market.leadership import Leadership, Pace
from paiid.market.publisher import Publisher
from paiid.market.sequencer import Sequencer
from paiid.market.state import FeedState, Status
from paiid.market.supply import Supply
from paiid.market.tick_filter import TickFilter
from paiid.market.ticks import (
    DEMAND,
    LEAD,
    MOST_USERS,
    MOST_WANTED,
    TICKS,
    BadMessage,
    Lead,
    Ticks,
    Wanted,
    decode,
    encode,
)
from paiid.market.wanted import Union, WantedEverywhere

_log = structlog.get_logger("paiid.market.upstream")
_ANOTHER = "market data come by another connection now"
_NONE = "the shared connection to market data cannot be heard"
_DAY_US = 86_400_000_000
_BUS_S = 1.5
"""How long a start waits for the bus."""

Mode = Literal["starting", "leading", "following", "alone"]
OnEpoch = Callable[[int, str], None]
"""Told the new epoch, and in words why the old one is over."""


class Upstream:
    """Keeps the board of this replica up to date, in one of three ways, and says how it stands.

    `leases`: None where this process is alone on its database, which then simply leads. `sockets` tells how many sockets each user has here.
    """

    def __init__(
        self,
        leases: Leases | None,
        clock: Clock,
        bus: Bus,
        feed: Feed,
        hours: MarketHours,
        board: Board,
        demand: Demand,
        *,
        replica: str | None = None,
        sockets: Callable[[], Mapping[str, int]] = dict,
        pace: Pace | None = None,
    ) -> None:
        self._clock = clock
        self._bus = bus
        self._feed = feed
        self._hours = hours
        self._board = board
        self._replica = replica or clock.random_bytes(8).hex()
        self._sockets = sockets
        self._pace = pace or Pace()
        self._counts: Counter[str] = Counter()
        self._filter = TickFilter(clock)
        self._wanted = WantedEverywhere(clock, demand)
        self.lead = Leadership(leases, clock, self._pace, self._newest_epoch, self._is_led)
        """Whether this replica may listen for all, and since when."""
        self._publisher = Publisher(bus, board, lambda: self.lead.stands)
        self._follower = Follower(
            clock, board, self._counts, self._pace.silent_s, self._leader_found, self._say_hello
        )
        self._tasks = Background(clock)
        self._look = asyncio.Event()
        self._changed = asyncio.Event()
        self._on_state: list[Callable[[FeedState], None]] = []
        self._on_epoch: list[OnEpoch] = []
        self._mode: Mode = "starting"
        self._supply: Supply | None = None
        self._started_s = clock.monotonic_s()
        self._hello = True
        self._local_epoch = 0
        self.state = FeedState("down", "market data are starting", feed.source, clock.now_us(), False, 0)
        """How market data come to this replica."""
        demand.on_change(self._changed.set)
        bus.subscribe(LEAD, self._hear_lead)
        bus.subscribe(TICKS, self._hear_ticks)
        bus.subscribe(DEMAND, self._hear_wanted)
        bus.on_change(self._bus_changed)

    # -- what others ask ------------------------------------------------------------------------------

    @property
    def counts(self) -> dict[str, int]:
        """What was kept away by the filter, by reason, and what else happened, since the start. A feed that keeps something
        away by itself counts it in `counts`."""
        found = Counter(getattr(self._feed, "counts", {}))
        found.update(self._filter.counts)
        found.update(self._counts)
        return dict(found)

    @property
    def heard_ago_s(self) -> float | None:
        """Since market data, or the one that listens to them for all, were last heard; None: never."""
        return self._follower.heard_ago_s if self._supply is None else self._supply.heard_ago_s

    @property
    def failing(self) -> dict[str, str]:
        """Background work that has broken just now, and on what: for the health page."""
        supply = {} if self._supply is None else self._supply.failing
        return {**self._tasks.failing, **supply}

    def on_state(self, tell: Callable[[FeedState], None]) -> None:
        """Be told of each change of `state`, on the event loop."""
        self._on_state.append(tell)

    def on_epoch(self, tell: OnEpoch) -> None:
        """Be told of each new epoch of quotes, when the board is empty and before anything of the epoch is shown."""
        self._on_epoch.append(tell)

    def sockets_elsewhere(self, user_id: str) -> int:
        """Sockets of a user on other replicas, as far as they have told."""
        return self._wanted.sockets(user_id)

    def sockets_changed(self) -> None:
        """Many are gone at once: the others are told soon, and not only with the next beat."""
        self._changed.set()

    def health(self) -> str:
        """In a few words, for the health page."""
        how = {
            "starting": "starting",
            "leading": "listens for all replicas",
            "following": "follows the replica that listens",
            "alone": "asks by itself",
        }[self._mode]
        words = [f"{self.state.source}: {self.state.status}, {how}"]
        if self.state.reason:
            words.append(self.state.reason)
        if self._bus.shared and not self._bus.up:
            words.append("the bus is down")
        return "; ".join(words)

    # -- life -----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin; the feed and the bus are started by whoever made them."""
        self._started_s = self._clock.monotonic_s()
        self._tasks.begin("market-lease", lambda: self.lead.keep(self._renewed))
        self._tasks.begin("market-upstream", self._run)
        self._tasks.begin("market-beat", self._beat)
        self._tasks.begin("market-demand", self._tell_demand)
        self._tasks.begin("market-publish", self._publish)

    async def stop(self) -> None:
        """Stop listening, and let another replica do it from now on."""
        await self._tasks.stop()
        led = self._mode == "leading"
        if self._supply is not None:
            await self._supply.end()
            self._supply = None
        if led:
            self._publisher.flush()
            self._say_lead(leaving=True)
        # Whoever was sent away from here must not be refused elsewhere because of the sockets he had.
        self._say_wanted()
        await self.lead.end()

    def _renewed(self) -> None:
        if self._mode == "leading":
            # So that who hears nothing for `silent_s` has not heard this renewal, and another has had the time to take the lease: nobody
            # begins an epoch of his own in between.
            self._say_lead()
        self._look.set()

    def _newest_epoch(self) -> int:
        return max(self._follower.newest_epoch, self._wanted.newest_epoch)

    def _is_led(self) -> bool:
        """By another replica, as far as is heard."""
        ago_s = self._follower.heard_ago_s
        return ago_s is not None and ago_s < 1.5 * self._pace.beat_s and not self._follower.leaving

    # -- the modes ------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Change between the modes, and see what became of the feed."""
        while True:
            self._look.clear()
            await self._choose()
            self._judge()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pace.look_s):
                    await self._look.wait()

    async def _choose(self) -> None:
        if self._supply is not None and self._supply.sequencer.full:
            # Rare: more symbols than one epoch can number have been wanted by and by.
            self.lead.next_epoch()
            self._mode = "starting"
        if self.lead.stands:
            if self._mode != "leading" or self._epoch_shown != self.lead.epoch:
                await self._enter("leading", self.lead.epoch, _ANOTHER)
        elif self._follower.hears:
            if self._mode != "following" or self._epoch_shown != self._follower.newest_epoch:
                self._follow()
            await self._end_supply()
        elif self._mode != "alone" and not self._may_still_begin():
            self._local_epoch = max(self._clock.now_us(), self._local_epoch + 1)
            await self._enter("alone", self._local_epoch, _NONE)

    def _may_still_begin(self) -> bool:
        """At the start a leader may just not have been heard yet."""
        return (
            self._mode == "starting"
            and self._bus.shared
            and self._clock.monotonic_s() - self._started_s
            < (self._pace.silent_s if self._bus.up else min(self._pace.silent_s, _BUS_S))
        )

    @property
    def _epoch_shown(self) -> int:
        return self.state.epoch

    async def _enter(self, mode: Literal["leading", "alone"], epoch: int, reason: str) -> None:
        """Begin an epoch of our own."""
        listens = mode == "leading"
        await self._end_supply()
        if self.lead.stands != listens or (not listens and self._follower.hears):
            # It has changed while the old epoch ended; the next look sees to it.
            return
        self._follower.showing = False
        self._publisher.epoch = epoch if listens else 0
        self._mode = mode
        self._supply = Supply(
            self._clock,
            self._feed,
            Sequencer(
                self._clock,
                self._board,
                self._fresh,
                self._filter,
                epoch,
                self._publisher.show,
                self._publisher.confirm,
            ),
            self._union if listens else self._own,
            self._publisher.forget,
            self._counts,
            listens=listens,
            sweep_s=self._pace.sweep_s,
        )
        if listens:
            self._counts["led"] += 1
            _log.info("market_data_led_here", epoch=epoch)
        else:
            _log.warning("market_data_alone", reason=self._why_alone())
        self._begin_epoch(epoch, reason)
        if listens:
            self._say_lead()
        self._supply.begin()

    def _leader_found(self) -> None:
        """Another leader is heard; if the lease is here after all, it is asked for again before long (`Leadership`)."""
        if self.lead.stands:
            self._counts["rival"] += 1
            return
        self._follow()
        self._look.set()

    def _follow(self) -> None:
        """Live on what the leader says, from its next word on."""
        if self._supply is not None:
            self._supply.sequencer.closed = True
        self._mode = "following"
        self._publisher.epoch = 0
        self._follower.showing = True
        self._counts["followed"] += 1
        if self._epoch_shown != self._follower.newest_epoch:
            self._begin_epoch(self._follower.newest_epoch, _ANOTHER)
        self._say_hello()
        self._judge()

    async def _end_supply(self) -> None:
        supply, self._supply = self._supply, None
        if supply is not None:
            await supply.end()

    def _begin_epoch(self, epoch: int, reason: str) -> None:
        self._board.clear()
        self._counts["epochs"] += 1
        self._set_state(replace(self.state, epoch=epoch, leads=self._mode == "leading"))
        for tell in self._on_epoch:
            tell(epoch, reason)

    # -- the state ------------------------------------------------------------------------------------

    def _judge(self) -> None:
        """Say how it goes."""
        found: tuple[Status, str, str] | None = None
        if self._mode == "following" and self._follower.lead is not None:
            lead = self._follower.lead
            found = (lead.status, lead.reason, lead.source)
        elif self._supply is not None and (status := self._supply.status()) is not None:
            reason = status[1] or ("" if status[0] == "up" else self._why_alone())
            found = (status[0], reason, self._feed.source)
        if found is None:
            return
        before = self.state
        self._set_state(
            replace(before, status=found[0], reason=found[1], source=found[2], leads=self._mode == "leading")
        )
        if self._mode == "leading" and self.state != before:
            self._say_lead()

    def _set_state(self, state: FeedState) -> None:
        if state == self.state:
            return
        if state.status != self.state.status:
            state = replace(state, since_us=self._clock.now_us())
        self.state = state
        for tell in self._on_state:
            tell(state)

    def _why_alone(self) -> str:
        if self.lead.database_away:
            return "the database cannot be reached, so this replica asks for quotes by itself"
        if not self._bus.shared:
            return "another process listens to the market and there is no bus between them, so this one asks for quotes by itself"
        if not self._bus.up:
            return "the bus between the replicas is down, so this one asks for quotes by itself"
        return "the replica that listens to the market is not heard, so this one asks for quotes by itself"

    def _fresh(self, share: float) -> Freshness:
        """Anew each time: a feed that has fallen back to another source has another interval."""
        return Freshness(self._clock, self._hours, self._feed.resend_interval_s * share)

    # -- demand ---------------------------------------------------------------------------------------

    def _union(self, most_streamed: int, streamed_now: Collection[str]) -> Union:
        return self._wanted.union(most_streamed, streamed_now)

    def _own(self, most_streamed: int, streamed_now: Collection[str]) -> Union:
        subscribed, asked = self._wanted.ours()
        return Union((), tuple([*subscribed, *asked][:MOST_WANTED]))

    async def _tell_demand(self) -> None:
        """What is wanted here, whenever that changes."""
        while True:
            await self._changed.wait()
            await self._clock.sleep(self._pace.gather_s)
            self._changed.clear()
            if self._supply is not None:
                self._supply.want_again()
            self._say_wanted()

    def _say_wanted(self) -> None:
        if not self._bus.shared or not self._bus.up:
            return
        subscribed, asked = self._wanted.ours()
        sockets = dict(list(self._sockets().items())[:MOST_USERS])
        hello, self._hello = self._hello, False
        epoch = max(self._follower.newest_epoch, self.lead.epoch)
        self._bus.publish(DEMAND, encode(Wanted(self._replica, epoch, hello, subscribed, asked, sockets)))

    def _say_hello(self) -> None:
        """Ask the leader for the newest of all; gathered with what else is to be told."""
        self._hello = True
        self._changed.set()

    # -- the bus --------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Each second: that we are here, what we want, and that we lead."""
        while True:
            await self._clock.sleep(self._pace.beat_s)
            if self._supply is not None:
                # Symbols that were only asked for, and replicas, go without a word.
                self._supply.want_again()
            if self._mode == "leading":
                self._say_lead()
            self._say_wanted()

    async def _publish(self) -> None:
        """What has gathered for a few milliseconds, in one message."""
        while True:
            await self._publisher.something()
            await self._clock.sleep(self._pace.batch_s)
            self._publisher.flush()

    def _say_lead(self, *, leaving: bool = False) -> None:
        if self.lead.stands and self._bus.shared:
            state = self.state
            self._bus.publish(
                LEAD, encode(Lead(self._publisher.epoch, state.status, state.reason, state.source, leaving))
            )

    def _hear_lead(self, body: bytes) -> None:
        try:
            lead = decode(Lead, body)
            self._check_epoch(lead.epoch)
        except BadMessage:
            self._counts["bus_refused"] += 1
            return
        self._follower.hear_lead(lead)
        if self._follower.leaving:
            self.lead.try_soon()
        if self._mode == "following":
            self._judge()

    def _check_epoch(self, epoch: int) -> None:
        """An epoch is an instant that has been; nothing later can be gone beyond. Raises BadMessage."""
        if epoch > self._clock.now_us() + _DAY_US:
            raise BadMessage

    def _hear_ticks(self, body: bytes) -> None:
        try:
            self._follower.hear_ticks(decode(Ticks, body))
        except BadMessage:
            self._counts["bus_refused"] += 1

    def _hear_wanted(self, body: bytes) -> None:
        try:
            wanted = decode(Wanted, body)
            self._check_epoch(wanted.epoch)
        except BadMessage:
            self._counts["bus_refused"] += 1
            return
        if self._wanted.hear(wanted) and self._supply is not None:
            self._supply.want_again()
        if wanted.hello and self._mode == "leading":
            self._say_lead()
            self._publisher.show_all()

    def _bus_changed(self, up: bool) -> None:
        if up:
            self._say_hello()
            if self._mode == "leading":
                self._say_lead()
                self._publisher.show_all()
        else:
            self._follower.lose()
        self._look.set()
