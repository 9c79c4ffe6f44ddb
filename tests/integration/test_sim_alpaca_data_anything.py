"""A stranger can ask the simulated data host anything, and send anything to its stream: it says no, and nothing breaks."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote as quoted

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paiid.sim.alpaca.marketdata.side import DataOptions
from tests.sim_data_world import AUTH, AUTHENTICATED, greeted
from tests.sim_world import SimWorld, simulated

_ODD = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
_PATHS = st.sampled_from(
    [
        "/v2/stocks/quotes/latest", "/v2/stocks/trades/latest", "/v2/stocks/bars/latest", "/v2/stocks/snapshots",
        "/v2/stocks/bars", "/v2/stocks/{}/bars", "/v2/stocks/{}/quotes/latest", "/v2/stocks/{}/snapshot",
        "/v1beta1/options/snapshots", "/v1beta1/options/snapshots/{}", "/v1beta1/options/bars", "/v1/corporate-actions",
    ]
)  # fmt: skip
_QUERY = st.dictionaries(
    st.sampled_from(
        ["symbols", "feed", "timeframe", "start", "end", "limit", "sort", "page_token", "adjustment", "currency", "type",
         "types", "strike_price_gte", "expiration_date", "root_symbol", "updated_since"]
    ),
    st.text(max_size=30)
    | st.sampled_from(
        ["AAPL", "AAPL,MSFT", "AAPL291221C00100000", "1Min", "1Month", "0001-01-01", "1900-01-01", "2200-01-01",
         "9999-12-31T23:59:59-12:00", "1", "10000", "desc", "all", "sip", "opra", "put", "QUFQTHwx", "1e9"]
    ),
    max_size=5,
)  # fmt: skip
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10)
    | st.sampled_from(["auth", "subscribe", "unsubscribe", "AAPL", "*"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)
_MESSAGES = st.dictionaries(
    st.sampled_from(["action", "key", "secret", "quotes", "trades", "bars", "news", "corrections", "T"]), _VALUES, max_size=4
) | _VALUES  # fmt: skip


@pytest.fixture
async def world(sqlite_url: str, tmp_path: Path) -> AsyncIterator[SimWorld]:
    async with simulated(sqlite_url, tmp_path, data=DataOptions(auth_timeout_s=60)) as one:
        yield one


async def test_no_query_breaks_it(world: SimWorld) -> None:
    for path, query, name in _examples(st.tuples(_PATHS, _QUERY, st.text(max_size=12) | st.just("AAPL"))):
        answer = await world.client.get(path.format(quoted(name, safe="")), params=query)
        assert answer.status_code in (200, 400, 404), (path, query, name, answer.text)


@pytest.mark.parametrize("packs", [False, True])
async def test_no_message_breaks_the_stream(world: SimWorld, packs: bool) -> None:
    async with greeted(world, packs=packs) as one:
        for message in _examples(_MESSAGES):
            await one.send(message)
            [told] = await one.hear()
            assert told["T"] == "error", message
        assert await one.say(**AUTH) == AUTHENTICATED
        for message in _examples(_MESSAGES):
            await one.send(message)
            [told] = await one.hear()
            assert told["T"] in ("error", "subscription"), message
        for raw in _examples(st.binary(max_size=40)):
            await one.socket.send(raw)
            await one.hear()
        [told] = await one.say(action="subscribe", quotes=["AAPL"])
        assert "AAPL" in told["quotes"]


def _examples(strategy: st.SearchStrategy[Any]) -> list[Any]:
    found: list[Any] = []

    @_ODD
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found
