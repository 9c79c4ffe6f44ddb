"""The README's section on Alpaca, line by line as it stands there, against real processes: the simulator and the service."""

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from paiid.core.settings import load_settings
from tests.e2e.curl import Shell
from tests.e2e.processes import START_S, Server, environment, free_port

README = Path(__file__).parents[2] / "README.md"
SIMULATOR = "127.0.0.1:8010"
"""Where the README has it; a test needs a port of its own."""


def blocks() -> list[list[str]]:
    """The section's code blocks: with keys of one's own, the two processes, the session."""
    section = README.read_text(encoding="utf-8").split("## With Alpaca")[1].split("\n## ")[0]
    return [block.strip().splitlines() for block in section.split("```")[1::2]]


def variables_of(line: str) -> dict[str, str]:
    """What a line that ends in `make run` sets for it."""
    *pairs, make, run = shlex.split(line)
    assert (make, run) == ("make", "run")
    return dict(pair.split("=", 1) for pair in pairs)


class Simulator:
    """The README's simulator on a port of its own."""

    def __init__(self, line: str, data: Path) -> None:
        self.port = free_port()
        program, *arguments = shlex.split(line.replace(" 8010", f" {self.port}"))
        assert program == ".venv/bin/paiid"
        assert str(self.port) in arguments
        self.log = data.parent / "sim.log"
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "paiid", *arguments],
                env=environment(data), stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def wait_until_it_serves(self) -> None:
        give_up_at = time.monotonic() + START_S
        while time.monotonic() < give_up_at:
            assert self.process.poll() is None, self.log.read_text()
            try:
                httpx2.get(f"http://127.0.0.1:{self.port}/sim", trust_env=False).raise_for_status()
            except httpx2.TransportError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError(self.log.read_text())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def simulator(data: Path) -> Iterator[Simulator]:
    """Running, started by the README's line."""
    made = Simulator(blocks()[1][0], data)
    try:
        made.wait_until_it_serves()
        yield made
    finally:
        made.kill()


@pytest.fixture
def shell(simulator: Simulator, data: Path) -> Iterator[Shell]:
    """For the third block, with the service running that the README's second line starts."""
    settings = variables_of(blocks()[1][1].replace(SIMULATOR, f"127.0.0.1:{simulator.port}"))
    server = Server(data, "--migrate", **settings)
    try:
        server.wait_until_ready()
        yield Shell(server.port, data)
        assert server.end() == 0
    finally:
        server.kill()


def test_the_first_order_at_alpaca_works_as_the_readme_says(shell: Shell, simulator: Simulator) -> None:
    lines = [line.replace(SIMULATOR, f"127.0.0.1:{simulator.port}") for line in blocks()[2]]
    setup, sign_in, header, account, quote, order, find, look, cancel, positions, summary = lines
    for line in (setup, sign_in, header):
        shell.run(line)
    found = wait_for(shell, account, lambda told: told["broker"] == "alpaca" and told["reconciled_at"])
    assert (found["mode"], found["cash"], found["reconcile_problem"]) == ("paper", 100_000, None)
    assert shell.run(quote)[0] == 201

    status, _, first = shell.run(order)
    placed = json.loads(first)
    assert (status, placed["accepted"], placed["account"]) == (200, True, found["id"])
    status, headers, again = shell.run(order)
    assert (status, again, headers["idempotency-replayed"]) == (200, first, "true")

    shell.run(find)
    partly = wait_for(shell, look, lambda told: told["filled_qty"] > 0)
    assert (partly["id"], partly["status"]) == (placed["orders"][0]["id"], "PARTIALLY_FILLED")
    assert json.loads(shell.run(cancel)[2])["outcome"] in ("requested", "canceled")
    ended = wait_for(shell, look, lambda told: told["status"] == "CANCELED")
    assert 0 < ended["filled_qty"] < 100
    held = wait_for(shell, positions, lambda told: told)
    assert [(one["symbol"], one["qty"], one["avg_entry_price"]) for one in held] == [
        ("AAPL", ended["filled_qty"], 200.05)
    ]
    told = json.loads(shell.run(summary)[2])
    assert told["received"] == {found["number"]: {ended["client_order_id"]: 1}}


def test_the_two_variables_of_the_readme_are_all_that_alpaca_needs() -> None:
    (line,) = blocks()[0]
    # As printed, but for keys, which are not printed.
    settings = load_settings(variables_of(line.replace("PK…", "PKTEST0001").replace("…", "test-secret-1")))
    assert settings.broker == "alpaca"
    assert settings.trades_at_alpaca
    assert settings.alpaca_api_base_url == "https://paper-api.alpaca.markets"


def test_every_variable_of_the_section_is_in_the_settings_document() -> None:
    document = (README.parent / "docs" / "settings.md").read_text(encoding="utf-8")
    named = {name for block in blocks()[:2] for line in block for name in re.findall(r"([A-Z_]{4,})=", line)}
    assert len(named) == 3
    assert all(f"`{name}`" in document for name in named)


def wait_for(shell: Shell, line: str, is_there: Any) -> Any:
    """The answer of a line once it is as it must become; the stream tells it, a moment after it happened."""
    give_up_at = time.monotonic() + START_S
    while True:
        told = json.loads(shell.run(line)[2])
        if is_there(told):
            return told
        assert time.monotonic() < give_up_at, told
        time.sleep(0.05)
