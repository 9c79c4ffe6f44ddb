"""The command line as its users meet it: real processes, real files, exit codes."""

import json
import re
import socket
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path

import pytest

from cluster.ports import free_port
from tests.e2e.processes import Server, paiid, paiid_from_scratch

COMMANDS = {
    "serve", "doctor", "migrate", "halt", "resume", "backup", "restore", "user", "token", "orders", "reconcile", "sim",
}  # fmt: skip
NOISE_S = 3.0
"""What a busy machine may add; whoever waits for a request that never ends waits far longer."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def server(data: Path):
    one = Server(data, "--migrate")
    try:
        one.wait_until_ready()
        yield one
    finally:
        one.kill()


def test_help_lists_exactly_what_exists(data: Path) -> None:
    shown = paiid_from_scratch(data, "--help").stdout
    assert set(re.findall(r"^│ ([a-z]+) ", shown, re.MULTILINE)) == COMMANDS
    assert not data.exists(), "asking for help leaves nothing behind"


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("user", {"add", "invite", "list", "disable", "enable", "role", "password"}),
        ("token", {"new", "revoke", "list"}),
        ("orders", {"list", "settle"}),
        ("reconcile", {"list", "accept"}),
    ],
)
def test_each_group_lists_exactly_what_exists(data: Path, group: str, names: set[str]) -> None:
    shown = paiid(data, group, "--help").stdout
    assert set(re.findall(r"^│ ([a-z]+) ", shown, re.MULTILINE)) == names


def test_wrong_settings_stop_the_start_with_one_line_each(data: Path) -> None:
    done = paiid(data, "serve", PORT="abc", LOG_LEVEL="loud", OWNER_PASSWORD="short")
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert [line.split(":")[0] for line in lines] == ["PORT", "LOG_LEVEL", "OWNER_PASSWORD"]
    assert "short" not in done.stderr.replace("shorter", "")
    assert not data.exists()


def test_migrate_makes_the_database_once_and_for_its_owner_alone(data: Path) -> None:
    first, second = paiid(data, "migrate"), paiid(data, "migrate")
    assert (first.returncode, second.returncode) == (0, 0)
    assert "was empty" in first.stdout
    assert "nothing to do" in second.stdout
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "paiid.db").stat().st_mode) == 0o600


def test_a_database_newer_than_the_code_is_refused(data: Path) -> None:
    paiid(data, "migrate")
    with closing(sqlite3.connect(data / "paiid.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    for command in (["serve"], ["serve", "--migrate"], ["migrate"], ["orders", "list"]):
        done = paiid(data, *command, PORT=str(free_port()))
        assert done.returncode == 1, command
        assert "newer than this code" in done.stderr
        assert "Traceback" not in done.stderr


def test_K09_halt_and_resume_work_without_a_server(data: Path) -> None:
    paiid(data, "migrate")
    armed = paiid(data, "halt", "--scope", "symbol:aapl", "--reason", "bad news")
    assert armed.returncode == 0, armed.stderr
    assert "symbol:AAPL is halted; level drained, epoch 1" in armed.stdout
    moved = paiid(data, "resume", "--scope", "symbol:AAPL", "--epoch", "7", "--reason", "fine")
    assert moved.returncode == 1
    assert "epoch 1" in moved.stderr
    lifted = paiid(data, "resume", "--scope", "symbol:AAPL", "--epoch", "1", "--reason", "fine")
    assert lifted.returncode == 0
    again = paiid(data, "resume", "--scope", "symbol:AAPL", "--reason", "fine")
    assert "nothing to do" in again.stdout
    with closing(sqlite3.connect(data / "paiid.db")) as connection, connection:
        audited = connection.execute("SELECT action, actor_kind FROM audit ORDER BY id").fetchall()
    assert audited == [("halt.arm", "cli"), ("halt.resume_refused", "cli"), ("halt.resume", "cli")]


def test_K10_halt_without_a_database_sets_the_latch_and_is_no_acknowledgement(data: Path) -> None:
    done = paiid(data, "halt", "--reason", "stop")
    assert done.returncode == 1
    assert "no acknowledgement" in done.stderr
    assert (data / "halt.latch").exists()
    assert not (data / "paiid.db").exists(), "a halt does not make a database"


@pytest.mark.parametrize(
    "arguments",
    [
        ("halt", "--scope", "planet:earth"),
        ("halt", "--mode", "active"),
        ("halt", "--reason", " "),
        ("resume",),
        ("orders", "settle", "ord_x", "perhaps"),
        ("orders", "list", "--state", "GONE"),
    ],
)
def test_wrong_arguments_are_told_and_change_nothing(data: Path, arguments: tuple[str, ...]) -> None:
    done = paiid(data, *arguments)
    assert done.returncode == 2
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr
    assert not data.exists()


def test_settling_an_order_that_is_not_there_is_refused(data: Path) -> None:
    paiid(data, "migrate")
    done = paiid(data, "orders", "settle", "ord_none", "placed")
    assert (done.returncode, done.stderr.strip()) == (1, "there is no order ord_none")
    assert paiid(data, "orders", "list").stdout.startswith("ID ")


def test_no_command_takes_a_password_as_an_argument(data: Path) -> None:
    for command in (("user", "add"), ("user", "password")):
        done = paiid(data, *command, "a@example.com", "--password", "secret-words")
        assert done.returncode == 2
        assert "No such option" in done.stderr


def test_doctor_masks_secrets_and_tells_what_is_down(data: Path) -> None:
    secret = "s3cret-" * 8
    done = paiid(data, "doctor", API_TOKEN=secret, JWT_SECRET_KEY=secret)
    assert done.returncode == 1
    assert "down: database" in done.stderr
    assert secret not in done.stdout + done.stderr
    assert re.search(r"^API_TOKEN +set \(hidden\)$", done.stdout, re.MULTILINE)
    paiid(data, "migrate")
    again = paiid(data, "doctor")
    assert (again.returncode, again.stderr) == (0, "")


def test_the_server_ends_within_five_seconds_and_a_second_one_is_refused(data: Path, server: Server) -> None:
    second = paiid(data, "serve", PORT=str(free_port()))
    assert second.returncode == 1
    assert f"another server is running on this database (process {server.process.pid})" in second.stderr
    first_line = server.log.read_text().splitlines()[0]
    assert f"http://127.0.0.1:{server.port}" in first_line
    assert str(data / "owner-password") in first_line
    # A request that never ends must not hold the end up.
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(b"POST /auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        began = time.monotonic()
        assert server.end() == 0, server.log.read_text()
        assert time.monotonic() - began < 5.0 + NOISE_S


def test_the_generated_password_lies_in_a_private_file_and_nowhere_else(data: Path, server: Server) -> None:
    file = data / "owner-password"
    password = file.read_text().strip()
    assert len(password) >= 16
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert password not in paiid(data, "doctor").stdout
    server.end()
    log = server.log.read_text()
    assert password not in log
    made = next(line for line in log.splitlines() if '"owner_made"' in line)
    assert json.loads(made)["file"] == str(file), "the log says where to find it"


def test_commands_write_beside_a_running_server(data: Path, server: Server) -> None:
    added = paiid(data, "user", "add", "trader@example.com", "--password-stdin", stdin="a long password\n")
    assert added.returncode == 0, added.stderr
    assert "trader@example.com" in paiid(data, "user", "list").stdout
    assert paiid(data, "halt", "--reason", "test").returncode == 0
    assert paiid(data, "resume", "--reason", "test").returncode == 0
    token = paiid(data, "token", "new", "trader@example.com", "--name", "bot", "--scope", "read")
    assert token.returncode == 0, token.stderr
    assert re.fullmatch(r"pd_\S+", token.stdout.strip())
    assert server.process.poll() is None


def test_an_address_in_use_is_told_in_one_line(data: Path, tmp_path: Path, server: Server) -> None:
    done = paiid(tmp_path / "other", "serve", "--migrate", PORT=str(server.port))
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("cannot listen on 127.0.0.1 port")
