"""Changing an order where it stands (`PUT /v1/accounts/{id}/orders/{order_id}`, tradier.md, section 6.5): its number stays,
although the venue makes another order of it."""

from decimal import Decimal

from starlette.requests import Request

from paiid.brokers import BrokerOrderView, BrokerRejected, BrokerReplace
from paiid.domain.orders import TimeInForce
from paiid.sim.tradier.accounts import SimAccount, SimUser
from paiid.sim.tradier.asked import AskedChange
from paiid.sim.tradier.exchange import CALL_S, TradierExchange
from paiid.sim.tradier.families import Family
from paiid.sim.tradier.gate import TradierError, account_of, params_of
from paiid.sim.tradier.ids import Placed, name_of, parse_name
from paiid.sim.tradier.order_reads import find_family
from paiid.sim.tradier.order_rules import backoffice, worded_change
from paiid.sim.tradier.orders import acknowledged, check_open
from paiid.sim.tradier.parse import invalid, read_change
from paiid.sim.tradier.shapes import Told

__all__ = ["change"]


async def change(exchange: TradierExchange, user: SimUser, request: Request) -> Told:
    """`PUT /v1/accounts/{id}/orders/{order_id}`."""
    account = account_of(exchange, user, request)
    asked = read_change(await params_of(request))
    family, index = await find_family(exchange, account, request.path_params["order_id"])
    placed = family.placed
    async with exchange.turns.of(account.number, placed.symbol):
        family, index = await find_family(exchange, account, request.path_params["order_id"])
        check_open(exchange, family, index)
        if placed.cls not in ("equity", "option", "multileg") or index is not None:
            raise backoffice("OrderContingentChangeNotAllowed")
        if family.chain(index):
            await _replace(exchange, account, family, asked)
    exchange.ledger.append("order_replaced", order_id=placed.id, account=account.number, tag=placed.tag)
    return acknowledged(user, placed.id)


async def _replace(
    exchange: TradierExchange, account: SimAccount, family: Family, asked: AskedChange
) -> None:
    """Put the venue's order of the next generation in the place of the one that works. Raises TradierError,
    BusinessError, NotSent, OutcomeUnknown."""
    placed, old = family.placed, family.chain(None)[-1]
    _check(placed, asked)
    if old.broker_order_id in exchange.cancels:
        raise TradierError(400, "order already in pending cancel state")
    name = parse_name(old.client_order_id)
    generation = 2 if name is None else name.generation + 1
    wish = BrokerReplace(
        client_order_id=name_of(placed.id, generation=generation),
        limit_price=_limit(placed, asked, old),
        stop_price=None if asked.stop is None or asked.stop == old.stop_price else asked.stop,
        time_in_force=_time(asked, old),
    )
    if wish.limit_price is None and wish.stop_price is None and wish.time_in_force is None:
        return
    try:
        view = await exchange.venue.replace(account.number, old.broker_order_id, wish, CALL_S)
    except BrokerRejected as refused:
        raise worded_change(refused, placed) from refused
    exchange.register.bind(placed.id, view.broker_order_id)


def _check(placed: Placed, asked: AskedChange) -> None:
    """What the form asks of this order can be asked. Raises TradierError."""
    if asked.type is not None and asked.type != placed.type:
        raise TradierError(
            400, "Invalid parameter, type: this simulator can not change the type of an order."
        )
    if asked.duration == "gtc" and placed.type == "market":
        raise backoffice("MarketOrderIsGtc")
    if asked.duration == "gtc" and placed.legs[0].side == "sell_short":
        raise backoffice("ShortOrderIsGtc")
    # Nothing moves into or out of the times before and after the session.
    was, is_to_be = placed.duration, asked.duration or placed.duration
    if is_to_be != was and not {was, is_to_be} <= {"day", "gtc"}:
        raise invalid("duration")
    if asked.price is not None and placed.type not in ("limit", "stop_limit", "debit", "credit"):
        raise invalid("price")
    if asked.stop is not None and placed.type not in ("stop", "stop_limit"):
        raise invalid("stop")


def _limit(placed: Placed, asked: AskedChange, old: BrokerOrderView) -> Decimal | None:
    if asked.price is None:
        return None
    limit = -asked.price if placed.type == "credit" else asked.price
    return None if limit == old.limit_price else limit


def _time(asked: AskedChange, old: BrokerOrderView) -> TimeInForce | None:
    wanted: TimeInForce | None = (
        "gtc" if asked.duration == "gtc" else "day" if asked.duration == "day" else None
    )
    return None if wanted == old.time_in_force else wanted
