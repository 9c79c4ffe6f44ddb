"""What an account is and holds, and the prints it made, read tolerantly from Alpaca's objects (sections 5, 10, 11)."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import structlog

from paiid.brokers import BrokerAccount, BrokerExecution, BrokerPosition
from paiid.brokers.alpaca.keys import Mode
from paiid.brokers.alpaca.readers import side_of
from paiid.domain.money import ZERO
from paiid.domain.orders import Side
from paiid.wires.values import (
    decimal_of,
    fields_of,
    flag_of,
    instant_of,
    money_of,
    plain_digits,
    qty_of,
    text_of,
    word_of,
)

_log = structlog.get_logger("paiid.alpaca")
_MAX_OPTIONS_LEVEL = 3


def execution_id_of(broker_order_id: str, cumulative: Decimal) -> str:
    """The identity of a print: the order, and what of it had filled once this print was in.

    The stream names a print by a uuid and the FILL activity by an id of another form; whether the one is part of the
    other is not confirmed. The cumulative quantity is told by both (`order.filled_qty`, `cum_qty`) and only ever grows,
    so the print that took the order from 4 to 10 has one name, whoever tells it first.
    """
    return f"{broker_order_id}:{plain_digits(cumulative)}"


def read_account(data: object, mode: Mode) -> BrokerAccount | None:
    """An account; None where it has no number or id, or nothing from which its cash follows."""
    told = fields_of(data)
    number = text_of(told.get("account_number")) or text_of(told.get("id"))
    cash = _cash_of(told)
    if number is None or cash is None:
        _log.error("alpaca_account_unusable", account=number)
        return None
    closed = flag_of(told.get("account_blocked")) or flag_of(told.get("trading_blocked"))
    active = word_of(told.get("status")) == "active" and not closed
    level = decimal_of(told.get("options_trading_level")) or ZERO
    return BrokerAccount(
        number=number,
        cash=cash,
        status="active" if active else "blocked",
        margin=(decimal_of(told.get("multiplier")) or Decimal(1)) > 1,
        options_level=max(0, min(_MAX_OPTIONS_LEVEL, int(level))),
        mode=mode,
        equity=money_of(told.get("equity")),
        buying_power=money_of(told.get("buying_power")),
        suspended=flag_of(told.get("trade_suspended_by_user")) or False,
    )


def _cash_of(told: Mapping[str, Any]) -> Decimal | None:
    """Only `id` and `status` are promised (section 5); equity is cash and the value of what is held."""
    cash = money_of(told.get("cash"))
    if cash is not None:
        return cash
    parts = [money_of(told.get(name)) for name in ("equity", "long_market_value", "short_market_value")]
    equity, long, short = parts
    return None if equity is None or long is None or short is None else equity - long - short


def read_position(data: object) -> BrokerPosition | None:
    """A holding; the sign comes from `side`, for a short's `qty` may be told with or without one. None where symbol or
    quantity cannot be read."""
    told = fields_of(data)
    symbol, qty = text_of(told.get("symbol")), qty_of(told.get("qty"))
    side = word_of(told.get("side"))
    if symbol is None or qty is None:
        return None
    if side in ("long", "short"):
        qty = abs(qty) if side == "long" else -abs(qty)
    average = money_of(told.get("avg_entry_price"))
    if average is None:
        _log.error("alpaca_position_without_price", symbol=symbol)
    return BrokerPosition(symbol.upper(), qty, abs(average or ZERO))


def read_execution(data: object, account_number: str, fallback_us: int) -> BrokerExecution | None:
    """A FILL activity as a print; None where it is not one that can be booked. Without `cum_qty` its `execution_id` is
    empty: `number_prints` finds it out."""
    told = fields_of(data)
    order_id, symbol = text_of(told.get("order_id")), text_of(told.get("symbol"))
    side, qty, price = side_of(told.get("side")), qty_of(told.get("qty")), money_of(told.get("price"))
    if order_id is None or symbol is None or side is None or not qty or price is None:
        return None
    at_us = instant_of(told.get("transaction_time"))
    cumulative = qty_of(told.get("cum_qty"))
    return print_of(
        account_number, order_id, symbol.upper(), side, abs(qty), price, at_us or fallback_us, cumulative
    )


def print_of(
    account_number: str,
    broker_order_id: str,
    symbol: str,
    side: Side,
    qty: Decimal,
    price: Decimal,
    at_us: int,
    cumulative: Decimal | None,
) -> BrokerExecution:
    """One print. Fees are no part of it: Alpaca books them as activities of their own."""
    return BrokerExecution(
        account_number=account_number,
        execution_id="" if cumulative is None else execution_id_of(broker_order_id, cumulative),
        broker_order_id=broker_order_id,
        symbol=symbol,
        side=side,
        qty=qty,
        price=price,
        fee=ZERO,
        executed_at_us=at_us,
    )
