"""Everything that one simulated Alpaca is made of, and the seams between its parts.

Routes for a composition: `routes.routes(exchange)` are all REST routes, `routes.fallback()` answers what is no route
with Alpaca's 404 and belongs last in the list.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Protocol

from paiid.brokers import BrokerOrderView
from paiid.brokers.paper import PaperBroker
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.domain.calendar import MarketHours
from paiid.domain.instruments import Instrument
from paiid.domain.occ import OptionContract
from paiid.domain.paper import LATENCY_MS
from paiid.domain.quotes import Quote
from paiid.feeds.simulated.activity import Activity
from paiid.sim.alpaca.accounts import Accounts, SimAccount
from paiid.sim.alpaca.ids import AssetIds
from paiid.sim.alpaca.rate import RateLimit
from paiid.sim.engine.cancels import PendingCancels
from paiid.sim.engine.turns import Turns

CALL_S = 5.0
"""How long the venue may take for one call."""


class Market(Protocol):
    """Quotes and listings, as `feeds.Feed` gives them, and what shares there are at all."""

    def newest(self, symbol: str) -> Quote | None:
        """The newest quote in memory, without waiting; None where there is none."""
        ...

    def instruments(self) -> Sequence[Instrument]:
        """All shares that are listed."""
        ...

    def activity(self, symbol: str) -> Activity | None:
        """How much of a contract is traded and held; None where the market does not say."""
        ...

    async def fetch_instrument(self, symbol: str) -> Instrument | None:
        """A share or an option contract, or None where it is not known."""
        ...

    async def fetch_quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """The newest quote of each known symbol."""
        ...

    async def fetch_expirations(self, symbol: str) -> Sequence[date]:
        """The expirations of the options on a ticker, in order."""
        ...

    async def fetch_contracts(self, symbol: str, expiration: date) -> Sequence[OptionContract]:
        """The contracts on a ticker that expire then."""
        ...


class Ledger(Protocol):
    """What was done, for a referee to read."""

    def append(self, kind: str, **fields: Any) -> None:
        """Write one entry; durable before it returns. Fields are plain JSON values, decimals as texts."""
        ...


class Faults(Protocol):
    """The faults that reach into the handling of a request; those around it are middleware."""

    def hides(self, order_id: str, submitted_at_us: int) -> bool:
        """Whether look-ups and lists must not show this order yet. `order_id` is the one on the wire, a UUID."""
        ...

    def cancel_delay_s(self, order: BrokerOrderView) -> float:
        """Seconds between the 204 of a cancel and the venue's cancel; `SimOptions.cancel_latency_s` without a fault."""
        ...


@dataclass(frozen=True, slots=True)
class SimOptions:
    """How this simulated Alpaca differs from another one.

    `rate_limit_per_minute` requests of one account in a minute, 0 for no limit. `cancel_latency_s` passes between the
    answer to a cancel and the cancel. `legacy_pdt_fields` brings back what left the account in July 2026.
    `latency_ms` is the venue's own: an order is `pending_new` for so long.
    """

    rate_limit_per_minute: int = 200
    cancel_latency_s: float = 0.01
    legacy_pdt_fields: bool = False
    latency_ms: int = LATENCY_MS


@dataclass(slots=True)
class Exchange:
    """One simulated Alpaca. `start` after the venue has started, `stop` before it stops."""

    venue: PaperBroker
    db: Database
    market: Market
    hours: MarketHours
    clock: Clock
    accounts: Accounts
    ledger: Ledger
    faults: Faults
    options: SimOptions = field(default_factory=SimOptions)
    asset_ids: AssetIds = field(default_factory=AssetIds)
    turns: Turns = field(default_factory=Turns)
    cancels: PendingCancels = field(init=False)
    rate: RateLimit = field(init=False)

    def __post_init__(self) -> None:
        self.cancels = PendingCancels(self.venue, self.clock)
        self.rate = RateLimit(self.clock, self.options.rate_limit_per_minute)
        for one in self.market.instruments():
            self.asset_ids.of(one.symbol)

    @property
    def pending_work(self) -> int:
        """Cancels that were promised and are not done yet."""
        return len(self.cancels)

    async def start(self) -> None:
        """Open the accounts of the registry at the venue, those that are not open yet."""
        for account in self.accounts.all():
            await self.open(account)

    async def open(self, account: SimAccount) -> None:
        """Open an account at the venue on its terms; one that is open stays as it is. Raises BrokerError."""
        await self.venue.open_account(account.number, account.terms, CALL_S)

    async def stop(self) -> None:
        """Do what was promised: every pending cancel is carried out now."""
        await self.cancels.stop()
