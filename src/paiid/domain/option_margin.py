"""What cash short options tie up: the most that can be lost with them, for what the account holds on one underlying.

Defined risk only: a short call is covered by shares or by a long call, a short put by a long put or by its strike in
cash. A long covers a short that expires no later than itself, never one that outlives it. The requirement is the
maximum loss (FINRA rule 4210(f)(2)(H)), and each day of expiration counts for itself: the underlying may end low on
one and high on the next, so what is lost on each adds up.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_FLOOR, Decimal
from functools import lru_cache

from paiid.domain.instruments import CONTRACT_SIZE
from paiid.domain.money import ZERO
from paiid.domain.occ import OptionContract, find_contract

_HALF = Decimal("0.5")
_contract = lru_cache(maxsize=65_536)(find_contract)


class Uncovered(ValueError):
    """A short option without cover: its loss has no limit, or its cover is not allowed. `symbol` names it."""

    def __init__(self, symbol: str) -> None:
        super().__init__(f"the short option {symbol} is not covered")
        self.symbol = symbol


@dataclass(frozen=True, slots=True)
class Lot:
    """Contracts of one series; `qty` is signed: below zero they are short."""

    contract: OptionContract
    qty: Decimal


def collateral(
    contracts: Mapping[str, Decimal],
    shares: Decimal = ZERO,
    *,
    spreads: bool = True,
    lent_at: Decimal | None = None,
) -> Decimal:
    """Dollars that the short ones among signed `contracts` of one underlying tie up, with `shares` held long.

    Whole hundreds of shares cover short calls first, in that of two orders (lowest strike, latest expiration) which
    ties up less. `spreads` False: longs cover nothing. `lent_at`: the shares are lent on at this price; where they may
    be called away at a lower strike they are worth no more than it, and half the difference is tied up as well (FINRA
    4210(f)(2)(H)(iv)). Raises Uncovered; ValueError for a symbol that is no option.
    """
    lots = [Lot(_known(symbol), qty) for symbol, qty in contracts.items() if qty]
    shorts = [lot for lot in lots if lot.qty < 0]
    if not shorts:
        return ZERO
    longs = [lot for lot in lots if lot.qty > 0] if spreads else []
    calls = [lot for lot in shorts if lot.contract.option_type == "call"]
    hundreds = max(ZERO, shares / CONTRACT_SIZE).to_integral_value(ROUND_FLOOR)
    if hundreds and calls:
        puts = [lot for lot in shorts if lot.contract.option_type == "put"]
        by_strike = sorted(calls, key=lambda lot: (lot.contract.strike, lot.contract.expiration))
        by_life = sorted(calls, key=lambda lot: (-lot.contract.expiration.toordinal(), lot.contract.strike))
        found = _least(_with_shares(puts, order, longs, hundreds, lent_at) for order in (by_strike, by_life))
    else:
        found = _required(shorts, longs)
    if found is None:
        raise Uncovered(min(lot.contract.symbol for lot in calls))
    return found


def greatest_value(contracts: Mapping[str, Decimal]) -> Decimal | None:
    """The most dollars that signed contracts can be worth when they expire; None where that has no limit, or where they
    expire on several days. Raises ValueError for a symbol that is no option."""
    lots = [Lot(_known(symbol), -qty) for symbol, qty in contracts.items() if qty]
    if len({lot.contract.expiration for lot in lots}) != 1:
        return None
    lowest = _lowest(lots)
    return None if lowest is None else -lowest * CONTRACT_SIZE


def _known(symbol: str) -> OptionContract:
    contract = _contract(symbol)
    if contract is None:
        raise ValueError(f"{symbol} is no option")
    return contract


def _least(found: Iterable[Decimal | None]) -> Decimal | None:
    """The least of several ways to cover; None is a way that leaves a call uncovered."""
    return min((one for one in found if one is not None), default=None)


def _with_shares(
    puts: Sequence[Lot],
    calls: Sequence[Lot],
    longs: Sequence[Lot],
    hundreds: Decimal,
    lent_at: Decimal | None,
) -> Decimal | None:
    """Shares cover the calls in this order, as far as they go."""
    rest: list[Lot] = []
    called_away = ZERO
    for lot in calls:
        covered = min(hundreds, -lot.qty)
        hundreds -= covered
        if lent_at is not None:
            called_away += covered * max(ZERO, lent_at - lot.contract.strike) * CONTRACT_SIZE * _HALF
        if covered < -lot.qty:
            rest.append(Lot(lot.contract, lot.qty + covered))
    found = _required([*puts, *rest], longs)
    return None if found is None else found + called_away


def _required(shorts: Sequence[Lot], longs: Sequence[Lot]) -> Decimal | None:
    """Dollars for these; None where a call stays uncovered."""
    days = sorted({lot.contract.expiration for lot in shorts})
    if not days:
        return ZERO
    if len(days) == 1:
        return _max_loss([*shorts, *(lot for lot in longs if lot.contract.expiration >= days[0])])
    return _least((_by_day(days, shorts, longs), _by_pairs(shorts, longs)))


def _by_day(days: Sequence[date], shorts: Sequence[Lot], longs: Sequence[Lot]) -> Decimal | None:
    """Each long serves the shorts of the latest day that it reaches: condors of several months."""
    served: dict[date, list[Lot]] = {day: [] for day in days}
    for lot in shorts:
        served[lot.contract.expiration].append(lot)
    for lot in longs:
        reached = [day for day in days if day <= lot.contract.expiration]
        if reached:
            served[reached[-1]].append(lot)
    losses = [_max_loss(lots) for lots in served.values()]
    return None if any(loss is None for loss in losses) else sum((loss for loss in losses if loss), ZERO)


def _by_pairs(shorts: Sequence[Lot], longs: Sequence[Lot]) -> Decimal | None:
    """Each short with a long of its own, those that live longest choosing first: the cheapest that outlives them, and
    of equals the one that lives shortest."""
    left = {lot.contract: lot.qty for lot in longs}
    total = ZERO
    for short in sorted(shorts, key=lambda lot: (-lot.contract.expiration.toordinal(), lot.contract.symbol)):
        mine = short.contract
        open_qty = -short.qty
        fitting = [
            (_pair_loss(mine, long), long.expiration, long.symbol, long)
            for long in left
            if long.option_type == mine.option_type and long.expiration >= mine.expiration
        ]
        for loss, _, _, long in sorted(fitting):
            if mine.option_type == "put" and loss >= mine.strike:
                break
            paired = min(open_qty, left[long])
            left[long] -= paired
            open_qty -= paired
            total += paired * loss
        if open_qty and mine.option_type == "call":
            return None
        total += open_qty * mine.strike
    return total * CONTRACT_SIZE


def _pair_loss(short: OptionContract, long: OptionContract) -> Decimal:
    """Dollars a share that a short can lose beyond what the long brings."""
    worse = long.strike - short.strike if short.option_type == "call" else short.strike - long.strike
    return max(ZERO, worse)


def _max_loss(lots: Sequence[Lot]) -> Decimal | None:
    """The most that these lose at expiration, in dollars; None where it has no limit."""
    lowest = _lowest(lots)
    return None if lowest is None else max(ZERO, -lowest) * CONTRACT_SIZE


def _lowest(lots: Sequence[Lot]) -> Decimal | None:
    """The least that these can be worth at expiration, in dollars for one share a contract; None where it has no limit.

    The worth is a broken line over the price of the underlying: what it is at zero, and its slope, which each strike
    raises by the contracts of that strike. So its lowest point is at zero or at a strike, or it falls for ever.
    """
    puts = [lot for lot in lots if lot.contract.option_type == "put"]
    worth = sum((lot.qty * lot.contract.strike for lot in puts), ZERO)
    slope = -sum((lot.qty for lot in puts), ZERO)
    lowest, at = worth, ZERO
    for lot in sorted(lots, key=lambda lot: lot.contract.strike):
        strike = lot.contract.strike
        worth += slope * (strike - at)
        lowest, at = min(lowest, worth), strike
        slope += lot.qty
    return None if slope < 0 else lowest
