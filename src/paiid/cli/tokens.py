"""`paiid token`: API tokens for scripts, made and revoked on the host; every change is audited."""

from typing import cast

import typer

from paiid.auth.records import ApiToken
from paiid.auth.store import find_user_by_email
from paiid.auth.token_store import add_token, list_tokens, revoke_token
from paiid.auth.tokens import digest, make_api_token
from paiid.cli.session import CLI_ACTOR, fail, table, with_database
from paiid.cli.users import email_of, require_user
from paiid.core.audit import AuditEntry, write_audit
from paiid.core.clock import Clock, new_id
from paiid.core.db import Database
from paiid.core.instants import instant
from paiid.core.settings import Settings
from paiid.domain.errors import Code, Problem
from paiid.domain.identity import ALL_SCOPES, Scope

_DAY_US = 86_400_000_000
_MAX_NAME = 64
_SECRET_BYTES = 32


def new(email_text: str, name: str, scopes: list[str], days: int | None) -> None:
    """The command `token new`."""
    email = email_of(email_text)
    if not 1 <= len(name.strip()) <= _MAX_NAME or not name.isprintable():
        fail(f"--name: give 1 to {_MAX_NAME} printable characters", 2)
    if set(scopes) - ALL_SCOPES:
        fail("--scope: use read, trade or halt", 2)

    async def work(_: Settings, db: Database, clock: Clock) -> str:
        async with db.begin() as tx:
            user = await require_user(tx, email)
            if not user.active:
                raise Problem(Code.CONFLICT, f"{email} is disabled.")
            now_us = await tx.now_us()
            token_id = new_id(clock, "tok")
            secret = make_api_token(token_id, clock.random_bytes(_SECRET_BYTES))
            expires = None if days is None else now_us + days * _DAY_US
            granted = frozenset(cast(Scope, scope) for scope in scopes)
            await add_token(
                tx,
                ApiToken(
                    token_id, user.id, name.strip(), digest(secret), granted, now_us, expires, None, None
                ),
            )
            detail = {"user": user.id, "name": name.strip(), "scopes": sorted(granted)}
            await write_audit(
                tx, clock, now_us, [AuditEntry(CLI_ACTOR, "token.new", f"token:{token_id}", detail)]
            )
            return secret

    typer.echo(with_database(work))


def revoke(email_text: str, token_id: str) -> None:
    """The command `token revoke`."""
    email = email_of(email_text)

    async def work(_: Settings, db: Database, clock: Clock) -> None:
        async with db.begin() as tx:
            user = await require_user(tx, email)
            now_us = await tx.now_us()
            if not await revoke_token(tx, user.id, token_id, now_us):
                raise Problem(Code.NOT_FOUND, f"{email} has no such token in force.")
            entry = AuditEntry(CLI_ACTOR, "token.revoke", f"token:{token_id}", {"user": user.id})
            await write_audit(tx, clock, now_us, [entry])

    with_database(work)
    typer.echo(f"token {token_id} is revoked")


def show_all(email_text: str) -> None:
    """The command `token list`."""
    email = email_of(email_text)

    async def work(_: Settings, db: Database, __: Clock) -> list[ApiToken]:
        async with db.read() as tx:
            user = await find_user_by_email(tx, email)
            if user is None:
                raise Problem(Code.NOT_FOUND, f"There is no user {email}.")
            return await list_tokens(tx, user.id, await tx.now_us())

    rows = [
        (
            token.id,
            token.name,
            " ".join(sorted(token.scopes)),
            instant(token.expires_at) or "never",
            instant(token.last_used_at) or "never",
        )
        for token in with_database(work)
    ]
    table(("ID", "NAME", "SCOPES", "EXPIRES", "LAST USED"), rows)
