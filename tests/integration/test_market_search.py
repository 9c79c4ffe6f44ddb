"""GET /api/market/search and /indices: what is found, what stands for what, and what a bad question is told."""

import pytest

from tests.conftest import MakeApp
from tests.market_world import FakeFeed
from tests.world import App, Client


@pytest.fixture
def db_url(sqlite_url: str) -> str:
    """Nothing here depends on the kind of database."""
    return sqlite_url


@pytest.fixture
async def caller(app: App) -> Client:
    """The owner, signed in, before the simulated market."""
    return await app.owner()


async def test_the_symbol_comes_first_then_symbols_that_begin_so_then_names(caller: Client) -> None:
    found = (await caller.get("/api/market/search?q=ma")).json()
    assert found[0] == {
        "symbol": "MA",
        "name": "Mastercard Incorporated",
        "asset_class": "stock",
        "tradable": True,
        "source": "simulated",
    }
    named = (await caller.get("/api/market/search", params={"q": "  APPLE "})).json()
    assert [item["symbol"] for item in named] == ["AAPL"]


async def test_what_nobody_knows_is_an_empty_list(caller: Client) -> None:
    assert (await caller.get("/api/market/search?q=no such company")).json() == []


async def test_as_many_are_told_as_asked(caller: Client) -> None:
    assert len((await caller.get("/api/market/search?q=a")).json()) == 10
    assert len((await caller.get("/api/market/search?q=a&limit=3")).json()) == 3


BAD = (
    ("", "q"),
    ("q=", "q"),
    ("q=%20%20", "q"),
    ("q=a%0Ab", "q"),
    ("q=%1B[31m", "q"),
    ("q=a%E2%80%AEb", "q"),
    ("q=%FF%FE%0D", "q"),
    ("q=" + "a" * 65, "q"),
    ("q=a&limit=0", "limit"),
    ("q=a&limit=51", "limit"),
    ("q=a&limit=x", "limit"),
)


async def test_a_bad_question_is_a_422_that_names_the_field(caller: Client) -> None:
    for query, field in BAD:
        answer = await caller.get(f"/api/market/search?{query}")
        assert answer.status_code == 422, query
        assert {error["field"] for error in answer.json()["errors"]} == {field}, query
        assert "\x1b" not in answer.text


async def test_any_other_text_is_looked_for(caller: Client) -> None:
    for text in ("Ä", "苹果", "%", "_", "*", ".*", "'; --", "A" * 64, "😀"):
        answer = await caller.get("/api/market/search", params={"q": text})
        assert (answer.status_code, answer.json()) == (200, []), text


async def test_the_indices_are_told_as_quotes_of_the_funds_that_stand_for_them(caller: Client) -> None:
    told = (await caller.get("/api/market/indices")).json()
    assert {"SPY", "QQQ", "IWM"} <= {item["symbol"] for item in told}
    assert all(item["proxy"] is True and item["name"] for item in told)
    [quote] = (await caller.get("/api/market/quotes?symbols=SPY")).json()
    [spy] = [item for item in told if item["symbol"] == "SPY"]
    assert set(spy) == {*quote, "name", "proxy"}


async def test_while_the_feed_is_down_it_is_a_503_with_the_reason(make_app: MakeApp) -> None:
    feed = FakeFeed()
    feed.down = "the vendor does not answer"
    caller = await (await make_app(feed=feed)).owner()
    for path in ("/api/market/search?q=a", "/api/market/indices"):
        answer = await caller.get(path)
        assert (answer.status_code, answer.json()["type"]) == (
            503,
            "urn:paiid:problem:market-data-unavailable",
        )
        assert "vendor does not answer" in answer.json()["detail"]
