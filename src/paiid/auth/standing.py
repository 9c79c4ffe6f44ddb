"""Which of many credentials still stand, and what they may do now: for connections that outlive a request (contract A3)."""

from collections.abc import Collection

from sqlalchemy import and_, bindparam, literal, or_, select

from paiid.auth.callers import Known
from paiid.auth.records import scopes_from
from paiid.core.db import Tx, any_of, statement
from paiid.core.tables import api_tokens, sessions, users
from paiid.domain.identity import ALL_SCOPES, Credential, Principal

CredentialKey = tuple[Credential, str]
"""(kind, id) as a principal has them."""

_USER = (users.c.id.label("user_id"), users.c.email, users.c.role)
_ACTIVE = and_(users.c.disabled_at.is_(None), users.c.deleted_at.is_(None))
_SESSIONS = statement(
    select(sessions.c.id, *_USER)
    .select_from(sessions.join(users, users.c.id == sessions.c.user_id))
    .where(
        any_of(sessions.c.id, "b_ids"),
        sessions.c.ended_at.is_(None),
        sessions.c.expires_at > bindparam("b_now"),
        _ACTIVE,
    )
)
_TOKENS = statement(
    select(api_tokens.c.id, api_tokens.c.scopes, api_tokens.c.expires_at, *_USER)
    .select_from(api_tokens.join(users, users.c.id == api_tokens.c.user_id))
    .where(
        any_of(api_tokens.c.id, "b_ids"),
        api_tokens.c.revoked_at.is_(None),
        or_(api_tokens.c.expires_at.is_(None), api_tokens.c.expires_at > bindparam("b_now")),
        _ACTIVE,
    )
)
_OWNERS = statement(
    select(users.c.id, *_USER).where(any_of(users.c.id, "b_ids"), users.c.role == literal("owner"), _ACTIVE)
)


async def load_standing(tx: Tx, keys: Collection[CredentialKey], now_us: int) -> dict[CredentialKey, Known]:
    """Those that stand at `now_us`, with the rights they give now; the end is that of an API token. It locks nothing, so
    an order must not rely on it (`store.lock_standing`)."""
    found: dict[CredentialKey, Known] = {}
    for credential, stmt in (("session", _SESSIONS), ("token", _TOKENS), ("static", _OWNERS)):
        ids = sorted(key_id for kind, key_id in keys if kind == credential)
        if not ids:
            continue
        params = {"b_ids": ids} if credential == "static" else {"b_ids": ids, "b_now": now_us}
        for row in await tx.fetch(stmt, params):
            scopes = scopes_from(row["scopes"]) if credential == "token" else ALL_SCOPES
            principal = Principal(
                row["user_id"], row["email"], row["role"], credential, row["id"], scopes  # type: ignore[arg-type]
            )  # fmt: skip
            ends = row["expires_at"] if credential == "token" else None
            found[(principal.credential, principal.credential_id)] = Known(principal, ends)
    return found
