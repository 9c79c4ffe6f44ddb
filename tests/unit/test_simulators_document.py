"""docs/simulators.md and the two beside it are true: every fault, option and route is in them, and every example can be used."""

import json
import re
from pathlib import Path

import pytest
import typer

from paiid.cli.commands import app
from paiid.core.clock import SystemClock
from paiid.sim.alpaca.fault_kinds import CATALOGUE as ALPACA
from paiid.sim.alpaca.marketdata.channels import ERRORS, FAMILIES
from paiid.sim.alpaca.marketdata.side import DataOptions
from paiid.sim.engine.fault_kinds import Catalogue
from paiid.sim.engine.faults import FaultBook
from paiid.sim.engine.ledger import Ledger
from paiid.sim.tradier.fault_kinds import CATALOGUE as TRADIER

ROOT = Path(__file__).parents[2]
SHARED = (ROOT / "docs" / "simulators.md").read_text()
OWN = {name: (ROOT / "docs" / f"simulator-{name}.md").read_text() for name in ("alpaca", "tradier")}
CATALOGUES = {"alpaca": ALPACA, "tradier": TRADIER}
both = pytest.mark.parametrize("name", list(OWN))


def examples(text: str) -> dict[str, str]:
    """Kind to example."""
    return dict(re.findall(r"^\| `(\w+)` \| .* \| `(\{\"kind\".*\})` \|$", text, re.M))


@both
def test_every_fault_has_an_example_that_can_be_played(tmp_path: Path, name: str) -> None:
    catalogue: Catalogue = CATALOGUES[name]
    shared, own = examples(SHARED), examples(OWN[name])
    assert not shared.keys() & own.keys()
    assert shared.keys() | own.keys() == catalogue.kinds.keys()
    ledger = Ledger(tmp_path / "l", SystemClock())
    book = FaultBook(SystemClock(), ledger, catalogue)
    for kind, example in {**shared, **own}.items():
        assert book.add(json.loads(example)).kind.name == kind
    ledger.close()


@both
def test_every_place_of_a_fault_is_named(name: str) -> None:
    told = SHARED + OWN[name]
    assert [one for one in CATALOGUES[name].operations if f"`{one}`" not in told] == []


@both
def test_every_option_of_the_command_is_told(name: str) -> None:
    command = typer.main.get_command(app).commands["sim"].commands[name]  # type: ignore[attr-defined]
    options = {one.opts[0] for one in command.params} - {"--help"}
    assert options == set(re.findall(r"^\| `(--[a-z-]+)` \|", OWN[name], re.M))


@both
def test_every_route_of_the_control_endpoint_is_told(name: str) -> None:
    sources = [ROOT / "src/paiid/sim" / one for one in ("engine/control.py", f"{name}/control.py")]
    found = [re.findall(r'\("(GET|POST|DELETE)", "([^"]*)",', one.read_text()) for one in sources]
    assert (len(found[0]), len(found[1])) == (12, 2)
    told = SHARED + OWN[name]
    assert [one for routes in found for one in routes if f"`{one[0]} /sim{one[1]}" not in told] == []


def test_every_feed_and_every_error_of_the_market_data_stream_is_told() -> None:
    text = OWN["alpaca"]
    versions = {"stocks": "v2", "options": "v1beta1"}
    paths = [f"/{versions[one.name]}/{feed}" for one in FAMILIES.values() for feed in one.feeds]
    assert [one for one in paths if f"`{one}`" not in text] == []
    errors = {
        code: words for code, words in ERRORS.items() if f"{code} {words.split(' exceeded')[0]}" not in text
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
        assert told in text
