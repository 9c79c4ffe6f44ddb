"""Activities booked into cash and positions: expirations, exercises, assignments, dividends, splits.

One that changes a quantity stands among the prints of its symbol at the instant at which it happened, so that the
position comes out the same whichever is told first (contract E18).
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from paiid.brokers import BrokerActivity
from paiid.core.instants import instant
from paiid.domain.money import ZERO, money_to_int, qty_to_int, round_money
from paiid.trading.activity_store import ActivityRow, find_booked_activities, insert_activity
from paiid.trading.answers import money, quantity
from paiid.trading.book import Book
from paiid.trading.execution_store import as_print
from paiid.trading.executions import Prints
from paiid.trading.records import AccountRow


async def book_activities(
    book: Book, prints: Prints, account: AccountRow, activities: Sequence[BrokerActivity]
) -> int:
    """Book these activities of a locked account, each once; how many were new.

    `prints.settle` must follow: it brings the positions in step with everything, and tells them and the cash.
    """
    booked = await find_booked_activities(book.tx, [account.id], [one.activity_id for one in activities])
    new = 0
    for activity in activities:
        key = (account.id, activity.activity_id)
        if key not in booked:
            booked.add(key)
            new += 1
            await _book(book, prints, account, activity)
    return new


def adjustment(
    account: AccountRow,
    activity_id: str,
    description: str,
    at_us: int,
    *,
    symbol: str = "",
    qty: Decimal = ZERO,
    price: Decimal = ZERO,
    cash: Decimal = ZERO,
) -> BrokerActivity:
    """A booking of our own that brings the ledger in step with its broker: `qty` signed at `price` dollars a share,
    which moves no cash, or `cash` signed, which moves no position."""
    return BrokerActivity(
        account.number, activity_id, "adjustment", symbol, qty, price, cash, at_us, description
    )


async def _book(book: Book, prints: Prints, account: AccountRow, activity: BrokerActivity) -> None:
    row = ActivityRow(
        id=book.new_id("act"),
        account_id=account.id,
        activity_id=activity.activity_id,
        kind=activity.kind,
        symbol=activity.symbol,
        qty=qty_to_int(activity.qty),
        price=money_to_int(activity.price),
        cash=money_to_int(round_money(activity.cash)),
        description=activity.description,
        executed_at=activity.at_us,
        booked_at=book.now_us,
    )
    await insert_activity(book.tx, row)
    account.cash += row.cash
    book.touch_account(account)
    book.tell(account.id, "activity", "broker", activity_view(row))
    await prints.add_activity(account.id, as_print(row) if row.qty else None)


def activity_view(row: ActivityRow) -> dict[str, Any]:
    """An activity as `GET /api/trading/activities` and its event show it."""
    return {
        "id": row.id,
        "activity_id": row.activity_id,
        "kind": row.kind,
        "symbol": row.symbol,
        "qty": quantity(row.qty),
        "price": money(row.price),
        "cash": money(row.cash),
        "description": row.description,
        "time": instant(row.executed_at),
    }
