"""The SQL of users, sessions and API tokens, and the lock by which a lost right stops an order.

Whoever takes a right away updates a row that `lock_standing` holds shared: either the order's transaction was
first, or it sees the right gone (contract A3). Lock order: `lock_user_management`, then users, then sessions
and API tokens; a writer locks one user at most.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import and_, bindparam, func, insert, literal, null, select, update

from paiid.auth.records import USER_FIELDS, User, user_from
from paiid.core.db import Row, Statement, Tx, any_of, statement
from paiid.core.tables import api_tokens, install_secrets, sessions, users
from paiid.domain.identity import Principal, Role

MANAGEMENT_LOCK = "user_management"

_USER = [users.c[name] for name in USER_FIELDS]
_ACTIVE = and_(users.c.disabled_at.is_(None), users.c.deleted_at.is_(None))

# -- who may still act ------------------------------------------------------------------------------

_STANDING_SESSIONS = statement(
    select(sessions.c.id, users.c.id.label("user_id"), users.c.role, sessions.c.expires_at)
    .select_from(users.join(sessions, sessions.c.user_id == users.c.id))
    .where(any_of(sessions.c.id, "b_ids"), sessions.c.ended_at.is_(None), _ACTIVE)
    .order_by(users.c.id, sessions.c.id)
    .with_for_update(read=True)
)
_STANDING_TOKENS = statement(
    select(api_tokens.c.id, users.c.id.label("user_id"), users.c.role, api_tokens.c.expires_at)
    .select_from(users.join(api_tokens, api_tokens.c.user_id == users.c.id))
    .where(any_of(api_tokens.c.id, "b_ids"), api_tokens.c.revoked_at.is_(None), _ACTIVE)
    .order_by(users.c.id, api_tokens.c.id)
    .with_for_update(read=True)
)
_STANDING_OWNERS = statement(
    select(users.c.id, users.c.id.label("user_id"), users.c.role, null().label("expires_at"))
    .where(any_of(users.c.id, "b_ids"), users.c.role == literal("owner"), _ACTIVE)
    .order_by(users.c.id)
    .with_for_update(read=True)
)
_STANDING = {"session": _STANDING_SESSIONS, "token": _STANDING_TOKENS, "static": _STANDING_OWNERS}


class StandingReads:
    """Which of these callers may still act: `reads` for `Tx.enter`, one for each kind of credential present, and what they come to.
    The rows are held shared to the end of the transaction."""

    def __init__(self, principals: Iterable[Principal]) -> None:
        self._user_of: dict[tuple[str, str], str] = {
            (one.credential, one.credential_id): one.user_id for one in principals
        }
        self._kinds = [
            kind for kind in _STANDING if any(kind == credential for credential, _ in self._user_of)
        ]

    @property
    def reads(self) -> list[tuple[Statement, dict[str, Any]]]:
        """Users before what they signed in with, each by its id."""
        return [(_STANDING[kind], {"b_ids": self._ids(kind)}) for kind in self._kinds]

    def _ids(self, kind: str) -> list[str]:
        return sorted(id_ for credential, id_ in self._user_of if credential == kind)

    def roles(self, found: Sequence[Sequence[Row]], now_us: int) -> dict[tuple[str, str], Role]:
        """The role of each caller that may still act at `now_us`, keyed (credential, credential id); absent: may not."""
        standing: dict[tuple[str, str], Role] = {}
        for kind, rows in zip(self._kinds, found, strict=True):
            for row in rows:
                key, expires_us = (kind, row["id"]), row["expires_at"]
                if self._user_of.get(key) == row["user_id"] and (expires_us is None or expires_us > now_us):
                    standing[key] = row["role"]
        return standing


async def lock_standing(tx: Tx, principals: Sequence[Principal], now_us: int) -> dict[tuple[str, str], Role]:
    """`StandingReads` for whoever has no more to read."""
    asked = StandingReads(principals)
    return asked.roles(await tx.fetch_together(asked.reads), now_us) if principals else {}


# -- the install's secrets and the management lock --------------------------------------------------

_SECRET = statement(select(install_secrets.c.value).where(install_secrets.c.name == bindparam("b_name")))
_ADD_SECRET = statement(insert(install_secrets))
_LOCK_SECRET = statement(
    select(install_secrets.c.name).where(install_secrets.c.name == bindparam("b_name")).with_for_update()
)


async def find_secret(tx: Tx, name: str) -> str | None:
    """A secret of this installation."""
    row = await tx.fetch_one(_SECRET, {"b_name": name})
    return None if row is None else str(row["value"])


async def add_secret(tx: Tx, name: str, value: str, at_us: int) -> None:
    """Raises UniqueViolation when another process was first."""
    await tx.execute(_ADD_SECRET, {"name": name, "value": value, "created_at": at_us})


async def lock_user_management(tx: Tx) -> None:
    """One change of users at a time, so that two owners cannot remove each other at once.

    The row is made at the start of the service. Raises LookupError before that.
    """
    if await tx.fetch_one(_LOCK_SECRET, {"b_name": MANAGEMENT_LOCK}) is None:
        raise LookupError("the service has not been started on this database")


# -- users ------------------------------------------------------------------------------------------

_BY_ID = select(*_USER).where(users.c.id == bindparam("b_id"), users.c.deleted_at.is_(None))
_FIND_USER = statement(_BY_ID)
_LOCK_USER = statement(_BY_ID.with_for_update())
_SHARE_USER = statement(_BY_ID.with_for_update(read=True))
_FIND_BY_EMAIL = statement(
    select(*_USER).where(users.c.email == bindparam("b_email"), users.c.deleted_at.is_(None))
)
_LIST_USERS = statement(
    select(*_USER)
    .where(users.c.id > bindparam("b_after"), users.c.deleted_at.is_(None))
    .order_by(users.c.id)
    .limit(bindparam("b_limit"))
)
_ANY_OWNER = statement(
    select(*_USER)
    .where(users.c.role == literal("owner"), _ACTIVE)
    .order_by(users.c.created_at, users.c.id)
    .limit(1)
)
_COUNT_USERS = statement(select(func.count().label("n")).select_from(users))
_OTHER_OWNER = statement(
    select(users.c.id)
    .where(users.c.role == literal("owner"), _ACTIVE, users.c.id != bindparam("b_id"))
    .limit(1)
)
_ADD_USER = statement(insert(users))
_UPDATE_USER = statement(
    update(users).where(users.c.id == bindparam("b_id")),
    columns=["email", "password_hash", "role", "updated_at", "disabled_at", "deleted_at"],
)


async def find_user(tx: Tx, user_id: str) -> User | None:
    """A user who is not deleted."""
    row = await tx.fetch_one(_FIND_USER, {"b_id": user_id})
    return None if row is None else user_from(row)


async def lock_user(tx: Tx, user_id: str) -> User | None:
    """The same, held alone to the end of the transaction: every claim of his waits."""
    row = await tx.fetch_one(_LOCK_USER, {"b_id": user_id})
    return None if row is None else user_from(row)


async def share_user(tx: Tx, user_id: str) -> User | None:
    """The same, held shared: his rights cannot change meanwhile."""
    row = await tx.fetch_one(_SHARE_USER, {"b_id": user_id})
    return None if row is None else user_from(row)


async def find_user_by_email(tx: Tx, email: str) -> User | None:
    """By the normalised address."""
    row = await tx.fetch_one(_FIND_BY_EMAIL, {"b_email": email})
    return None if row is None else user_from(row)


async def find_owner(tx: Tx) -> User | None:
    """The first owner who may act: the one the static token stands for."""
    row = await tx.fetch_one(_ANY_OWNER)
    return None if row is None else user_from(row)


async def find_other_owner(tx: Tx, user_id: str) -> bool:
    """Whether somebody else is an owner who may act; only firm under `lock_user_management`."""
    return await tx.fetch_one(_OTHER_OWNER, {"b_id": user_id}) is not None


async def list_users(tx: Tx, after: str, limit: int) -> list[User]:
    """A page, oldest first, behind an id ('' for the first)."""
    rows = await tx.fetch(_LIST_USERS, {"b_after": after, "b_limit": limit})
    return [user_from(row) for row in rows]


async def count_users(tx: Tx) -> int:
    """All that were ever made, deleted ones too."""
    row = await tx.fetch_one(_COUNT_USERS)
    return 0 if row is None else int(row["n"])


async def add_user(tx: Tx, user: User) -> None:
    """Raises UniqueViolation when the address is taken."""
    await tx.execute(_ADD_USER, {name: getattr(user, name) for name in USER_FIELDS})


async def update_user(tx: Tx, user: User) -> None:
    """Write what may change of a user."""
    await tx.execute(
        _UPDATE_USER,
        {
            "b_id": user.id,
            "email": user.email,
            "password_hash": user.password_hash,
            "role": user.role,
            "updated_at": user.updated_at,
            "disabled_at": user.disabled_at,
            "deleted_at": user.deleted_at,
        },
    )
