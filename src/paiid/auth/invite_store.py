"""The SQL of invites and of the switch that opens registration to everybody."""

from dataclasses import dataclass
from typing import Literal, cast

from sqlalchemy import and_, bindparam, func, insert, or_, select, update

from paiid.core.db import Row, Tx, statement
from paiid.core.tables import invites, switches
from paiid.domain.identity import Role

InviteState = Literal["open", "used", "revoked", "expired"]


@dataclass(frozen=True, slots=True)
class Invite:
    """One invite. Instants in microseconds; `created_by` is the user id of the owner, or `cli`."""

    id: str
    code_hash: str
    email: str | None
    role: Role
    created_by: str
    created_at: int
    expires_at: int
    used_at: int | None
    used_by: str | None
    revoked_at: int | None

    def state_at(self, now_us: int) -> InviteState:
        """What became of it."""
        if self.used_at is not None:
            return "used"
        if self.revoked_at is not None:
            return "revoked"
        return "open" if self.expires_at > now_us else "expired"


@dataclass(frozen=True, slots=True)
class Switch:
    """What an owner has turned on or off, when (microseconds), and who it was."""

    on: bool
    updated_at: int | None
    updated_by: str | None


_FIELDS = tuple(Invite.__dataclass_fields__)
_COLUMNS = [invites.c[name] for name in _FIELDS]
_OPEN = and_(
    invites.c.used_at.is_(None), invites.c.revoked_at.is_(None), invites.c.expires_at > bindparam("b_now")
)
_ADD = statement(insert(invites))
_BY_CODE = statement(select(*_COLUMNS).where(invites.c.code_hash == bindparam("b_hash")))
_BY_ID = statement(select(*_COLUMNS).where(invites.c.id == bindparam("b_id")).with_for_update())
_LIST = statement(
    select(*_COLUMNS)
    .where(or_(bindparam("b_before") == "", invites.c.id < bindparam("b_before")))
    .order_by(invites.c.id.desc())
    .limit(bindparam("b_limit"))
)
_COUNT_OPEN = statement(select(func.count().label("n")).select_from(invites).where(_OPEN))
_USE = statement(
    update(invites).where(
        invites.c.id == bindparam("b_id"),
        _OPEN,
        or_(invites.c.email.is_(None), invites.c.email == bindparam("b_email")),
    ),
    columns=["used_at", "used_by"],
)
_REVOKE = statement(
    update(invites).where(invites.c.id == bindparam("b_id"), invites.c.used_at.is_(None)),
    columns=["revoked_at"],
)
_SWITCH = select(switches).where(switches.c.name == bindparam("b_name"))
_READ_SWITCH = statement(_SWITCH)
_SHARE_SWITCH = statement(_SWITCH.with_for_update(read=True))
_ADD_SWITCH = statement(insert(switches))
_TURN_SWITCH = statement(
    update(switches).where(switches.c.name == bindparam("b_name")),
    columns=["value", "updated_at", "updated_by"],
)
_ON, _OFF = "on", "off"
_REGISTRATION = "registration"


def _invite(row: Row) -> Invite:
    return Invite(**{name: row[name] for name in _FIELDS})


async def add_invite(tx: Tx, invite: Invite) -> None:
    """A new one."""
    await tx.execute(_ADD, {name: getattr(invite, name) for name in _FIELDS})


async def find_invite(tx: Tx, code_hash: str) -> Invite | None:
    """By what is stored of its code; in any state."""
    row = await tx.fetch_one(_BY_CODE, {"b_hash": code_hash})
    return None if row is None else _invite(row)


async def lock_invite(tx: Tx, invite_id: str) -> Invite | None:
    """The same by its id, held alone to the end of the transaction."""
    row = await tx.fetch_one(_BY_ID, {"b_id": invite_id})
    return None if row is None else _invite(row)


async def list_invites(tx: Tx, before: str, limit: int) -> list[Invite]:
    """A page, newest first, behind an id ('' for the first)."""
    return [_invite(row) for row in await tx.fetch(_LIST, {"b_before": before, "b_limit": limit})]


async def count_open(tx: Tx, now_us: int) -> int:
    """Those that may still be used."""
    row = await tx.fetch_one(_COUNT_OPEN, {"b_now": now_us})
    return 0 if row is None else int(row["n"])


async def use_invite(tx: Tx, invite_id: str, email: str, user_id: str, now_us: int) -> bool:
    """Use it up for this address: False if it is not open (any more), or is for another one. Of many at once one gets True."""
    params = {"b_id": invite_id, "b_email": email, "b_now": now_us, "used_at": now_us, "used_by": user_id}
    return await tx.execute(_USE, params) == 1


async def revoke_invite(tx: Tx, invite_id: str, at_us: int) -> None:
    """Unless it was used."""
    await tx.execute(_REVOKE, {"b_id": invite_id, "revoked_at": at_us})


async def load_registration(tx: Tx, *, hold: bool = False) -> Switch:
    """Whether everybody may register; with `hold` it stays so to the end of the transaction, if it is on."""
    row = await tx.fetch_one(_SHARE_SWITCH if hold else _READ_SWITCH, {"b_name": _REGISTRATION})
    if row is None:
        return Switch(False, None, None)
    return Switch(row["value"] == _ON, cast(int, row["updated_at"]), cast(str, row["updated_by"]))


async def set_registration(tx: Tx, on: bool, by: str, at_us: int) -> None:
    """Turn it. Under `lock_user_management`, so that two do not make the row at once."""
    values = {"value": _ON if on else _OFF, "updated_at": at_us, "updated_by": by}
    if not await tx.execute(_TURN_SWITCH, {"b_name": _REGISTRATION, **values}):
        await tx.execute(_ADD_SWITCH, {"name": _REGISTRATION, **values})
