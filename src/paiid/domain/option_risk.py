"""The pre-trade checks of options: what is opened or closed, what the account may trade, what a spread can be worth."""

from collections.abc import Iterator
from decimal import Decimal

from paiid.domain.instruments import CONTRACT_SIZE, is_option
from paiid.domain.money import ZERO, plain
from paiid.domain.option_margin import greatest_value
from paiid.domain.orders import PositionIntent, Reason, Side
from paiid.domain.proposal import SPREADS_LEVEL, Proposal, Standing

_NEEDED_LEVEL: dict[PositionIntent, int] = {"sell_to_open": 1, "buy_to_open": 2}


def inferred_intent(side: Side, held: Decimal) -> PositionIntent:
    """What an order on this side does to a position of signed `held`."""
    if side == "buy":
        return "buy_to_close" if held < 0 else "buy_to_open"
    return "sell_to_close" if held > 0 else "sell_to_open"


def intent_refusals(proposal: Proposal, standing: Standing) -> Iterator[Reason]:
    """Opening and closing: of a stock where the order says which, of an option always, of a spread leg by leg."""
    for number, leg in enumerate(proposal.legs):
        yield from _intent(
            leg.symbol, leg.side, leg.qty, leg.intent, standing, f"legs.{number}.position_intent"
        )
    if proposal.legs:
        return
    intent = proposal.position_intent
    if intent is None and is_option(proposal.symbol):
        own = standing.of(proposal.symbol)
        intent = inferred_intent(proposal.side, ZERO if own is None else own.qty)
    if intent is not None:
        yield from _intent(proposal.symbol, proposal.side, proposal.qty, intent, standing, "position_intent")


def _intent(
    symbol: str, side: Side, qty: Decimal, intent: PositionIntent, standing: Standing, field: str
) -> Iterator[Reason]:
    own = standing.of(symbol)
    held = ZERO if own is None else own.qty
    inferred = inferred_intent(side, held)
    if intent != inferred:
        yield Reason(
            "position_intent_mismatch",
            f"With {plain(held)} of {symbol} held this order is {inferred}, not {intent}.",
            intent,
            inferred,
            field,
        )
        return
    if intent.endswith("close"):
        left = standing.closable(symbol)
        if qty > left:
            yield insufficient(symbol, qty, left)
        return
    if held != 0 or not is_option(symbol):
        return
    other = ZERO if own is None else own.open_sell_qty if side == "buy" else own.open_buy_qty
    if other + standing.in_combos(symbol, bought=side == "sell") > 0:
        yield Reason(
            "opposite_order_open",
            f"An open order would take the other side of {symbol}; cancel it first.",
            symbol,
            field=field,
        )


def insufficient(symbol: str, qty: Decimal, left: Decimal) -> Reason:
    """More is to be closed than is held and not about to be closed by other orders."""
    return Reason(
        "insufficient_qty",
        f"Of {symbol} {plain(left)} can be closed: what is held less what open orders close already.",
        qty,
        left,
        "qty",
    )


def level_refusals(proposal: Proposal, standing: Standing) -> Iterator[Reason]:
    """What is opened needs a level: 1 to sell against cover, 2 to buy, 3 for spreads. Closing needs none."""
    if proposal.legs:
        opens = any(leg.intent.endswith("open") for leg in proposal.legs)
        needed, what = (SPREADS_LEVEL if opens else 0), "Spreads need"
    elif is_option(proposal.symbol):
        own = standing.of(proposal.symbol)
        intent = proposal.position_intent or inferred_intent(proposal.side, ZERO if own is None else own.qty)
        needed, what = _NEEDED_LEVEL.get(intent, 0), f"To {intent.replace('_', ' ')} needs"
    else:
        return
    if standing.options_level < needed:
        yield Reason(
            "options_level",
            f"{what} options level {needed}; the account has {standing.options_level}.",
            str(needed),
            str(standing.options_level),
            "order_class" if proposal.legs else "symbol",
        )


def spread_price_refusals(proposal: Proposal) -> Iterator[Reason]:
    """A limit that pays more for a spread than it can ever be worth is a mistake."""
    limit = proposal.limit_price
    if limit is None:
        return
    worth = greatest_value({leg.symbol: leg.signed for leg in proposal.legs})
    if worth is None:
        return
    most = worth / CONTRACT_SIZE / proposal.qty
    if limit > most:
        yield Reason(
            "price_collar",
            "The limit pays more than the spread can be worth when it expires; check the price and its sign "
            "(a debit is positive, a credit negative).",
            limit,
            plain(most),
            "limit_price",
        )
