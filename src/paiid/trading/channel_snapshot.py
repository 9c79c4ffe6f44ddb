"""The state of an account as its channel shows it: what a reader who cannot go on from his place starts from (contract S2)."""

from typing import Any

from paiid.core.db import Database
from paiid.core.json import encode
from paiid.trading import store
from paiid.trading.answers import money, nested_view, position_event
from paiid.trading.records import OrderRow


class ChannelSnapshot:
    """Reads the state when called with an account's id."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def __call__(self, account_id: str) -> bytes:
        """`{account, cash, orders, positions}`: the open orders, each with the exits or legs that hang on it, and every position that
        is not flat, in the words of their events. Raises KeyError, DatabaseUnavailable."""
        async with self._db.read() as tx:
            account, orders, positions = await store.load_books(tx, account_id)
        held = sorted((one for one in positions if one.qty != 0), key=lambda one: one.symbol)
        return encode(
            {
                "account": account_id,
                "cash": money(account.cash),
                "orders": _nested(orders),
                "positions": [position_event(one) for one in held],
            }
        )


def _nested(orders: list[OrderRow]) -> list[dict[str, Any]]:
    """By id; what hangs on an order that is not open any more stands by itself."""
    there = {order.id for order in orders}
    hung: dict[str, list[OrderRow]] = {}
    heads: list[OrderRow] = []
    for order in orders:
        if order.parent_id in there:
            hung.setdefault(order.parent_id or "", []).append(order)
        else:
            heads.append(order)
    return [
        nested_view(head, sorted(hung.get(head.id, []), key=lambda one: one.client_order_id))
        for head in heads
    ]
