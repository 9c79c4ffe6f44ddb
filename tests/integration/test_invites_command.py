"""`paiid user invite`: a code alone on standard output, for one address, made by whoever has a shell on the host."""

import asyncio
import re
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from paiid.auth.store import MANAGEMENT_LOCK, add_secret
from paiid.cli.commands import app
from paiid.core.clock import SystemClock
from paiid.core.db import make_database, statement
from paiid.core.tables import audit, invites

_INVITES = statement(select(invites))
_AUDIT = statement(select(audit))


async def _started(url: str) -> None:
    """As the first start of the server leaves it."""
    db = make_database(url, SystemClock())
    await db.start()
    async with db.begin() as tx:
        await add_secret(tx, MANAGEMENT_LOCK, "-", await tx.now_us())
    await db.stop()


async def _rows(url: str) -> tuple[list[dict[str, object]], list[str]]:
    db = make_database(url, SystemClock())
    await db.start()
    async with db.read() as tx:
        made = [dict(row) for row in await tx.fetch(_INVITES)]
        told = [f"{row['actor_kind']} {row['action']}" for row in await tx.fetch(_AUDIT)]
    await db.stop()
    return made, told


def test_a_code_is_shown_once_and_kept_as_a_hash(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    run = CliRunner()
    early = run.invoke(app, ["user", "invite", "him@example.com"])
    assert early.exit_code == 1
    assert "Start the server once first" in early.stderr
    asyncio.run(_started(sqlite_url))
    for arguments, code in (
        (["him"], 2),
        (["him@example.com", "--role", "nobody"], 2),
        (["him@example.com", "--role", "owner"], 1),
        (["him@example.com", "--hours", "721"], 2),
    ):
        assert run.invoke(app, ["user", "invite", *arguments]).exit_code == code
    made = run.invoke(app, ["user", "invite", "Him@example.com", "--role", "viewer", "--hours", "2"])
    assert made.exit_code == 0, made.stderr
    assert re.fullmatch(r"inv_[A-Za-z0-9_-]{43}\n", made.stdout)
    rows, told = asyncio.run(_rows(sqlite_url))
    assert [(row["email"], row["role"], row["created_by"]) for row in rows] == [
        ("him@example.com", "viewer", "cli")
    ]
    assert made.stdout.strip() not in str(rows)
    assert told == ["cli invite.make"]
