"""What the simulated Alpaca lists: activities, assets, option contracts, the clock and the calendar."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from paiid.core.clock import SystemClock
from paiid.core.db import statement
from paiid.core.tables import paper_activities
from paiid.domain.calendar import AlwaysOpen, ExchangeHours, eastern_date
from paiid.sim.alpaca.ids import AssetIds
from tests.sim_exchange import SimWorld, sim_world

_ACTIVITY = statement(insert(paper_activities))


@pytest.fixture
async def sim(sqlite_url: str, tmp_path: Path) -> AsyncIterator[SimWorld]:
    async with sim_world(sqlite_url, tmp_path / "sim") as world:
        yield world


class At:
    """A clock at a given instant, for what only reads it."""

    def __init__(self, text: str) -> None:
        self.us = int(datetime.fromisoformat(text).timestamp()) * 1_000_000 + 123_456
        self._real = SystemClock()

    def now_us(self) -> int:
        return self.us

    def monotonic_s(self) -> float:
        return self._real.monotonic_s()

    async def sleep(self, seconds: float) -> None:
        await self._real.sleep(seconds)

    def random_bytes(self, count: int) -> bytes:
        return self._real.random_bytes(count)


# -- activities ---------------------------------------------------------------------------------------


async def test_prints_tell_how_far_their_order_has_come(sim: SimWorld) -> None:
    told = await sim.place(limit_price="100")
    await sim.until_status(told["id"], "new")
    sim.show("99", "100", 4)
    await sim.until_status(told["id"], "partially_filled")
    sim.show("99", "100", 100)
    await sim.until_status(told["id"], "filled")
    last, first = await sim.get("/v2/account/activities/FILL")
    assert first.items() >= {
        "activity_type": "FILL", "order_id": told["id"], "type": "partial_fill", "order_status": "partially_filled",
        "symbol": "AAPL", "side": "buy", "qty": "4", "cum_qty": "4", "leaves_qty": "6", "price": "100",
    }.items()  # fmt: skip
    assert (last["type"], last["qty"], last["cum_qty"], last["leaves_qty"]) == ("fill", "6", "10", "0")
    prefix, _, execution = first["id"].partition("::")
    assert len(prefix) == 17
    assert len(execution) == 36
    page = await sim.get("/v2/account/activities?page_size=1")
    assert page == [last]
    assert await sim.get(f"/v2/account/activities?page_size=1&page_token={last['id']}") == [first]
    assert await sim.get(f"/v2/account/activities?page_token={first['id']}") == []
    assert await sim.get("/v2/account/activities?direction=asc&page_size=1") == [first]
    assert await sim.get(f"/v2/account/activities?after={first['transaction_time']}") == [last]
    assert await sim.get(f"/v2/account/activities?until={last['transaction_time']}") == [first]
    other = await sim.hold(1)
    assert len(await sim.get(f"/v2/account/activities?order_id={other['id']}")) == 1
    assert await sim.get("/v2/account/activities?category=non_trade_activity") == []
    today = eastern_date(sim.exchange.clock.now_us())
    assert len(await sim.get(f"/v2/account/activities?date={today}")) == 3
    assert await sim.get(f"/v2/account/activities?date={today - timedelta(days=2)}") == []


async def test_bookings_of_the_day_roll_have_alpacas_names(sim: SimWorld) -> None:
    await sim.hold(1)
    number = sim.exchange.accounts.all()[0].number
    call = sim.contract()
    rows = [
        ("exp-1", "expiration", call, -1, "0", "0"),
        ("exp-2", "expiration", call, -1, "2.5", "250"),
        ("exp-3", "exercise", call, -1, "0", "0"),
        ("exp-3-shares", "exercise", "AAPL", 100, "100", "-10000"),
        ("exp-4", "assignment", call, 1, "0", "0"),
        ("exp-4-shares", "assignment", "AAPL", -100, "100", "10000"),
        ("div-1", "dividend", "AAPL", 0, "0.25", "2.5"),
        ("spl-1", "split", "AAPL", 10, "0", "0"),
    ]
    now = sim.exchange.clock.now_us()
    async with sim.exchange.db.begin() as tx:
        for at, (name, kind, symbol, qty, price, cash) in enumerate(rows):
            await tx.execute(
                _ACTIVITY,
                {
                    "id": name, "account_number": number, "kind": kind, "symbol": symbol, "qty": qty * 10**9,
                    "price": int(Decimal(price) * 10**6), "cash": int(Decimal(cash) * 10**6), "description": name,
                    "at": now + at,
                },
            )  # fmt: skip
    told = await sim.get("/v2/account/activities?direction=asc")
    assert [one["activity_type"] for one in told] == [
        "FILL", "OPEXP", "OPCSH", "OPEXC", "OPTRD", "OPASN", "OPTRD", "DIV", "SPLIT",
    ]  # fmt: skip
    exercise, shares = told[3], told[4]
    assert exercise["group_id"] == shares["group_id"] != told[5]["group_id"]
    assert (shares["qty"], shares["price"], shares["net_amount"]) == ("100", "100", "-10000")
    assert (told[7]["per_share_amount"], told[7]["net_amount"], told[7]["qty"]) == ("0.25", "2.5", "10")
    only = await sim.get("/v2/account/activities?activity_types=OPEXC,DIV&direction=asc")
    assert only == [told[3], told[7]]
    assert await sim.get("/v2/account/activities/SPLIT") == [told[8]]
    seen: list[Any] = []
    token = ""
    while page := await sim.get(f"/v2/account/activities?page_size=2&page_token={token}"):
        seen += page
        token = page[-1]["id"]
    assert seen == told[::-1]
    for query in ("activity_types=LUCK", "page_size=101", "page_token=17", "category=all", "date=x"):
        await sim.get(f"/v2/account/activities?{query}", status=422)


# -- assets and contracts -----------------------------------------------------------------------------


async def test_assets_are_listed_and_found(sim: SimWorld) -> None:
    assets = await sim.get("/v2/assets")
    assert {one["symbol"] for one in assets} == {"AAPL", "MSFT", "F"}
    one = next(one for one in assets if one["symbol"] == "AAPL")
    assert (one["class"], one["status"], one["tradable"], one["fractionable"]) == (
        "us_equity",
        "active",
        True,
        True,
    )
    assert await sim.get("/v2/assets/AAPL") == one == await sim.get(f"/v2/assets/{one['id']}")
    assert await sim.get("/v2/assets?status=inactive") == []
    assert await sim.get("/v2/assets?asset_class=crypto") == []
    assert len(await sim.get("/v2/assets?exchange=NASDAQ&attributes=has_options&status=active")) == 3
    assert await sim.get("/v2/assets?exchange=NYSE") == []
    await sim.get("/v2/assets?status=odd", status=422)
    assert (await sim.get("/v2/assets/ZZZZ", status=404))["code"] == 40410000


async def test_contracts_are_those_of_this_week_unless_asked(sim: SimWorld) -> None:
    near, far = sim.market.expirations
    sim.exchange.clock = At(f"{near - timedelta(days=1)}T15:00:00+00:00")
    told = await sim.get("/v2/options/contracts?underlying_symbols=AAPL")
    assert {one["expiration_date"] for one in told["option_contracts"]} == {str(near)}
    assert (len(told["option_contracts"]), told["next_page_token"]) == (10, None)
    both = f"/v2/options/contracts?expiration_date_lte={far}"
    symbols, token = [], ""
    while True:
        page = await sim.get(f"{both}&limit=7" + (f"&page_token={token}" if token else ""))
        symbols += [one["symbol"] for one in page["option_contracts"]]
        token = page["next_page_token"]
        if token is None:
            break
    assert len(symbols) == len(set(symbols)) == 20
    assert symbols == sorted(symbols)
    narrow = await sim.get(
        f"/v2/options/contracts?expiration_date={far}&type=put&strike_price_gte=100&strike_price_lte=105"
    )
    assert [one["strike_price"] for one in narrow["option_contracts"]] == ["100", "105"]
    assert (await sim.get("/v2/options/contracts?status=inactive"))["option_contracts"] == []
    for query in ("limit=0", "page_token=!", "type=both", "expiration_date=soon", "underlying_symbols=1"):
        await sim.get(f"/v2/options/contracts?{query}", status=422)


async def test_a_contract_is_found_by_symbol_and_by_an_id_from_before_a_restart(sim: SimWorld) -> None:
    call = sim.contract()
    sim.show("3.00", "3.10", symbol=call)
    told = await sim.get(f"/v2/options/contracts/{call}")
    assert told.items() >= {
        "symbol": call, "status": "active", "tradable": True, "root_symbol": "AAPL", "underlying_symbol": "AAPL",
        "type": "call", "style": "american", "strike_price": "100", "multiplier": "100", "size": "100",
        "expiration_date": str(sim.market.expirations[1]), "close_price": "3",
    }.items()  # fmt: skip
    sim.exchange.asset_ids = AssetIds()
    assert await sim.get(f"/v2/options/contracts/{told['id']}") == told
    missing = await sim.get("/v2/options/contracts/AAPL991231C00100000", status=404)
    assert missing == {"code": 40410000, "message": "option contract AAPL991231C00100000 not found"}
    await sim.get("/v2/options/contracts/5b2a3c1d-0000-4000-8000-00000000a551", status=404)


# -- clock and calendar -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "is_open", "opens", "closes"),
    [
        ("2026-10-09T10:15:22-04:00", True, "2026-10-12T09:30:00-04:00", "2026-10-09T16:00:00-04:00"),
        ("2026-10-10T10:00:00-04:00", False, "2026-10-12T09:30:00-04:00", "2026-10-12T16:00:00-04:00"),
        ("2026-11-27T12:00:00-05:00", True, "2026-11-30T09:30:00-05:00", "2026-11-27T13:00:00-05:00"),
    ],
)
async def test_the_clock_tells_new_yorks_time(
    sim: SimWorld, at: str, is_open: bool, opens: str, closes: str
) -> None:
    sim.exchange.hours, sim.exchange.clock = ExchangeHours(), At(at)
    told = await sim.get("/v2/clock")
    assert (told["is_open"], told["next_open"], told["next_close"]) == (is_open, opens, closes)
    assert told["timestamp"].startswith(at[:19] + ".123456")
    assert told["timestamp"].endswith(at[-6:])


async def test_a_market_that_never_closes_has_a_clock_too(sim: SimWorld) -> None:
    sim.exchange.hours, sim.exchange.clock = AlwaysOpen(), At("2026-10-10T10:00:00-04:00")
    told = await sim.get("/v2/clock")
    assert (told["is_open"], told["next_close"]) == (True, "2026-10-10T16:00:00-04:00")


async def test_the_calendar_lists_trading_days_only(sim: SimWorld) -> None:
    sim.exchange.hours = ExchangeHours()
    days = await sim.get("/v2/calendar?start=2026-11-25&end=2026-11-30")
    assert days == [
        {
            "date": "2026-11-25", "open": "09:30", "close": "16:00", "session_open": "0400",
            "session_close": "2000", "settlement_date": "2026-11-27",
        },
        {
            "date": "2026-11-27", "open": "09:30", "close": "13:00", "session_open": "0400",
            "session_close": "1700", "settlement_date": "2026-11-30",
        },
        {
            "date": "2026-11-30", "open": "09:30", "close": "16:00", "session_open": "0400",
            "session_close": "2000", "settlement_date": "2026-12-01",
        },
    ]  # fmt: skip
    settled = await sim.get("/v2/calendar?start=2026-11-27&end=2026-11-30&date_type=SETTLEMENT")
    assert [one["date"] for one in settled] == ["2026-11-25", "2026-11-27"]
    every = await sim.get("/v2/calendar")
    assert (every[0]["date"], every[-1]["date"]) == ("1970-01-01", "2029-12-31")
    for query in ("start=2026-12-01&end=2026-11-01", "start=soon", "date_type=NEVER"):
        await sim.get(f"/v2/calendar?{query}", status=422)
