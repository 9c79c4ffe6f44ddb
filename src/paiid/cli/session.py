"""What every command shares: settings or a clear refusal, a short database connection, one-line failures."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NoReturn, TypeVar

import typer

from paiid.core.clock import Clock, SystemClock
from paiid.core.db import Database, DatabaseUnavailable, make_database
from paiid.core.settings import Settings, SettingsError, load_settings
from paiid.domain.errors import Problem
from paiid.domain.identity import Actor

CLI_ACTOR = Actor("cli", "cli")
"""Whoever has a shell on the host as the service's own user; the audit says so."""

T = TypeVar("T")


def fail(text: str, code: int = 1) -> NoReturn:
    """Tell what is wrong on standard error and end with this exit code."""
    typer.echo(text, err=True)
    raise typer.Exit(code)


def settings_or_exit() -> Settings:
    """The settings of the environment; ends with code 2 and one line for each problem."""
    try:
        return load_settings(os.environ)
    except SettingsError as error:
        fail(str(error), 2)


def schema_or_exit(settings: Settings) -> None:
    """Ends with code 1 unless the database is exactly at this version's schema."""
    from sqlalchemy.exc import SQLAlchemyError

    from paiid.core.db.connect import sqlite_path
    from paiid.core.migrate import SchemaError, require_current

    # Looking must not make the file: a wrong DATA_DIR would answer with an empty database.
    if not settings.on_postgres and not sqlite_path(settings.database).exists():
        fail(f"there is no database at {sqlite_path(settings.database)}; run `paiid migrate` first")
    try:
        require_current(settings.database)
    except SchemaError as error:
        fail(str(error))
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        fail(f"the database cannot be reached ({type(error).__name__})")


@asynccontextmanager
async def opened(settings: Settings, clock: Clock) -> AsyncIterator[Database]:
    """A connection of our own for a moment. Raises DatabaseUnavailable."""
    db = make_database(settings.database, clock)
    try:
        await db.start()
        yield db
    finally:
        await db.stop()


def with_database(work: Callable[[Settings, Database, Clock], Awaitable[T]]) -> T:
    """Run one short piece of work beside a running server, if there is one; it never takes the server's lock."""
    settings = settings_or_exit()
    schema_or_exit(settings)
    clock = SystemClock()

    async def run() -> T:
        async with opened(settings, clock) as db:
            return await work(settings, db, clock)

    try:
        return asyncio.run(run())
    except DatabaseUnavailable as error:
        fail(f"the database cannot be reached, nothing was changed ({error})")
    except Problem as problem:
        fail(problem.detail)


def read_password(from_stdin: bool) -> str:
    """From standard input up to the first line's end, or asked for twice on the terminal."""
    if from_stdin:
        line = sys.stdin.readline(1024)
        return line.rstrip("\r\n")
    if not sys.stdin.isatty():
        fail("there is no terminal to ask on; pipe the password in with --password-stdin", 2)
    return str(typer.prompt("New password", hide_input=True, confirmation_prompt=True))


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Columns as wide as they need to be; plain text that other programs can cut."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
