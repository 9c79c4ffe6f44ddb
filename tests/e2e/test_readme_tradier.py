"""The README's section on Tradier, line by line as it stands there, against real processes: the simulator and the service."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from paiid.core.settings import load_settings
from tests.e2e.curl import Shell
from tests.e2e.walks import README, Simulator, blocks_of, running, serving, variables_of, wait_for

TOKEN, PROCESSES, SESSION = blocks_of("With Tradier")


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


def test_the_first_order_at_tradier_works_as_the_readme_says(shell: Shell, simulator: Simulator) -> None:
    lines = [simulator.moved(line) for line in SESSION]
    setup, sign_in, header, account, pin, quotes, order, find, look, change, cancel, positions, summary = (
        lines
    )
    for line in (setup, sign_in, header):
        shell.run(line)
    found = wait_for(shell, account, lambda told: told["broker"] == "tradier" and told["reconciled_at"])
    assert (found["mode"], found["cash"], found["reconcile_problem"]) == ("paper", 100_000, None)
    assert shell.run(pin)[0] == 201
    (quote,) = wait_for(shell, quotes, lambda told: told[0]["ask"] == 200.05)
    assert (quote["source"], quote["bid"], quote["stale"], quote["delayed"]) == ("tradier", 200, False, False)

    status, _, first = shell.run(order)
    placed = json.loads(first)
    assert (status, placed["accepted"], placed["account"]) == (200, True, found["id"])
    status, headers, again = shell.run(order)
    assert (status, again, headers["idempotency-replayed"]) == (200, first, "true")

    shell.run(find)
    partly = wait_for(shell, look, lambda told: told["filled_qty"] > 0)
    assert (partly["id"], partly["status"]) == (placed["orders"][0]["id"], "PARTIALLY_FILLED")

    status, _, body = shell.run(change)
    (changed,) = json.loads(body)["orders"]
    assert (status, json.loads(body)["accepted"], changed["limit_price"]) == (200, True, 200.06)
    before = wait_for(shell, look, lambda told: told["status"] == "REPLACED")
    assert (before["replaced_by"], before["limit_price"]) == (changed["id"], 200.1)
    # The id stays the broker's of the order as it is now; of what it was before the old row keeps it with a mark.
    assert before["broker_order_id"] == f"{changed['broker_order_id']}~1"

    assert shell.run(cancel)[0] == 200
    after = look.replace("$O", changed["id"])
    ended = wait_for(shell, after, lambda told: told["status"] == "CANCELED")
    filled = before["filled_qty"] + ended["filled_qty"]
    assert 0 < filled < 100
    held = wait_for(shell, positions, lambda told: told and told[0]["qty"] == filled)
    assert [(one["symbol"], one["avg_entry_price"]) for one in held] == [("AAPL", 200.05)]
    told = json.loads(shell.run(summary)[2])
    assert told["received"] == {found["number"]: {before["client_order_id"]: 1}}
    assert told["duplicates"] == {}


@pytest.mark.parametrize("first", ["tradier", "alpaca"])
def test_with_keys_of_alpaca_as_well_each_takes_over_where_the_other_is_down(first: str, data: Path) -> None:
    lines = {"tradier": PROCESSES, "alpaca": blocks_of("With Alpaca")[1]}
    setup, sign_in, header, *_ = SESSION
    asks = next(line for line in SESSION if "/api/market/quotes" in line)
    with running(lines["tradier"][0], data) as tradier, running(lines["alpaca"][0], data) as alpaca:
        simulators = {"tradier": tradier, "alpaca": alpaca}
        both = " ".join(
            simulators[name].moved(lines[name][1]).removesuffix("make run") for name in simulators
        )
        with serving(f"{both} MARKET_DATA={first} make run", tradier, data) as shell:
            for line in (setup, sign_in, header):
                shell.run(line)
            wait_for(shell, asks, lambda told: told[0]["source"] == first)
            simulators[first].kill()
            (other,) = simulators.keys() - {first}
            told = wait_for(shell, asks, lambda told: told[0]["source"] == other and not told[0]["stale"])
    assert told[0]["bid"] > 0


def test_the_two_variables_of_the_readme_are_all_that_tradier_needs() -> None:
    (line,) = TOKEN
    # As printed, but for the token, which is not printed.
    settings = load_settings(variables_of(line.replace("…", "test-token-0001")))
    assert (settings.broker, settings.market_data) == ("tradier", "tradier")
    assert settings.trades_at_tradier
    assert settings.asks_tradier


def test_a_token_alone_is_one_of_the_live_host_and_sends_no_order_there() -> None:
    settings = load_settings({"TRADIER_API_KEY": "test-token-0001"})
    assert (settings.broker, settings.market_data) == ("paper", "tradier")
    assert settings.tradier_api_base_url == "https://api.tradier.com/v1"
    assert not settings.trades_at_tradier


def test_every_variable_of_the_section_is_in_the_settings_document() -> None:
    document = (README.parent / "docs" / "settings.md").read_text(encoding="utf-8")
    named = {name for line in (*TOKEN, *PROCESSES) for name in re.findall(r"([A-Z_]{4,})=", line)}
    assert len(named) == 2
    assert all(f"`{name}`" in document for name in named)
