"""Servers of the release before go on beside a migrated database, so a migration may only add what they need not know of."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

VERSIONS = Path(__file__).parents[2] / "migrations" / "versions"
_BEFORE_ANY_SERVER_RAN = {"0001_first_release", "0002_orders_in_full"}
"""Their indexes on tables that were there already were made before anybody had orders in them."""
_REST = sorted(path for path in VERSIONS.glob("0*.py") if path.stem != "0001_first_release")


class Recorder:
    """Stands in for Alembic's `op`: keeps what is asked, does nothing."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def f(self, name: str) -> str:
        return name

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **named: self.calls.append((name, args, named))


def breaking(source: str, *, indexes_too: bool = True) -> list[str]:
    """What of a migration would break, or hold up for long, a server of the release before."""
    module = ModuleType("migration")
    exec(compile(source, "migration", "exec"), module.__dict__)
    recorder = Recorder()
    module.__dict__["op"] = recorder
    module.upgrade()
    made = {args[0] for name, args, _ in recorder.calls if name == "create_table"}
    found = []
    for name, args, named in recorder.calls:
        if name == "create_table":
            continue
        if name == "add_column":
            if not args[1].nullable and args[1].server_default is None:
                found.append(f"{args[0]}.{args[1].name}: the release before writes no value")
        elif name == "create_index" and args[1] in made:
            continue
        elif name == "create_index" and not named.get("unique"):
            # Writing waits as long as the index is built, and orders are writing.
            if indexes_too and not named.get("postgresql_concurrently"):
                found.append(f"{args[1]}: an index on a table in use is made concurrently")
        else:
            found.append(f"{name} {args[0]}")
    return found


@pytest.mark.parametrize("path", _REST, ids=lambda path: path.stem)
def test_migrations_after_the_first_only_add(path: Path) -> None:
    recent = path.stem not in _BEFORE_ANY_SERVER_RAN
    assert breaking(path.read_text(encoding="utf-8"), indexes_too=recent) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ('op.drop_column("orders", "reason")', ["drop_column orders"]),
        ('op.rename_table("orders", "requests")', ["rename_table orders"]),
        ('op.alter_column("orders", "reason", nullable=False)', ["alter_column orders"]),
        ('op.execute("UPDATE orders SET reason = NULL")', ["execute UPDATE orders SET reason = NULL"]),
        (
            'op.add_column("orders", sa.Column("venue", sa.Text(), nullable=False))',
            ["orders.venue: the release before writes no value"],
        ),
        ('op.add_column("orders", sa.Column("venue", sa.Text(), nullable=True))', []),
        ('op.add_column("orders", sa.Column("n", sa.BigInteger(), nullable=False, server_default="0"))', []),
        ('op.create_index("i", "orders", ["reason"], unique=True)', ["create_index i"]),
        (
            'op.create_index("i", "orders", ["reason"])',
            ["orders: an index on a table in use is made concurrently"],
        ),
        ('op.create_index("i", "orders", ["reason"], postgresql_concurrently=True)', []),
        ('op.create_table("new", sa.Column("id", sa.Text())); op.create_index("i", "new", ["id"])', []),
    ],
)
def test_what_would_break_a_running_server_is_noticed(change: str, told: list[str]) -> None:
    source = f"import sqlalchemy as sa\nfrom alembic import op\ndef upgrade():\n    {change}\n"
    assert breaking(source) == told


def test_the_whole_history_is_looked_at() -> None:
    assert [path.stem[:4] for path in _REST] == [f"{number:04}" for number in range(2, len(_REST) + 2)]
