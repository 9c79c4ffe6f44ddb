"""What the health page reads of the ledger: how it stands with the brokers, and what is in doubt."""

from dataclasses import dataclass

from sqlalchemy import bindparam, func, select

from paiid.core.db import Tx, statement
from paiid.core.tables import accounts, orders

_RECONCILE = statement(
    select(
        func.count().label("accounts"),
        func.count(accounts.c.reconcile_problem).label("problems"),
        func.count(accounts.c.reconciled_at).label("compared"),
        func.min(accounts.c.reconciled_at).label("oldest_at"),
    )
)
_IN_DOUBT = statement(select(func.count().label("n")).where(orders.c.state == bindparam("b_state")))
_ANY_NUMBER = statement(
    select(accounts.c.number)
    .where(accounts.c.broker == bindparam("b_broker"))
    .order_by(accounts.c.created_at, accounts.c.id)
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class ReconcileState:
    """Accounts, those whose books differ from the broker's, those never compared, the oldest comparison of the
    others, and orders whose outcome is unknown."""

    accounts: int
    problems: int
    never_compared: int
    oldest_at_us: int | None
    orders_in_doubt: int


async def load_reconcile_state(tx: Tx) -> ReconcileState:
    """The ledger as a whole."""
    row = await tx.fetch_one(_RECONCILE)
    doubt = await tx.fetch_one(_IN_DOUBT, {"b_state": "UNKNOWN"})
    assert row is not None
    assert doubt is not None
    return ReconcileState(
        accounts=row["accounts"],
        problems=row["problems"],
        never_compared=row["accounts"] - row["compared"],
        oldest_at_us=row["oldest_at"],
        orders_in_doubt=doubt["n"],
    )


async def find_account_number(tx: Tx, broker: str) -> str | None:
    """The number of the oldest account kept at a broker."""
    row = await tx.fetch_one(_ANY_NUMBER, {"b_broker": broker})
    return None if row is None else str(row["number"])
