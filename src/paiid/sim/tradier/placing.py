"""From what is asked to the venue's order: whether the market knows it, whether the account may, and what the venue is told."""

from decimal import Decimal
from math import gcd

from paiid.brokers import BrokerOrder
from paiid.domain.calendar import eastern_date, session_of
from paiid.domain.instruments import is_option
from paiid.domain.orders import (
    Leg,
    OrderClass,
    OrderType,
    PositionIntent,
    Side,
    StopLoss,
    TakeProfit,
    TimeInForce,
)
from paiid.domain.paper_account import PaperAccount
from paiid.sim.tradier.accounts import SimAccount
from paiid.sim.tradier.asked import Asked, AskedLeg
from paiid.sim.tradier.exchange import TradierExchange
from paiid.sim.tradier.gate import BusinessError, TradierError
from paiid.sim.tradier.ids import GROUPS, Placed, PlacedLeg, name_of
from paiid.sim.tradier.order_rules import BACKOFFICE, backoffice, check_group, check_leg, check_times
from paiid.sim.tradier.parse import invalid

__all__ = ["check", "placed_of", "units_of", "venue_order"]

_INTENTS: dict[str, PositionIntent] = {
    "buy": "buy_to_open",
    "sell": "sell_to_close",
    "sell_short": "sell_to_open",
    "buy_to_cover": "buy_to_close",
    "buy_to_open": "buy_to_open",
    "buy_to_close": "buy_to_close",
    "sell_to_open": "sell_to_open",
    "sell_to_close": "sell_to_close",
}
_CLASSES: dict[str, OrderClass] = {"oto": "oto", "oco": "oco", "otoco": "bracket"}
_TYPES: dict[str, OrderType] = {
    "market": "market", "limit": "limit", "stop": "stop", "stop_limit": "stop_limit",
}  # fmt: skip


async def check(exchange: TradierExchange, account: SimAccount, asked: Asked, book: PaperAccount) -> None:
    """Whether Tradier takes the order, money left aside: that is the venue's. Raises TradierError, BusinessError."""
    _check_segment(exchange, asked)
    if asked.cls == "combo":
        raise BusinessError(
            BACKOFFICE, "OrderIsNotAllowedForAccount", "This simulator holds no combo orders."
        )
    check_times(asked)
    await _check_listed(exchange, asked)
    if asked.cls in GROUPS:
        check_group(asked, market_entry=exchange.options.allow_market_first_leg)
    if asked.cls == "multileg":
        return
    # Of an oco both legs close what is held; the exits of an entry close what it will bring.
    for leg in asked.legs if asked.cls == "oco" else asked.legs[:1]:
        check_leg(leg, book.holding(leg.symbol), exchange.market.newest(leg.symbol), account)


def units_of(asked: Asked) -> Decimal:
    """How many there are of the whole: of a spread its units, else the quantity of the first leg."""
    if asked.cls in ("multileg", "combo"):
        return Decimal(gcd(*(int(leg.quantity) for leg in asked.legs)))
    return asked.legs[0].quantity


def placed_of(asked: Asked, account: SimAccount, order_id: int, at_us: int) -> Placed:
    """The line of the register."""
    return Placed(
        id=order_id,
        account=account.number,
        cls=asked.cls,
        tag=asked.tag,
        at_us=at_us,
        type=asked.type,
        duration=asked.duration,
        price=asked.price,
        quantity=units_of(asked),
        symbol=asked.legs[0].underlying,
        legs=tuple(
            PlacedLeg(
                role=_role(asked, at),
                symbol=leg.symbol,
                underlying=leg.underlying,
                side=leg.side,
                quantity=leg.quantity,
                type=leg.type,
                price=leg.price,
                stop=leg.stop,
            )
            for at, leg in enumerate(asked.legs)
        ),
    )


def venue_order(account: SimAccount, asked: Asked, order_id: int) -> BrokerOrder:
    """The order as the venue takes it, under the name that the number gives."""
    name, time_in_force = name_of(order_id), _time_in_force(asked)
    if asked.cls == "multileg":
        return _spread(account, asked, name, time_in_force)
    main = asked.legs[_main_at(asked)]
    profit, loss = _exits(asked)
    return BrokerOrder(
        account_number=account.number,
        client_order_id=name,
        symbol=main.symbol,
        side=_side(main),
        qty=main.quantity,
        type=_TYPES[main.type],
        time_in_force=time_in_force,
        limit_price=main.price,
        stop_price=main.stop,
        extended_hours=asked.duration in ("pre", "post"),
        order_class=_CLASSES.get(asked.cls, "simple"),
        take_profit=profit,
        stop_loss=loss,
        position_intent=_INTENTS[main.side],
    )


def _spread(account: SimAccount, asked: Asked, name: str, time_in_force: TimeInForce) -> BrokerOrder:
    """The venue's net has a sign: a debit is above zero."""
    units = units_of(asked)
    net = None
    if asked.type != "market":
        net = (asked.price or Decimal(0)) * (-1 if asked.type == "credit" else 1)
    return BrokerOrder(
        account_number=account.number,
        client_order_id=name,
        symbol=asked.legs[0].underlying,
        side="buy",
        qty=units,
        type="market" if net is None else "limit",
        time_in_force=time_in_force,
        limit_price=net,
        order_class="mleg",
        legs=tuple(
            Leg(one.symbol, _side(one), int(one.quantity / units), _INTENTS[one.side]) for one in asked.legs
        ),
    )


def _side(leg: AskedLeg) -> Side:
    return "buy" if leg.side.startswith("buy") else "sell"


def _time_in_force(asked: Asked) -> TimeInForce:
    return "gtc" if asked.duration == "gtc" else "day"


def _main_at(asked: Asked) -> int:
    """The leg that is the venue's order: the entry, or of an oco the limit order."""
    if asked.cls != "oco":
        return 0
    return next(at for at, leg in enumerate(asked.legs) if leg.type == "limit")


def _role(asked: Asked, at: int) -> str:
    if asked.cls in ("multileg", "combo"):
        return f"leg{at + 1}"
    if at == _main_at(asked):
        return ""
    return "tp" if asked.legs[at].type == "limit" else "sl"


def _exits(asked: Asked) -> tuple[TakeProfit | None, StopLoss | None]:
    if asked.cls not in GROUPS:
        return None, None
    profit, loss = None, None
    for at, leg in enumerate(asked.legs):
        if at == _main_at(asked):
            continue
        if leg.type == "limit":
            profit = TakeProfit(leg.price or Decimal(0))
        else:
            loss = StopLoss(leg.stop, leg.price)
    return profit, loss


def _check_segment(exchange: TradierExchange, asked: Asked) -> None:
    """`pre` and `post` are limit orders for shares, and have their time. Raises TradierError."""
    if asked.duration not in ("pre", "post"):
        return
    if asked.cls != "equity":
        raise invalid("duration")
    if asked.type != "limit":
        raise invalid("type")
    hours, now_us = exchange.hours, exchange.clock.now_us()
    if hours.never_closes:
        return
    session = session_of(eastern_date(now_us))
    if asked.duration == "pre":
        if session is None or now_us >= session.open_us:
            raise invalid("duration", "pre market no longer available.")
    elif session is None or now_us < session.close_us:
        # The venue cannot hold an order until a time: one for the evening is taken in the evening.
        raise TradierError(400, "Invalid parameter, duration: post market not available at this time.")
    elif not hours.is_extended(now_us):
        raise invalid("duration", "post market no longer available.")


async def _check_listed(exchange: TradierExchange, asked: Asked) -> None:
    """Raises BusinessError for what is not listed, or not to be traded or sold short; FeedUnavailable."""
    for leg in asked.legs:
        instrument = await exchange.market.fetch_instrument(leg.symbol)
        if instrument is None:
            raise backoffice("SecurityUndefined")
        if not instrument.tradable:
            raise backoffice("TradingDeniedForSecurity")
        if leg.side == "sell_short" and not is_option(leg.symbol) and not instrument.shortable:
            raise backoffice("ShortTradingDeniedForSecurity")
