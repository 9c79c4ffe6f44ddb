"""The rows of users, sessions and API tokens as frozen values."""

import re
import unicodedata
from dataclasses import dataclass

from paiid.core.db import Row
from paiid.domain.identity import ALL_SCOPES, Role, Scope

_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[^@\s\x00-\x1f\x7f]{1,190}")


def normal_email(text: str) -> str | None:
    """The form in which addresses are kept and compared; None for what is no address."""
    # Letters that look the same are the same, and none is invisible: strangers choose addresses too, and an owner grants rights by them.
    email = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text.strip()).lower())
    return email if email.isprintable() and _EMAIL.fullmatch(email) else None


@dataclass(frozen=True, slots=True)
class User:
    """A user. Instants in microseconds; `password_hash` never leaves the service."""

    id: str
    email: str
    password_hash: str
    role: Role
    created_at: int
    updated_at: int
    disabled_at: int | None
    deleted_at: int | None

    @property
    def active(self) -> bool:
        """Whether he may sign in and act."""
        return self.disabled_at is None and self.deleted_at is None


@dataclass(frozen=True, slots=True)
class Session:
    """One signed-in client: a refresh family (contract A2). Instants in microseconds, `access_iat` in seconds."""

    id: str
    user_id: str
    generation: int
    refresh_hash: str
    previous_hash: str | None
    rotated_at: int
    access_jti: str
    access_iat: int
    created_at: int
    last_used_at: int
    expires_at: int
    ended_at: int | None
    user_agent: str | None
    address: str | None


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A scoped token for programs (contract A4). Instants in microseconds."""

    id: str
    user_id: str
    name: str
    token_hash: str
    scopes: frozenset[Scope]
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    revoked_at: int | None


USER_FIELDS = tuple(User.__dataclass_fields__)
SESSION_FIELDS = tuple(Session.__dataclass_fields__)
TOKEN_FIELDS = tuple(ApiToken.__dataclass_fields__)


def user_from(row: Row) -> User:
    """A user from the columns of USER_FIELDS."""
    return User(**{name: row[name] for name in USER_FIELDS})


def session_from(row: Row) -> Session:
    """A session from the columns of SESSION_FIELDS."""
    return Session(**{name: row[name] for name in SESSION_FIELDS})


def token_from(row: Row) -> ApiToken:
    """An API token from the columns of TOKEN_FIELDS."""
    values = {name: row[name] for name in TOKEN_FIELDS}
    return ApiToken(**{**values, "scopes": scopes_from(values["scopes"])})


def scopes_from(stored: str) -> frozenset[Scope]:
    """`read trade` to a set; a word this version does not know gives no right."""
    return frozenset(scope for scope in ALL_SCOPES if scope in stored.split())


def scopes_to(scopes: frozenset[Scope]) -> str:
    """A set to its stored form."""
    return " ".join(sorted(scopes))
