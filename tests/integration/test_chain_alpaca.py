"""Alpaca's option chains over a scripted server: what is asked, how the two answers become one, and what no answer may cost."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from paiid.domain.option_chain import ChainRow, VendorGreeks
from paiid.feeds import FeedUnavailable
from paiid.feeds.alpaca import book, chain
from tests.alpaca_data_stage import AlpacaDataStage, alpaca_data_stage, contract_row
from tests.alpaca_data_wire import ACTIONS, CONTRACTS, Number, answer_with, snapshot
from tests.alpaca_wire import Answer, Asked, told
from tests.market_world import utc_us

DECEMBER, JANUARY = date(2026, 12, 18), date(2027, 1, 15)
CALL, PUT = "SPY261218C00700000", "SPY261218P00700000"
ADJUSTED, LATER = "SPY1261218C00700000", "SPY270115C00650000"
CHAIN = "/v1beta1/options/snapshots/SPY"
GREEKS = {"delta": 0.312, "gamma": 0.0081, "theta": -0.0412, "vega": 1.0321, "rho": 0.6012}


@pytest.fixture
async def stage() -> AsyncIterator[AlpacaDataStage]:
    async with alpaca_data_stage() as one:
        yield one


def lists(stage: AlpacaDataStage, *rows: dict[str, Any]) -> None:
    """These contracts are listed."""
    stage.wire.say(
        "GET", CONTRACTS, answer_with(200, {"option_contracts": list(rows), "next_page_token": None})
    )


def page(snapshots: Any, token: Any = None) -> Answer:
    return answer_with(200, {"snapshots": snapshots, "next_page_token": token})


def tells(stage: AlpacaDataStage, *pages: Answer) -> None:
    """These are the pages of the chain; the last one is told again and again."""
    stage.wire.say("GET", CHAIN, *pages)


async def fetched(stage: AlpacaDataStage, first: date = DECEMBER, last: date = JANUARY) -> list[ChainRow]:
    return list(await stage.feed.fetch_chain("SPY", first, last))


def shown(stage: AlpacaDataStage, bid: Any = 4.05, ask: Any = 4.15, **more: Any) -> dict[str, Any]:
    """A snapshot of this moment, without bars unless they are told."""
    of_now = snapshot(bid, ask, 4.1, stage.clock.now_us())
    return {name: one for name, one in of_now.items() if "ailyBar" not in name} | more


async def test_a_chain_is_the_list_of_contracts_and_the_pages_of_snapshots_put_together(
    stage: AlpacaDataStage,
) -> None:
    lists(
        stage,
        contract_row(LATER, open_interest="12", open_interest_date="2026-11-24"),
        contract_row(ADJUSTED, size="150", deliverables=[{"type": "cash", "amount": "1"}, None, 7]),
        contract_row(PUT, open_interest=None),
        contract_row(CALL, open_interest="5121", open_interest_date="2026-11-24"),
    )
    bar = {"c": 4.1, "h": 4.2, "l": 3.9, "n": 5, "o": 4.0, "v": 12, "vw": 4.05, "t": "2026-11-25T05:00:00Z"}
    tells(
        stage,
        page({LATER: shown(stage), CALL: shown(stage, greeks=GREEKS, impliedVolatility=0.1432, dailyBar=bar)}, "x"),
        page({ADJUSTED: shown(stage, 5, 6), "SPY261218C00705000": shown(stage)}),
    )  # fmt: skip
    rows = await fetched(stage)
    assert [row.contract.symbol for row in rows] == [CALL, ADJUSTED, PUT, "SPY261218C00705000", LATER]
    call, adjusted, put, new, later = rows
    assert call.quote is not None
    assert (call.quote.bid, call.quote.ask, call.quote.last) == (
        Decimal("4.05"), Decimal("4.15"), Decimal("4.1"),
    )  # fmt: skip
    assert call.quote.confirmed_us <= stage.clock.now_us()
    assert call.quote.prev_close == 0, "the only daily bar is of a day that is not over"
    assert (call.volume, call.open_interest, call.open_interest_day) == (12, 5121, date(2026, 11, 24))
    assert call.vendor == VendorGreeks(0.1432, 0.312, 0.0081, -0.0412, 1.0321, 0.6012)
    assert (call.size, later.size, new.size, adjusted.size) == (100, 100, 100, None)
    assert (put.quote, put.volume, put.open_interest, put.vendor) == (None, None, None, None)
    assert (new.open_interest, new.open_interest_day) == (None, None)
    first, second = (one.query for one in stage.wire.requests("GET", CHAIN))
    assert first == {
        "limit": "1000",
        "expiration_date_gte": "2026-12-18",
        "expiration_date_lte": "2027-01-15",
    }
    assert second == first | {"page_token": "x"}
    standard = await stage.feed.fetch_contracts("SPY", DECEMBER)
    assert [one.symbol for one in standard] == [CALL, PUT], "the adjusted one is told, and nothing to trade"
    await fetched(stage, JANUARY, JANUARY)
    assert stage.wire.requests("GET", CHAIN)[-1].query["expiration_date_gte"] == "2027-01-15"
    assert len(stage.wire.requests("GET", CONTRACTS)) == 1, "the list is remembered"


async def test_no_word_about_one_contract_costs_another_or_is_more_than_nothing(
    stage: AlpacaDataStage,
) -> None:
    odd = {
        "bid as text": shown(stage, "NaN", 4), "ask as text": shown(stage, 4, "nan"), "negative": shown(stage, -1, -2),
        "huge": shown(stage, Number("1e999"), 4), "a list": [1], "a number": 7, "nothing": None, "empty": {},
        "no quote": shown(stage) | {"latestQuote": None}, "no instant": shown(stage) | {"latestQuote": {"bp": 1, "ap": 2}},
        "greeks": shown(stage, greeks={"delta": "NaN", "gamma": None, "theta": [], "vega": Number("1e999"), "rho": True}),
        "no greeks": shown(stage, greeks="none", impliedVolatility="NaN"),
        "volatility": shown(stage, impliedVolatility=-0.2), "no volatility": shown(stage, impliedVolatility=0),
        "volume": shown(stage, dailyBar={"c": 1, "v": "x", "t": "2026-11-25T05:00:00Z"}),
        "half a contract": shown(stage, dailyBar={"c": 1, "v": 1.5, "t": "2026-11-25T05:00:00Z"}),
        "yesterday": shown(stage, dailyBar={"c": 1, "v": 9, "t": "2026-11-24T05:00:00Z"}),
        "new": shown(stage, somethingNew={"a": [1]}),
    }  # fmt: skip
    symbols = {name: f"SPY261218C{600_000 + 1000 * n:08d}" for n, name in enumerate(odd)}
    lists(stage, contract_row(CALL), *(contract_row(one) for one in symbols.values()))
    strangers = {
        "nonsense": shown(stage),
        "QQQ261218C00700000": shown(stage),
        "SPY281215C00700000": shown(stage),
    }
    tells(
        stage,
        page({**strangers, **{symbols[name]: one for name, one in odd.items()}, CALL: shown(stage, 5, 3)}),
    )
    rows = {row.contract.symbol: row for row in await fetched(stage)}
    assert set(rows) == {CALL, *symbols.values()}
    crossed = rows[CALL].quote
    assert crossed is not None
    assert (crossed.bid, crossed.ask) == (5, 3), "as it is told"
    by_name = {name: rows[symbol] for name, symbol in symbols.items()}
    for name in ("a list", "a number", "nothing", "empty"):
        assert by_name[name].quote is None, name
    for name in ("bid as text", "ask as text", "negative", "huge", "no quote", "no instant"):
        quote = by_name[name].quote
        assert quote is not None
        assert (quote.bid, quote.ask, quote.last) == (0, 0, Decimal("4.1")), name
    for name, row in by_name.items():
        assert row.vendor is None, name
        assert row.volume is None, name


async def test_zero_sides_are_none_and_what_is_told_of_the_greeks_is_kept_alone(
    stage: AlpacaDataStage,
) -> None:
    lists(stage, contract_row(CALL), contract_row(PUT))
    tells(
        stage, page({CALL: shown(stage, 0, 0.05, greeks={"delta": -2.5, "odd": 1}), PUT: shown(stage, 0, 0)})
    )
    call, put = await fetched(stage)
    assert call.quote is not None
    assert put.quote is not None
    assert (call.quote.bid, call.quote.ask, put.quote.bid, put.quote.ask) == (0, Decimal("0.05"), 0, 0)
    assert call.vendor == VendorGreeks(None, -2.5, None, None, None, None), "passed on, not judged"


async def test_volume_is_of_the_last_session_that_has_begun(stage: AlpacaDataStage) -> None:
    lists(stage, contract_row(CALL))
    bars = {"25": 7, "27": 8}
    for now, day, volume in (
        ("2026-11-25 15:00", "25", 7),
        ("2026-11-26 15:00", "25", 7),  # Thanksgiving
        ("2026-11-27 14:00", "25", 7),
        ("2026-11-27 14:31", "25", None),
        ("2026-11-27 15:00", "27", 8),
    ):
        stage.clock.advance((utc_us(now) - stage.clock.now_us()) / 1e6)
        bar = {"c": 1, "v": bars[day], "t": f"2026-11-{day}T05:00:00Z"}
        tells(stage, page({CALL: shown(stage, dailyBar=bar)}))
        [row] = await fetched(stage)
        assert row.volume == volume, now


async def test_half_a_chain_is_none_and_pages_without_end_are_ended(stage: AlpacaDataStage) -> None:
    lists(stage, contract_row(CALL), contract_row(LATER))
    full = page({CALL: shown(stage), LATER: shown(stage)}, "next")
    wrong: dict[str, tuple[Answer, ...]] = {
        "a page that fails": (full, told(500, "no")),
        "a page that is refused": (full, answer_with(422, {"message": "no"})),
        "a page without rows": (full, answer_with(200, {"next_page_token": None})),
        "a page of another form": (full, page([1])),
        "a page that is no json": (full, told(200, "<html>")),
        "the same token": (full,),
        "tokens in a ring": (full, page({}, "b"), page({}, "c"), page({}, "next")),
        "a token that is none": (page({}, {"a": 1}),),
    }
    for name, pages in wrong.items():
        before = len(stage.wire.requests("GET", CHAIN))
        tells(stage, *pages)
        with pytest.raises(FeedUnavailable):
            await fetched(stage)
        asked = len(stage.wire.requests("GET", CHAIN)) - before
        assert asked == (4 if "ring" in name else 1 if "is none" in name else 2), name
    tells(stage, full, page({}, ""))
    assert len(await fetched(stage)) == 2, "an empty token is the end"


async def test_tokens_that_never_repeat_end_too(
    stage: AlpacaDataStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "MOST_PAGES", 5)
    lists(stage, contract_row(CALL))

    async def another(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await page({}, f"{asked.query.get('page_token', '')}x")(asked, writer)

    tells(stage, another)
    with pytest.raises(FeedUnavailable, match="end"):
        await fetched(stage)
    assert len(stage.wire.requests("GET", CHAIN)) == 5


async def test_a_chain_that_the_budget_cannot_pay_is_not_begun(
    stage: AlpacaDataStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "PAGE", 1)
    lists(stage, contract_row(CALL), contract_row(PUT), contract_row(LATER))
    left = {"x_ratelimit_limit": "200", "x_ratelimit_remaining": str(chain.QUOTES_RESERVE + 3)}
    tells(stage, answer_with(200, {"snapshots": {}, "next_page_token": None}, **left))
    assert len(await fetched(stage)) == 3
    assert len(await fetched(stage)) == 3, "three are left"
    before = len(stage.wire.requests("GET", CHAIN))
    with pytest.raises(FeedUnavailable, match=r"takes 3 .* 2 are left"):
        await fetched(stage)
    assert len(stage.wire.requests("GET", CHAIN)) == before
    assert await stage.feed.fetch_quotes(["SPY"]), "quotes have their part"
    monkeypatch.setattr(chain, "MOST_PAGES", 2)
    with pytest.raises(FeedUnavailable, match="too long"):
        await fetched(stage)


async def test_a_chain_drives_nothing_out_of_what_is_remembered_of_quotes(
    stage: AlpacaDataStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "MOST_REMEMBERED", 4)
    known = await stage.feed.fetch_quotes(["SPY"])
    symbols = [f"SPY261218C{600_000 + 1000 * n:08d}" for n in range(600)]
    lists(stage, *(contract_row(one) for one in symbols))
    tells(stage, page({one: shown(stage) for one in symbols}))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    rows = await fetched(stage)
    task.cancel()
    assert sum(row.quote is not None for row in rows) == 600
    assert turns > 3
    assert stage.feed._book.find("SPY") == known["SPY"]


async def test_nothing_listed_is_an_empty_chain_and_costs_no_snapshot(stage: AlpacaDataStage) -> None:
    lists(stage, contract_row(CALL))
    assert await fetched(stage, JANUARY, JANUARY) == []
    assert await fetched(stage, date(2020, 1, 1), date(2026, 11, 24)) == []
    assert list(await stage.feed.fetch_chain("spy", date.min, date.max)) == []
    assert list(await stage.feed.fetch_chain(CALL, date.min, date.max)) == []
    assert stage.wire.requests("GET", CHAIN) == []


async def test_announced_dividends_are_asked_for_in_stretches_and_told_by_ex_date(
    stage: AlpacaDataStage,
) -> None:
    def row(ex_date: Any, rate: Any = 0.26, **more: Any) -> dict[str, Any]:
        return {"symbol": "SPY", "rate": rate, "special": False, "ex_date": ex_date, **more}

    good = [row("2027-02-10"), row("2026-12-20", 1.5, special=True), row("2026-12-20"), row("2026-12-20")]
    bad = [
        row("2026-11-30"), row("2027-12-31"), row("2027-02-11", symbol="QQQ"), row(None), row("2027-02-30"), row("2027-01-04", "NaN"),
        row("2027-01-04", -1), row("2027-01-04", 0), row("2027-01-04", 1e-9), None, 7,
    ]  # fmt: skip
    said = {"cash_dividends": [*good, *bad], "forward_splits": [{"symbol": "SPY", "ex_date": "2027-01-04"}]}
    stage.wire.say("GET", ACTIONS, answer_with(200, {"corporate_actions": said, "next_page_token": None}))
    found = await stage.feed.fetch_dividends("SPY", date(2026, 12, 1), date(2029, 12, 1))
    assert [(str(one.ex_date), one.amount, one.description.split()[0]) for one in found] == [
        ("2026-12-20", Decimal("1.5"), "special"),
        ("2026-12-20", Decimal("0.26"), "cash"),
        ("2027-02-10", Decimal("0.26"), "cash"),
    ]
    asked = [one.query for one in stage.wire.requests("GET", ACTIONS)]
    assert [(one["start"], one["end"]) for one in asked] == [
        ("2026-11-21", "2027-11-16"),
        ("2027-07-10", "2028-03-29"),
    ], "a year ahead and no further, at most a year at a time"
    assert {one["types"] for one in asked} == {"cash_dividend"}
    for symbol, first, last in (
        ("SPY", date.max, date.min),
        ("spy", date.min, date.max),
        ("A/B", date.min, date.max),
    ):
        assert list(await stage.feed.fetch_dividends(symbol, first, last)) == []
