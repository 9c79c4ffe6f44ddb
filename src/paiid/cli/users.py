"""`paiid user`: who may sign in, changed by whoever has a shell on the host; every change is audited."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import cast, get_args

import typer

from paiid.accounts.service import AccountService
from paiid.auth.invites import Invites
from paiid.auth.passwords import Passwords, check_password
from paiid.auth.records import User
from paiid.auth.session_store import end_sessions
from paiid.auth.store import (
    add_user,
    find_other_owner,
    find_user_by_email,
    list_users,
    lock_user,
    lock_user_management,
    update_user,
)
from paiid.auth.token_store import revoke_tokens
from paiid.cli.session import CLI_ACTOR, fail, read_password, table, with_database
from paiid.core.audit import AuditEntry, write_audit
from paiid.core.clock import Clock, SystemClock, new_id
from paiid.core.db import Database, Tx, UniqueViolation
from paiid.core.instants import instant
from paiid.core.settings import Settings
from paiid.domain.errors import Code, Problem
from paiid.domain.identity import Role

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")
_PAGE = 200
Change = Callable[[Tx, User, int], Awaitable[User]]


def email_of(text: str) -> str:
    """The address as it is stored; ends with code 2 for what is none."""
    if not _EMAIL.fullmatch(text):
        fail("EMAIL: give an address such as trader@example.com", 2)
    return text.lower()


def _role_of(text: str) -> Role:
    if text not in get_args(Role):
        fail("the role is owner, trader or viewer", 2)
    return cast(Role, text)


def _hash_password(from_stdin: bool) -> str:
    password = read_password(from_stdin)
    try:
        check_password(password)
    except Problem as problem:
        fail(problem.detail, 2)
    passwords = Passwords(SystemClock())
    try:
        return asyncio.run(passwords.hash(password))
    finally:
        passwords.close()


async def manage(tx: Tx) -> None:
    """One change of users at a time. Raises Problem before the first start, which makes the owner."""
    try:
        await lock_user_management(tx)
    except LookupError:
        raise Problem(
            Code.CONFLICT, "Start the server once first: its first start makes the owner."
        ) from None


async def require_user(tx: Tx, email: str) -> User:
    """The user, held alone. Raises Problem (404)."""
    found = await find_user_by_email(tx, email)
    user = None if found is None else await lock_user(tx, found.id)
    if user is None:
        raise Problem(Code.NOT_FOUND, f"There is no user {email}.")
    return user


def add(email_text: str, role_text: str, password_stdin: bool) -> None:
    """The command `user add`."""
    email, role = email_of(email_text), _role_of(role_text)
    hashed = _hash_password(password_stdin)

    async def work(settings: Settings, db: Database, clock: Clock) -> None:
        accounts = AccountService(db, clock, settings)
        try:
            async with db.begin() as tx:
                await manage(tx)
                now_us = await tx.now_us()
                user = User(new_id(clock, "usr"), email, hashed, role, now_us, now_us, None, None)
                await add_user(tx, user)
                await accounts.open_paper_account(tx, user.id, email, role)
                entry = AuditEntry(CLI_ACTOR, "user.add", f"user:{user.id}", {"email": email, "role": role})
                await write_audit(tx, clock, now_us, [entry])
        except UniqueViolation:
            raise Problem(Code.CONFLICT, f"There is a user {email} already, or was one.") from None

    with_database(work)
    typer.echo(f"{email} may sign in as {role}")


def invite(email_text: str, role_text: str, hours: int) -> None:
    """The command `user invite`."""
    email, role = email_of(email_text), _role_of(role_text)

    async def work(_: Settings, db: Database, clock: Clock) -> str:
        async with db.begin() as tx:
            await manage(tx)
        return (await Invites(db, clock).make(CLI_ACTOR, role, email, hours))[1]

    code = with_database(work)
    typer.echo(f"{email} may register as {role} within {hours} hours, once, with this code:", err=True)
    typer.echo(code)


def show_all() -> None:
    """The command `user list`."""

    async def work(_: Settings, db: Database, __: Clock) -> list[User]:
        found: list[User] = []
        async with db.read() as tx:
            while page := await list_users(tx, found[-1].id if found else "", _PAGE):
                found.extend(page)
        return found

    rows = [
        (
            user.email,
            user.role,
            "active" if user.active else "disabled",
            instant(user.created_at) or "-",
            user.id,
        )
        for user in with_database(work)
    ]
    table(("EMAIL", "ROLE", "STATE", "CREATED", "ID"), rows)


def _change(email: str, action: str, detail: dict[str, str], change: Change) -> None:
    async def work(_: Settings, db: Database, clock: Clock) -> None:
        async with db.begin() as tx:
            await manage(tx)
            user = await require_user(tx, email)
            now_us = await tx.now_us()
            await update_user(tx, replace(await change(tx, user, now_us), updated_at=now_us))
            await write_audit(
                tx,
                clock,
                now_us,
                [AuditEntry(CLI_ACTOR, action, f"user:{user.id}", {"email": email, **detail})],
            )

    with_database(work)


async def _keep_an_owner(tx: Tx, user: User) -> None:
    if user.role == "owner" and user.active and not await find_other_owner(tx, user.id):
        raise Problem(Code.CONFLICT, f"{user.email} is the last owner; make another one first.")


def disable(email_text: str) -> None:
    """The command `user disable`."""
    email = email_of(email_text)

    async def change(tx: Tx, user: User, now_us: int) -> User:
        await _keep_an_owner(tx, user)
        await end_sessions(tx, user.id, now_us, "disabled")
        await revoke_tokens(tx, user.id, now_us)
        return replace(user, disabled_at=user.disabled_at or now_us)

    _change(email, "user.disable", {}, change)
    typer.echo(f"{email} is disabled; sessions have ended and API tokens are revoked")


def enable(email_text: str) -> None:
    """The command `user enable`."""
    email = email_of(email_text)

    async def change(_: Tx, user: User, __: int) -> User:
        return replace(user, disabled_at=None)

    _change(email, "user.enable", {}, change)
    typer.echo(f"{email} may sign in again")


def change_role(email_text: str, role_text: str) -> None:
    """The command `user role`."""
    email, role = email_of(email_text), _role_of(role_text)

    async def work(settings: Settings, db: Database, clock: Clock) -> None:
        accounts = AccountService(db, clock, settings)
        async with db.begin() as tx:
            await manage(tx)
            user = await require_user(tx, email)
            if role != "owner":
                await _keep_an_owner(tx, user)
            now_us = await tx.now_us()
            await update_user(tx, replace(user, role=role, updated_at=now_us))
            await accounts.open_paper_account(tx, user.id, email, role)
            detail = {"email": email, "was": user.role, "role": role}
            await write_audit(
                tx, clock, now_us, [AuditEntry(CLI_ACTOR, "user.role", f"user:{user.id}", detail)]
            )

    with_database(work)
    typer.echo(f"{email} is {role}")


def change_password(email_text: str, password_stdin: bool) -> None:
    """The command `user password`."""
    email = email_of(email_text)
    hashed = _hash_password(password_stdin)

    async def change(tx: Tx, user: User, now_us: int) -> User:
        await end_sessions(tx, user.id, now_us, "password")
        return replace(user, password_hash=hashed)

    _change(email, "user.password", {}, change)
    typer.echo(f"{email} has a new password; sessions have ended")
