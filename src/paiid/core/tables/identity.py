"""Tables of who may do what: users, sessions, API tokens, grants, settings, and the install's own secrets."""

from sqlalchemy import Index, Table, UniqueConstraint

from paiid.core.tables.base import integer, metadata, text

install_secrets = Table(
    "install_secrets",
    metadata,
    text("name", key=True),
    text("value"),
    integer("created_at"),
)

users = Table(
    "users",
    metadata,
    text("id", key=True),
    text("email"),
    text("password_hash"),
    text("role"),
    integer("created_at"),
    integer("updated_at"),
    integer("disabled_at", null=True),
    integer("deleted_at", null=True),
    UniqueConstraint("email"),
)

# One row is one refresh family (contract A2): `generation` is the newest refresh token's number,
# `access_jti` and `access_iat` belong to the access token issued with it.
sessions = Table(
    "sessions",
    metadata,
    text("id", key=True),
    text("user_id"),
    integer("generation"),
    text("refresh_hash"),
    text("previous_hash", null=True),
    integer("rotated_at"),
    text("access_jti"),
    integer("access_iat"),
    integer("created_at"),
    integer("last_used_at"),
    integer("expires_at"),
    integer("ended_at", null=True),
    text("end_reason", null=True),
    text("user_agent", null=True),
    text("address", null=True),
    Index(None, "user_id", "ended_at"),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    text("id", key=True),
    text("user_id"),
    text("name"),
    text("token_hash"),
    text("scopes"),
    integer("created_at"),
    integer("expires_at", null=True),
    integer("last_used_at", null=True),
    integer("revoked_at", null=True),
    Index(None, "user_id"),
)

grants = Table(
    "grants",
    metadata,
    text("user_id", key=True),
    text("account_id", key=True),
    text("access"),
    integer("created_at"),
    text("created_by"),
    Index(None, "account_id"),
)

user_settings = Table(
    "user_settings",
    metadata,
    text("user_id", key=True),
    text("data"),
    integer("version"),
    integer("updated_at"),
)
