"""What makes an order wrong in itself, in Alpaca's words: sizes, prices, classes and times that do not go together."""

from decimal import Decimal

from paiid.domain.instruments import is_option
from paiid.domain.money import CENT
from paiid.domain.paper import SHARE_FRACTION, price_tick
from paiid.sim.alpaca.asked import AskedOrder
from paiid.sim.alpaca.errors import invalid, unprocessable
from paiid.sim.alpaca.ids import parse_uuid


def check_asked(order: AskedOrder) -> None:
    """Raises AlpacaError for the first thing that is wrong."""
    _check_size(order)
    _check_prices(order)
    _check_exits(order)


def check_tick(name: str, symbol: str, price: Decimal | None) -> None:
    """Raises AlpacaError for a price that is finer than its level allows."""
    if price is not None and price > 0 and price % price_tick(symbol, price) != 0:
        raise unprocessable(
            f"invalid {name} {price.normalize():f}. "
            "sub-penny increment does not fulfill minimum pricing criteria"
        )


def _check_size(order: AskedOrder) -> None:
    if order.qty is None and order.notional is None:
        raise invalid("qty is required" if order.order_class == "mleg" else "qty or notional is required")
    if order.qty is not None and order.notional is not None:
        raise invalid("only one of qty or notional is accepted")
    if order.qty is not None:
        if order.qty <= 0:
            raise invalid("qty must be > 0")
        if order.qty % SHARE_FRACTION != 0:
            raise invalid("invalid qty: at most 9 decimals")
    elif order.notional is not None and order.notional <= 0:
        raise invalid("notional must be >= 1.00")
    if order.order_class == "mleg":
        if order.notional is not None:
            raise invalid("notional is not accepted for mleg orders")
        if order.qty is not None and order.qty % 1 != 0:
            raise invalid("mleg orders must have a whole qty")
    elif _is_contract(order.symbol):
        _check_contracts(order)
    elif order.notional is not None or (order.qty is not None and order.qty % 1 != 0):
        _check_fraction(order)


def _is_contract(symbol: str) -> bool:
    """An asset id is as long as a contract's symbol, and none."""
    return is_option(symbol) and parse_uuid(symbol) is None


def _check_contracts(order: AskedOrder) -> None:
    if order.notional is not None:
        raise unprocessable("notional is not allowed for options orders")
    if order.qty is not None and order.qty % 1 != 0:
        raise unprocessable("qty must be a whole number for options orders")
    if order.time_in_force not in ("day", "gtc"):
        raise unprocessable("order_time_in_force provided not supported for options trading")
    if order.type == "trailing_stop":
        raise unprocessable("order type provided not supported for options trading")
    if order.order_class != "simple":
        raise unprocessable("order_class provided not supported for options trading")
    if order.extended_hours:
        raise unprocessable("extended_hours is not supported for options trading")


def _check_fraction(order: AskedOrder) -> None:
    if order.order_class != "simple":
        raise unprocessable("fractional orders must be simple orders")
    if order.time_in_force != "day":
        raise unprocessable("fractional orders must be DAY orders")
    if order.notional is not None and order.type != "market":
        raise unprocessable("notional orders must be market orders")
    if order.type == "trailing_stop":
        raise unprocessable("fractional orders must not be trailing stop orders")


_NO_SUCH = {
    "market": "market orders require no stop or limit price",
    "limit": "limit orders require no stop price",
    "stop": "stop orders require no limit price",
    "trailing_stop": "trailing stop orders require no stop or limit price",
}
_NEEDED = {
    "limit": ("limit_price", "limit orders require a limit price"),
    "stop": ("stop_price", "stop orders require a stop price"),
}


def _check_prices(order: AskedOrder) -> None:
    if order.order_class == "mleg":
        _check_net(order)
        return
    limit, stop, kind = order.limit_price, order.stop_price, order.type
    if limit is not None and limit <= 0:
        raise invalid("limit price must be > 0")
    if stop is not None and stop <= 0:
        raise invalid("stop price must be > 0")
    if kind in _NEEDED and getattr(order, _NEEDED[kind][0]) is None:
        raise invalid(_NEEDED[kind][1])
    if kind == "stop_limit" and (limit is None or stop is None):
        raise invalid("stop limit orders require both stop and limit price")
    has_more = (limit is not None and kind != "limit") or (stop is not None and kind != "stop")
    if has_more and kind in _NO_SUCH:
        raise invalid(_NO_SUCH[kind])
    _check_trail(order)
    if order.extended_hours and not (
        kind == "limit" and order.time_in_force in ("day", "gtc") and order.order_class == "simple"
    ):
        raise unprocessable("extended hours order must be DAY or GTC limit orders")


def _check_trail(order: AskedOrder) -> None:
    trails = [one for one in (order.trail_price, order.trail_percent) if one is not None]
    if order.type != "trailing_stop":
        if trails:
            raise invalid(f"{order.type.replace('_', ' ')} orders require no trail_price or trail_percent")
        return
    if len(trails) != 1:
        raise invalid("trailing stop orders must specify one of trail_price or trail_percent")
    if trails[0] <= 0:
        raise invalid(f"{'trail_percent' if order.trail_price is None else 'trail_price'} must be > 0")


def _check_net(order: AskedOrder) -> None:
    """The price of a spread is its net, of either sign."""
    if order.type not in ("market", "limit"):
        raise unprocessable("mleg orders must be market or limit orders")
    if order.time_in_force not in ("day", "gtc"):
        raise unprocessable("order_time_in_force provided not supported for options trading")
    if order.extended_hours:
        raise unprocessable("extended_hours is not supported for options trading")
    if any(one is not None for one in (order.stop_price, order.trail_price, order.trail_percent)):
        raise invalid("mleg orders require no stop price and no trail")
    if order.type == "market" and order.limit_price is not None:
        raise invalid("market orders require no stop or limit price")
    if order.type == "limit" and order.limit_price is None:
        raise invalid("limit orders require a limit price")
    if order.limit_price is not None and order.limit_price % CENT != 0:
        raise unprocessable(
            f"invalid limit_price {order.limit_price.normalize():f}. "
            "sub-penny increment does not fulfill minimum pricing criteria"
        )


def _check_exits(order: AskedOrder) -> None:
    profit, loss, kind = order.take_profit, order.stop_loss, order.order_class
    if kind in ("simple", "mleg"):
        if profit is not None or loss is not None:
            raise invalid(f"{kind} orders require no take_profit and no stop_loss")
        return
    if order.time_in_force not in ("day", "gtc"):
        raise unprocessable(f"{kind} orders must be DAY or GTC orders")
    if kind == "oco":
        if order.type != "limit":
            raise unprocessable("oco orders must be limit orders")
        if loss is None:
            raise invalid("oco orders require stop_loss.stop_price")
    elif kind == "bracket" and (profit is None or loss is None):
        raise invalid("bracket orders require take_profit.limit_price and stop_loss.stop_price")
    elif kind == "oto" and (profit is None) == (loss is None):
        raise invalid("oto orders require either take_profit or stop_loss")
    if order.type == "trailing_stop":
        raise unprocessable(f"{kind} orders must not be trailing stop orders")
    target = order.limit_price if kind == "oco" else None if profit is None else profit.limit_price
    stop = None if loss is None else loss.stop_price
    if target is None or stop is None:
        return
    up = (order.side == "buy") != (kind == "oco")
    if (target <= stop) if up else (target >= stop):
        raise unprocessable(f"take_profit.limit_price must be {'>' if up else '<'} stop_loss.stop_price")
