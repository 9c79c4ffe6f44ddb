"""Intents with their orders, for whoever asks again (contracts E14, E15)."""

from collections.abc import Sequence

from paiid.core.db import Tx
from paiid.trading import store
from paiid.trading.answers import intent_status
from paiid.trading.records import IntentRow, OrderRow

__all__ = ["load_with_orders"]


async def load_with_orders(
    tx: Tx, intents: Sequence[IntentRow]
) -> tuple[dict[str, IntentRow], list[OrderRow]]:
    """id -> intent, and the orders of all of them, by position.

    On PostgreSQL each statement sees what is committed by then. An intent that ends between the two would come with orders that have
    ended and without the answer that was stored with them, and its caller would be told another one than ever after: it is read again.
    """
    orders = await store.load_orders_of_intents(tx, [one.id for one in intents])
    ended = [
        one.id
        for one in intents
        if one.final_at is None and intent_status([o for o in orders if o.intent_id == one.id]) == "final"
    ]
    again = await store.load_intents(tx, ended) if ended else {}
    return {one.id: again.get(one.id, one) for one in intents}, orders
