"""Everything that one simulated Tradier is made of, and the seams between its parts."""

import asyncio
from dataclasses import dataclass, field
from datetime import time
from pathlib import Path
from typing import Any, Protocol

from paiid.brokers import BrokerOrderView
from paiid.brokers.paper import PaperBroker
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.domain.calendar import MarketHours, eastern_date, eastern_us
from paiid.domain.paper import LATENCY_MS
from paiid.sim.engine.cancels import PendingCancels
from paiid.sim.engine.market import SimMarket
from paiid.sim.engine.turns import Turns
from paiid.sim.tradier.accounts import Accounts, SimAccount
from paiid.sim.tradier.ids import Placed, Register
from paiid.sim.tradier.night import Night
from paiid.sim.tradier.rate import RateLimits, Rates

CALL_S = 5.0
"""How long the venue may take for one call."""


class Ledger(Protocol):
    """What was done, for a referee to read."""

    def append(self, kind: str, **fields: Any) -> None:
        """Write one entry; durable before it returns. Fields are plain JSON values, decimals as texts."""
        ...


class Faults(Protocol):
    """The faults that reach into the handling of a request; those around it are middleware."""

    def hides(self, order_id: str, submitted_at_us: int) -> bool:
        """Whether look-ups and lists must not show this order yet. `order_id` is the one on the wire, in digits."""
        ...

    def hides_price(self, order_id: str, updated_at_us: int) -> bool:
        """Whether this order, filled at this instant, is still shown without price and quantity."""
        ...

    def cancel_delay_s(self, order: BrokerOrderView) -> float:
        """Seconds between the answer to a cancel and the cancel; `SimOptions.cancel_latency_s` without a fault."""
        ...

    def draw(
        self, operation: str, account: str | None, *, symbol: str | None = None, event: str | None = None
    ) -> Any:
        """The fault that is played on this occasion (`engine.faults.Fault`), or None. The operations asked here are
        `accepted` (an order was taken) and `stream` (an update is about to be told)."""
        ...

    def tell(self, fault: Any, **what: Any) -> None:
        """Write down that a fault is played now."""
        ...


@dataclass(frozen=True, slots=True)
class SimOptions:
    """How this simulated Tradier differs from another one.

    `sandbox`: no history, and orders that are open at midnight in New York are dropped. `null_text`: an empty
    collection is the text "null" instead of null. `allow_market_first_leg`: the entry of an oto or otoco may be a
    market order, on which Tradier's documents disagree. `cancel_latency_s` passes between the answer to a cancel and
    the cancel. `latency_ms` is the venue's own: an order meets the market so much later.
    """

    sandbox: bool = False
    null_text: bool = True
    allow_market_first_leg: bool = False
    limits: RateLimits = field(default_factory=RateLimits)
    cancel_latency_s: float = 0.01
    latency_ms: int = LATENCY_MS
    page_size: int = 500
    """Orders on a page of the list where no `limit` is given."""


@dataclass(slots=True)
class TradierExchange:
    """One simulated Tradier. `start` after the venue has started, `stop` before it stops.

    The data directory holds the accounts and the register of orders.
    """

    venue: PaperBroker
    db: Database
    market: SimMarket
    hours: MarketHours
    clock: Clock
    accounts: Accounts
    ledger: Ledger
    faults: Faults
    data_dir: Path
    options: SimOptions = field(default_factory=SimOptions)
    turns: Turns = field(default_factory=Turns)
    null_text: bool = field(init=False)
    day_started_us: int | None = None
    """From when on orders are of today, where a fault has ended the day early; None: since midnight in New York."""
    settled: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Order objects that nothing will change any more, by number."""
    register: Register = field(init=False)
    cancels: PendingCancels = field(init=False)
    rates: Rates = field(init=False)
    rejections: "asyncio.Queue[Placed]" = field(init=False)
    """Orders that were accepted and are to be rejected, for the stream to tell."""
    _night: Night = field(init=False)

    def __post_init__(self) -> None:
        self.null_text = self.options.null_text
        self.register = Register(self.data_dir)
        self.cancels = PendingCancels(self.venue, self.clock)
        self.rates = Rates(self.clock, self.options.limits)
        self.rejections = asyncio.Queue()
        self._night = Night(
            self.venue, self.clock, self.hours, self.accounts, self.register, drops=self.options.sandbox
        )

    @property
    def pending_work(self) -> int:
        """Cancels that were promised and are not done yet."""
        return len(self.cancels)

    def venue_id(self, order_id: int) -> str | None:
        """The venue's id behind a number on the wire, as it is after every change; known of orders that were taken or
        changed since the start."""
        return self.register.venue_id(order_id)

    def day_start_us(self) -> int:
        """Since when orders are of today: midnight in New York, or later where a fault has ended the day."""
        midnight_us = eastern_us(eastern_date(self.clock.now_us()), time())
        return max(midnight_us, self.day_started_us or 0)

    async def start(self) -> None:
        """Open the accounts of the registry at the venue, those that are not open yet."""
        for account in self.accounts.all():
            await self.open(account)
        self._night.start()

    async def open(self, account: SimAccount) -> None:
        """Open an account at the venue on its terms; one that is open stays as it is. Raises BrokerError."""
        await self.venue.open_account(account.number, account.terms, CALL_S)

    async def roll_day(self) -> None:
        """End the day now: the list of orders is empty, and a sandbox drops what is open. Raises BrokerError."""
        self.day_started_us = self.clock.now_us()
        if self.options.sandbox:
            await self._night.drop_all()

    async def stop(self) -> None:
        """Do what was promised: every pending cancel is carried out now."""
        await self._night.stop()
        await self.cancels.stop()
        self.register.close()
