"""The rules by which the paper venue takes and fills spreads: 2 to 4 option contracts at one net price, all or none."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from math import gcd
from typing import Protocol

from paiid.domain.instruments import CONTRACT_SIZE, is_option, underlying_of
from paiid.domain.margin import Combo
from paiid.domain.money import CENT, ZERO, round_money
from paiid.domain.orders import Leg, OrderRequest, OrderStatus, Side
from paiid.domain.paper import MAX_PRICE, MAX_QTY, Moment, PaperRefused, Taken, Working, shown, tradable
from paiid.domain.quotes import Quote

FEWEST_LEGS = 2
MOST_LEGS = 4
MAX_RATIO = 1_000
LEVEL = 3
"""The options level that spreads need."""
QuoteOf = Callable[[str], Quote | None]


class LegOf(Protocol):
    """What the arithmetic needs of a leg; `domain.orders.Leg` is one."""

    @property
    def symbol(self) -> str: ...
    @property
    def side(self) -> Side: ...
    @property
    def ratio_qty(self) -> int: ...


@dataclass(frozen=True, slots=True)
class SpreadStep:
    """What the market does to a spread: fill `units`, each leg at its price of `prices`, `net` dollars a share for one
    unit; end it; or nothing of these."""

    units: Decimal = ZERO
    prices: tuple[Decimal, ...] = ()
    net: Decimal = ZERO
    ends: OrderStatus | None = None
    reason: str | None = None

    @property
    def changes(self) -> bool:
        """False where the spread stays exactly as it is."""
        return self.units > 0 or self.ends is not None


NOTHING = SpreadStep()


def check_legs(underlying: str, legs: Sequence[Leg], level: int) -> None:
    """What can be said of the legs without looking at market or account. Raises PaperRefused: legs_count, leg_symbol,
    leg_twice, leg_underlying, leg_ratios, position_intent_mismatch, options_level."""
    if not FEWEST_LEGS <= len(legs) <= MOST_LEGS:
        raise PaperRefused("legs_count", f"legs: a spread has 2 to 4 of them, not {len(legs)}.")
    seen: set[str] = set()
    for at, leg in enumerate(legs):
        if not is_option(leg.symbol):
            raise PaperRefused("leg_symbol", f"legs.{at}.symbol: {leg.symbol} is no option contract.")
        if leg.symbol in seen:
            raise PaperRefused("leg_twice", f"legs.{at}.symbol: {leg.symbol} is there twice.")
        seen.add(leg.symbol)
        if underlying_of(leg.symbol) != underlying:
            raise PaperRefused("leg_underlying", f"legs.{at}.symbol: {leg.symbol} is not about {underlying}.")
        if not leg.position_intent.startswith(leg.side):
            raise PaperRefused(
                "position_intent_mismatch",
                f"legs.{at}.position_intent: {leg.position_intent} does not go with the side {leg.side}.",
            )
    ratios = [leg.ratio_qty for leg in legs]
    if min(ratios) < 1 or max(ratios) > MAX_RATIO or gcd(*ratios) != 1:
        raise PaperRefused(
            "leg_ratios", f"legs: the ratios {':'.join(map(str, ratios))} are not in lowest terms from 1 on."
        )
    if level < LEVEL:
        raise PaperRefused(
            "options_level", f"Spreads need options level {LEVEL}; the account has level {level}."
        )


def check_spread(order: OrderRequest) -> None:
    """Type, time, units and net price. Raises PaperRefused: type_not_supported, time_in_force_not_supported,
    extended_hours_not_supported, invalid_qty, invalid_price."""
    if order.type not in ("market", "limit"):
        raise PaperRefused(
            "type_not_supported", f"The type of a spread is market or limit, not {order.type}."
        )
    if order.time_in_force not in ("day", "gtc"):
        raise PaperRefused(
            "time_in_force_not_supported",
            f"time_in_force of a spread is day or gtc, not {order.time_in_force}.",
        )
    if order.extended_hours:
        raise PaperRefused("extended_hours_not_supported", "Options trade in the regular session only.")
    qty, limit = order.qty, order.limit_price
    if qty is None or not qty.is_finite() or not 1 <= qty <= MAX_QTY or qty != qty.to_integral_value():
        raise PaperRefused("invalid_qty", f"qty of a spread is whole units, 1 to {MAX_QTY}.")
    if (limit is not None) != (order.type == "limit"):
        verb = "needs a" if order.type == "limit" else "has no"
        raise PaperRefused("invalid_price", f"A {order.type} spread {verb} limit_price.")
    if limit is not None and (not limit.is_finite() or abs(limit) > MAX_PRICE or limit % CENT != 0):
        raise PaperRefused("invalid_price", f"limit_price of a spread is its net, in whole cents: {limit}.")


def check_intent(at: int, leg: Leg, held: Decimal, closing: Decimal, qty: Decimal) -> None:
    """Whether `qty` contracts of the leg do what its intent says, where `held` (signed) are held of which `closing` are
    being closed by other orders. Raises PaperRefused: position_intent_mismatch, insufficient_qty."""
    against = held if leg.side == "sell" else -held
    closes = leg.position_intent.endswith("_to_close")
    if not closes:
        if against > 0:
            raise PaperRefused(
                "position_intent_mismatch",
                f"legs.{at}.position_intent: {leg.position_intent}, but {held} contracts of {leg.symbol} are held; "
                "what is held is closed first.",
            )
        return
    if against <= 0:
        raise PaperRefused(
            "position_intent_mismatch",
            f"legs.{at}.position_intent: {leg.position_intent}, but there is nothing to close in {leg.symbol}.",
        )
    if qty > against - closing:
        raise PaperRefused(
            "insufficient_qty",
            f"legs.{at}: {qty} contracts of {leg.symbol} are to be closed, and {max(ZERO, against - closing)} are free.",
        )


def leg_prices(legs: Sequence[LegOf], quote_of: QuoteOf) -> tuple[Decimal, ...] | None:
    """What each leg trades at now, dollars a share: the ask for what is bought, the bid for what is sold. None where a
    leg cannot be traded."""
    prices: list[Decimal] = []
    for leg in legs:
        quote = quote_of(leg.symbol)
        if quote is None or not tradable(quote, leg.side):
            return None
        prices.append(round_money(quote.ask if leg.side == "buy" else quote.bid))
    return tuple(prices)


def net_of(legs: Sequence[LegOf], prices: Sequence[Decimal]) -> Decimal:
    """Dollars a share that one unit costs at these prices: a debit is positive, a credit negative."""
    return sum(
        (
            leg.ratio_qty * (price if leg.side == "buy" else -price)
            for leg, price in zip(legs, prices, strict=True)
        ),
        ZERO,
    )


def reaches(spread: Working, net: Decimal) -> bool:
    """Whether this net is at the limit or better."""
    return spread.limit_price is None or net <= spread.limit_price


def wants_look(spread: Working, legs: Sequence[LegOf], quote_of: QuoteOf, moment: Moment) -> bool:
    """A cheap first question: could `decide_spread` change anything?"""
    if spread.expires_at_us is not None and moment.at_us >= spread.expires_at_us:
        return True
    if moment.at_us < spread.live_at_us or not moment.is_open:
        return False
    prices = leg_prices(legs, quote_of)
    return prices is not None and reaches(spread, net_of(legs, prices))


def decide_spread(
    spread: Working,
    legs: Sequence[LegOf],
    quotes: Mapping[str, Quote | None],
    taken: Mapping[str, Taken],
    moment: Moment,
) -> SpreadStep:
    """What happens to a spread at this instant: whole units, as many as the free size of every leg allows, at a net
    that is never worse than the limit. A leg that is not in `taken` has been traded on at a newer quote."""
    if spread.expires_at_us is not None and moment.at_us >= spread.expires_at_us:
        return SpreadStep(ends=OrderStatus.EXPIRED, reason="day_over")
    if moment.at_us < spread.live_at_us or not moment.is_open:
        return NOTHING
    prices = leg_prices(legs, quotes.get)
    if prices is None or any(leg.symbol not in taken for leg in legs):
        return NOTHING
    net = net_of(legs, prices)
    if not reaches(spread, net):
        return NOTHING
    units = spread.left
    for leg in legs:
        quote, gone = quotes[leg.symbol], taken[leg.symbol]
        assert quote is not None
        _, size = shown(quote, leg.side)
        free = max(ZERO, size - (gone.ask if leg.side == "buy" else gone.bid))
        units = min(units, (free / leg.ratio_qty).to_integral_value(ROUND_FLOOR))
    if units <= 0:
        return NOTHING
    return SpreadStep(units, prices, net, OrderStatus.FILLED if units == spread.left else None)


def combo_of(legs: Sequence[LegOf], units: Decimal, net: Decimal) -> Combo:
    """The open spread as margin sees it: `units` still to fill at `net` dollars a share each."""
    return Combo(
        tuple((leg.symbol, leg.ratio_qty * units * (1 if leg.side == "buy" else -1)) for leg in legs),
        round_money(net * units * CONTRACT_SIZE),
    )
