"""The SQL of the day roll: what is due, what was held at the roll, how far the rolls are booked, and activities."""

from collections.abc import Sequence
from decimal import Decimal

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from paiid.brokers import BrokerActivity
from paiid.brokers.paper.records import activity_from_row
from paiid.core.db import Tx, any_of, statement
from paiid.core.tables import (
    paper_activities,
    paper_executions,
    paper_positions,
    paper_sequence,
)
from paiid.domain.instruments import is_option
from paiid.domain.money import ZERO, qty_from_int

_ROLLED = statement(select(paper_sequence.c.rolled_at))
_FIRST = statement(insert(paper_sequence).on_conflict_do_nothing())
_MARK = statement(
    update(paper_sequence)
    .where(paper_sequence.c.id == 1, paper_sequence.c.rolled_at < bindparam("b_at"))
    .values(rolled_at=bindparam("b_at"))
)
_HELD = statement(
    select(paper_positions.c.account_number, paper_positions.c.symbol)
    .where(paper_positions.c.qty != 0)
    .order_by(paper_positions.c.account_number, paper_positions.c.symbol)
)
_SYMBOLS = statement(select(paper_positions.c.symbol).distinct())
_ACCOUNTS_OF = statement(
    select(paper_positions.c.account_number)
    .where(any_of(paper_positions.c.symbol, "b_symbols"))
    .distinct()
    .order_by(paper_positions.c.account_number)
)
_TRADED = statement(
    select(
        paper_executions.c.symbol,
        paper_executions.c.side,
        func.sum(paper_executions.c.qty).label("qty"),
    )
    .where(
        paper_executions.c.account_number == bindparam("b_number"),
        paper_executions.c.executed_at >= bindparam("b_at"),
    )
    .group_by(paper_executions.c.symbol, paper_executions.c.side)
)
_BOOKED = statement(select(paper_activities.c.id).where(any_of(paper_activities.c.id, "b_ids")))
_ACTIVITIES = statement(
    select(paper_activities)
    .where(
        paper_activities.c.account_number == bindparam("b_number"),
        paper_activities.c.at >= bindparam("b_at"),
    )
    .order_by(paper_activities.c.at, paper_activities.c.id)
)


async def load_rolled_at(tx: Tx) -> int:
    """The last roll whose corporate actions are booked; 0 where none ever was."""
    row = await tx.fetch_one(_ROLLED)
    return 0 if row is None else int(row["rolled_at"])


async def mark_rolled(tx: Tx, roll_us: int) -> None:
    """Everything up to this roll is booked; it never goes back."""
    await tx.execute(_FIRST, {"id": 1, "seq": 0, "read_seq": 0, "rolled_at": 0})
    await tx.execute(_MARK, {"b_at": roll_us})


async def load_held_options(tx: Tx) -> list[tuple[str, str]]:
    """(account, contract) of every position in options, by account."""
    rows = await tx.fetch(_HELD)
    return [(row["account_number"], row["symbol"]) for row in rows if is_option(row["symbol"])]


async def load_symbols(tx: Tx) -> list[str]:
    """Every symbol that any account has ever held or had an order in."""
    return sorted(row["symbol"] for row in await tx.fetch(_SYMBOLS))


async def load_accounts_of(tx: Tx, symbols: Sequence[str]) -> list[str]:
    """The accounts that have ever held one of these symbols or had an order in it, in order."""
    return [row["account_number"] for row in await tx.fetch(_ACCOUNTS_OF, {"b_symbols": list(symbols)})]


async def load_traded_since(tx: Tx, account_number: str, roll_us: int) -> dict[str, Decimal]:
    """Signed quantity that an account has traded from an instant on, by symbol."""
    found: dict[str, Decimal] = {}
    for row in await tx.fetch(_TRADED, {"b_number": account_number, "b_at": roll_us}):
        qty = qty_from_int(int(row["qty"])) * (1 if row["side"] == "buy" else -1)
        found[row["symbol"]] = found.get(row["symbol"], ZERO) + qty
    return found


async def load_booked(tx: Tx, ids: Sequence[str]) -> set[str]:
    """Which of these activities have been booked."""
    return {row["id"] for row in await tx.fetch(_BOOKED, {"b_ids": list(ids)})}


async def load_activities(tx: Tx, account_number: str, since_us: int) -> list[BrokerActivity]:
    """Activities of an account from this instant on, oldest first."""
    rows = await tx.fetch(_ACTIVITIES, {"b_number": account_number, "b_at": since_us})
    return [activity_from_row(row) for row in rows]
