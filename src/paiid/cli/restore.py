"""`paiid restore`: a database made of a backup, which comes up halted; and the owner's word on an account whose broker no
longer tells what it has taken since (ADR 0032)."""

import asyncio
import os
from pathlib import Path

import typer

from paiid.cli.servelock import prepare_data_dir, take_serve_lock
from paiid.cli.session import CLI_ACTOR, fail, settings_or_exit, with_database
from paiid.core.backup import BackupError, Manifest
from paiid.core.backup_file import BackupReader
from paiid.core.backup_load_store import count_users_of_sqlite, load_postgres, load_sqlite
from paiid.core.backup_place import drop, restoring_name, take_place
from paiid.core.clock import Clock, SystemClock, new_id
from paiid.core.db import Database, DatabaseUnavailable, Tx
from paiid.core.db.connect import sqlite_path
from paiid.core.settings import Settings
from paiid.domain.errors import Problem
from paiid.trading import store
from paiid.trading.restored import accept_unimported
from paiid.trading.restored_prepare import Backup, Restored, prepare_restored
from paiid.trading.restored_store import RestoredAccount

_LONGEST_REASON = 200


def run(file: str, *, replace: bool, keep_tokens: bool) -> None:
    """The command `restore`."""
    settings = settings_or_exit()
    prepare_data_dir(settings)
    locks = take_serve_lock(settings)
    try:
        with BackupReader(Path(file)) as reader:
            manifest = reader.manifest
            done, aside = restore_from(
                settings, SystemClock(), reader, replace=replace, keep_tokens=keep_tokens
            )
    except (BackupError, DatabaseUnavailable) as error:
        fail(f"nothing was restored: {error}")
    except OSError as error:
        fail(f"nothing was restored: {error.strerror or type(error).__name__}")
    finally:
        for descriptor in locks:
            os.close(descriptor)
    _tell(file, manifest, done, aside, keep_tokens=keep_tokens)


def restore_from(
    settings: Settings, clock: Clock, reader: BackupReader, *, replace: bool, keep_tokens: bool
) -> tuple[Restored, Path | None]:
    """What has come of it, and where the SQLite file is that was there. Not to be called on a running event loop.

    Raises BackupError, DatabaseUnavailable, OSError: then nothing was restored, and what was there still is.
    """
    told = reader.manifest
    backup = Backup(told.taken_at_us, told.taken_at, told.build, told.schema)

    async def finish(tx: Tx) -> Restored:
        return await prepare_restored(tx, clock, backup, CLI_ACTOR, keep_tokens=keep_tokens)

    if settings.on_postgres:
        return asyncio.run(load_postgres(settings.database, reader, finish, replace=replace)), None
    path = sqlite_path(settings.database)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = _put_aside(path, clock, replace=replace)
    new = restoring_name(path)
    drop(new)
    try:
        # For our user alone, whatever the umask is.
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        done = load_sqlite(new, reader, clock, finish)
        take_place(new, path, aside)
    finally:
        drop(new)
    return done, aside


def _put_aside(path: Path, clock: Clock, *, replace: bool) -> Path | None:
    """The name under which a database with users stays; None where there is none. Raises BackupError where there is one
    and it is not to be replaced."""
    users = count_users_of_sqlite(path) if path.exists() else None
    if not users:
        return None
    if not replace:
        raise BackupError(
            f"{path} has {users} users. --replace puts it aside under another name; or set DATA_DIR to an empty one"
        )
    return path.with_name(f"{path.name}.before-{new_id(clock, 'restore')}")


def _tell(file: str, manifest: Manifest, done: Restored, aside: Path | None, *, keep_tokens: bool) -> None:
    typer.echo(
        f"restored {manifest.rows} rows as of {manifest.taken_at} from {file} "
        f"(schema {manifest.schema}, paiid {manifest.version})"
    )
    if aside is not None:
        typer.echo(f"the database that was there is {aside}")
    kept = "API tokens were kept" if keep_tokens else f"{done.tokens} API tokens are revoked"
    typer.echo(f"{done.sessions} sessions have ended, {kept}")
    if done.doubted:
        typer.echo(f"{done.doubted} orders that waited for their turn are in doubt, and will be looked up")
    typer.echo(f"trading is halted everywhere, epoch {done.epoch}")
    for account_id, broker in sorted(done.waiting.items()):
        typer.echo(f"{account_id} ({broker}) waits until a server has brought in its orders since the backup")
    typer.echo("start the server, see that `paiid reconcile list` shows agreement, then `paiid resume`")


def accept(account_id: str, reason: str) -> None:
    """The command `restore-accept`."""
    words = reason.strip()
    if not 1 <= len(words) <= _LONGEST_REASON or not words.isprintable():
        fail(f"--reason: give 1 to {_LONGEST_REASON} printable characters", 2)

    async def work(_: Settings, db: Database, clock: Clock) -> RestoredAccount | str:
        async with db.read() as tx:
            known = await store.load_accounts(tx, [account_id])
        if not known:
            return f"there is no account {account_id}; `paiid reconcile list` shows them"
        try:
            done = await accept_unimported(db, clock, account_id, words, CLI_ACTOR)
        except Problem as problem:
            return str(problem.detail)
        return f"{account_id} does not wait for orders of its broker" if done is None else done

    done = with_database(work)
    if isinstance(done, str):
        fail(done)
    typer.echo(
        f"{account_id} waits no more; a key that was used in it after the backup and is not in the ledger now would be "
        "executed anew"
    )
