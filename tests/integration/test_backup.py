"""Backups: every row as of one instant, beside whoever writes, the same from and into both databases; and what is no whole
backup is refused before anything has changed (ADR 0032)."""

import asyncio
import errno
import hashlib
import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from paiid.core.audit import AuditEntry, write_audit
from paiid.core.backup import MANIFEST, BackupError, encoded_rows, member_of
from paiid.core.backup_file import BackupReader, prune, whole_file
from paiid.core.backup_store import snapshot
from paiid.core.clock import SystemClock
from paiid.core.db import Database, statement
from paiid.core.migrate import current_head
from paiid.core.settings import Settings
from paiid.core.tables import install_secrets, leases, replicas
from paiid.domain.identity import SYSTEM
from tests.conftest import MakeApp
from tests.orders_world import BUY
from tests.restore_world import all_rows, bring_back, opened, settings_of, take

CHANGED = frozenset({
    "accounts", "api_tokens", "audit", "halt_epoch", "halt_receipts", "halts", "leases", "replicas",
    "restored_accounts", "sessions", "stream_tickets", "switches",
})  # fmt: skip
"""Tables in which a restore changes something by itself."""
ODD = 'Zoë \N{SNOWMAN} "\\\n\t\x01 \U0001f4c8'
_SECRET = statement(insert(install_secrets))
_SECRETS = statement(select(install_secrets).order_by(install_secrets.c.name))
_REPLICA = statement(insert(replicas))
_LEASES = statement(select(leases))


async def add_secret(db: Database, name: str, value: str = "test", at: int = 1) -> None:
    async with db.begin() as tx:
        await tx.execute(_SECRET, {"name": name, "value": value, "created_at": at})


async def secrets_of(db: Database) -> list[tuple[Any, ...]]:
    async with db.read() as tx:
        return [tuple(row) for row in await tx.fetch(_SECRETS)]


@pytest.fixture
def other_url(db_url: str, request: pytest.FixtureRequest, template: Path, tmp_path: Path) -> str:
    """A database of the other kind."""
    if db_url.startswith("sqlite"):
        found: str = request.getfixturevalue("postgres_url")
        return found
    return f"sqlite:///{tmp_path / 'other' / 'new.db'}"


async def test_what_was_backed_up_beside_a_running_server_comes_back_in_the_other_database(
    make_app: MakeApp, db_url: str, other_url: str, tmp_path: Path
) -> None:
    app = await make_app()
    owner = await app.owner()
    order = (await owner.execute(BUY, key="test-key-before-backup")).json()["orders"][0]
    await owner.wait_filled(order["id"])
    await add_secret(app.state.db, ODD, "x" * 100_000, 2**63 - 1)
    await add_secret(app.state.db, "lowest", "", -(2**63))
    file = await take(db_url, tmp_path / "backup.zip")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = await all_rows(app.state.db)
    with BackupReader(file) as reader:
        reader.verify()
        assert reader.manifest.tables["install_secrets"].rows == len(before["install_secrets"])
    done = await bring_back(settings_of(other_url, tmp_path), file, replacing=False)
    assert done.waiting == {}, "the built-in venue came back with the ledger: there is nothing to wait for"
    assert done.sessions == 1
    async with opened(other_url) as db:
        after = await all_rows(db)
        async with db.read() as tx:
            assert all(row["expires_at"] == 0 for row in await tx.fetch(_LEASES))
    assert after.keys() == before.keys()
    for table in before.keys() - CHANGED:
        assert after[table] == before[table], table
    actions = [row[4] for row in sorted(after["audit"], key=lambda row: (row[1], row[0]))]
    assert actions[-2:] in (["halt.arm", "database.restore"], ["database.restore", "halt.arm"])
    assert set(before["audit"]) <= set(after["audit"])
    # Epochs of halts and streams fit nothing that anybody still has.
    (epoch,) = after["halt_epoch"]
    assert epoch[1] == done.epoch > before["halt_epoch"][0][1] + 1_000_000


async def test_a_backup_is_of_one_instant_and_holds_no_writer_up(db: Database, db_url: str) -> None:
    await add_secret(db, "before")
    async with snapshot(db_url, SystemClock(), current_head()) as rows:
        first = [one async for some in rows.rows("users") for one in some]
        async with asyncio.timeout(5):
            await add_secret(db, "meanwhile")
            async with db.begin() as tx:
                now = await tx.now_us()
                await write_audit(tx, SystemClock(), now, [AuditEntry(SYSTEM, "test", "test", {})])
        names = [one[0] async for some in rows.rows("install_secrets") for one in some]
        audited = [one async for some in rows.rows("audit") for one in some]
    assert (first, names, audited) == ([], ["before"], [])
    assert [one[0] for one in await secrets_of(db)] == ["before", "meanwhile"]


def verify(file: Path) -> None:
    """What `paiid backup --verify` does."""
    with BackupReader(file) as reader:
        reader.verify()


async def tried(settings: Settings, file: Path) -> None:
    """Looked at, then restored: only a database shows what is wrong with some."""
    verify(file)
    await bring_back(settings, file)


Change = Callable[[dict[str, bytes]], None]


def damaged(file: Path, to: Path, change: Change) -> Path:
    """The same backup with something done to its members."""
    with zipfile.ZipFile(file) as archive:
        members = {one: archive.read(one) for one in archive.namelist()}
    change(members)
    with zipfile.ZipFile(to, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return to


def told(members: dict[str, bytes], change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads(members[MANIFEST])
    change(manifest)
    members[MANIFEST] = json.dumps(manifest).encode()


def with_rows(rows: list[Any], columns: list[str] | None = None) -> Change:
    """Other rows of a table, with the checksum that belongs to them."""

    def change(members: dict[str, bytes]) -> None:
        data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        members[member_of("install_secrets")] = data

        def entry(manifest: dict[str, Any]) -> None:
            one = manifest["tables"]["install_secrets"]
            one["rows"], one["sha256"] = len(rows), hashlib.sha256(data).hexdigest()
            one["columns"] = columns or one["columns"]

        told(members, entry)

    return change


def entry_of(**values: Any) -> Change:
    return lambda members: told(members, lambda one: one["tables"]["install_secrets"].update(values))


WRONG: dict[str, tuple[Change, str]] = {
    "rows changed": (
        lambda m: m.update({member_of("install_secrets"): encoded_rows([("other", "y", 1)])}), "checksum",
    ),
    "a row gone": (lambda m: m.update({member_of("install_secrets"): b""}), "count or checksum"),
    "a row more": (entry_of(rows=0), "more rows"),
    "cut off": (lambda m: m.update({member_of("install_secrets"): b'["a","b"'}), "breaks off"),
    "no manifest": (lambda m: m.pop(MANIFEST) and None, "broke off"),  # type: ignore[func-returns-value]
    "no JSON": (lambda m: m.update({MANIFEST: b"{"}), "manifest cannot be read"),
    "nested": (lambda m: m.update({MANIFEST: b"[" * 100_000}), "manifest cannot be read"),
    "huge": (lambda m: m.update({MANIFEST: b" " * (2 << 20)}), "too large"),
    "of something else": (lambda m: told(m, lambda one: one.update(product="other")), "no backup of paiid"),
    "a later format": (lambda m: told(m, lambda one: one.update(format=2)), "format 2"),
    "a later schema": (lambda m: told(m, lambda one: one.update(schema="9999")), "newer version"),
    "no schema": (lambda m: told(m, lambda one: one.update(schema="none")), "newer version"),
    "a file more": (lambda m: m.update({"tables/../../etc/passwd": b""}), "not those"),
    "a table less": (
        lambda m: (m.pop(member_of("users")), told(m, lambda one: one["tables"].pop("users")))[1], "tables differ",
    ),
    "a name that is none": (
        lambda m: told(m, lambda one: one["tables"].update({'users"; drop': one["tables"].pop("users")})), "manifest",
    ),
    "a column of another kind": (with_rows([["a", 5, 1]]), "another kind"),
    "a flag for a number": (with_rows([["a", "b", True]]), "cannot be read"),
    "a broken number": (with_rows([["a", "b", 1.5]]), "cannot be read"),
    "a number too large": (with_rows([["a", "b", 2**63]]), "64 bits"),
    "a value less": (with_rows([["a", "b"]]), "values for"),
    "a null where none may be": (with_rows([["a", None, 1]]), "cannot be loaded"),
    "no columns": (entry_of(columns=[]), "manifest"),
}  # fmt: skip


async def test_what_is_no_whole_backup_is_refused_and_changes_nothing(
    sqlite_url: str, tmp_path: Path
) -> None:
    settings = settings_of(sqlite_url, tmp_path)
    async with opened(sqlite_url) as db:
        await add_secret(db, "before")
        file = await take(sqlite_url, tmp_path / "backup.zip")
        before = await all_rows(db)
    for name, (change, words) in WRONG.items():
        wrong = damaged(file, tmp_path / "wrong.zip", change)
        with pytest.raises(BackupError) as refused:
            await tried(settings, wrong)
        assert words in str(refused.value), (name, str(refused.value))
    with pytest.raises(BackupError, match="checksum"):
        await bring_back(settings, damaged(file, tmp_path / "wrong.zip", WRONG["rows changed"][0]))
    whole = file.read_bytes()
    for data in (b"", b"PK", whole[:-200], whole[: len(whole) // 2], b"x" * 500):
        (tmp_path / "wrong.zip").write_bytes(data)
        with pytest.raises(BackupError):
            verify(tmp_path / "wrong.zip")
    for missing in (tmp_path / "none.zip", tmp_path):
        with pytest.raises(BackupError):
            verify(missing)
    async with opened(sqlite_url) as db:
        assert await all_rows(db) == before
    assert not (tmp_path / "test.db.restoring").exists()


async def test_a_backup_of_an_older_schema_is_loaded_as_it_was_and_brought_up(
    postgres_url: str, tmp_path: Path
) -> None:
    """The schema of 0003 had none of the tables that came with 0004."""
    async with opened(postgres_url) as db:
        await add_secret(db, "of-0003")
    file = await take(postgres_url, tmp_path / "backup.zip")
    later = ("replicas", "telemetry_events", "webhook_deliveries", "github_events", "github_counts", "ai_usage",
             "ai_reservations", "invites", "switches", "restored_accounts")  # fmt: skip

    def older(members: dict[str, bytes]) -> None:
        for table in later:
            members.pop(member_of(table))
        told(members, lambda one: [one["tables"].pop(table) for table in later] and one.update(schema="0003"))

    old = damaged(file, tmp_path / "old.zip", older)
    await bring_back(settings_of(postgres_url, tmp_path), old)
    async with opened(postgres_url) as db:
        assert [one[0] for one in await secrets_of(db)] == ["of-0003"]
        assert len((await all_rows(db))["restored_accounts"]) == 1


async def test_what_a_lost_or_torn_database_leaves_is_neither_taken_for_its_own_nor_overwritten(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with opened(sqlite_url) as db:
        await add_secret(db, "before")
        file = await take(sqlite_url, tmp_path / "backup.zip")
        await add_secret(db, "in the log of the lost one")
        log = (tmp_path / "test.db-wal").read_bytes()
    assert log
    lost = tmp_path / "test.db"
    lost.write_bytes(b"torn" * 5_000)
    settings = settings_of(sqlite_url, tmp_path)
    with pytest.raises(BackupError, match="away first"):
        await bring_back(settings, file)
    assert lost.read_bytes() == b"torn" * 5_000
    lost.unlink()
    (tmp_path / "test.db-wal").write_bytes(log)
    await bring_back(settings, file)
    async with opened(sqlite_url) as db:
        assert [one[0] for one in await secrets_of(db)] == ["before"]
    assert (tmp_path / "test.db-wal.orphan").read_bytes() == log


async def test_a_database_that_somebody_has_open_is_not_replaced(
    db: Database, db_url: str, tmp_path: Path
) -> None:
    """SQLite's own lock is the command's; what is open all the same is found."""
    await add_secret(db, "before")
    file = await take(db_url, tmp_path / "backup.zip")
    words = "another process has it open" if db.dialect == "sqlite" else "a server or command is connected"
    with pytest.raises(BackupError, match=words):
        await bring_back(settings_of(db_url, tmp_path), file)
    assert [one[0] for one in await secrets_of(db)] == ["before"]


async def test_a_replica_that_was_heard_of_just_now_keeps_a_restore_away(
    postgres_url: str, tmp_path: Path
) -> None:
    file = await take(postgres_url, tmp_path / "backup.zip")
    async with opened(postgres_url) as db:
        async with db.begin() as tx:
            now = await tx.now_us()
            row = {
                "id": "rep_test",
                "build": "b",
                "version": "1",
                "schema": "s",
                "started_at": now,
                "detail": "{}",
            }
            await tx.execute(_REPLICA, {**row, "seen_at": now, "clock_skew_us": 0})
    with pytest.raises(BackupError, match="heard of in the last 30 seconds"):
        await bring_back(settings_of(postgres_url, tmp_path), file)


def break_off(path: Path, error: Exception) -> None:
    with whole_file(path) as out:
        out.write(b"half")
        raise error


def test_only_a_whole_file_bears_its_name(tmp_path: Path) -> None:
    path = tmp_path / "backup.zip"
    with pytest.raises(BackupError, match="disk is full"):
        break_off(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with pytest.raises(KeyError):
        break_off(path, KeyError())
    assert list(tmp_path.iterdir()) == []
    with whole_file(path) as out:
        out.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    with pytest.raises(BackupError, match="exists already"), whole_file(path):
        pass
    with pytest.raises(BackupError, match="cannot be written"), whole_file(tmp_path / "none" / "backup.zip"):
        pass
    assert path.read_bytes() == b"whole"
    assert [one.name for one in tmp_path.iterdir()] == ["backup.zip"]


async def test_pruning_removes_the_oldest_of_its_own_and_nothing_else(
    sqlite_url: str, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    whole = (await take(sqlite_url, tmp_path / "one.zip")).read_bytes()
    names = [f"paiid-2026010{day}T000000Z.zip" for day in range(1, 6)]
    for name in (*names, "paiid-mine.zip", "paiid-20260101T000000Z.zip.gpg"):
        (kept / name).write_bytes(whole)
    (kept / "paiid-20250101T000000Z.zip").write_bytes(b"somebody else's")
    torn = kept / "paiid-20260101T000001Z.zip.partial"
    torn.write_bytes(b"of a process that was killed")
    os.utime(torn, (1, 1))
    (kept / "paiid-20260105T000001Z.zip.partial").write_bytes(b"of one that is at work")
    removed = prune(kept, 2, kept / names[0])
    assert [one.name for one in removed] == [torn.name, *names[1:3]]
    assert (kept / "paiid-20250101T000000Z.zip").exists()
