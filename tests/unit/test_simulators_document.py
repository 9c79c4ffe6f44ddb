"""docs/simulators.md is true: every fault, every option and every route is in it, and every example can be used."""

import json
import re
from pathlib import Path

import typer

from paiid.cli.commands import app
from paiid.core.clock import SystemClock
from paiid.sim.alpaca.fault_kinds import ALL_KINDS, OPERATIONS
from paiid.sim.alpaca.faults import FaultBook
from paiid.sim.alpaca.ledger import Ledger
from paiid.sim.alpaca.marketdata.channels import ERRORS, FAMILIES
from paiid.sim.alpaca.marketdata.side import DataOptions

TEXT = (Path(__file__).parents[2] / "docs" / "simulators.md").read_text()


def test_every_fault_has_an_example_that_can_be_played(tmp_path: Path) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| `(\{\"kind\".*\})` \|$", TEXT, re.M))
    assert set(rows) == set(ALL_KINDS)
    ledger = Ledger(tmp_path / "l", SystemClock())
    book = FaultBook(SystemClock(), ledger)
    for name, example in rows.items():
        assert book.add(json.loads(example)).kind.name == name
    ledger.close()


def test_every_place_of_a_fault_is_named() -> None:
    assert [one for one in OPERATIONS if f"`{one}`" not in TEXT] == []


def test_every_option_of_the_command_is_told() -> None:
    command = typer.main.get_command(app).commands["sim"].commands["alpaca"]  # type: ignore[attr-defined]
    options = {one.opts[0] for one in command.params}
    assert options == set(re.findall(r"^\| `(--[a-z-]+)` \|", TEXT, re.M)) | (options & {"--help"})


def test_every_route_of_the_control_endpoint_is_told() -> None:
    source = (Path(__file__).parents[2] / "src/paiid/sim/alpaca/control.py").read_text()
    routes = re.findall(r'\("(GET|POST|DELETE)", "([^"]*)",', source)
    assert len(routes) >= 14
    assert [one for one in routes if f"`{one[0]} /sim{one[1]}" not in TEXT] == []


def test_every_feed_and_every_error_of_the_market_data_stream_is_told() -> None:
    versions = {"stocks": "v2", "options": "v1beta1"}
    paths = [f"/{versions[one.name]}/{feed}" for one in FAMILIES.values() for feed in one.feeds]
    assert [one for one in paths if f"`{one}`" not in TEXT] == []
    errors = {
        code: text for code, text in ERRORS.items() if f"{code} {text.split(' exceeded')[0]}" not in TEXT
    }
    assert errors == {}
    defaults = DataOptions()
    for told in (
        f"auth timeout ({defaults.auth_timeout_s:g} s)",
        f"({defaults.max_symbols} symbols of trades and quotes",
        f"{defaults.max_contracts} contracts",
        f"({defaults.max_connections} socket of an account on a feed)",
        f"({defaults.max_queue:,} messages that wait)",
        f"within {defaults.poll_s * 1000:g} ms",
        f"comes {defaults.delay_s / 60:g} minutes late",
    ):
        assert told in TEXT
