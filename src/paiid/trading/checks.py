"""May this order go out now? Halts, what the broker can hold, the market, and the risk checks, in that order.

Used by the claim, again when a later order's turn comes, and by the dry run: one path, one answer.
"""

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from paiid.domain.halts import HaltSet, Mode
from paiid.domain.instruments import Instrument, tick_of
from paiid.domain.money import ZERO
from paiid.domain.orders import OrderRequest, Reason
from paiid.domain.risk import Proposal, RiskLimits, Standing, check, reduces
from paiid.trading.answers import HALT_CODE
from paiid.trading.commands import Surroundings


@dataclass(frozen=True, slots=True)
class Gate:
    """What stops orders at this moment: the halts read in this transaction, and this process's latch."""

    halts: HaltSet
    latch: str | None


def halt_reason(
    gate: Gate, account_id: str, user_id: str, proposal: Proposal, standing: Standing
) -> Reason | None:
    """Why a halt stops the order, or None (contracts K1, K9)."""
    if gate.latch is not None:
        return Reason(HALT_CODE, f"Trading is halted on this host by its latch file: {gate.latch}", "latch")
    mode, halt = gate.halts.severest(account_id, user_id, (proposal.symbol,))
    if mode is Mode.ACTIVE or halt is None:
        return None
    if mode is Mode.REDUCE_ONLY:
        own = standing.of(proposal.symbol)
        held = own.qty if own else ZERO
        reducing = ZERO if own is None else (own.open_sell_qty if held > 0 else own.open_buy_qty)
        if reduces(proposal.side, proposal.qty, held, reducing):
            return None
    words = "halted" if mode is Mode.HALTED else "limited to orders that only reduce a position"
    return Reason(
        HALT_CODE, f"Trading is {words} for {halt.scope}: {halt.reason}", str(halt.scope), mode.value
    )


def held_by_broker(
    request: OrderRequest, proposal: Proposal, instrument: Instrument | None, around: Surroundings
) -> Reason | None:
    """Why the broker or the market cannot take the order, or None (contract E19)."""
    can = around.capabilities
    if instrument is None:
        return Reason(
            "unknown_symbol", f"There is no instrument {request.symbol}.", request.symbol, field="symbol"
        )
    if not instrument.tradable:
        return Reason(
            "not_tradable", f"{request.symbol} cannot be traded now.", request.symbol, field="symbol"
        )
    if request.type not in can.order_types:
        return _cannot("type", request.type, can.order_types)
    if request.time_in_force not in can.times_in_force:
        return _cannot("time_in_force", request.time_in_force, can.times_in_force)
    if not can.fractional and proposal.qty != proposal.qty.to_integral_value():
        return Reason(
            "fractional_not_supported",
            "This broker holds whole shares only.",
            proposal.qty,
            "1",
            "qty",
        )
    for name in ("limit_price", "stop_price"):
        price: Decimal | None = getattr(proposal, name)
        if price is not None and price % tick_of(price) != 0:
            return Reason(
                "price_increment",
                f"The price is finer than the smallest step of {tick_of(price)}.",
                price,
                tick_of(price),
                name,
            )
    if not around.market_open:
        return Reason("market_closed", "The market is closed; send the order when it is open.")
    return None


def _cannot(field: str, value: str, able: frozenset[str]) -> Reason:
    return Reason(
        f"{field}_not_supported",
        f"This broker cannot hold {value} orders itself, and we never imitate them.",
        value,
        ", ".join(sorted(able)),
        field,
    )


def resolve(
    request: OrderRequest, around: Surroundings, close_qty: Decimal | None = None
) -> Proposal | Reason:
    """Fill in what the caller left open: the quantity, from the close or from the user's position size."""
    quote = around.quotes.get(request.symbol)
    qty = close_qty if close_qty is not None else request.qty
    if qty is None:
        if around.position_size is None:
            return Reason(
                "no_quantity",
                "The order names no qty and your settings have no position_size to size it by.",
                field="qty",
            )
        price = request.limit_price or request.stop_price
        if price is None:
            price = None if quote is None else quote.ask if request.side == "buy" else quote.bid
            if quote is None or price is None or price <= 0:
                return Reason("no_price", f"There is no price to size the order in {request.symbol} by.")
            if quote.stale:
                return Reason(
                    "stale_price", f"The last price of {request.symbol} is too old to size the order by."
                )
        qty = (around.position_size / price).to_integral_value(ROUND_DOWN)
        if qty <= 0:
            return Reason(
                "position_size_too_small",
                f"Your position_size does not buy one share of {request.symbol}.",
                around.position_size,
                price,
                "qty",
            )
    return Proposal(
        request.symbol, request.side, request.type, qty, request.limit_price, request.stop_price, quote
    )


def refuse(
    request: OrderRequest,
    proposal: Proposal,
    account_id: str,
    user_id: str,
    gate: Gate,
    standing: Standing,
    around: Surroundings,
    limits: RiskLimits,
) -> Reason | None:
    """The first no of all checks, or None: it may go."""
    return (
        halt_reason(gate, account_id, user_id, proposal, standing)
        or held_by_broker(request, proposal, around.instruments.get(request.symbol), around)
        or check(proposal, standing, limits)
    )
