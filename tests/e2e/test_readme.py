"""The README's first order, line by line as it stands there, through a power cut and a second start."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.curl import Shell
from tests.e2e.processes import START_S, Server

README = Path(__file__).parents[2] / "README.md"


def lines_of_the_first_order() -> list[str]:
    block = README.read_text(encoding="utf-8").split("## A first order")[1].split("```")[1]
    return block.strip().splitlines()


def line_of_the_explanation() -> str:
    return README.read_text(encoding="utf-8").split("## Ask what is going on")[1].split("```")[1].strip()


def line_of_the_health() -> str:
    block = README.read_text(encoding="utf-8").split("## Operate it")[1].split("```")[1]
    return block.strip().splitlines()[0]


def line_of_the_chain() -> str:
    return README.read_text(encoding="utf-8").split("## Options with Greeks")[1].split("```")[1].strip()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def started(data: Path) -> Server:
    server = Server(data, "--migrate")
    server.wait_until_ready()
    return server


def test_the_first_order_of_the_readme_works_and_survives_a_power_cut(data: Path) -> None:
    setup, sign_in, order, positions, halt = lines_of_the_first_order()
    server = started(data)
    try:
        shell = Shell(server.port, data)
        shell.run(setup)
        shell.run(sign_in)
        status, _, first = shell.run(order)
        assert (status, json.loads(first)["accepted"]) == (200, True)
        status, headers, again = shell.run(order)
        assert (status, again, headers["idempotency-replayed"]) == (200, first, "true")
        assert _held(shell, positions) == [("AAPL", 10)]
        status, _, chain = shell.run(line_of_the_chain())
        assert (status, len(json.loads(chain)["calls"]) + len(json.loads(chain)["puts"])) == (200, 12)
        status, _, told = shell.run(line_of_the_explanation())
        assert (status, json.loads(told)["source"]) == (200, "rules")
        status, _, health = shell.run(line_of_the_health())
        assert (status, json.loads(health)["checks"]["ai"]["status"]) == (200, "unconfigured")
        status, _, told = shell.run(halt)
        assert (status, json.loads(told)["tradingHalted"], json.loads(told)["level"]) == (
            200,
            True,
            "drained",
        )

        server.kill()
        server = started(data)
        shell = Shell(server.port, data)
        shell.run(setup)
        shell.run(sign_in)
        status, _, replayed = shell.run(order)
        assert (status, replayed) == (200, first)
        assert _held(shell, positions) == [("AAPL", 10)]
        status, _, refused = shell.run(order.replace("my-first-order", "my-second-order"))
        assert (status, json.loads(refused)["accepted"]) == (423, False)
        assert server.end() == 0
    finally:
        server.kill()


def _held(shell: Shell, line: str) -> list[tuple[str, Any]]:
    """The position comes with the fill, a moment after the answer."""
    give_up_at = time.monotonic() + START_S
    while True:
        status, _, told = shell.run(line)
        assert status == 200, told
        held = [(one["symbol"], one["qty"]) for one in json.loads(told)]
        if held or time.monotonic() > give_up_at:
            return held
        time.sleep(0.05)
