"""Rows of several tables written in one statement, and short reads: all or nothing, and no write in a read."""

from typing import Any

import pytest
from sqlalchemy import bindparam, select

from paiid.core.db import Database, UniqueViolation, insert_of_rows, statement, update_of_rows
from paiid.core.tables import broker_cursors, install_secrets

SECRETS = insert_of_rows(install_secrets)
CURSORS = insert_of_rows(broker_cursors)
CHANGE = update_of_rows(install_secrets, {"name": "b_name"}, ["value"])
READ = statement(select(install_secrets.c.value).where(install_secrets.c.name == bindparam("b_name")))
CURSOR = statement(select(broker_cursors.c.cursor).where(broker_cursors.c.name == bindparam("b_name")))


def secret(name: str, value: str = "v") -> dict[str, Any]:
    return {"name": name, "value": value, "created_at": 1}


async def value(db: Database, name: str) -> str | None:
    async with db.read(brief=True) as tx:
        row = await tx.fetch_one(READ, {"b_name": name})
    return None if row is None else str(row["value"])


@pytest.mark.parametrize("count", [1, 3])
async def test_rows_of_several_tables_are_written_together(db: Database, count: int) -> None:
    old = [secret(f"old-{number}") for number in range(count)]
    async with db.begin() as tx:
        await tx.write([(SECRETS, old)])
    async with db.begin() as tx:
        await tx.write(
            [
                (CHANGE, [{"b_name": row["name"], "value": f"changed-{row['name']}"} for row in old]),
                (SECRETS, [secret(f"new-{number}") for number in range(count)]),
                (CURSORS, [{"name": f"c-{number}", "cursor": number} for number in range(count)]),
            ]
        )
    for number in range(count):
        assert await value(db, f"old-{number}") == f"changed-old-{number}"
        assert await value(db, f"new-{number}") == "v"
        async with db.read() as tx:
            row = await tx.fetch_one(CURSOR, {"b_name": f"c-{number}"})
        assert row is not None
        assert row["cursor"] == number


async def test_a_row_that_is_there_already_undoes_all_that_was_written_with_it(db: Database) -> None:
    async with db.begin() as tx:
        await tx.write([(SECRETS, [secret("taken")])])
    with pytest.raises(UniqueViolation):
        async with db.begin() as tx:
            await tx.write(
                [
                    (CHANGE, [{"b_name": "taken", "value": "changed"}]),
                    (CURSORS, [{"name": "c", "cursor": 1}]),
                    (SECRETS, [secret("fresh"), secret("taken")]),
                ]
            )
    assert await value(db, "taken") == "v"
    assert await value(db, "fresh") is None


async def test_a_brief_read_sees_one_snapshot_and_only_reads(db: Database) -> None:
    async with db.begin() as tx:
        await tx.write([(SECRETS, [secret("a", "1")])])
    async with db.read(brief=True) as tx:
        first = await tx.fetch_one(READ, {"b_name": "a"})
        async with db.begin() as other:
            await other.write([(CHANGE, [{"b_name": "a", "value": "2"}])])
        again = await tx.fetch_one(READ, {"b_name": "a"})
        assert first is not None
        assert again is not None
        # PostgreSQL promises one snapshot a statement, SQLite one for the whole read.
        assert (first["value"], again["value"]) == ("1", "1" if db.dialect == "sqlite" else "2")
        with pytest.raises(TypeError, match="only reads"):
            await tx.write([(SECRETS, [secret("b")])])
    assert await value(db, "a") == "2"
