"""Orders of an earlier day that a broker knows no more, because its list ends with the day (contract E12, ADR 0025).

A fill that nobody saw changes a position, and positions are not forgotten. Where they agree, and where fills on both sides
could cancel out the cash too, nothing has filled beyond what is booked, so that the order has ended with its day.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from paiid.brokers import Broker, BrokerOrderView
from paiid.core.db import Database
from paiid.domain.calendar import eastern_date
from paiid.domain.money import CENT, ZERO, money_from_int, qty_from_int
from paiid.domain.orders import OrderStatus, Submission
from paiid.trading import store
from paiid.trading.counters import is_spread
from paiid.trading.in_place import predecessors
from paiid.trading.in_place_store import load_predecessors
from paiid.trading.rebuilt_views import view_of_row
from paiid.trading.records import AccountRow, OrderRow

__all__ = ["FORGOTTEN_WORDS", "is_forgotten", "views_of_forgotten"]

FORGOTTEN_WORDS = (
    "The broker forgot the order at the end of its day; its positions show that nothing more was filled."
)


def is_forgotten(row: OrderRow, broker: Broker, now_us: int) -> bool:
    """Whether the broker may know this order no more because the New York day on which it took it is over."""
    if not broker.capabilities.lists_end_with_day or row.state is not Submission.ACCEPTED or not row.open:
        return False
    return eastern_date(row.submitted_at or row.created_at) < eastern_date(now_us)


async def views_of_forgotten(
    db: Database, broker: Broker, account: AccountRow, order_ids: Sequence[str], timeout_s: float
) -> list[BrokerOrderView]:
    """The views that end those of these orders of which the broker's books show that nothing more has filled.

    Raises BrokerError, DatabaseUnavailable.
    """
    if not order_ids:
        return []
    # The broker's side first: what is booked after it makes the two differ, and an order is left for the next time.
    held = {one.symbol: one.qty for one in await broker.fetch_positions(account.number, timeout_s)}
    cash = (await broker.fetch_account(account.number, timeout_s)).cash
    async with db.read() as tx:
        now, placed, positions = await store.load_books(tx, account.id)
        ours = {one.symbol: qty_from_int(one.qty) for one in positions}
        rows = [one for one in placed if one.id in set(order_ids)]
        taken = [one.replaces for one in rows if one.replaces is not None]
        chain = {one.id: one for one in await load_predecessors(tx, taken)} if taken else {}
    same_cash = abs(cash - money_from_int(now.cash)) <= CENT
    over = [row for row in rows if _nothing_filled(row, rows, ours, held, same_cash)]
    return [_ended(row, predecessors(chain, row), account) for row in over]


def _nothing_filled(
    row: OrderRow,
    rows: Sequence[OrderRow],
    ours: Mapping[str, Decimal],
    held: Mapping[str, Decimal],
    same_cash: bool,
) -> bool:
    legs = [one for one in rows if one.parent_id == row.id]
    symbols = {one.symbol for one in legs} if is_spread(row) else {row.symbol}
    if not symbols or any(ours.get(one, ZERO) != held.get(one, ZERO) for one in symbols):
        return False
    # A purchase and a sale that both filled leave the position as it was, and other money.
    return same_cash or len(_sides(symbols, rows)) < 2


def _sides(symbols: Iterable[str], rows: Sequence[OrderRow]) -> set[str]:
    return {one.side for one in rows if one.symbol in symbols and not is_spread(one)}


def _ended(row: OrderRow, before: Sequence[OrderRow], account: AccountRow) -> BrokerOrderView:
    """As the broker would tell it: with what the orders had filled whose place it took under their id (ADR 0024), and with
    the price of what is booked, without which nothing is believed (ADR 0023)."""
    view = view_of_row(row, account)
    earlier = qty_from_int(sum(one.filled_qty for one in before))
    booked = qty_from_int(row.filled_qty) + earlier
    value = money_from_int(row.filled_value + sum(one.filled_value for one in before))
    return replace(
        view,
        qty=None if view.qty is None else view.qty + earlier,
        filled_qty=view.filled_qty + earlier,
        filled_avg_price=value / booked if booked and not is_spread(row) else None,
        status=OrderStatus.EXPIRED,
        reason=FORGOTTEN_WORDS,
    )
