"""`paiid reconcile` as its user meets it: beside a server or without one, on the built-in venue's books."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import Server, paiid


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with one account whose cash is not what the built-in venue has."""
    folder = tmp_path / "data"
    paiid(folder, "migrate")
    values: dict[str, Any] = {
        "id": "one", "broker": "paper", "mode": "paper", "number": "one", "owner_user_id": "u", "name": "one",
        "status": "active", "cash": 99_000 * 10**6, "starting_cash": 0, "created_at": 1,
        "reconcile_problem": "cash: ours 99000, broker 100000",
    }  # fmt: skip
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    with closing(sqlite3.connect(folder / "paiid.db")) as connection, connection:
        connection.execute(f"INSERT INTO accounts ({names}) VALUES ({marks})", tuple(values.values()))
    return folder


def _rows(data: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(data / "paiid.db")) as connection:
        return connection.execute(sql).fetchall()


def test_the_owner_sees_what_differs_accepts_it_and_is_told_what_was_done(data: Path) -> None:
    listed = paiid(data, "reconcile", "list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["ACCOUNT", "one"]
    assert "differs" in listed[1]
    assert listed[1].endswith("cash: ours 99000, broker 100000")
    done = paiid(data, "reconcile", "accept", "one", "--reason", "counted it")
    assert done.returncode == 0, done.stderr
    assert "adjusted: 1000 cash" in done.stdout
    assert _rows(data, "SELECT cash, reconcile_problem FROM accounts") == [(100_000 * 10**6, None)]
    ((actor, detail),) = _rows(
        data, "SELECT actor_kind, detail FROM audit WHERE action = 'account.reconcile_accept'"
    )
    assert (actor, json.loads(detail)["reason"]) == ("cli", "counted it")
    again = paiid(data, "reconcile", "accept", "one")
    assert (again.returncode, "nothing to accept" in again.stdout) == (0, True)
    assert len(_rows(data, "SELECT id FROM activities")) == 1


def test_it_is_accepted_beside_a_running_server_too(data: Path) -> None:
    server = Server(data)
    try:
        server.wait_until_ready()
        done = paiid(data, "reconcile", "accept", "one")
    finally:
        server.kill()
    assert done.returncode == 0, done.stderr
    assert _rows(data, "SELECT cash, reconcile_problem FROM accounts WHERE id = 'one'") == [
        (100_000 * 10**6, None)
    ]


def test_what_cannot_be_accepted_is_told_in_one_line_and_changes_nothing(data: Path) -> None:
    with closing(sqlite3.connect(data / "paiid.db")) as connection, connection:
        connection.execute("UPDATE accounts SET broker = 'elsewhere'")
    for arguments, code, words in (
        (("two",), 1, "there is no account two"),
        (("one",), 1, "elsewhere) is not configured here"),
        (("one", "--reason", " "), 2, "printable"),
    ):
        done = paiid(data, "reconcile", "accept", *arguments)
        assert done.returncode == code
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert _rows(data, "SELECT id FROM activities") == _rows(data, "SELECT id FROM audit") == []
