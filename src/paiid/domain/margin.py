"""What orders may cost: one formula for the venue and for our own checks, with Regulation T margin or without.

    excess = cash + 50 % of long stock - 150 % of short stock - collateral of short options
             - what open orders reserve

* `cash` holds the proceeds of short sales, so a short of value V needs 1.5 V: the proceeds (1.0 V) and half as much
  again (Regulation T, 12 CFR 220.12(c)). Long stock is lent on at half its value (12 CFR 220.12(a)); options bought
  are paid in full and lent on never (12 CFR 220.12(e)).
* An open buy of stock reserves half its value, an open buy of options all of it, but only for the part that opens;
  the part that covers a short reserves nothing. An open sale of stock reserves only for the part that would open a
  short: at execution it brings its proceeds and needs 1.5 times its value, so half of it. Open sales of options count
  as filled (`domain/option_margin.py`). An open spread counts what it would tie up and cost if it filled.
* Without margin, and with an equity under 2,000 dollars (FINRA rule 4210(b)(4)), nothing is lent: long stock adds
  nothing, and a buy reserves its whole value.

Buying power is twice the excess where stock is lent on, else the excess. The formula is a sum over underlyings, so
that who changes one order needs to reckon one group anew.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain, combinations

from paiid.domain.instruments import CONTRACT_SIZE, is_option, underlying_of
from paiid.domain.money import ZERO
from paiid.domain.option_margin import Uncovered, collateral

__all__ = [
    "MINIMUM_EQUITY",
    "Combo",
    "Exposure",
    "Uncovered",
    "buying_power",
    "by_underlying",
    "equity",
    "excess",
    "group_requirement",
    "lends",
    "maintenance_requirement",
    "market_value",
    "requirement",
    "tied_up",
]

SHORT_REQUIREMENT = Decimal("1.5")
INITIAL = Decimal("0.5")
"""Of long stock, and of a new short beyond its proceeds (Regulation T)."""
LENT_BUYING_POWER = Decimal(2)
MINIMUM_EQUITY = Decimal(2000)
"""Dollars below which nothing is lent and nothing is sold short (FINRA rule 4210(b)(4))."""
MAINTENANCE_LONG = Decimal("0.25")
MAINTENANCE_SHORT = Decimal("0.30")
"""FINRA rule 4210(c)(1) and (3)."""
_LOOKED_AT_TOGETHER = 5
"""Open spreads of one underlying of which every choice is reckoned."""
_LOW_PRICE, _LOW_SHORT, _LEAST_SHORT = Decimal(5), Decimal("2.5"), Decimal(5)
"""Shorts under 5 dollars need their whole value or 2.50 a share, others at least 5 a share (FINRA 4210(c)(2), (3))."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """One symbol in an account: signed position, what open orders still may buy and sell, and its mark.

    Quantities in shares or contracts, `open_buy_value` and `open_sell_value` in dollars (remaining quantity x reserve
    price x multiplier, summed), `mark` in dollars a share. None is an unknown mark: of a long it counts nothing.
    """

    symbol: str
    qty: Decimal
    open_buy_qty: Decimal
    open_buy_value: Decimal
    open_sell_qty: Decimal
    open_sell_value: Decimal
    mark: Decimal | None

    @property
    def needs_mark(self) -> bool:
        """A short position is valued at today's price; without one nothing can be said."""
        return self.qty < 0


@dataclass(frozen=True, slots=True)
class Combo:
    """An open spread: its legs as (symbol, signed contracts if all of it fills), and the dollars paid (above zero) or
    received (below) if all of it fills."""

    legs: tuple[tuple[str, Decimal], ...]
    net: Decimal

    @property
    def underlying(self) -> str:
        """What all legs are about."""
        return underlying_of(self.legs[0][0])


def market_value(exposure: Exposure) -> Decimal:
    """Signed dollars at the mark; a long without a mark counts nothing. Raises ValueError for a short without one."""
    if exposure.mark is None:
        if exposure.qty < 0:
            raise ValueError(f"no price for the short position in {exposure.symbol}")
        return ZERO
    value = exposure.qty * exposure.mark
    return value * CONTRACT_SIZE if is_option(exposure.symbol) else value


def equity(cash: Decimal, exposures: Iterable[Exposure]) -> Decimal:
    """Dollars that would be left if all were closed at the marks. Raises ValueError for a short without a mark."""
    return cash + sum((market_value(one) for one in exposures if one.qty), ZERO)


def lends(cash: Decimal, exposures: Iterable[Exposure], *, margin: bool) -> bool:
    """Whether long stock is lent on: with margin, from 2,000 dollars of equity on. Raises ValueError for a short
    without a mark."""
    return margin and equity(cash, exposures) >= MINIMUM_EQUITY


def by_underlying(exposures: Iterable[Exposure]) -> dict[str, list[Exposure]]:
    """Shares and the options on them together."""
    groups: dict[str, list[Exposure]] = {}
    for one in exposures:
        groups.setdefault(underlying_of(one.symbol), []).append(one)
    return groups


def group_requirement(
    group: Sequence[Exposure], combos: Sequence[Combo] = (), *, loan: bool, spreads: bool = True
) -> Decimal:
    """Dollars of cash that one underlying ties up with its options and open spreads; below zero where long stock is
    lent on (`loan`, see `lends`). `spreads` False: long options cover nothing (options level under 3).

    Raises ValueError for short stock without a mark, and Uncovered.
    """
    held = ZERO
    shares, mark = ZERO, None
    contracts: dict[str, Decimal] = {}
    for one in group:
        if is_option(one.symbol):
            # Nobody knows which orders fill: all sales do and no buy does is the worst of it.
            contracts[one.symbol] = one.qty - one.open_sell_qty
            if one.open_buy_qty > 0:
                held += _opening(one.open_buy_value, one.open_buy_qty, -one.qty)
        else:
            held += _stock(one, loan)
            shares, mark = one.qty - one.open_sell_qty, one.mark
    if not contracts and not combos:
        return held
    lent_at = mark if loan else None
    return held + _tied_up_by_options(contracts, shares, combos, spreads, lent_at)


def _tied_up_by_options(
    contracts: dict[str, Decimal],
    shares: Decimal,
    combos: Sequence[Combo],
    spreads: bool,
    lent_at: Decimal | None,
) -> Decimal:
    """Collateral, and the most that it and what is paid can grow to, whichever of the open spreads fill.

    Some may fill and others not, and the credit of one that does not fill pays for nothing: so every choice of them is
    looked at. Of more than a few each counts what it would tie up by itself, which is never less.
    """

    def tied_up(filled: Iterable[Combo]) -> Decimal:
        with_them = dict(contracts)
        for combo in filled:
            for symbol, qty in combo.legs:
                with_them[symbol] = with_them.get(symbol, ZERO) + qty
        return collateral(with_them, shares, spreads=spreads, lent_at=lent_at)

    def cost(filled: Sequence[Combo]) -> Decimal:
        return tied_up(filled) + sum((combo.net for combo in filled), ZERO)

    if len(combos) <= _LOOKED_AT_TOGETHER:
        choices = chain.from_iterable(combinations(combos, n) for n in range(len(combos) + 1))
        return max(cost(filled) for filled in choices)
    now = tied_up(())
    more = ZERO
    for combo in combos:
        try:
            alone = collateral(dict(combo.legs), spreads=spreads) + combo.net
        except Uncovered:
            # It leans on what is held, as one that closes a position or moves it on.
            alone = ZERO
        more += max(ZERO, alone, cost((combo,)) - now)
    return now + more


def requirement(exposure: Exposure) -> Decimal:
    """Dollars that one symbol ties up in an account without margin. Raises as `group_requirement`."""
    return group_requirement([exposure], loan=False)


def _stock(one: Exposure, loan: bool) -> Decimal:
    held = ZERO
    if one.qty < 0:
        if one.mark is None:
            raise ValueError(f"no price for the short position in {one.symbol}")
        held -= one.qty * one.mark * SHORT_REQUIREMENT
    elif loan and one.qty and one.mark is not None:
        held -= one.qty * one.mark * INITIAL
    if one.open_buy_qty:
        opening = _opening(one.open_buy_value, one.open_buy_qty, -one.qty)
        held += opening * INITIAL if loan else opening
    if one.open_sell_qty:
        held += _opening(one.open_sell_value, one.open_sell_qty, one.qty) * INITIAL
    return held


def _opening(value: Decimal, qty: Decimal, against: Decimal) -> Decimal:
    """Dollars of the part that opens, where `against` shares of the other side are held; all of it for none."""
    if against <= 0:
        return value
    return value * max(ZERO, qty - against) / qty


def tied_up(
    exposures: Iterable[Exposure], combos: Iterable[Combo] = (), *, loan: bool, spreads: bool = True
) -> Decimal:
    """The sum of `group_requirement` over all underlyings. Raises as it does."""
    exposures, combos = tuple(exposures), tuple(combos)
    if not combos and not any(is_option(one.symbol) for one in exposures):
        # Shares alone need no groups.
        return sum((_stock(one, loan) for one in exposures), ZERO)
    groups = by_underlying(exposures)
    open_spreads: dict[str, list[Combo]] = {}
    for combo in combos:
        open_spreads.setdefault(combo.underlying, []).append(combo)
        groups.setdefault(combo.underlying, [])
    return sum(
        (
            group_requirement(group, open_spreads.get(name, ()), loan=loan, spreads=spreads)
            for name, group in groups.items()
        ),
        ZERO,
    )


def excess(
    cash: Decimal,
    exposures: Sequence[Exposure],
    combos: Iterable[Combo] = (),
    *,
    margin: bool,
    spreads: bool = True,
) -> Decimal:
    """Dollars free for initial margin, which is what options may cost; may be negative.

    Raises ValueError for a short without a mark, and Uncovered.
    """
    loan = lends(cash, exposures, margin=margin)
    return cash - tied_up(exposures, combos, loan=loan, spreads=spreads)


def buying_power(
    cash: Decimal,
    exposures: Sequence[Exposure],
    combos: Iterable[Combo] = (),
    *,
    margin: bool,
    spreads: bool = True,
) -> Decimal:
    """Dollars of stock that may be bought; may be negative. Raises as `excess`."""
    loan = lends(cash, exposures, margin=margin)
    free = cash - tied_up(exposures, combos, loan=loan, spreads=spreads)
    return free * LENT_BUYING_POWER if loan else free


def maintenance_requirement(exposures: Iterable[Exposure], *, spreads: bool = True) -> Decimal:
    """Dollars of equity that the positions need to stay as they are; open orders count nothing.

    A quarter of long stock, 30 % of short stock and more where its price is low (FINRA rule 4210(c)). Options bought
    count whole, for equity has them and they are not lent on; short ones their collateral less what closing them
    costs, which equity has lost already. Raises ValueError for a short without a mark, and Uncovered.
    """
    needed = ZERO
    for group in by_underlying(exposures).values():
        shares, options = ZERO, ZERO
        contracts: dict[str, Decimal] = {}
        for one in group:
            if not one.qty:
                continue
            if is_option(one.symbol):
                contracts[one.symbol] = one.qty
                options += market_value(one)
            else:
                shares = one.qty
                needed += _maintenance_of_stock(one)
        if contracts:
            needed += max(ZERO, options + collateral(contracts, shares, spreads=spreads))
    return needed


def _maintenance_of_stock(one: Exposure) -> Decimal:
    value = market_value(one)
    if one.qty > 0:
        return value * MAINTENANCE_LONG
    assert one.mark is not None
    if one.mark < _LOW_PRICE:
        return max(-value, -one.qty * _LOW_SHORT)
    return max(-value * MAINTENANCE_SHORT, -one.qty * _LEAST_SHORT)
