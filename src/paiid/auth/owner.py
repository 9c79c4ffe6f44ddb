"""The first owner, made at the first start, and the file his generated password waits in."""

import os
from pathlib import Path

import structlog

from paiid.auth import store
from paiid.auth.passwords import Passwords, check_password, generate_password
from paiid.auth.records import User, normal_email
from paiid.auth.users import Users
from paiid.core.clock import Clock, new_id
from paiid.core.db import Database, UniqueViolation
from paiid.core.settings import Settings
from paiid.domain.identity import SYSTEM

PASSWORD_FILE = "owner-password"  # noqa: S105 - the name of a file
_log = structlog.get_logger("paiid.auth")


async def ensure_owner(
    db: Database, clock: Clock, settings: Settings, passwords: Passwords, users: Users
) -> None:
    """Make the owner unless there ever was a user; several processes may try at once.

    Raises ValueError for a wrong OWNER_EMAIL, Problem for a wrong OWNER_PASSWORD, OSError, DatabaseUnavailable.
    """
    async with db.read() as tx:
        if await store.count_users(tx):
            return
    email = normal_email(settings.owner_email)
    if email is None:
        raise ValueError("OWNER_EMAIL is not an e-mail address; use one such as owner@example.com")
    # The file comes first: an owner whose password nobody knows would be worse than a file nobody needs.
    file = None if settings.owner_password is not None else settings.data_dir / PASSWORD_FILE
    made_file = False
    password = settings.owner_password or ""
    if file is not None:
        password, made_file = _read_or_write(file, generate_password(clock), clock)
    check_password(password)
    hashed = await passwords.hash(password)
    now_us = clock.now_us()
    owner = User(new_id(clock, "usr"), email, hashed, "owner", now_us, now_us, None, None)
    try:
        async with db.begin() as tx:
            await store.lock_user_management(tx)
            made = not await store.count_users(tx)
            if made:
                await users.add(tx, SYSTEM, owner)
    except UniqueViolation:
        made = False
    if made:
        _log.info("owner_made", email=email, file=None if file is None else str(file))
    elif file is not None and made_file:
        await _drop_if_foreign(db, email, file, password, passwords)


async def _drop_if_foreign(db: Database, email: str, file: Path, password: str, passwords: Passwords) -> None:
    """Another process was first: our file is a lie, unless it took its password from there."""
    async with db.read() as tx:
        owner = await store.find_user_by_email(tx, email)
    if owner is None or not await passwords.verify(owner.password_hash, password):
        _remove(file)


def _read_or_write(path: Path, password: str, clock: Clock) -> tuple[str, bool]:
    """The password in the file, which is put there whole or not at all; and whether we put it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{clock.random_bytes(6).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(password + "\n")
            out.flush()
            os.fsync(out.fileno())
        os.link(draft, path)
    except FileExistsError:
        return path.read_text(encoding="utf-8").strip(), False
    finally:
        draft.unlink()
    return password, True


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
