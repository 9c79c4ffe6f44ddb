"""GET /api/options/…: chains and expirations as a caller gets them, and what a bad question is told."""

import json
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
import zstandard

from paiid.core.clock import SystemClock
from paiid.domain.corporate import CorporateAction
from paiid.domain.option_chain import VendorGreeks
from paiid.options import answers
from paiid.options.asked import MOST_EXPIRATIONS, MOST_ROWS
from tests.conftest import MakeApp
from tests.options_world import ChainFeed, chain, months_ahead, row
from tests.world import App, Client


def soon_us() -> int:
    """The instant of quotes that stay fresh while a test runs, however late in the run it begins."""
    return SystemClock().now_us() + 120_000_000


DAYS = months_ahead(date.today(), 3)  # noqa: DTZ011 - which days is all the same
VENDOR = VendorGreeks(0.31, 0.52, 0.011, -0.02, 0.1, 0.05)


@pytest.fixture
def db_url(sqlite_url: str) -> str:
    """Nothing here depends on the kind of database."""
    return sqlite_url


async def world(make_app: MakeApp, **settings: Any) -> tuple[App, Client, ChainFeed]:
    """A chain of three expirations with a vendor's Greeks on one of them."""
    at_us = soon_us()
    feed = ChainFeed(chain(DAYS, at_us=at_us, vendor=None), at_us=at_us)
    feed.rows[0] = row(70, DAYS[0], "call", "0", "31", at_us=at_us, vendor=VENDOR)
    feed.rows[1] = row(70, DAYS[0], "put", at_us=at_us, vendor=VENDOR, bid="1.10", ask="1.12")
    feed.rows.append(row(70, DAYS[0], "call", "9", "9.1", at_us=at_us, root="ACME1", size=None))
    feed.rows.append(row(500, DAYS[2], "call", quoted=False))
    app = await make_app({"risk_free_rate": 1.0, **settings}, feed=feed)
    return app, await app.owner(), feed


async def ask(client: Client, query: str = "", symbol: str = "ACME", **headers: str) -> dict[str, Any]:
    answer = await client.get(f"/api/options/chains/{symbol}{query}", headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = json.loads(answer.content, parse_float=Decimal, parse_constant=pytest.fail)
    return found


def contracts(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [*found["calls"], *found["puts"]]


async def test_a_chain_says_where_each_number_comes_from(make_app: MakeApp) -> None:
    _, owner, feed = await world(make_app)
    feed.announced = [CorporateAction("ACME", DAYS[2] - timedelta(days=3), "dividend", Decimal("0.25"))]
    found = await ask(owner)
    assert (found["symbol"], found["source"], found["stale"], found["next"]) == ("ACME", "hand", False, None)
    assert found["expirations"] == [day.isoformat() for day in DAYS]
    assert (found["expiration_date"], found["underlying_price"]) == (None, 100)
    assert found["total_contracts"] == len(found["calls"]) + len(found["puts"]) == len(feed.rows)
    by_symbol = {one["symbol"]: one for one in contracts(found)}
    plain = by_symbol[row(100, DAYS[0]).contract.symbol]
    assert set(plain) >= {
        "symbol", "option_type", "strike_price", "expiration_date", "bid", "ask", "last_price", "volume", "open_interest",
        "implied_volatility", "delta", "gamma", "theta", "vega", "rho", "greeks_source", "quality", "style", "size", "root",
        "adjusted", "mid", "vendor",
    }  # fmt: skip
    assert (plain["greeks_source"], plain["quality"], plain["vendor"]) == ("computed", [], None)
    assert abs(plain["implied_volatility"] - Decimal("0.3")) < Decimal("0.01")
    assert (plain["volume"], plain["open_interest"], plain["bid_size"], plain["ask_size"]) == (7, 70, 10, 20)
    assert (plain["style"], plain["size"], plain["root"], plain["adjusted"]) == (
        "american",
        100,
        "ACME",
        False,
    )
    both = by_symbol[row(70, DAYS[0], "put").contract.symbol]
    assert both["greeks_source"] == "computed"
    assert both["delta"] != both["vendor"]["delta"] == Decimal("0.52")
    one_sided = by_symbol[row(70, DAYS[0]).contract.symbol]
    assert (one_sided["bid"], one_sided["quality"]) == (None, ["no_bid"])
    assert (one_sided["greeks_source"], one_sided["delta"]) == ("hand", Decimal("0.52"))
    adjusted = by_symbol[row(70, DAYS[0], root="ACME1").contract.symbol]
    assert (adjusted["adjusted"], adjusted["size"], adjusted["quality"]) == (True, None, ["adjusted"])
    assert (adjusted["delta"], adjusted["greeks_source"]) == (None, None)
    silent = by_symbol[row(500, DAYS[2]).contract.symbol]
    assert (silent["bid"], silent["mid"], silent["as_of"], silent["stale"]) == (None, None, None, True)
    assumed = found["assumptions"]
    assert (assumed["style"], assumed["accuracy"], assumed["spot"], assumed["spot_source"]) == (
        "american",
        "fast",
        100,
        "mid",
    )
    assert assumed["dividends"] == {
        "source": "announced",
        "payments": [{"ex_date": feed.announced[0].ex_date.isoformat(), "amount": Decimal("0.25")}],
    }
    for terms in assumed["expirations"]:
        assert (terms["rate"], terms["rate_source"]) == (Decimal("0.01"), "setting")
        assert terms["dividend_yield_source"] == "parity"
    assert found["quality_counts"]["no_quote"] == 1
    assert found["quality_counts"]["adjusted"] == 1


async def test_filters_take_what_they_say_and_nothing_else(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A chain is asked for anew once a second, which a slow machine would count as another question.
    monkeypatch.setattr("paiid.options.chains.FRESH_S", 600.0)
    _, owner, feed = await world(make_app)
    everything = contracts(await ask(owner))
    first, second, third = (day.isoformat() for day in DAYS)
    for query, fits in (
        (f"?expiration={second}", lambda one: one["expiration_date"] == second),
        (f"?expiration={third},{first}", lambda one: one["expiration_date"] != second),
        (f"?from={second}", lambda one: one["expiration_date"] >= second),
        (f"?from={second}&to={second}", lambda one: one["expiration_date"] == second),
        ("?strike_min=95&strike_max=105", lambda one: 95 <= one["strike_price"] <= 105),
        ("?strikes=1", lambda one: one["strike_price"] in (95, 100)),
        ("?type=put", lambda one: one["option_type"] == "put"),
        ("?moneyness=atm", lambda one: one["strike_price"] == 100),
        ("?moneyness=itm", lambda one: (one["strike_price"] < 100) if one["option_type"] == "call" else (one["strike_price"] > 100)),
        ("?moneyness=otm", lambda one: (one["strike_price"] >= 100) if one["option_type"] == "call" else (one["strike_price"] <= 100)),
        ("?delta_min=0.2&delta_max=0.4", lambda one: one["delta"] is not None and Decimal("0.2") <= abs(one["delta"]) <= Decimal("0.4")),
        (f"?type=call&strikes=2&to={first}&delta_min=0.5", lambda one: one["option_type"] == "call" and one["strike_price"] in (90, 95, 100, 105)
            and one["expiration_date"] == first and one["delta"] is not None and one["delta"] >= Decimal("0.5")),
    ):  # fmt: skip
        found = await ask(owner, query)
        expected = [one["symbol"] for one in everything if fits(one)]
        assert [one["symbol"] for one in contracts(found)] == expected, query
        assert found["total_contracts"] == len(expected) > 0, query
    assert len(feed.asked) <= 2, "one chain answers all of them"
    nothing = await ask(owner, "?strike_min=1000")
    assert (contracts(nothing), nothing["reason"]) == ([], "No contract meets all conditions.")
    between = await ask(owner, f"?from={DAYS[0] + timedelta(days=1)}&to={DAYS[1] - timedelta(days=1)}")
    assert (contracts(between), between["total_contracts"]) == ([], 0)
    assert "No expiration lies between" in between["reason"]


async def test_pages_lead_from_one_to_the_next_and_miss_nothing(make_app: MakeApp) -> None:
    _, owner, _ = await world(make_app)
    whole = {one["symbol"] for one in contracts(await ask(owner, "?type=call"))}
    seen: list[str] = []
    after, pages = "", 0
    while True:
        found = await ask(owner, f"?type=call&limit=7{after}")
        pages += 1
        seen += [one["symbol"] for one in found["calls"]]
        assert found["total_contracts"] == len(whole)
        if found["next"] is None:
            break
        assert len(found["calls"]) == 7
        after = f"&after={found['next']}"
    assert pages == -(-len(whole) // 7)
    assert (len(seen), set(seen)) == (len(whole), whole)
    gone = (await ask(owner, f"?limit=3&after={row(72.5, DAYS[0]).contract.symbol}"))["calls"]
    assert gone[0]["strike_price"] == 75, "a cursor that is listed no more still has its place"


async def test_bad_questions_are_one_clear_422_each(make_app: MakeApp) -> None:
    _, owner, _ = await world(make_app)
    day = DAYS[0].isoformat()
    many = ",".join((DAYS[0] + timedelta(days=number)).isoformat() for number in range(MOST_EXPIRATIONS + 1))
    for query, field, code in (
        ("?expiration=2026-13-01", "expiration", "date"),
        ("?expiration=tomorrow", "expiration", "date"),
        ("?expiration=", "expiration", "date"),
        (f"?expiration={day},", "expiration", "date"),
        ("?expiration=20261218", "expiration", "date"),
        (f"?expiration={day.replace('-', '−')}", "expiration", "date"),
        (f"?expiration={many}", "expiration", "too_many"),
        ("?expiration=" + "2" * 601, "expiration", "string_too_long"),
        ("?expiration=2020-01-17", "expiration", "past_expiration"),
        (f"?expiration={DAYS[0] + timedelta(days=1)}", "expiration", "unknown_expiration"),
        (f"?expiration={day}&expiration={day}", "expiration", "doubled"),
        ("?from=x", "from", "date"),
        ("?to=2026-02-30", "to", "date"),
        ("?from=2027-01-02&to=2027-01-01", "to", "range"),
        ("?strike_min=-1", "strike_min", "greater_than_equal"),
        ("?strike_min=nan", "strike_min", "finite_number"),
        ("?strike_max=inf", "strike_max", "finite_number"),
        ("?strike_max=100001", "strike_max", "less_than_equal"),
        ("?strike_min=2&strike_max=1", "strike_max", "range"),
        ("?strikes=0", "strikes", "greater_than_equal"),
        ("?strikes=501", "strikes", "less_than_equal"),
        ("?type=straddle", "type", "literal_error"),
        ("?moneyness=deep", "moneyness", "literal_error"),
        ("?delta_min=1.1", "delta_min", "less_than_equal"),
        ("?delta_min=0.5&delta_max=0.4", "delta_max", "range"),
        ("?accuracy=exact", "accuracy", "literal_error"),
        ("?limit=0", "limit", "greater_than_equal"),
        (f"?limit={MOST_ROWS + 1}", "limit", "less_than_equal"),
        ("?after=ACME", "after", "cursor"),
        ("?after=" + "A" * 25, "after", "string_too_long"),
    ):
        answer = await owner.get(f"/api/options/chains/ACME{query}")
        assert answer.status_code == 422, (query, answer.text)
        (error, *_) = answer.json()["errors"]
        assert (error["field"], error["code"]) == (field, code), query
    for symbol, status in (("NOPE", 404), ("A1", 422), ("ÄCME", 422), ("TOOLONG", 422)):
        for route in ("chains", "chain", "expirations"):
            assert (await owner.get(f"/api/options/{route}/{symbol}")).status_code == status, (route, symbol)


async def test_a_ticker_without_options_is_explained(make_app: MakeApp) -> None:
    _, owner, _ = await world(make_app)
    assert (await owner.get("/api/options/expirations/BARE")).json() == []
    found = await ask(owner, symbol="BARE")
    assert (found["calls"], found["puts"], found["total_contracts"]) == ([], [], 0)
    assert found["reason"] == "BARE is known, but no options are listed on it."
    dated = await ask(owner, f"?expiration={DAYS[0]}", symbol="BARE")
    assert dated["reason"] == found["reason"]


async def test_expirations_tell_strikes_and_kind_from_one_round_of_calls(make_app: MakeApp) -> None:
    _, owner, feed = await world(make_app)
    answer = await owner.get("/api/options/expirations/ACME")
    today = date.today()  # noqa: DTZ011 - at midnight both days will do
    listed = answer.json()
    assert [one["date"] for one in listed] == [day.isoformat() for day in DAYS]
    for one, day, strikes in zip(listed, DAYS, (13, 13, 14), strict=True):
        assert abs(one["days_to_expiry"] - (day - today).days) <= 1
        assert (one["strikes"], one["source"]) == (strikes, "hand")
        assert one["kind"] in ("weekly", "monthly", "quarterly")
    feed.down = "no line"
    again = await owner.get("/api/options/expirations/ACME")
    assert again.content == answer.content, "remembered for some minutes"
    assert (await owner.get("/api/options/expirations/BARE")).status_code == 503


async def test_while_nothing_changes_the_answer_is_304_in_each_coding(make_app: MakeApp) -> None:
    _, owner, feed = await world(make_app)
    tags = {}
    for accepted, coding in (("identity", None), ("gzip", "gzip"), ("gzip, zstd", "zstd")):
        answer = await owner.get("/api/options/chains/ACME", headers={"Accept-Encoding": accepted})
        assert answer.headers.get("content-encoding") == coding
        assert answer.headers["vary"] == "Accept-Encoding"
        tags[accepted] = answer.headers["etag"]
        known = {"Accept-Encoding": accepted, "If-None-Match": answer.headers["etag"]}
        same = await owner.get("/api/options/chains/ACME", headers=known)
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", answer.headers["etag"])
        assert same.headers["vary"] == "Accept-Encoding"
    assert len(set(tags.values())) == 3, "a coding has a tag of its own"
    feed.rows[5] = row(80, DAYS[0], "put", "1.00", "1.10", at_us=soon_us())
    other = await owner.get("/api/options/chains/ACME?type=put", headers={"If-None-Match": tags["identity"]})
    assert other.status_code == 200


async def test_every_coding_is_the_same_chain(make_app: MakeApp) -> None:
    app, owner, _ = await world(make_app)
    token = {"Authorization": f"Bearer {owner.token}"}
    bodies = []
    for accepted in ("identity", "gzip", "zstd"):
        async with app.http.stream(
            "GET", "/api/options/chains/ACME", headers=token | {"Accept-Encoding": accepted}
        ) as answer:
            raw = b"".join([part async for part in answer.aiter_raw()])
        assert int(answer.headers["content-length"]) == len(raw)
        if accepted == "zstd":
            raw = zstandard.ZstdDecompressor().decompress(raw)
        elif accepted == "gzip":
            import gzip

            raw = gzip.decompress(raw)
        bodies.append(raw)
    assert bodies[0] == bodies[1] == bodies[2]


async def test_where_the_source_is_silent_it_is_the_last_chain_with_its_age_or_503(make_app: MakeApp) -> None:
    app, owner, feed = await world(make_app)
    first = DAYS[0].isoformat()
    feed.down = "no line"
    answer = await owner.get("/api/options/chains/ACME")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:paiid:problem:market-data-unavailable")
    feed.down = None
    fresh = await ask(owner)
    feed.down = "no line"
    chains = app.state.options.chains
    chains._kept = type(chains._kept)(
        {key: type(one)(one.chain, one.told, one.checked_s - 60) for key, one in chains._kept.items()}
    )
    late = await ask(owner, f"?expiration={first}")
    assert late["stale"] is True
    assert late["age_s"] >= 0
    assert {one["stale"] for one in contracts(late)} == {True}
    expected = [one["delta"] for one in contracts(fresh) if one["expiration_date"] == first]
    assert [one["delta"] for one in contracts(late)] == expected


async def test_a_viewer_may_read_and_a_stranger_may_not(make_app: MakeApp) -> None:
    app, _, _ = await world(make_app)
    viewer = await app.user("viewer")
    for route in ("expirations/ACME", "chains/ACME", "chain/ACME"):
        assert (await viewer.get(f"/api/options/{route}")).status_code == 200
        assert (await app.anonymous.get(f"/api/options/{route}")).status_code == 401


async def test_what_is_kept_is_bounded_by_bytes(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    app, owner, _ = await world(make_app)
    kept = app.state.options.answers
    monkeypatch.setattr(kept, "_most_bytes", 60_000)
    for number in range(70, 100):
        for accepted in ("identity", "gzip", "zstd"):
            answer = await owner.get(
                f"/api/options/chains/ACME?strike_min={number}", headers={"Accept-Encoding": accepted}
            )
            assert answer.status_code == 200
            assert kept.bytes_kept <= 60_000
    assert kept.bytes_kept == sum(one.size() for one in kept._kept.values())
    assert answers.MOST_BYTES <= 64 * 1024 * 1024


async def test_the_api_description_tells_every_field_of_a_contract(app: App) -> None:
    described = (await (await app.owner()).get("/api/openapi.json")).json()["paths"]
    operation = described["/api/options/chains/{symbol}"]["get"]
    assert {one["name"] for one in operation["parameters"]} == {
        "symbol", "expiration", "from", "to", "strike_min", "strike_max", "strikes", "type", "moneyness", "delta_min", "delta_max",
        "accuracy", "limit", "after",
    }  # fmt: skip
    assert all(one.get("description") for one in operation["parameters"])
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert {"iv_uncertainty", "vendor", "quality"} <= set(
        schema["properties"]["calls"]["items"]["properties"]
    )
    assert "$ref" not in json.dumps(schema)
