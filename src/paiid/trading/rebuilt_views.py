"""Orders as a broker would tell them, rebuilt from what is known where it tells them no more."""

from collections.abc import Sequence
from dataclasses import replace

from paiid.brokers import BrokerExecution, BrokerOrderView
from paiid.domain.money import ZERO, qty_from_int
from paiid.domain.orders import OrderStatus
from paiid.trading.order_rows import from_money
from paiid.trading.records import AccountRow, OrderRow


def view_of_prints(prints: Sequence[BrokerExecution]) -> BrokerOrderView:
    """An order of which only its prints are known. Once the broker tells the order itself, that replaces this."""
    first = prints[0]
    net = sum((p.qty if p.kind == "fill" else ZERO for p in prints), ZERO)
    return BrokerOrderView(
        account_number=first.account_number,
        broker_order_id=first.broker_order_id,
        client_order_id=None,
        symbol=first.symbol,
        side=first.side,
        qty=net or first.qty,
        type="market",
        time_in_force="day",
        limit_price=None,
        stop_price=None,
        status=OrderStatus.FILLED,
        filled_qty=net,
        filled_avg_price=None,
        submitted_at_us=first.executed_at_us,
        updated_at_us=prints[-1].executed_at_us,
    )


def view_of_row(row: OrderRow, account: AccountRow) -> BrokerOrderView:
    """What the ledger knows of an order that the broker no longer shows."""
    return BrokerOrderView(
        account_number=account.number,
        broker_order_id=row.broker_order_id or "",
        client_order_id=None if row.client_order_id.startswith("ext-") else row.client_order_id,
        symbol=row.symbol,
        side=row.side,
        qty=qty_from_int(row.qty),
        type=row.type,
        time_in_force=row.time_in_force,
        limit_price=from_money(row.limit_price),
        stop_price=from_money(row.stop_price),
        status=row.broker_status or OrderStatus.NEW,
        filled_qty=qty_from_int(row.broker_filled_qty),
        filled_avg_price=None,
        submitted_at_us=row.submitted_at or row.created_at,
        updated_at_us=row.updated_at,
        notional=from_money(row.notional),
        trail_price=from_money(row.trail_price),
        trail_percent=from_money(row.trail_percent),
        hwm=from_money(row.hwm),
        extended_hours=bool(row.extended_hours),
        order_class=row.order_class,
        group_role=row.group_role,
        ratio_qty=row.ratio_qty,
        position_intent=row.position_intent,
    )


def view_of_filled(row: OrderRow, account: AccountRow) -> BrokerOrderView:
    """An order of the ledger of which it is known that its prints fill it whole."""
    return replace(view_of_row(row, account), status=OrderStatus.FILLED, filled_qty=qty_from_int(row.qty))
