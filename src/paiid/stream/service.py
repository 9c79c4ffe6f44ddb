"""One door to the streams of this replica: tickets, open sockets, their rights, and the farewell when the process ends."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from paiid.accounts.service import AccountService
from paiid.auth.service import AuthService
from paiid.core.bus import Bus
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.core.limits import RateLimiter
from paiid.core.origins import Origins
from paiid.core.settings import Settings
from paiid.domain.identity import Principal
from paiid.market.state import FeedState
from paiid.stream.clients import Clients
from paiid.stream.credentials import Credentials
from paiid.stream.feed_channel import PREFIX, FeedChannel
from paiid.stream.hub import Hub
from paiid.stream.limits import HEARTBEAT_S, Closing, StreamTimings
from paiid.stream.subscriptions import Instruments, Subscriptions
from paiid.stream.tickets import Tickets
from paiid.stream.views import View, bus_view, client_view, draining_view, feed_view, limits_view
from paiid.stream.watch import RightsWatch


def _nobody(user_id: str) -> int:
    return 0


def _nothing() -> None:
    """Told where there are no other replicas."""


class StreamService:
    """`tickets`, `credentials`, `clients` and `subscriptions` do the work; the endpoints are in `ws` and `sse`.

    `feed_state` says how market data come, `counts` what was filtered of them, `indices` are (name, symbol) of what stands
    for the indices, `sockets_elsewhere` how many streams a user has on other replicas. The hub is started by others.
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        settings: Settings,
        hub: Hub,
        auth: AuthService,
        accounts: AccountService,
        instruments: Instruments,
        bus: Bus,
        *,
        feed_state: Callable[[], FeedState],
        indices: Sequence[tuple[str, str]] = (),
        counts: Callable[[], Mapping[str, int]] = dict,
        sockets_elsewhere: Callable[[str], int] = _nobody,
        sockets_changed: Callable[[], None] = _nothing,
        timings: StreamTimings | None = None,
    ) -> None:
        self.clock = clock
        self.timings = timings or StreamTimings()
        self.origins = Origins(settings.allow_origin)
        self.indices = tuple(indices)
        self.feed_state = feed_state
        self._bus = bus
        self._counts = counts
        self._sockets_changed = sockets_changed
        self.tickets = Tickets(db, clock, RateLimiter(clock), self.timings.ticket_s)
        self.credentials = Credentials(auth, self.tickets)
        self.clients = Clients(hub, clock, sockets_elsewhere)
        self.subscriptions = Subscriptions(
            hub, clock, self.clients, accounts, instruments, self.timings.instrument_within_s
        )
        self.feed_channel = FeedChannel(hub, clock, feed_state, bus)
        hub.register(PREFIX, self.feed_channel)
        self._watch = RightsWatch(
            clock, auth, accounts, self.clients, self.subscriptions, self.tickets, self.timings
        )
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def failing(self) -> dict[str, str]:
        """Background work that has broken just now, and on what: for the health page."""
        return self._watch.failing

    async def start(self) -> None:
        """Begin to watch rights."""
        self._loop = asyncio.get_running_loop()
        self._watch.start()

    async def stop(self) -> None:
        """Say farewell to whoever is still there, and end."""
        self._drain()
        await self._watch.stop()

    def sockets_by_user(self) -> dict[str, int]:
        """How many streams each user has open on this replica, for the others to know."""
        return self.clients.counts()

    # -- the end ------------------------------------------------------------------------------------

    def begin_draining(self) -> None:
        """From now on no stream opens, and each that is open is told to come back elsewhere and closed. From any thread, so
        that a signal handler may call it: uvicorn waits for open streams, and only we can end them."""
        self.clients.draining = True
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self.clients.draining = True
        now_us = self.clock.now_us()
        for client in self.clients:
            # Spread out, so that those who are left are not stormed.
            spread = int.from_bytes(self.clock.random_bytes(4), "big") % self.timings.reconnect_within_ms
            self.clients.tell(client, draining_view(spread, now_us))
            self.clients.end(client, Closing.RESTART, "draining")
        self._sockets_changed()

    # -- the status page ----------------------------------------------------------------------------

    def status(self, principal: Principal) -> View:
        """What a caller may know of the streams of this replica: his own sockets; for an owner also the counters."""
        view: View = {
            "feed": feed_view(self.feed_state()),
            "bus": bus_view(self._bus),
            "heartbeat_s": int(HEARTBEAT_S),
            "draining": self.clients.draining,
            "limits": limits_view(),
            "sockets": [client_view(client) for client in self.clients.of_user(principal.user_id)],
            "sockets_elsewhere": self.clients.elsewhere(principal.user_id),
        }
        if principal.role == "owner":
            view["counts"] = dict(self._counts())
            view["sockets_in_all"] = sum(self.clients.counts().values())
        return view
