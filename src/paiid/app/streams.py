"""The streams of one process wired together: hub, channels, and what tells them that something has happened."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from paiid.accounts.service import AccountService
from paiid.auth.service import AuthService
from paiid.core.bus import Bus
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.core.settings import Settings
from paiid.feeds import Feed
from paiid.market.board import Board
from paiid.market.demand import Demand
from paiid.market.service import MarketService
from paiid.market.upstream import Upstream
from paiid.portfolio.live import LivePortfolio
from paiid.portfolio.service import PortfolioService
from paiid.stream.hub import Hub
from paiid.stream.journal import Journal
from paiid.stream.quotes import QuoteChannels
from paiid.stream.service import StreamService
from paiid.trading.channel_snapshot import ChannelSnapshot
from paiid.trading.halt_channel import HaltChannel


class Streams:
    """Made before trading, which tells it of every commit; the rest is wired once the services are there."""

    def __init__(self, db: Database, clock: Clock, bus: Bus) -> None:
        self._db = db
        self._clock = clock
        self._bus = bus
        self._service: StreamService | None = None
        self.hub = Hub(clock)
        self.journal = Journal(db, clock, self.hub, bus, ChannelSnapshot(db))
        self.halts = HaltChannel(db, clock, self.hub, bus)
        self.hub.register("account", self.journal)
        self.hub.register("halts", self.halts)

    def told(self, account_ids: Collection[str]) -> None:
        """These accounts have new events, committed."""
        self.journal.nudge(account_ids)

    def sockets_by_user(self) -> Mapping[str, int]:
        """How many streams each user has open here."""
        return {} if self._service is None else self._service.sockets_by_user()

    async def start(
        self,
        run: Callable[[Any], Awaitable[None]],
        settings: Settings,
        feed: Feed,
        board: Board,
        demand: Demand,
        upstream: Upstream,
        market: MarketService,
        auth: AuthService,
        accounts: AccountService,
        portfolio: PortfolioService,
    ) -> StreamService:
        """Wire what needs the other services, and start all in order."""
        quotes = QuoteChannels(self.hub, board, demand, delayed=lambda: feed.delayed)
        upstream.on_epoch(quotes.begin_epoch)
        live = LivePortfolio(portfolio, self.journal, board, demand, self.hub, self._clock)
        self.hub.register("portfolio", live)
        service = self._service = StreamService(
            self._db,
            self._clock,
            settings,
            self.hub,
            auth,
            accounts,
            market,
            self._bus,
            feed_state=lambda: upstream.state,
            indices=feed.indices,
            counts=lambda: upstream.counts,
            sockets_elsewhere=upstream.sockets_elsewhere,
            sockets_changed=upstream.sockets_changed,
        )
        upstream.on_state(service.feed_channel.changed)
        for part in (self.hub, self.journal, self.halts, live, service):
            await run(part)
        return service
