"""The SQL of tickets: a row goes with its use, and whoever deletes it has used it."""

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, insert, select

from paiid.core.db import Tx, statement
from paiid.core.tables import stream_tickets
from paiid.domain.identity import Credential

_ADD = statement(insert(stream_tickets))
_FIND = statement(select(stream_tickets).where(stream_tickets.c.ticket_hash == bindparam("b_hash")))
_USE = statement(
    delete(stream_tickets).where(
        stream_tickets.c.ticket_hash == bindparam("b_hash"), stream_tickets.c.expires_at > bindparam("b_now")
    )
)
_PRUNE = statement(delete(stream_tickets).where(stream_tickets.c.expires_at < bindparam("b_now")))


@dataclass(frozen=True, slots=True)
class Ticket:
    """One ticket; instants in microseconds, `expires_at` in database time."""

    ticket_hash: str
    user_id: str
    credential: Credential
    credential_id: str
    credential_expires_at: int | None
    expires_at: int


_FIELDS = tuple(Ticket.__dataclass_fields__)


async def add_ticket(tx: Tx, ticket: Ticket) -> None:
    """A new one."""
    await tx.execute(_ADD, {name: getattr(ticket, name) for name in _FIELDS})


async def is_there(tx: Tx, ticket_hash: str) -> bool:
    """Whether such a ticket is there, used up by nobody yet: a stranger's guess costs a look and not a transaction."""
    return await tx.fetch_one(_FIND, {"b_hash": ticket_hash}) is not None


async def use_ticket(tx: Tx, ticket_hash: str, now_us: int) -> Ticket | None:
    """The ticket, for the one who is first on any replica; None when it was used, has expired, or never was."""
    row = await tx.fetch_one(_FIND, {"b_hash": ticket_hash})
    if row is None or not await tx.execute(_USE, {"b_hash": ticket_hash, "b_now": now_us}):
        return None
    return Ticket(**{name: row[name] for name in _FIELDS})


async def prune_tickets(tx: Tx, now_us: int) -> int:
    """Delete those that nobody used in time."""
    return await tx.execute(_PRUNE, {"b_now": now_us})
