"""The table of limits in the docs is true: each row is met from both sides (A9)."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import tests.limit_probes_ai  # it registers its probes, as the next one does
import tests.limit_probes_alpaca
import tests.limit_probes_analysis
import tests.limit_probes_options
import tests.limit_probes_registration
import tests.limit_probes_streams
import tests.limit_probes_telemetry
import tests.limit_probes_tradier
import tests.limit_probes_tradier_sim
import tests.limit_probes_wire  # noqa: F401 - it registers its probes
from tests.conftest import MakeApp
from tests.fakes import FakeBroker
from tests.limit_probes import PROBES, Probed

_TABLE = Path(__file__).parents[2] / "docs" / "limits.md"
_ROW = re.compile(r"^\| `(?P<name>[a-z-]+)` \| [^|]+ \| (?P<value>\d+) \| (?P<beyond>[^|]+) \|$")


@dataclass(frozen=True)
class Row:
    """One limit as the table tells it."""

    name: str
    value: int
    beyond: str


def rows_of(text: str) -> list[Row]:
    """Every line of a table but its head; a line that is no proper row is an error."""
    found = []
    for line in text.splitlines():
        if not line.startswith("|") or line.startswith(("| limit |", "|---")):
            continue
        row = _ROW.match(line)
        assert row is not None, f"not a row: {line}"
        found.append(Row(row["name"], int(row["value"]), row["beyond"]))
    return found


def unmatched(rows: list[Row], probes: dict[str, Any]) -> list[str]:
    """Rows without a probe, probes without a row, rows that are there twice."""
    names = [row.name for row in rows]
    return sorted((set(names) ^ set(probes)) | {name for name in names if names.count(name) > 1})


ROWS = rows_of(_TABLE.read_text())


@pytest.fixture
def db_url(sqlite_url: str) -> str:
    """One database will do: what is refused here is refused before it is asked."""
    return sqlite_url


def test_A09_every_row_has_a_probe_and_every_probe_a_row() -> None:
    assert unmatched(ROWS, PROBES) == []
    extra = [*ROWS, Row("planted", 1, "closed")]
    assert unmatched(extra, PROBES) == ["planted"]
    assert unmatched(ROWS[1:], PROBES) == [ROWS[0].name]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_A09_at_the_limit_nothing_is_refused_for_it_and_one_beyond_is_refused_as_told(
    make_app: MakeApp, row: Row
) -> None:
    app = await make_app({"trusted_proxies": ("127.0.0.1",)}, broker=FakeBroker())
    at, beyond = await PROBES[row.name](Probed(app, await app.owner()), row.value)
    assert beyond == row.beyond, f"at the limit: {at}"
    assert at != row.beyond


@pytest.mark.parametrize("step", [-1, 1])
@pytest.mark.parametrize("name", ["body", "depth", "batch", "page", "tokens", "key", "head-bytes"])
async def test_A09_a_table_that_is_wrong_by_one_is_noticed(make_app: MakeApp, name: str, step: int) -> None:
    app = await make_app({"trusted_proxies": ("127.0.0.1",)}, broker=FakeBroker())
    row = next(one for one in ROWS if one.name == name)
    try:
        at, beyond = await PROBES[name](Probed(app, await app.owner()), row.value + step)
    except AssertionError:
        return
    assert beyond != row.beyond or at == row.beyond
