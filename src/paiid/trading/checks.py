"""May this order go out now? Halts, the state of the account, what the broker can hold, the market, and the risk checks, in that order.

Used by the claim, again when a later order's turn comes, and by the dry run: one path, one answer.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

from paiid.domain.capabilities import cannot_hold
from paiid.domain.halts import HaltSet, Mode
from paiid.domain.instruments import is_option, multiplier_of, option_tick, tick_of, underlying_of
from paiid.domain.money import CENT, ZERO
from paiid.domain.occ import find_contract
from paiid.domain.option_risk import inferred_intent
from paiid.domain.orders import OrderRequest, Reason, StopLoss, TakeProfit
from paiid.domain.quotes import Quote
from paiid.domain.risk import Proposal, ProposedLeg, RiskLimits, Standing, check, only_reduces
from paiid.trading.answers import HALT_CODE
from paiid.trading.commands import Surroundings
from paiid.trading.order_shapes import exit_prices

_SMALLEST_SHARE = Decimal("1e-9")


@dataclass(frozen=True, slots=True)
class Gate:
    """What stops orders at this moment: the halts read in this transaction, and this process's latch."""

    halts: HaltSet
    latch: str | None


def halt_reason(
    gate: Gate, account_id: str, user_id: str, proposal: Proposal, standing: Standing
) -> Reason | None:
    """Why a halt stops the order, or None (contracts K1, K9). Options go by their underlying, spreads by any leg."""
    if gate.latch is not None:
        return Reason(HALT_CODE, f"Trading is halted on this host by its latch file: {gate.latch}", "latch")
    symbols = {underlying_of(proposal.symbol), *(underlying_of(leg.symbol) for leg in proposal.legs)}
    mode, halt = gate.halts.severest(account_id, user_id, sorted(symbols))
    if mode is Mode.ACTIVE or halt is None:
        return None
    if mode is Mode.REDUCE_ONLY and only_reduces(proposal, standing):
        return None
    words = "halted" if mode is Mode.HALTED else "limited to orders that only reduce a position"
    return Reason(
        HALT_CODE, f"Trading is {words} for {halt.scope}: {halt.reason}", str(halt.scope), mode.value
    )


def account_reason(account_id: str, proposal: Proposal, standing: Standing) -> Reason | None:
    """Why the state of the account stops an order that opens anything, or None: its broker has blocked it, or its
    books are not known to be right. What only reduces a position goes on, and so do cancels."""
    if not standing.blocked and standing.not_reconciled is None:
        return None
    if only_reduces(proposal, standing):
        return None
    if standing.blocked:
        return Reason(
            "account_blocked",
            "The broker has blocked this account; only orders that reduce a position are taken.",
            account_id,
        )
    return Reason(
        "account_not_reconciled",
        f"The ledger does not agree with the broker's books ({standing.not_reconciled}). Only orders that reduce a "
        "position are taken until they agree, or the owner accepts them: `paiid reconcile accept`.",
        account_id,
    )


def held_by_broker(request: OrderRequest, proposal: Proposal, around: Surroundings) -> Reason | None:
    """Why the broker or the market cannot take the order, or None (contract E19)."""
    if around.unpriced is not None:
        return Reason("no_market_data", f"The order cannot be checked against a price: {around.unpriced}.")
    for symbol in (request.symbol, *(leg.symbol for leg in request.legs)):
        reason = _instrument(symbol, around)
        if reason is not None:
            return reason
    reason = cannot_hold(replace(request, qty=proposal.qty) if request.qty is None and request.notional is None
                         else request, around.capabilities)  # fmt: skip
    if reason is not None:
        return reason
    reason = _steps(request) or _exits(request, around)
    if reason is not None:
        return reason
    at_once = request.type == "market" or request.time_in_force in ("ioc", "fok")
    if at_once and not around.market_open and request.time_in_force not in ("opg", "cls"):
        return Reason("market_closed", "The market is closed; market, ioc and fok orders need it open.")
    return None


def _instrument(symbol: str, around: Surroundings) -> Reason | None:
    contract = find_contract(symbol) if is_option(symbol) else None
    if contract is not None and contract.expiration < around.trading_day:
        return Reason(
            "expired_contract",
            f"The contract {symbol} has expired.",
            contract.expiration.isoformat(),
            around.trading_day.isoformat(),
            "symbol",
        )
    instrument = around.instruments.get(symbol)
    if instrument is None:
        return Reason("unknown_symbol", f"There is no instrument {symbol}.", symbol, field="symbol")
    if not instrument.tradable:
        return Reason("not_tradable", f"{symbol} cannot be traded now.", symbol, field="symbol")
    if contract is not None and contract.adjusted:
        return Reason(
            "adjusted_contract",
            f"{symbol} is not about 100 shares; it cannot be traded here.",
            symbol,
            field="symbol",
        )
    return None


def _steps(request: OrderRequest) -> Reason | None:
    """Prices on the smallest step of what they are prices of."""
    step_of = _step_of(request)
    prices = {"limit_price": request.limit_price, "stop_price": request.stop_price}
    if request.take_profit is not None:
        prices["take_profit.limit_price"] = request.take_profit.limit_price
    if request.stop_loss is not None:
        prices["stop_loss.stop_price"] = request.stop_loss.stop_price
        prices["stop_loss.limit_price"] = request.stop_loss.limit_price
    for name, price in prices.items():
        if price is not None and price % step_of(price) != 0:
            return Reason(
                "price_increment",
                f"The price is finer than the smallest step of {step_of(price)}.",
                price,
                step_of(price),
                name,
            )
    return None


def _step_of(request: OrderRequest) -> Callable[[Decimal], Decimal]:
    if request.order_class == "mleg":
        return lambda _: CENT
    if is_option(request.symbol):
        return lambda price: option_tick(request.symbol, price)
    return tick_of


def _exits(request: OrderRequest, around: Surroundings) -> Reason | None:
    """Exits on the right side of where the entry will trade, where it has no limit of its own."""
    quote = around.quotes.get(request.symbol)
    base = request.limit_price if request.type in ("limit", "stop_limit") else None
    if base is None and quote is not None and not quote.stale:
        base = request.stop_price or (quote.ask if request.side == "buy" else quote.bid)
    problem = exit_prices(request, base)
    if problem is None:
        return None
    field, code, words = problem
    return Reason(code, words, None if base is None else base, field=field)


def resolve(
    request: OrderRequest, around: Surroundings, standing: Standing
) -> tuple[OrderRequest, Proposal] | Reason:
    """Fill in what the caller left open: quantity (from the notional or the user's position size), the prices of exits, and whether it opens or closes: of options, and of shares where the broker wants to know."""
    quote = around.quotes.get(request.symbol)
    if request.default_exits:
        made = _default_exits(request, around, quote)
        if isinstance(made, Reason):
            return made
        request = made
    says = is_option(request.symbol) or (around.capabilities.needs_intent and not request.legs)
    if says and request.position_intent is None:
        own = standing.of(request.symbol)
        intent = inferred_intent(request.side, ZERO if own is None else own.qty)
        request = replace(request, position_intent=intent)
    qty = request.qty
    if qty is None:
        found = _sized(request, around, quote)
        if isinstance(found, Reason):
            return found
        qty = found
    if request.notional is None:
        request = replace(request, qty=qty)
    return request, as_proposal(request, qty, around)


def as_proposal(request: OrderRequest, qty: Decimal, around: Surroundings) -> Proposal:
    """A resolved order as the checks see it."""
    return Proposal(
        symbol=request.symbol,
        side=request.side,
        type=request.type,
        qty=qty,
        limit_price=request.limit_price,
        stop_price=request.stop_price,
        quote=around.quotes.get(request.symbol),
        position_intent=request.position_intent,
        notional=request.notional,
        trail_price=request.trail_price,
        trail_percent=request.trail_percent,
        legs=tuple(
            ProposedLeg(
                leg.symbol, leg.side, qty * leg.ratio_qty, leg.position_intent, around.quotes.get(leg.symbol)
            )
            for leg in request.legs
        ),
        exits=request.order_class == "oco",
    )


def _reference(request: OrderRequest, quote: Quote | None, what: str) -> Decimal | Reason:
    """The price an order is reckoned by: its own limit or stop, else the side of the quote that it trades on."""
    own = request.limit_price or request.stop_price
    if own is not None:
        return own
    price = None if quote is None else quote.ask if request.side == "buy" else quote.bid
    if quote is None or price is None or price <= 0:
        return Reason("no_price", f"There is no price to {what} the order in {request.symbol} by.")
    if quote.stale:
        return Reason("stale_price", f"The last price of {request.symbol} is too old to {what} the order by.")
    return price


def _sized(request: OrderRequest, around: Surroundings, quote: Quote | None) -> Decimal | Reason:
    if request.notional is None and around.position_size is None:
        return Reason(
            "no_quantity",
            "The order names no qty and your settings have no position_size to size it by.",
            field="qty",
        )
    price = _reference(request, quote, "size")
    if isinstance(price, Reason):
        return price
    if request.notional is not None:
        return (request.notional / price).quantize(_SMALLEST_SHARE, ROUND_DOWN)
    assert around.position_size is not None
    one = price * multiplier_of(request.symbol)
    qty = (around.position_size / one).to_integral_value(ROUND_DOWN)
    if qty <= 0:
        what = "contract" if is_option(request.symbol) else "share"
        return Reason(
            "position_size_too_small",
            f"Your position_size does not buy one {what} of {request.symbol}.",
            around.position_size,
            one,
            "qty",
        )
    return qty


def _default_exits(request: OrderRequest, around: Surroundings, quote: Quote | None) -> OrderRequest | Reason:
    """Exits at the distances of the user's settings, from the reference price, on the step towards it."""
    profit_pct, loss_pct = around.take_profit_pct, around.stop_loss_pct
    if profit_pct is None or loss_pct is None:
        missing = "take_profit" if profit_pct is None else "stop_loss"
        return Reason(
            "no_bracket_settings",
            f"bracket: true takes its distances from your settings, which have no {missing}.",
            field="bracket",
        )
    base = _reference(request, quote, "place the exits of")
    if isinstance(base, Reason):
        return base
    sign = 1 if request.side == "buy" else -1
    profit = _on_step(request, base * (1 + sign * profit_pct / 100))
    stop = _on_step(request, base * (1 - sign * loss_pct / 100))
    return replace(
        request, take_profit=TakeProfit(profit), stop_loss=StopLoss(stop_price=stop), default_exits=False
    )


def _on_step(request: OrderRequest, price: Decimal) -> Decimal:
    step = _step_of(request)(price)
    return max(step, (price / step).to_integral_value(ROUND_HALF_UP) * step)


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
        or account_reason(account_id, proposal, standing)
        or held_by_broker(request, proposal, around)
        or check(proposal, standing, limits)
    )
