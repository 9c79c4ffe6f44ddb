"""The SQL of sessions: one row is one refresh family."""

from dataclasses import dataclass

from sqlalchemy import and_, bindparam, delete, insert, or_, select, update

from paiid.auth.records import SESSION_FIELDS, Session, session_from
from paiid.core.db import Tx, statement
from paiid.core.tables import sessions, users
from paiid.domain.identity import Role

_SESSION = [sessions.c[name] for name in SESSION_FIELDS]
_ACTIVE_USER = and_(users.c.disabled_at.is_(None), users.c.deleted_at.is_(None))
_OPEN = and_(
    sessions.c.user_id == bindparam("b_user"),
    sessions.c.ended_at.is_(None),
    sessions.c.expires_at > bindparam("b_now"),
)

_CALLER = statement(
    select(users.c.id, users.c.email, users.c.role)
    .select_from(sessions.join(users, users.c.id == sessions.c.user_id))
    .where(
        sessions.c.id == bindparam("b_id"),
        sessions.c.user_id == bindparam("b_user"),
        sessions.c.ended_at.is_(None),
        sessions.c.expires_at > bindparam("b_now"),
        _ACTIVE_USER,
    )
)
_LOCK = statement(select(*_SESSION).where(sessions.c.id == bindparam("b_id")).with_for_update())
_LIST = statement(select(*_SESSION).where(_OPEN).order_by(sessions.c.id))
_MOST_ADDRESSES = 200
_ADDRESSES = statement(
    select(sessions.c.address)
    .select_from(sessions.join(users, users.c.id == sessions.c.user_id))
    .where(users.c.email == bindparam("b_email"), sessions.c.address.is_not(None), _ACTIVE_USER)
    .order_by(sessions.c.created_at.desc())
    .limit(bindparam("b_most"))
)
_ADD = statement(insert(sessions))
_ROTATE = statement(
    update(sessions).where(sessions.c.id == bindparam("b_id")),
    columns=[
        "generation",
        "refresh_hash",
        "previous_hash",
        "rotated_at",
        "access_jti",
        "access_iat",
        "last_used_at",
    ],
)
_END_ONE = statement(
    update(sessions).where(
        sessions.c.id == bindparam("b_id"),
        sessions.c.user_id == bindparam("b_user"),
        sessions.c.ended_at.is_(None),
    ),
    columns=["ended_at", "end_reason"],
)
_END_ALL = statement(
    update(sessions).where(
        sessions.c.user_id == bindparam("b_user"),
        sessions.c.id != bindparam("b_but"),
        sessions.c.ended_at.is_(None),
    ),
    columns=["ended_at", "end_reason"],
)
_PRUNE = statement(
    delete(sessions).where(
        or_(sessions.c.ended_at < bindparam("b_before"), sessions.c.expires_at < bindparam("b_before"))
    )
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a live credential stands for."""

    user_id: str
    email: str
    role: Role


async def find_caller(tx: Tx, session_id: str, user_id: str, now_us: int) -> Caller | None:
    """The user of a session that has not ended and who is not disabled."""
    row = await tx.fetch_one(_CALLER, {"b_id": session_id, "b_user": user_id, "b_now": now_us})
    return None if row is None else Caller(row["id"], row["email"], row["role"])


async def lock_session(tx: Tx, session_id: str) -> Session | None:
    """One session, ended or not, held alone to the end of the transaction."""
    row = await tx.fetch_one(_LOCK, {"b_id": session_id})
    return None if row is None else session_from(row)


async def list_sessions(tx: Tx, user_id: str, now_us: int) -> list[Session]:
    """A user's open sessions, oldest first."""
    return [session_from(row) for row in await tx.fetch(_LIST, {"b_user": user_id, "b_now": now_us})]


async def list_addresses(tx: Tx, email: str) -> list[str]:
    """Where a user signed in from in his last 200 sessions, ended ones too, newest first."""
    return [
        row["address"] for row in await tx.fetch(_ADDRESSES, {"b_email": email, "b_most": _MOST_ADDRESSES})
    ]


async def add_session(tx: Tx, session: Session) -> None:
    """A new family."""
    await tx.execute(_ADD, {name: getattr(session, name) for name in SESSION_FIELDS} | {"end_reason": None})


async def rotate_session(tx: Tx, session: Session) -> None:
    """Write the newest generation."""
    await tx.execute(
        _ROTATE,
        {
            "b_id": session.id,
            "generation": session.generation,
            "refresh_hash": session.refresh_hash,
            "previous_hash": session.previous_hash,
            "rotated_at": session.rotated_at,
            "access_jti": session.access_jti,
            "access_iat": session.access_iat,
            "last_used_at": session.last_used_at,
        },
    )


async def end_session(tx: Tx, user_id: str, session_id: str, at_us: int, reason: str) -> int:
    """End one; 0 if it is not his or had ended."""
    return await tx.execute(
        _END_ONE, {"b_id": session_id, "b_user": user_id, "ended_at": at_us, "end_reason": reason}
    )


async def end_sessions(tx: Tx, user_id: str, at_us: int, reason: str, but: str = "") -> int:
    """End all of a user, but perhaps one. Hold his row alone before (`lock_user`)."""
    return await tx.execute(
        _END_ALL, {"b_user": user_id, "b_but": but, "ended_at": at_us, "end_reason": reason}
    )


async def prune_sessions(tx: Tx, before_us: int) -> int:
    """Delete those that ended or ran out before an instant; what they did is in the audit."""
    return await tx.execute(_PRUNE, {"b_before": before_us})
