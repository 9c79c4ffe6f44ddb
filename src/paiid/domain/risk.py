"""The pre-trade checks: each takes what is measured and the limit, and says no with code, value and limit.

Checks are pure and run inside the claim, on rows that the claim has locked, so two orders that would pass
alone cannot pass together. An order that only reduces a position skips the limits on size and money: getting
out must stay possible.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from paiid.domain.margin import Exposure, buying_power
from paiid.domain.money import ZERO, round_cents, round_money
from paiid.domain.orders import OrderType, Reason, Side
from paiid.domain.quotes import Quote

HUNDRED = Decimal(100)


@dataclass(frozen=True, slots=True)
class RiskLimits:
    """The most an order or an account may reach. Quantities in shares, values in dollars, collar in percent."""

    max_order_qty: Decimal = Decimal(100_000)
    max_order_notional: Decimal = Decimal(1_000_000)
    max_position_value: Decimal = Decimal(1_000_000)
    max_open_orders: int = 500
    max_positions: int = 200
    price_collar_pct: Decimal = Decimal(25)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One order, fully resolved, before it is sent. `quote` None: there is no price at all."""

    symbol: str
    side: Side
    type: OrderType
    qty: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    quote: Quote | None


@dataclass(frozen=True, slots=True)
class Standing:
    """The account at this moment, without the proposed order. `exposures` holds every symbol with a position
    or an open order; `position_count` counts positions other than zero and symbols being opened."""

    cash: Decimal
    open_orders: int
    position_count: int
    exposures: tuple[Exposure, ...]

    def of(self, symbol: str) -> Exposure | None:
        """The exposure of one symbol, None where there is none."""
        return next((e for e in self.exposures if e.symbol == symbol), None)


def reserve_price(proposal: Proposal) -> Decimal:
    """Dollars a share that an open order ties up: its limit, else its stop, else the far side of the quote.

    A sell reserves at no less than the ask, for a short can only cost more than its limit suggests.
    Raises ValueError without a price.
    """
    own = proposal.limit_price or proposal.stop_price
    if proposal.quote is None:
        if own is None:
            raise ValueError("no price")
        return own
    far = proposal.quote.ask
    if proposal.side == "buy":
        return own if own is not None else far
    return max(own, far) if own is not None else far


def reduces(side: Side, qty: Decimal, position_qty: Decimal, open_reducing_qty: Decimal) -> bool:
    """Whether an order only reduces: opposite to the position and, with all open orders that reduce it,
    not larger (contract K1)."""
    if position_qty == 0 or (position_qty > 0) == (side == "buy"):
        return False
    return qty + open_reducing_qty <= abs(position_qty)


def estimated_value(proposal: Proposal) -> Decimal:
    """Dollars the order is worth at its reserve price. Raises ValueError without a price."""
    return round_money(proposal.qty * reserve_price(proposal))


def check(proposal: Proposal, standing: Standing, limits: RiskLimits) -> Reason | None:
    """The first check that says no, or None."""
    return next(_refusals(proposal, standing, limits), None)


def _refusals(proposal: Proposal, standing: Standing, limits: RiskLimits) -> Iterator[Reason]:
    own = standing.of(proposal.symbol)
    position_qty = own.qty if own else ZERO
    reducing_open = ZERO
    if own:
        reducing_open = own.open_sell_qty if position_qty > 0 else own.open_buy_qty
    only_reduces = reduces(proposal.side, proposal.qty, position_qty, reducing_open)
    yield from _price(proposal, limits)
    if standing.open_orders + 1 > limits.max_open_orders:
        yield Reason(
            "open_orders_limit",
            "The account has as many open orders as it may; cancel some first.",
            str(standing.open_orders + 1),
            str(limits.max_open_orders),
        )
    if only_reduces:
        return
    yield from _size(proposal, standing, limits, own)
    yield from _money(proposal, standing, own)


def _price(proposal: Proposal, limits: RiskLimits) -> Iterator[Reason]:
    quote = proposal.quote
    # A side that nobody quotes is shown as 0: no price, however fresh.
    if quote is None or quote.ask <= 0 or (proposal.side == "sell" and quote.bid <= 0):
        yield Reason("no_price", f"There is no price for {proposal.symbol}, so the order cannot be checked.")
        return
    if quote.stale:
        yield Reason(
            "stale_price", f"The last price of {proposal.symbol} is too old to check the order against."
        )
        return
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
    if stop is not None:
        away_pct = abs(stop - reference) / reference * HUNDRED
        if away_pct > HUNDRED:
            yield Reason(
                "price_collar",
                f"The stop is further from the market ({reference}) than the market is from zero; check the price.",
                f"{round_cents(away_pct)}%",
                "100%",
                "stop_price",
            )


def _size(
    proposal: Proposal, standing: Standing, limits: RiskLimits, own: Exposure | None
) -> Iterator[Reason]:
    if proposal.qty > limits.max_order_qty:
        yield Reason(
            "quantity_limit",
            "The order is larger than one order may be.",
            proposal.qty,
            limits.max_order_qty,
            "qty",
        )
    price = reserve_price(proposal)
    value = round_money(proposal.qty * price)
    if value > limits.max_order_notional:
        yield Reason(
            "notional_limit",
            "The order is worth more than one order may be.",
            round_cents(value),
            limits.max_order_notional,
            "qty",
        )
    held = own.qty if own else ZERO
    if proposal.side == "buy":
        reached = abs(held + (own.open_buy_qty if own else ZERO) + proposal.qty)
    else:
        reached = abs(held - (own.open_sell_qty if own else ZERO) - proposal.qty)
    if reached * price > limits.max_position_value:
        yield Reason(
            "position_limit",
            f"With all open orders the position in {proposal.symbol} would be worth more than allowed.",
            round_cents(reached * price),
            limits.max_position_value,
            "qty",
        )
    opens = own is None or (own.qty == 0 and own.open_buy_qty == 0 and own.open_sell_qty == 0)
    if opens and standing.position_count + 1 > limits.max_positions:
        yield Reason(
            "positions_limit",
            "The account holds as many positions as it may; close one first.",
            str(standing.position_count + 1),
            str(limits.max_positions),
        )


def _money(proposal: Proposal, standing: Standing, own: Exposure | None) -> Iterator[Reason]:
    for exposure in standing.exposures:
        if exposure.needs_mark and exposure.mark is None:
            yield Reason(
                "stale_price",
                f"The short position in {exposure.symbol} has no current price, so buying power is unknown.",
            )
            return
    before = buying_power(standing.cash, standing.exposures)
    after = buying_power(standing.cash, _with(proposal, standing.exposures, own))
    if after < 0 and after < before:
        yield Reason(
            "buying_power",
            "The account does not have the buying power for this order.",
            round_cents(before - after),
            round_cents(max(before, ZERO)),
            "qty",
        )


def grown(proposal: Proposal, standing: Standing) -> Standing:
    """The account as if the proposal were an open order already: how a batch is checked together (E4)."""
    own = standing.of(proposal.symbol)
    return Standing(
        standing.cash,
        standing.open_orders + 1,
        standing.position_count + (1 if own is None else 0),
        _with(proposal, standing.exposures, own),
    )


def _with(proposal: Proposal, exposures: tuple[Exposure, ...], own: Exposure | None) -> tuple[Exposure, ...]:
    value = estimated_value(proposal)
    buy = proposal.side == "buy"
    base = own or Exposure(proposal.symbol, ZERO, ZERO, ZERO, ZERO, ZERO, None)
    grown = Exposure(
        base.symbol,
        base.qty,
        base.open_buy_qty + (proposal.qty if buy else ZERO),
        base.open_buy_value + (value if buy else ZERO),
        base.open_sell_qty + (ZERO if buy else proposal.qty),
        base.open_sell_value + (ZERO if buy else value),
        base.mark,
    )
    return (*(e for e in exposures if e is not own), grown)
