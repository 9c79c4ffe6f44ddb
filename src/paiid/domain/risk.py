"""The pre-trade checks: each takes what is measured and the limit, and says no with code, value and limit.

Checks are pure and run inside the claim, on rows that the claim has locked, so two orders that would pass
alone cannot pass together. An order that only reduces a position skips the limits on size and money: getting
out must stay possible.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from paiid.domain.instruments import is_option, multiplier_of, underlying_of
from paiid.domain.margin import (
    LENT_BUYING_POWER,
    MINIMUM_EQUITY,
    Combo,
    Exposure,
    Uncovered,
    equity,
    group_requirement,
    lends,
    tied_up,
)
from paiid.domain.money import ZERO, round_cents
from paiid.domain.option_risk import insufficient, intent_refusals, level_refusals, spread_price_refusals
from paiid.domain.orders import Reason
from paiid.domain.proposal import (
    HUNDRED,
    Proposal,
    ProposedLeg,
    Standing,
    as_combo,
    estimated_value,
    grown,
    only_reduces,
    reduces,
    reserve_price,
    trail,
    with_order,
)
from paiid.domain.quotes import Quote

__all__ = [
    "Proposal",
    "ProposedLeg",
    "RiskLimits",
    "Standing",
    "check",
    "estimated_value",
    "grown",
    "only_reduces",
    "reduces",
    "reserve_price",
]


@dataclass(frozen=True, slots=True)
class RiskLimits:
    """The most an order or an account may reach. Quantities in shares or contracts, values in dollars, collar in
    percent."""

    max_order_qty: Decimal = Decimal(100_000)
    max_order_notional: Decimal = Decimal(1_000_000)
    max_position_value: Decimal = Decimal(1_000_000)
    max_open_orders: int = 500
    max_positions: int = 200
    price_collar_pct: Decimal = Decimal(25)


def check(proposal: Proposal, standing: Standing, limits: RiskLimits) -> Reason | None:
    """The first check that says no, or None."""
    return next(_refusals(proposal, standing, limits), None)


def _refusals(proposal: Proposal, standing: Standing, limits: RiskLimits) -> Iterator[Reason]:
    yield from _price(proposal, limits)
    if standing.open_orders + 1 > limits.max_open_orders:
        yield Reason(
            "open_orders_limit",
            "The account has as many open orders as it may; cancel some first.",
            str(standing.open_orders + 1),
            str(limits.max_open_orders),
        )
    yield from level_refusals(proposal, standing)
    yield from intent_refusals(proposal, standing)
    only_closes = only_reduces(proposal, standing)
    if proposal.exits and not only_closes:
        yield insufficient(proposal.symbol, proposal.qty, _closable_by(proposal, standing))
    if not only_closes:
        yield from _short_sale(proposal, standing)
        yield from _size(proposal, standing, limits)
    yield from _money(proposal, standing, only_closes)


def _closable_by(proposal: Proposal, standing: Standing) -> Decimal:
    own = standing.of(proposal.symbol)
    opposite = own is not None and own.qty != 0 and (own.qty > 0) == (proposal.side == "sell")
    return standing.closable(proposal.symbol) if opposite else ZERO


def _price(proposal: Proposal, limits: RiskLimits) -> Iterator[Reason]:
    if proposal.legs:
        for leg in proposal.legs:
            yield from _no_price(leg.symbol, leg.side, leg.quote)
        yield from spread_price_refusals(proposal)
        return
    yield from _no_price(proposal.symbol, proposal.side, proposal.quote)
    yield from _collar(proposal, limits)


def _no_price(symbol: str, side: str, quote: Quote | None) -> Iterator[Reason]:
    # A side that nobody quotes is shown as 0: no price, however fresh.
    if quote is None or quote.ask <= 0 or (side == "sell" and quote.bid <= 0):
        yield Reason("no_price", f"There is no price for {symbol}, so the order cannot be checked.")
    elif quote.stale:
        yield Reason("stale_price", f"The last price of {symbol} is too old to check the order against.")


def _collar(proposal: Proposal, limits: RiskLimits) -> Iterator[Reason]:
    quote = proposal.quote
    assert quote is not None
    reference = quote.ask if proposal.side == "buy" else quote.bid
    limit = proposal.limit_price
    if limit is not None:
        # Only the side that would hurt: a buy far above the market, a sell far below it.
        worse = limit - reference if proposal.side == "buy" else reference - limit
        away_pct = worse / reference * HUNDRED
        if away_pct > limits.price_collar_pct:
            yield Reason(
                "price_collar",
                f"The limit is further from the market ({reference}) than allowed; check the price.",
                f"{round_cents(away_pct)}%",
                f"{limits.price_collar_pct}%",
                "limit_price",
            )
    stop = proposal.stop_price
    if proposal.trail_price is not None or proposal.trail_percent is not None:
        stop = reference - trail(proposal, reference)
        if stop > 0:
            return
        yield Reason(
            "price_collar",
            f"The stop would trail the market ({reference}) by as much as it is worth; check the distance.",
            trail(proposal, reference),
            reference,
            "trail_price",
        )
    elif stop is not None:
        away_pct = abs(stop - reference) / reference * HUNDRED
        if away_pct > HUNDRED:
            yield Reason(
                "price_collar",
                f"The stop is further from the market ({reference}) than the market is from zero; check the price.",
                f"{round_cents(away_pct)}%",
                "100%",
                "stop_price",
            )


def _short_sale(proposal: Proposal, standing: Standing) -> Iterator[Reason]:
    """What a sale of stock beyond the shares held needs: whole shares, and in a margin account 2,000 dollars."""
    if proposal.legs or is_option(proposal.symbol) or proposal.side == "buy":
        return
    own = standing.of(proposal.symbol)
    left = ZERO if own is None else max(ZERO, own.qty - own.open_sell_qty)
    short = proposal.qty - left
    if short <= 0:
        return
    if proposal.notional is not None or proposal.qty % 1 != 0 or left % 1 != 0:
        yield Reason(
            "short_sale_whole_shares",
            "Fractions of a share and amounts of dollars are never sold short; sell no more than is held.",
            proposal.qty,
            left,
            "notional" if proposal.notional is not None else "qty",
        )
    if standing.margin:
        try:
            worth = equity(standing.cash, standing.exposures)
        except ValueError:
            return  # a short elsewhere without a price: the check of buying power says so
        if worth < MINIMUM_EQUITY:
            yield Reason(
                "equity_below_2000",
                "Short sales need an equity of 2,000 dollars (FINRA rule 4210(b)(4)).",
                round_cents(worth),
                MINIMUM_EQUITY,
            )


def _size(proposal: Proposal, standing: Standing, limits: RiskLimits) -> Iterator[Reason]:
    largest = max((leg.qty for leg in proposal.legs), default=proposal.qty)
    if largest > limits.max_order_qty:
        yield Reason(
            "quantity_limit",
            "The order is larger than one order may be.",
            largest,
            limits.max_order_qty,
            "qty",
        )
    value = _risked(proposal, standing) if proposal.legs else estimated_value(proposal)
    if value > limits.max_order_notional:
        yield Reason(
            "notional_limit",
            "The order is worth more than one order may be.",
            round_cents(value),
            limits.max_order_notional,
            "qty",
        )
    for symbol, side, qty, price in _parts(proposal):
        yield from _position_value(symbol, side, qty, price, standing, limits)
    yield from _position_count(proposal, standing, limits)


def _risked(proposal: Proposal, standing: Standing) -> Decimal:
    """What a spread is worth for the limits: the larger of what is paid or received and what it ties up."""
    combo = as_combo(proposal)
    group, combos = _group(standing.exposures, standing.combos, underlying_of(proposal.legs[0].symbol))
    try:
        before = group_requirement(group, combos, loan=False, spreads=standing.spreads)
        after = group_requirement(group, (*combos, combo), loan=False, spreads=standing.spreads)
    except ValueError:
        return abs(combo.net)  # uncovered, or without a price: the check of buying power says so
    return max(abs(combo.net), after - before - combo.net)


def _parts(proposal: Proposal) -> Iterator[tuple[str, str, Decimal, Decimal]]:
    """Symbol, side, quantity, and dollars a share of everything that is bought or sold."""
    if not proposal.legs:
        yield proposal.symbol, proposal.side, proposal.qty, reserve_price(proposal)
    for leg in proposal.legs:
        if leg.intent.endswith("open") and leg.quote is not None:
            yield leg.symbol, leg.side, leg.qty, leg.quote.ask


def _position_value(
    symbol: str, side: str, qty: Decimal, price: Decimal, standing: Standing, limits: RiskLimits
) -> Iterator[Reason]:
    own = standing.of(symbol)
    held = own.qty if own else ZERO
    in_combos = standing.in_combos(symbol, bought=side == "buy") if standing.combos else ZERO
    if side == "buy":
        reached = abs(held + (own.open_buy_qty if own else ZERO) + in_combos + qty)
    else:
        reached = abs(held - (own.open_sell_qty if own else ZERO) - in_combos - qty)
    value = reached * price * multiplier_of(symbol)
    if value > limits.max_position_value:
        yield Reason(
            "position_limit",
            f"With all open orders the position in {symbol} would be worth more than allowed.",
            round_cents(value),
            limits.max_position_value,
            "qty",
        )


def _position_count(proposal: Proposal, standing: Standing, limits: RiskLimits) -> Iterator[Reason]:
    counted = {
        one.symbol
        for one in standing.exposures
        if one.qty != 0 or one.open_buy_qty != 0 or one.open_sell_qty != 0
    }
    in_combos = {symbol for combo in standing.combos for symbol, _ in combo.legs} - counted
    symbols = {leg.symbol for leg in proposal.legs} or {proposal.symbol}
    more = len(symbols - counted - in_combos)
    reached = standing.position_count + len(in_combos) + more
    if more and reached > limits.max_positions:
        yield Reason(
            "positions_limit",
            "The account holds as many positions as it may; close one first.",
            str(reached),
            str(limits.max_positions),
        )


def _group(
    exposures: Sequence[Exposure], combos: Sequence[Combo], underlying: str
) -> tuple[list[Exposure], list[Combo]]:
    """What of an account is about one underlying."""
    return (
        [
            one
            for one in exposures
            if one.symbol == underlying or (is_option(one.symbol) and underlying_of(one.symbol) == underlying)
        ],
        [one for one in combos if one.underlying == underlying],
    )


def _money(proposal: Proposal, standing: Standing, only_closes: bool) -> Iterator[Reason]:
    """Buying power, and that no short option stays without cover. What only closes needs no money, unless it takes the
    cover of a short option away."""
    name = underlying_of(proposal.legs[0].symbol if proposal.legs else proposal.symbol)
    group, combos = _group(standing.exposures, standing.combos, name)
    options = bool(proposal.legs or combos) or any(is_option(one.symbol) for one in group)
    if only_closes and not options:
        return
    if not only_closes:
        for one in standing.exposures:
            if one.needs_mark and one.mark is None and (standing.margin or not is_option(one.symbol)):
                yield _no_mark(one.symbol)
                return
    # What leads out of an account that cannot be reckoned, or has a short option without cover, must stay possible.
    leads_out = only_closes and (bool(proposal.legs) or proposal.side == "buy")
    try:
        yield from _cost(proposal, standing, group, combos, only_closes)
    except Uncovered as problem:
        if not leads_out:
            yield _uncovered(problem)
    except ValueError:
        if not leads_out:
            yield _no_mark(name)


def _cost(
    proposal: Proposal,
    standing: Standing,
    group: Sequence[Exposure],
    combos: Sequence[Combo],
    only_closes: bool,
) -> Iterator[Reason]:
    """Raises Uncovered where the account is that already, ValueError for a short without a mark."""
    loan = _lends(standing, only_closes)
    before = group_requirement(group, combos, loan=loan, spreads=standing.spreads)
    after_group, after_combos = list(group), list(combos)
    if proposal.legs:
        after_combos.append(as_combo(proposal))
    else:
        own = standing.of(proposal.symbol)
        after_group = [*(one for one in group if one is not own), with_order(proposal, own)]
    try:
        after = group_requirement(after_group, after_combos, loan=loan, spreads=standing.spreads)
    except Uncovered as problem:
        yield _uncovered(problem)
        return
    cost = after - before
    if cost <= 0:
        return
    mine = {id(one) for one in (*group, *combos)}
    others = tied_up(
        [one for one in standing.exposures if id(one) not in mine],
        [one for one in standing.combos if id(one) not in mine],
        loan=loan,
        spreads=standing.spreads,
    )
    free = standing.cash - others - before
    if free < cost:
        stock = not proposal.legs and not is_option(proposal.symbol)
        factor = LENT_BUYING_POWER if loan and stock else 1
        yield Reason(
            "buying_power",
            "The account does not have the buying power for this order."
            if stock
            else "The account does not have the options buying power for this order.",
            round_cents(cost * factor),
            round_cents(max(free, ZERO) * factor),
            "qty",
        )


def _lends(standing: Standing, only_closes: bool) -> bool:
    try:
        return lends(standing.cash, standing.exposures, margin=standing.margin)
    except ValueError:
        if only_closes:
            return False
        raise


def _uncovered(problem: Uncovered) -> Reason:
    return Reason(
        "uncovered_option",
        f"The short option {problem.symbol} would not be covered: by shares, by a long option that lives as long, or "
        "(a put) by its strike in cash.",
        problem.symbol,
        field="symbol",
    )


def _no_mark(symbol: str) -> Reason:
    return Reason(
        "stale_price",
        f"The short position in {symbol} has no current price, so buying power is unknown.",
    )
