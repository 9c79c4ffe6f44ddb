"""The simulated Tradier's quotes and listings over REST, and what is said of bad questions."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from paiid.domain.calendar import ExchangeHours
from paiid.sim.engine.books import ListedFeed
from paiid.sim.tradier.markets.late import LateClock
from paiid.sim.tradier.rate import RateLimits
from tests.tradier_markets_world import (
    SEED,
    SetClock,
    eastern,
    in_hand,
    markets,
    simulated_at,
    until,
)

FRIDAY = "2026-10-09"
SHARE_FIELDS = {
    "symbol", "description", "exch", "type", "last", "change", "volume", "open", "high", "low", "close", "bid", "ask",
    "change_percentage", "average_volume", "last_volume", "trade_date", "prevclose", "week_52_high", "week_52_low",
    "bidsize", "bidexch", "bid_date", "asksize", "askexch", "ask_date",
}  # fmt: skip
OPTION_FIELDS = {
    "underlying", "strike", "open_interest", "contract_size", "expiration_date", "expiration_type", "option_type",
    "root_symbol",
}  # fmt: skip


async def test_a_quote_has_the_fields_and_types_of_tradier(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        contract = await world.near_call()
        told = (await world.get("/quotes", symbols=f"SPY,{contract}"))["quotes"]["quote"]
        answer = await world.client.get("/v1/markets/quotes", params={"symbols": "SPY"})
    share, option = told
    assert share.keys() == SHARE_FIELDS | {"root_symbols"}
    assert option.keys() == SHARE_FIELDS | OPTION_FIELDS
    assert (share["type"], share["exch"], share["description"]) == ("etf", "P", "SPDR S&P 500 ETF Trust")
    assert (option["type"], option["underlying"], option["contract_size"]) == ("option", "SPY", 100)
    assert option["description"] == f"SPY Oct 23 2026 ${option['strike']:.2f} Call"
    for one in told:
        for name in ("last", "bid", "ask", "open", "high", "low", "prevclose", "change", "week_52_high"):
            assert isinstance(one[name], Decimal), name
        for name in ("volume", "bidsize", "asksize", "trade_date", "bid_date", "ask_date", "last_volume"):
            assert isinstance(one[name], int), name
        assert one["close"] is None
        assert one["low"] <= one["open"] <= one["high"]
        assert one["bid"] < one["ask"]
        assert one["change"] == one["last"] - one["prevclose"]
        assert 0 <= world.clock.now_us() // 1000 - one["bid_date"] <= 1000
    assert answer.headers["content-type"] == "application/json;charset=UTF-8"


async def test_unknown_symbols_are_named_beside_the_others(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        none = await world.get("/quotes", symbols="ZZZZ")
        some = await world.get("/quotes", symbols="ZZZZ, spy,BRK.B,BRK/B,SPY   261218C00700000,SPY")
    assert none == {"quotes": {"unmatched_symbols": {"symbol": "ZZZZ"}}}
    assert [one["symbol"] for one in some["quotes"]["quote"]] == ["SPY", "BRK/B", "SPY"]
    assert some["quotes"]["unmatched_symbols"] == {"symbol": ["ZZZZ", "BRK.B", "SPY   261218C00700000"]}


async def test_long_lists_are_posted_as_a_form(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        form = {"symbols": "SPY,BRK/B", "greeks": "false"}
        answer = await world.client.post("/v1/markets/quotes", data=form)
        as_json = await world.client.post("/v1/markets/quotes", json=form)
    assert [one["symbol"] for one in answer.json()["quotes"]["quote"]] == ["SPY", "BRK/B"]
    assert as_json.status_code == 400


async def test_greeks_come_with_contracts_only_and_only_if_asked_for(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        contract = await world.near_call()
        assert "greeks" not in await world.quote_of(contract)
        assert (await world.quote_of(contract, greeks="true"))["greeks"][
            "updated_at"
        ] == "2026-10-09 15:00:04"
        assert "greeks" not in await world.quote_of("SPY", greeks="true")


async def test_the_day_of_a_quote_begins_with_nulls_and_stands_with_its_close_until_midnight(
    tmp_path: Path,
) -> None:
    told: dict[str, dict[str, Any]] = {}
    for at in ("08:00", "11:00", "18:00", "23:59"):
        async with simulated_at(tmp_path, eastern(FRIDAY, at)) as world:
            told[at] = await world.quote_of("SPY")
    async with simulated_at(tmp_path, eastern("2026-10-10", "00:01")) as world:
        told["after"] = await world.quote_of("SPY")
    for at in ("08:00", "after"):
        assert [told[at][name] for name in ("open", "high", "low", "close", "change")] == [None] * 5
        assert told[at]["volume"] == 0
    assert told["08:00"]["prevclose"] == told["11:00"]["prevclose"] == told["18:00"]["prevclose"]
    assert told["18:00"]["close"] == told["23:59"]["close"] == told["after"]["prevclose"]
    assert told["18:00"]["volume"] > told["11:00"]["volume"] > 0


async def test_in_the_evening_a_contract_has_its_close_and_no_close_before(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "15:00")) as world:
        contract = await world.near_call()
        day = await world.quote_of(contract)
    async with simulated_at(tmp_path, eastern(FRIDAY, "18:00")) as world:
        evening = await world.quote_of(contract)
    assert (day["close"], evening["prevclose"]) == (None, None)
    assert evening["close"] > 0


async def test_the_figures_of_a_year_come_when_they_are_known(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        first = await world.quote_of("SPY")
        assert (first["week_52_high"], first["week_52_low"], first["average_volume"]) == (0, 0, 0)

        async def known() -> Any:
            told = await world.quote_of("SPY")
            return told if told["week_52_high"] else None

        told = await until(known)
        days = (await world.get("/history", symbol="SPY", start="2025-10-09"))["history"]["day"]
    assert told["week_52_high"] == max(one["high"] for one in days)
    assert told["week_52_low"] == min(one["low"] for one in days)
    assert told["average_volume"] > 0


async def test_a_side_that_there_is_not_is_null_of_a_share_and_a_bid_of_zero_of_a_contract(
    tmp_path: Path,
) -> None:
    call = "AAPL291221C00100000"
    async with in_hand(tmp_path) as world:
        world.show("0.00", "101.00")
        world.show("0.00", "0.05", call)
        share, contract = await world.quote_of("AAPL"), await world.quote_of(call)
    assert [share[name] for name in ("bid", "bidsize", "bidexch", "bid_date", "last")] == [
        None,
        0,
        None,
        0,
        None,
    ]
    assert (share["ask"], share["asksize"]) == (101, 4)
    assert [contract[name] for name in ("bid", "bidsize", "ask", "asksize")] == [0, 0, Decimal("0.05"), 400]


async def test_sizes_of_shares_are_round_lots(tmp_path: Path) -> None:
    async with in_hand(tmp_path) as world:
        for size, lots in ((7, 1), (99, 1), (250, 2), (40_000, 400)):
            world.show("99.00", "101.00", size=size)
            assert (await world.quote_of("AAPL"))["bidsize"] == lots


async def test_a_change_within_one_tick_of_the_market_is_newer(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        before = await world.quote_of("SPY")
        assert (await world.quote_of("SPY"))["bid_date"] == before["bid_date"]
        world.market.pin("SPY", Decimal(10), Decimal(11))
        after = await world.quote_of("SPY")
    assert (after["bid"], after["ask"]) == (10, 11)
    assert after["bid_date"] > before["bid_date"]


async def test_the_quotes_of_a_sandbox_are_those_of_a_quarter_of_an_hour_ago(tmp_path: Path) -> None:
    at_us = eastern(FRIDAY, "11:00")
    clock, hours = SetClock(at_us), ExchangeHours()
    delayed = ListedFeed(LateClock(clock), hours, SEED)
    async with simulated_at(tmp_path, eastern(FRIDAY, "10:45")) as world:
        before = await world.quote_of("SPY")
    async with markets(
        ListedFeed(clock, hours, SEED), tmp_path, clock, hours, sandbox=True, delayed=delayed
    ) as sandbox:
        late = await sandbox.quote_of("SPY")
    assert (late["bid"], late["ask"], late["last"], late["bid_date"]) == (
        before["bid"], before["ask"], before["last"], before["bid_date"]
    )  # fmt: skip


async def test_without_the_header_the_answer_is_xml_and_nothing_is_the_text_null_where_wished(
    tmp_path: Path,
) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00"), null_text=True) as world:
        xml = await world.client.get(
            "/v1/markets/quotes", params={"symbols": "SPY"}, headers={"Accept": "*/*"}
        )
        assert xml.text.startswith(
            '<?xml version="1.0" encoding="UTF-8"?>\n<quotes><quote><symbol>SPY</symbol>'
        )
        assert await world.get("/search", q="nobody") == {"securities": "null"}


async def test_every_answer_tells_the_bucket_of_market_data(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00"), limits=RateLimits(10, 2, 10)) as world:
        first = await world.client.get("/v1/markets/clock")
        await world.client.post("/v1/markets/events/session")
        third = await world.client.get("/v1/markets/clock")
    assert (first.headers["X-Ratelimit-Allowed"], first.headers["X-Ratelimit-Available"]) == ("2", "1")
    assert third.status_code == 429


# -- listings ---------------------------------------------------------------------------------------


async def test_listings_are_searched_by_name_and_looked_up_by_symbol(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        found = (await world.get("/search", q="berk", indexes="true"))["securities"]["security"]
        both = (await world.get("/lookup", q="goog", exchanges="Q,N", types="stock"))["securities"][
            "security"
        ]
        funds = (await world.get("/lookup", types="etf", exchanges="P"))["securities"]["security"]
        none = await world.get("/lookup", q="goog", types="etf")
        elsewhere = await world.get("/lookup", q="goog", exchanges="N,P")
        lendable = (await world.get("/etb"))["securities"]["security"]
    assert found == {
        "symbol": "BRK/B", "exchange": "Q", "type": "stock", "description": "Berkshire Hathaway Class B"
    }  # fmt: skip
    assert {one["symbol"] for one in both} == {"GOOG", "GOOGL"}
    assert {one["symbol"] for one in funds} == {"SPY", "QQQ", "DIA", "IWM", "TLT"}
    assert none == elsewhere == {"securities": None}
    assert len(lendable) > 30


# -- bad questions ----------------------------------------------------------------------------------

BAD = [
    ("/quotes", {}, "symbols: is required."),
    ("/quotes", {"symbols": " , "}, "symbols: is required."),
    ("/quotes", {"symbols": "SPY", "greeks": "maybe"}, "greeks: is not valid."),
    ("/options/chains", {"expiration": "2026-12-18"}, "symbol: is required."),
    ("/options/chains", {"symbol": "SPY"}, "expiration: is required."),
    ("/options/chains", {"symbol": "SPY", "expiration": "18.12.2026"}, "expiration: is not valid."),
    ("/options/strikes", {"symbol": "SPY", "expiration": "2026-02-30"}, "expiration: is not valid."),
    ("/options/expirations", {}, "symbol: is required."),
    ("/options/expirations", {"symbol": "SPY", "strikes": "2"}, "strikes: is not valid."),
    ("/options/lookup", {}, "underlying: is required."),
    ("/history", {}, "symbol: is required."),
    ("/history", {"symbol": "SPY", "interval": "hourly"}, "interval: is not valid."),
    (
        "/history",
        {"symbol": "SPY", "start": "2026-10-09", "end": "2026-10-08"},
        "end: must be on or after start.",
    ),
    ("/history", {"symbol": "SPY", "start": "0000-01-01"}, "start: is not valid."),
    ("/timesales", {"symbol": "SPY", "interval": "2min"}, "interval: is not valid."),
    ("/timesales", {"symbol": "SPY", "start": "2026-10-09T10:00"}, "start: is not valid."),
    ("/timesales", {"symbol": "SPY", "session_filter": "night"}, "session_filter: is not valid."),
    ("/calendar", {"month": "13"}, "month: is not valid."),
    ("/calendar", {"year": "1900"}, "year: is not valid."),
    ("/clock", {"delayed": "perhaps"}, "delayed: is not valid."),
    ("/search", {}, "q: is required."),
    ("/lookup", {"types": "bond"}, "types: is not valid."),
]


async def test_what_is_wrong_with_a_question_is_told_in_plain_text(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        for path, asked, text in BAD:
            assert await world.refused(path, **asked) == f"Invalid parameter, {text}", (path, asked)


async def test_a_question_of_any_bytes_gets_an_answer(tmp_path: Path) -> None:
    odd = ["", "\x00", "é" * 30, "A" * 5000, "null", "NaN", "../..", "9" * 40, "٣", "SPY\n"]
    paths = (
        "/quotes",
        "/options/chains",
        "/options/lookup",
        "/history",
        "/timesales",
        "/calendar",
        "/lookup",
        "/search",
    )
    names = (
        "symbols",
        "symbol",
        "underlying",
        "expiration",
        "start",
        "end",
        "month",
        "year",
        "q",
        "interval",
    )
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        for text in odd:
            for path in paths:
                answer = await world.client.get(f"/v1/markets{path}", params=dict.fromkeys(names, text))
                assert answer.status_code in (200, 400), (path, text, answer.text)
        for path in paths:
            assert (
                await world.client.get(f"/v1/markets{path}", headers={"Authorization": ""})
            ).status_code == 401
        assert json.loads((await world.client.get("/v1/markets/clock")).text)["clock"]["state"] == "open"
