"""The SQL of the account channels: how far each account has come, and the event rows behind a place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import BigInteger, Text, and_, bindparam, cast, func, select
from sqlalchemy.dialects.postgresql import JSONB

from paiid.core.db import Row, Statement, Tx, any_of, statement
from paiid.core.tables import accounts, events
from paiid.stream.events import Place

_HEADS = statement(
    select(accounts.c.id, accounts.c.event_epoch, accounts.c.event_seq, accounts.c.version).where(
        any_of(accounts.c.id, "b_ids")
    )
)


def _behind(dialect: str) -> Statement:
    """The next rows of many accounts, each behind a number of its own: {account: number} travels as JSON, and every account is
    one range of the table's key."""
    places = bindparam("b_after", type_=Text)
    each = (
        func.jsonb_each_text(cast(places, JSONB)) if dialect == "postgresql" else func.json_each(places)
    ).table_valued("key", "value", name="places")
    after = cast(each.c.value, BigInteger)
    return statement(
        select(*events.c)
        .select_from(
            each.join(
                events,
                and_(
                    events.c.account_id == each.c.key,
                    events.c.seq > after,
                    events.c.seq <= after + bindparam("b_each", type_=BigInteger),
                ),
            )
        )
        .order_by(events.c.account_id, events.c.seq)
    )


_BEHIND = {dialect: _behind(dialect) for dialect in ("sqlite", "postgresql")}


@dataclass(frozen=True, slots=True)
class Head:
    """How far an account has come: the last event of its channel, and the version of its row."""

    place: Place
    version: int


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event as it was written; `data` is a JSON object."""

    account_id: str
    sequence: int
    epoch: int
    kind: str
    source: str
    ts_event_us: int
    data: str


async def load_heads(tx: Tx, account_ids: Sequence[str]) -> dict[str, Head]:
    """account -> how far it is; unknown ones are left out."""
    rows = await tx.fetch(_HEADS, {"b_ids": list(account_ids)})
    return {row["id"]: Head(Place(row["event_epoch"], row["event_seq"]), row["version"]) for row in rows}


async def load_behind(tx: Tx, after: Mapping[str, int], each: int) -> dict[str, list[EventRow]]:
    """The rows with the `each` numbers that follow `after`, of each account, in order; every account asked for has a list."""
    found: dict[str, list[EventRow]] = {account_id: [] for account_id in after}
    params = {"b_after": msgspec.json.encode(after).decode(), "b_each": each}
    for row in await tx.fetch(_BEHIND[tx.dialect], params):
        found[row["account_id"]].append(_event(row))
    return found


def _event(row: Row) -> EventRow:
    return EventRow(
        row["account_id"], row["seq"], row["epoch"], row["kind"], row["source"], row["ts_event"], row["data"]
    )
