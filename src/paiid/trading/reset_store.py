"""The SQL of an account's reset that nothing else needs."""

from sqlalchemy import bindparam, update

from paiid.core.db import Tx, statement
from paiid.core.tables import orders
from paiid.domain.orders import Submission

_STOP_WATCHING = statement(
    update(orders)
    .where(
        orders.c.account_id == bindparam("b_account"),
        orders.c.state == Submission.NOT_PLACED.value,
        orders.c.next_lookup_at.is_not(None),
    )
    .values(next_lookup_at=None, watch_until=None)
)


async def stop_watching(tx: Tx, account_id: str) -> int:
    """Orders that were not placed are looked for no more: under the account's new number there is nothing to find."""
    return await tx.execute(_STOP_WATCHING, {"b_account": account_id})
