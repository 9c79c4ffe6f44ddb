"""The README's section on Alpaca, line by line as it stands there, against real processes: the simulator and the service."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from paiid.core.settings import load_settings
from tests.e2e.curl import Shell
from tests.e2e.walks import README, Simulator, blocks_of, running, serving, variables_of, wait_for

KEYS, PROCESSES, SESSION = blocks_of("With Alpaca")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def simulator(data: Path) -> Iterator[Simulator]:
    """Running, started by the README's line."""
    with running(PROCESSES[0], data) as made:
        yield made


@pytest.fixture
def shell(simulator: Simulator, data: Path) -> Iterator[Shell]:
    """For the third block, with the service running that the README's second line starts."""
    with serving(PROCESSES[1], simulator, data) as made:
        yield made


def test_the_first_order_at_alpaca_works_as_the_readme_says(shell: Shell, simulator: Simulator) -> None:
    lines = [simulator.moved(line) for line in SESSION]
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
    (line,) = KEYS
    # As printed, but for keys, which are not printed.
    settings = load_settings(variables_of(line.replace("PK…", "PKTEST0001").replace("…", "test-secret-1")))
    assert settings.broker == "alpaca"
    assert settings.trades_at_alpaca
    assert settings.alpaca_api_base_url == "https://paper-api.alpaca.markets"


def test_every_variable_of_the_section_is_in_the_settings_document() -> None:
    document = (README.parent / "docs" / "settings.md").read_text(encoding="utf-8")
    named = {name for line in (*KEYS, *PROCESSES) for name in re.findall(r"([A-Z_]{4,})=", line)}
    assert len(named) == 3
    assert all(f"`{name}`" in document for name in named)
