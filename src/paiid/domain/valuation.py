"""What an account is worth: holdings at their marks, profit and loss, exposure. Arithmetic only.

Signs: a short holding has a negative quantity, cost basis and market value, so that the same formulas hold
for both sides. A holding without a mark has no value: it is None and never guessed, and so is every sum that
would need it. Options are held in contracts and priced per share: a contract is worth 100 times its price.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from paiid.domain.instruments import multiplier_of
from paiid.domain.margin import (
    LENT_BUYING_POWER,
    Combo,
    Exposure,
    excess,
    lends,
    maintenance_requirement,
)
from paiid.domain.money import ZERO, round_money
from paiid.domain.occ import OptionContract
from paiid.domain.proposal import SPREADS_LEVEL
from paiid.domain.quotes import Quote

_RATIO = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Mark:
    """The price a holding is valued at, in dollars a share, and where it comes from."""

    price: Decimal
    prev_close: Decimal | None
    source: str
    as_of_us: int
    stale: bool


def mark_from(quote: Quote | None) -> Mark | None:
    """The middle of bid and ask, the last trade where one side is missing, None where there is no price."""
    if quote is None:
        return None
    price = round_money(quote.mid) if quote.bid > 0 and quote.ask > 0 else quote.last
    if price <= 0:
        return None
    prev_close = quote.prev_close if quote.prev_close > 0 else None
    return Mark(price, prev_close, quote.source, quote.as_of_us, quote.stale)


@dataclass(frozen=True, slots=True)
class Holding:
    """One symbol of an account: signed quantity in shares or contracts and cost in dollars, and what open orders of
    it still may buy and sell (remaining quantity, and remaining quantity x reserve price x multiplier)."""

    symbol: str
    asset_class: str
    qty: Decimal
    cost_basis: Decimal
    open_buy_qty: Decimal = ZERO
    open_buy_value: Decimal = ZERO
    open_sell_qty: Decimal = ZERO
    open_sell_value: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Valued:
    """A holding at its mark."""

    holding: Holding
    mark: Mark | None

    @property
    def avg_entry_price(self) -> Decimal | None:
        """Dollars a share, positive for both sides, rounded to the stored millionth."""
        held = self.holding
        if held.qty == 0:
            return None
        return round_money(held.cost_basis / held.qty / multiplier_of(held.symbol))

    @property
    def market_value(self) -> Decimal | None:
        """Signed dollars, rounded as the ledger books; zero for no shares, with or without a mark."""
        if self.holding.qty == 0:
            return ZERO
        if self.mark is None:
            return None
        return round_money(self.holding.qty * self.mark.price) * multiplier_of(self.holding.symbol)

    @property
    def unrealized_pl(self) -> Decimal | None:
        """Dollars that closing at the mark would realise."""
        value = self.market_value
        return None if value is None else value - self.holding.cost_basis

    @property
    def unrealized_plpc(self) -> Decimal | None:
        """`unrealized_pl` as a fraction of the cost (0.05 is five percent); None where it cost nothing."""
        return _fraction(self.unrealized_pl, abs(self.holding.cost_basis))

    @property
    def change_today(self) -> Decimal | None:
        """The mark's change since the last close, as a fraction."""
        if self.mark is None or self.mark.prev_close is None:
            return None
        return _fraction(self.mark.price - self.mark.prev_close, self.mark.prev_close)


@dataclass(frozen=True, slots=True)
class Requirements:
    """Dollars of equity that an account needs: `initial` for its positions and open orders, which leaves the excess;
    `maintenance` for its positions to stay as they are. With less than that it must be brought back (`call`)."""

    initial: Decimal
    maintenance: Decimal
    call: bool


@dataclass(frozen=True, slots=True)
class Worth:
    """An account at its marks. `equity`, what it may still buy and needs, and the exposures are None where a price they
    need is missing; `missing` names the symbols. `as_of_us` is the oldest mark's instant."""

    cash: Decimal
    valued: tuple[Valued, ...]
    equity: Decimal | None
    buying_power: Decimal | None
    options_buying_power: Decimal | None
    requirements: Requirements | None
    long: Decimal | None
    short: Decimal | None
    missing: tuple[str, ...]
    stale: bool
    as_of_us: int | None

    @property
    def held(self) -> tuple[Valued, ...]:
        """What is held other than zero; a symbol with open orders alone is no position."""
        return tuple(one for one in self.valued if one.holding.qty != 0)


def value_account(
    cash: Decimal,
    valued: Sequence[Valued],
    combos: Sequence[Combo] = (),
    *,
    margin: bool = False,
    options_level: int = SPREADS_LEVEL,
) -> Worth:
    """Equity is cash plus the signed value of every holding; the rest as in `domain/margin.py`, by the account's terms.

    Buying power is known without the marks of what is long (they then count nothing), the requirements are not.
    """
    held = [one for one in valued if one.holding.qty != 0]
    missing = tuple(one.holding.symbol for one in held if one.mark is None)
    values = [one.market_value for one in held]
    known = [value for value in values if value is not None]
    whole = not missing
    equity = cash + sum(known, ZERO) if whole else None
    spreads = options_level >= SPREADS_LEVEL
    exposures = [_exposure(one) for one in valued]
    free = _buying_power(cash, exposures, combos, margin, spreads)
    return Worth(
        cash=cash,
        valued=tuple(valued),
        equity=equity,
        buying_power=None if free is None else free[0],
        options_buying_power=None if free is None else free[1],
        requirements=_requirements(exposures, equity, None if free is None else free[1], spreads),
        long=sum((value for value in known if value > 0), ZERO) if whole else None,
        short=sum((value for value in known if value < 0), ZERO) if whole else None,
        missing=missing,
        stale=any(one.mark is not None and one.mark.stale for one in held),
        as_of_us=min((one.mark.as_of_us for one in held if one.mark is not None), default=None),
    )


def _buying_power(
    cash: Decimal, exposures: Sequence[Exposure], combos: Sequence[Combo], margin: bool, spreads: bool
) -> tuple[Decimal, Decimal] | None:
    """Buying power and excess; None where a short has no price, or a short option no cover."""
    try:
        free = round_money(excess(cash, exposures, combos, margin=margin, spreads=spreads))
        lent = lends(cash, exposures, margin=margin)
    except ValueError:
        return None
    return (free * LENT_BUYING_POWER if lent else free), free


def _requirements(
    exposures: Sequence[Exposure], equity: Decimal | None, free: Decimal | None, spreads: bool
) -> Requirements | None:
    if equity is None or free is None:
        return None
    maintenance = round_money(maintenance_requirement(exposures, spreads=spreads))
    return Requirements(equity - free, maintenance, equity < maintenance)


def _exposure(one: Valued) -> Exposure:
    held = one.holding
    return Exposure(
        held.symbol,
        held.qty,
        held.open_buy_qty,
        held.open_buy_value,
        held.open_sell_qty,
        held.open_sell_value,
        None if one.mark is None else one.mark.price,
    )


@dataclass(frozen=True, slots=True)
class Change:
    """Dollars gained since a base, and the same in percent of the base (5 is five percent)."""

    amount: Decimal | None
    percent: Decimal | None


def change_since(equity: Decimal | None, base: Decimal) -> Change:
    """None where the equity is not known; no percentage of a base that is not above zero."""
    if equity is None:
        return Change(None, None)
    amount = equity - base
    fraction = _fraction(amount, base)
    return Change(amount, None if fraction is None else fraction * 100)


def best_and_worst(valued: Iterable[Valued]) -> tuple[Valued | None, Valued | None]:
    """The holding with the largest gain and the one with the largest loss; None where nothing gains or loses."""
    with_result = [(one.unrealized_pl, one) for one in valued]
    gains = [(pl, one) for pl, one in with_result if pl is not None and pl > 0]
    losses = [(pl, one) for pl, one in with_result if pl is not None and pl < 0]
    best = max(gains, key=lambda pair: pair[0], default=None)
    worst = min(losses, key=lambda pair: pair[0], default=None)
    return (None if best is None else best[1], None if worst is None else worst[1])


def _fraction(part: Decimal | None, whole: Decimal) -> Decimal | None:
    if part is None or whole <= 0:
        return None
    return (part / whole).quantize(_RATIO)


@dataclass(frozen=True, slots=True)
class Print:
    """An execution in signed form: `qty` above zero was bought, `cash` is what the account got (fees paid)."""

    symbol: str
    qty: Decimal
    cash: Decimal


def rewind(
    cash: Decimal, held: dict[str, Decimal], prints: Iterable[Print]
) -> tuple[Decimal, dict[str, Decimal]]:
    """Cash and holdings as they were before these prints."""
    before = dict(held)
    for one in prints:
        cash -= one.cash
        before[one.symbol] = before.get(one.symbol, ZERO) - one.qty
    return cash, {symbol: qty for symbol, qty in before.items() if qty != 0}


def closing_price(quote: Quote | None, roll_us: int) -> Decimal | None:
    """The price of the last close at `roll_us`, from a quote of any time after that close and before the next.

    A quote from after the roll tells it as its previous close. One from before the roll that is still the
    newest is itself the last price of the day that ended. None where there is no price.
    """
    if quote is None:
        return None
    if quote.as_of_us > roll_us:
        return quote.prev_close if quote.prev_close > 0 else None
    mark = mark_from(quote)
    return None if mark is None else mark.price


def expired_price(contract: OptionContract, underlying: Quote | None, roll_us: int) -> Decimal | None:
    """What a contract that expired at the roll was worth a share: its intrinsic value at the underlying's close."""
    close = closing_price(underlying, roll_us)
    return None if close is None else contract.intrinsic(close)
