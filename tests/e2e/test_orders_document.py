"""docs/orders.md, command by command as it stands there, against a server whose clock says what the document assumes."""

import asyncio
import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import uvicorn

from cluster.ports import free_port
from paiid.app import create_app
from paiid.cli.serve import server_config
from paiid.core.migrate import migrate
from paiid.core.settings import load_settings
from tests.e2e.curl import Shell
from tests.e2e.processes import START_S, environment
from tests.moved_clock import MovedClock

DOCUMENT = Path(__file__).parents[2] / "docs" / "orders.md"
EASTERN = ZoneInfo("America/New_York")
IN_THE_SESSION = datetime(2026, 11, 23, 10, 30, tzinfo=EASTERN)
IN_THE_EVENING = datetime(2026, 11, 23, 20, 30, tzinfo=EASTERN)
EVERY_TYPE = {"market", "limit", "stop", "stop_limit", "trailing_stop"}
EVERY_CLASS = {"simple", "bracket", "oto", "oco", "mleg"}
EVERY_TIME = {"day", "gtc", "ioc", "fok", "opg", "cls"}


@dataclass(frozen=True)
class Command:
    """A line to run, and what the line before it says will come back; None where it only sets a variable."""

    section: str
    expected: str | None
    line: str


def commands() -> list[Command]:
    found: list[Command] = []
    for part in re.split(r"^## ", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE):
        section = part.splitlines()[0]
        for block in re.findall(r"^```\n(.*?)^```$", part, re.MULTILINE | re.DOTALL):
            expected: str | None = None
            for line in block.strip().splitlines():
                if line.startswith("# "):
                    expected = line[2:].partition(":")[0]
                    continue
                found.append(Command(section, expected, line))
                expected = None
    return found


@pytest.fixture
def clock() -> MovedClock:
    clock = MovedClock()
    clock.move_to(IN_THE_SESSION)
    return clock


@pytest.fixture
def shell(tmp_path: Path, clock: MovedClock) -> Iterator[Shell]:
    data, port = tmp_path / "data", free_port()
    settings = load_settings(environment(data, PORT=str(port), SIM_HOURS="exchange"))
    migrate(settings.database)
    config = server_config(create_app(settings, clock=clock))
    config.host, config.port = "127.0.0.1", port
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    with contextlib.closing(Stopper(server, thread)):
        thread.start()
        give_up_at = time.monotonic() + START_S
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
        shell = Shell(port, data)
        shell.wait_until_ready()
        yield shell


class Stopper:
    """Ends the server's thread."""

    def __init__(self, server: uvicorn.Server, thread: threading.Thread) -> None:
        self._server, self._thread = server, thread

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=30)


def outcome(status: int, body: bytes) -> str:
    """The answer in the document's words."""
    told = json.loads(body) if body else {}
    if isinstance(told, dict) and "accepted" in told:
        if told["accepted"]:
            return "accepted"
        return f"refused {next(o['reason']['code'] for o in told['orders'] if o['reason'])}"
    if status >= 400:
        errors = told.get("errors")
        return (
            f"{status} {errors[0]['code'] if errors else told['type'].rpartition(':')[2].rpartition('/')[2]}"
        )
    return str(status)


def test_every_command_of_the_document_answers_as_it_says(shell: Shell, clock: MovedClock) -> None:
    ran = 0
    for command in commands():
        if command.section == "In the evening" and not _is_evening(clock):
            clock.move_to(IN_THE_EVENING)
            # The access token of the morning has expired.
            for line in (one.line for one in commands()[:3]):
                shell.run(line)
        status, _, body = shell.run(command.line)
        if command.expected is not None:
            ran += 1
            assert outcome(status, body) == command.expected, (command.line, body.decode())
    assert ran > 40


def _is_evening(clock: MovedClock) -> bool:
    return datetime.fromtimestamp(clock.now_us() / 1_000_000, EASTERN).hour >= 20


def test_the_document_has_every_type_class_and_time_in_force_accepted() -> None:
    types, classes, times = set(), set(), set()
    for command in commands():
        body = re.search(r"-d '(.*)'$", command.line)
        if (
            command.expected != "accepted"
            or body is None
            or "/execute" not in command.line.replace("$X", "/execute")
        ):
            continue
        for order in json.loads(re.sub(r"'\$[A-Z]'", "0", body[1]).replace('"0"', '"AAPL"')).get(
            "orders", ()
        ):
            types.add(order.get("type", "market"))
            times.add(order.get("time_in_force", "day"))
            exits = [name for name in ("take_profit", "stop_loss") if name in order]
            classes.add(
                order.get("order_class")
                or ("mleg" if "legs" in order else "")
                or ("bracket" if len(exits) == 2 or order.get("bracket") else "oto" if exits else "simple")
            )
    assert (types, classes, times) == (EVERY_TYPE, EVERY_CLASS, EVERY_TIME)


def test_the_outcome_tells_a_refusal_from_an_acceptance() -> None:
    assert outcome(200, b'{"accepted":true,"orders":[]}') == "accepted"
    assert outcome(200, b'{"accepted":false,"orders":[{"reason":{"code":"x"}}]}') == "refused x"
    assert outcome(422, b'{"type":"about:validation","errors":[{"code":"trail"}]}') == "422 trail"
    assert outcome(412, b'{"type":"urn:paiid:error:precondition-failed"}') == "412 precondition-failed"
