"""A stranger can send the simulated Alpaca anything: it answers with a no, never with a defect."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote as quoted

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sim_exchange import SimWorld, sim_world


@pytest.fixture
async def sim(sqlite_url: str, tmp_path: Path) -> AsyncIterator[SimWorld]:
    async with sim_world(sqlite_url, tmp_path / "sim") as world:
        yield world


_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=40),
    st.sampled_from(["AAPL", "buy", "sell", "market", "limit", "stop", "day", "gtc", "1", "-1", "1.5", "100", "0.0000000001", "99999999999999999999999", "mleg", "bracket", "oco", "oto"]),
)  # fmt: skip
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4), max_leaves=6
)  # fmt: skip
_NAMES = st.sampled_from(
    ["symbol", "qty", "notional", "side", "type", "time_in_force", "limit_price", "stop_price", "trail_price", "trail_percent", "trail", "extended_hours", "client_order_id", "order_class", "take_profit", "stop_loss", "legs", "position_intent", "suspend_trade", "max_margin_multiplier"]
)  # fmt: skip
_RIGHT = {
    "symbol": "AAPL",
    "side": "buy",
    "qty": "1",
    "type": "limit",
    "limit_price": "99",
    "time_in_force": "day",
}
_BRACKET = {
    **_RIGHT,
    "order_class": "bracket",
    "take_profit": {"limit_price": "120"},
    "stop_loss": {"stop_price": "90"},
}
_QUERY = st.dictionaries(
    st.sampled_from(
        ["status", "limit", "after", "until", "direction", "nested", "symbols", "side", "asset_class", "before_order_id", "after_order_id", "client_order_id", "activity_types", "category", "order_id", "date", "page_size", "page_token", "period", "timeframe", "start", "end", "pnl_reset", "intraday_reporting", "attributes", "exchange", "underlying_symbols", "expiration_date", "expiration_date_gte", "expiration_date_lte", "root_symbol", "type", "style", "strike_price_gte", "ppind", "show_deliverables", "date_type", "qty", "percentage", "cancel_orders"]
    ),
    st.one_of(
        st.text(max_size=30),
        st.sampled_from(["all", "1", "500", "2026-10-08", "2026-10-08T00:00:00Z", "asc", "true", "AAPL", "1D", "1A", "1Min", "FILL", "0001-01-01", "9999-12-31", "9999-12-31T23:59:59-12:00", "1e9", "5b2a3c1d-0000-4000-8000-00000000a551"]),
    ),
    max_size=4,
)  # fmt: skip
_PATHS = st.sampled_from(
    [
        ("GET", "/v2/account"), ("GET", "/v2/account/configurations"), ("GET", "/v2/account/portfolio/history"),
        ("GET", "/v2/account/activities"), ("GET", "/v2/account/activities/{}"), ("GET", "/v2/orders"),
        ("GET", "/v2/orders/{}"), ("DELETE", "/v2/orders/{}"), ("GET", "/v2/orders:by_client_order_id"),
        ("GET", "/v2/positions"), ("GET", "/v2/positions/{}"), ("DELETE", "/v2/positions/{}"),
        ("DELETE", "/v2/positions"), ("POST", "/v2/positions/{}/exercise"), ("POST", "/v2/positions/{}/do-not-exercise"),
        ("GET", "/v2/assets"), ("GET", "/v2/assets/{}"), ("GET", "/v2/options/contracts"),
        ("GET", "/v2/options/contracts/{}"), ("GET", "/v2/clock"), ("GET", "/v2/calendar"),
    ]
)  # fmt: skip
_ODD = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.parametrize(("base", "most"), [({}, 8), (_RIGHT, 2), (_BRACKET, 2)])
async def test_no_body_breaks_it(sim: SimWorld, base: dict[str, Any], most: int) -> None:
    resting = await sim.place(limit_price="50", time_in_force="gtc")
    await sim.until_status(resting["id"], "new")
    for body in _examples(st.dictionaries(_NAMES, _VALUES, min_size=1, max_size=most)):
        for method, path in (
            ("POST", "/v2/orders"),
            ("PATCH", f"/v2/orders/{resting['id']}"),
            ("PATCH", "/v2/account/configurations"),
        ):
            answer = await sim.client.request(method, path, json={**base, **body})
            assert answer.status_code in (200, 400, 403, 404, 422), (body, answer.text)


async def test_no_query_breaks_it(sim: SimWorld) -> None:
    await sim.hold(3)
    for (method, path), query, name in _examples(
        st.tuples(_PATHS, _QUERY, st.text(max_size=30) | st.sampled_from(["AAPL", sim.contract()]))
    ):
        answer = await sim.client.request(method, path.format(quoted(name, safe="")), params=query)
        assert answer.status_code in (200, 204, 207, 400, 403, 404, 422), (path, query, name, answer.text)


def _examples(strategy: st.SearchStrategy[Any]) -> list[Any]:
    found: list[Any] = []

    @_ODD
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found
