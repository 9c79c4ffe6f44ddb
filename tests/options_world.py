"""Chains in a test's hand: contracts quoted around what a formula says, and a feed that shows them."""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Literal

from paiid.domain.corporate import CorporateAction
from paiid.domain.occ import OptionContract, root_for
from paiid.domain.option_chain import ChainRow, VendorGreeks
from paiid.domain.pricing import black_scholes
from paiid.domain.quotes import Quote
from paiid.options.contract_terms import expires_us
from tests.market_world import WEDNESDAY_OPEN_US, FakeFeed

YEAR_US = 365 * 86_400_000_000
CENT = Decimal("0.01")
SPOT = 100.0
NEAR, MIDDLE, FAR = date(2026, 12, 18), date(2027, 3, 19), date(2027, 9, 17)
"""Three monthly expirations after `WEDNESDAY_OPEN_US`."""
STRIKES = tuple(range(70, 135, 5))


def row(
    strike: float,
    day: date = NEAR,
    kind: Literal["call", "put"] = "call",
    bid: str | None = None,
    ask: str | None = None,
    *,
    root: str = "ACME",
    at_us: int = WEDNESDAY_OPEN_US,
    vendor: VendorGreeks | None = None,
    quoted: bool = True,
    size: int | None = 100,
    source: str = "hand",
    recorded_at_us: int | None = None,
    half: Decimal = CENT,
    volatility: float = 0.3,
    rate: float = 0.0,
    dividend_yield: float = 0.0,
) -> ChainRow:
    """One contract; a side that is not given lies `half` around what a European one is worth, to a hundredth of a cent."""
    contract = OptionContract(root, day, kind, Decimal(str(strike)).quantize(Decimal("0.001")))
    if not quoted:
        return ChainRow(contract, None, size=size, vendor=vendor)
    years = max(0.0, (expires_us(contract) - at_us) / YEAR_US)
    worth = black_scholes.price(kind, SPOT, strike, years, rate, dividend_yield, volatility)
    middle = Decimal(worth).quantize(Decimal("0.0001"))
    quote = Quote(
        symbol=contract.symbol,
        bid=max(middle - half, Decimal(0)) if bid is None else Decimal(bid),
        ask=middle + half if ask is None else Decimal(ask),
        bid_size=Decimal(10),
        ask_size=Decimal(20),
        last=middle,
        prev_close=middle,
        as_of_us=at_us,
        sequence=1,
        source=source,
        recorded_at_us=recorded_at_us,
    )
    return ChainRow(contract, quote, 7, 70, size=size, vendor=vendor)


def chain(
    days: Iterable[date] = (NEAR, MIDDLE, FAR), strikes: Iterable[float] = STRIKES, **wish: object
) -> list[ChainRow]:
    """Calls and puts of every strike and day, in the order of a feed."""
    strikes = tuple(strikes)
    return [
        row(strike, day, kind, **wish)  # type: ignore[arg-type]
        for day in days
        for strike in strikes
        for kind in ("call", "put")
    ]


class ChainFeed(FakeFeed):
    """Shows `rows`, counts how often it is asked for them, and announces `announced`. ACME is quoted at 100."""

    def __init__(self, rows: Sequence[ChainRow] = (), *, at_us: int = WEDNESDAY_OPEN_US) -> None:
        super().__init__("ACME", "BARE", quoted_us=at_us)
        self.rows = list(rows)
        self.asked: list[tuple[str, date, date]] = []
        self.announced: list[CorporateAction] = []
        self.set("ACME", "99.99", "100.01", as_of_us=at_us)
        self.set("BARE", "9.99", "10.01", as_of_us=at_us)

    def _of(self, symbol: str) -> list[ChainRow]:
        return [one for one in self.rows if root_for(symbol) == one.contract.root.rstrip("123456789")]

    async def fetch_expirations(self, symbol: str) -> Sequence[date]:
        self._refuse_when_down()
        return sorted({one.contract.expiration for one in self._of(symbol)})

    async def fetch_contracts(self, symbol: str, expiration: date) -> Sequence[OptionContract]:
        self._refuse_when_down()
        return [one.contract for one in self._of(symbol) if one.contract.expiration == expiration]

    async def fetch_chain(self, symbol: str, first: date, last: date) -> Sequence[ChainRow]:
        self._refuse_when_down()
        self.asked.append((symbol, first, last))
        return [one for one in self._of(symbol) if first <= one.contract.expiration <= last]

    async def fetch_dividends(self, symbol: str, first: date, last: date) -> Sequence[CorporateAction]:
        self._refuse_when_down()
        return [one for one in self.announced if one.symbol == symbol and first <= one.ex_date <= last]


def months_ahead(today: date, count: int) -> list[date]:
    """Days on which something could expire: every fourth Friday, from three weeks ahead."""
    friday = today + timedelta(days=(4 - today.weekday()) % 7 + 21)
    return [friday + timedelta(days=28 * number) for number in range(count)]
