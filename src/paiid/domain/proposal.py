"""What the pre-trade checks look at: one order as it is proposed, the account as it stands, and what the order would do
to it."""

from dataclasses import dataclass, replace
from decimal import Decimal

from paiid.domain.instruments import CONTRACT_SIZE, multiplier_of
from paiid.domain.margin import Combo, Exposure
from paiid.domain.money import ZERO, round_money
from paiid.domain.orders import OrderType, PositionIntent, Side
from paiid.domain.quotes import Quote

HUNDRED = Decimal(100)
SPREADS_LEVEL = 3
"""The options level from which long options cover short ones."""


@dataclass(frozen=True, slots=True)
class ProposedLeg:
    """One leg of a proposed spread; `qty` in contracts, for the whole order."""

    symbol: str
    side: Side
    qty: Decimal
    intent: PositionIntent
    quote: Quote | None

    @property
    def signed(self) -> Decimal:
        """Contracts, below zero where they are sold."""
        return self.qty if self.side == "buy" else -self.qty


@dataclass(frozen=True, slots=True)
class Proposal:
    """One order, fully resolved, before it is sent. `quote` None: there is no price at all.

    `exits`: it is the take profit of an oco, whose other exit counts for nothing beside it. With `legs` it is a
    spread: `symbol` is the underlying, `qty` counts units, `limit_price` is the net of one unit a share, a credit below
    zero.
    """

    symbol: str
    side: Side
    type: OrderType
    qty: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    quote: Quote | None
    position_intent: PositionIntent | None = None
    notional: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    legs: tuple[ProposedLeg, ...] = ()
    exits: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """The account at this moment, without the proposed order. `exposures` holds every symbol with a position
    or an open order; `position_count` counts positions other than zero and symbols being opened. `combos` are the open
    spreads, `margin` and `options_level` the account's terms. `blocked`: its broker takes no orders in it;
    `not_reconciled`: how the ledger differs from the broker's books, None where they agree."""

    cash: Decimal
    open_orders: int
    position_count: int
    exposures: tuple[Exposure, ...]
    combos: tuple[Combo, ...] = ()
    margin: bool = False
    options_level: int = 3
    blocked: bool = False
    not_reconciled: str | None = None

    @property
    def spreads(self) -> bool:
        """Whether long options cover short ones here."""
        return self.options_level >= SPREADS_LEVEL

    def of(self, symbol: str) -> Exposure | None:
        """The exposure of one symbol, None where there is none."""
        return next((e for e in self.exposures if e.symbol == symbol), None)

    def in_combos(self, symbol: str, *, bought: bool) -> Decimal:
        """Contracts that open spreads may buy, or sell."""
        signed = (qty for combo in self.combos for leg, qty in combo.legs if leg == symbol)
        return sum((abs(qty) for qty in signed if (qty > 0) == bought), ZERO)

    def closing_in_combos(self, symbol: str) -> Decimal:
        """Contracts of a position that open spreads are to close already."""
        own = self.of(symbol)
        if own is None or own.qty == 0:
            return ZERO
        return self.in_combos(symbol, bought=own.qty < 0)

    def closable(self, symbol: str) -> Decimal:
        """What of a position no open order is to close yet, in shares or contracts."""
        own = self.of(symbol)
        if own is None:
            return ZERO
        closing = own.open_sell_qty if own.qty > 0 else own.open_buy_qty
        return max(ZERO, abs(own.qty) - closing - self.closing_in_combos(symbol))


def reserve_price(proposal: Proposal) -> Decimal:
    """Dollars a share that an open order ties up: its limit, else its stop, else the far side of the quote.

    A sale reserves at no less than the ask, for a short can only cost more than its limit suggests; a stop to buy at
    no less than the ask, and one that trails at the ask and its trail. For a spread the signed net of one unit: its
    limit, else each leg at its far side. Raises ValueError without a price.
    """
    if proposal.legs:
        return proposal.limit_price if proposal.limit_price is not None else _net(proposal)
    own = proposal.limit_price or proposal.stop_price
    if proposal.quote is None:
        if own is None:
            raise ValueError("no price")
        return own
    far = proposal.quote.ask
    if proposal.side == "buy" and proposal.limit_price is not None:
        return proposal.limit_price
    if proposal.side == "buy" and own is None:
        return far + trail(proposal, far)
    return max(own, far) if own is not None else far


def trail(proposal: Proposal, price: Decimal) -> Decimal:
    """Dollars a share by which the stop trails `price`; 0 for an order that does not."""
    if proposal.trail_price is not None:
        return proposal.trail_price
    percent = proposal.trail_percent
    return ZERO if percent is None else round_money(price * percent / HUNDRED)


def _net(proposal: Proposal) -> Decimal:
    net = ZERO
    for leg in proposal.legs:
        if leg.quote is None:
            raise ValueError("no price")
        net += leg.signed * (leg.quote.ask if leg.side == "buy" else leg.quote.bid)
    return round_money(net / proposal.qty)


def estimated_value(proposal: Proposal) -> Decimal:
    """Dollars the order is worth at its reserve price; of a spread what is paid, a credit below zero.

    Raises ValueError without a price.
    """
    multiplier = CONTRACT_SIZE if proposal.legs else multiplier_of(proposal.symbol)
    return round_money(proposal.qty * reserve_price(proposal)) * multiplier


def reduces(side: Side, qty: Decimal, position_qty: Decimal, open_reducing_qty: Decimal) -> bool:
    """Whether an order only reduces: opposite to the position and, with all open orders that reduce it,
    not larger (contract K1)."""
    if position_qty == 0 or (position_qty > 0) == (side == "buy"):
        return False
    return qty + open_reducing_qty <= abs(position_qty)


def only_reduces(proposal: Proposal, standing: Standing) -> bool:
    """Whether the order can only make positions smaller (contract K1); a spread only if every leg does."""
    if proposal.legs:
        return all(
            leg.intent.endswith("close") and _reduces(leg.symbol, leg.side, leg.qty, standing)
            for leg in proposal.legs
        )
    return _reduces(proposal.symbol, proposal.side, proposal.qty, standing)


def _reduces(symbol: str, side: Side, qty: Decimal, standing: Standing) -> bool:
    own = standing.of(symbol)
    return own is not None and reduces(side, qty, own.qty, abs(own.qty) - standing.closable(symbol))


def as_combo(proposal: Proposal) -> Combo:
    """A proposed spread as an open one. Raises ValueError without a price."""
    return Combo(tuple((leg.symbol, leg.signed) for leg in proposal.legs), estimated_value(proposal))


def grown(proposal: Proposal, standing: Standing) -> Standing:
    """The account as if the proposal were an open order already: how a batch is checked together (E4).

    Raises ValueError without a price.
    """
    if proposal.legs:
        return replace(
            standing,
            open_orders=standing.open_orders + 1,
            combos=(*standing.combos, as_combo(proposal)),
        )
    own = standing.of(proposal.symbol)
    after = with_order(proposal, own)
    return replace(
        standing,
        open_orders=standing.open_orders + 1,
        position_count=standing.position_count + (1 if own is None else 0),
        exposures=(*(e for e in standing.exposures if e is not own), after),
    )


def with_order(proposal: Proposal, own: Exposure | None) -> Exposure:
    """The exposure of a symbol with one open order more."""
    base = own or Exposure(proposal.symbol, ZERO, ZERO, ZERO, ZERO, ZERO, None)
    value = estimated_value(proposal)
    if proposal.side == "buy":
        return replace(
            base,
            open_buy_qty=base.open_buy_qty + proposal.qty,
            open_buy_value=base.open_buy_value + value,
        )
    return replace(
        base,
        open_sell_qty=base.open_sell_qty + proposal.qty,
        open_sell_value=base.open_sell_value + value,
    )
