"""The simulated Tradier's bars, its clock and its calendar."""

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from paiid.domain.bars import Bar, Timeframe
from tests.tradier_markets_world import eastern, in_hand, simulated_at

FRIDAY = "2026-10-09"


async def test_history_tells_days_weeks_and_months_with_both_ends(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        days = (await world.get("/history", symbol="SPY", start="2026-09-25", end="2026-10-08"))["history"][
            "day"
        ]
        weeks = await world.get(
            "/history", symbol="SPY", interval="weekly", start="2026-09-21", end="2026-10-04"
        )
        one = await world.get(
            "/history", symbol="BRK/B", interval="monthly", start="2026-09-01", end="2026-09-30"
        )
        growing = (await world.get("/history", symbol="SPY", start=FRIDAY))["history"]["day"]
        none = await world.get("/history", symbol="ZZZZ", start="2026-09-25")
    assert [day["date"] for day in days] == [
        "2026-09-25", "2026-09-28", "2026-09-29", "2026-09-30", "2026-10-01", "2026-10-02", "2026-10-05", "2026-10-06",
        "2026-10-07", "2026-10-08",
    ]  # fmt: skip
    assert [type(days[0][name]) for name in ("open", "high", "low", "close", "volume")] == [Decimal] * 4 + [
        int
    ]
    assert [week["date"] for week in weeks["history"]["day"]] == ["2026-09-21", "2026-09-28"]
    assert one["history"]["day"]["date"] == "2026-09-01"
    assert growing["date"] == FRIDAY
    assert none == {"history": None}


async def test_a_contract_has_a_history_as_long_as_it_is_listed(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "15:00")) as world:
        contract = await world.near_call()
        days = (await world.get("/history", symbol=contract, start="2026-10-01"))["history"]["day"]
        expired = await world.get("/history", symbol="SPY261002C00650000", start="2026-09-01")
    assert [day["date"] for day in days] == ["2026-10-08", FRIDAY]
    assert expired == {"history": None}


async def test_timesales_tell_new_yorks_time_and_the_instant(tmp_path: Path) -> None:
    asked = {"symbol": "SPY", "start": f"{FRIDAY} 09:00", "end": f"{FRIDAY} 09:45"}
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        every = (await world.get("/timesales", interval="15min", **asked))["series"]["data"]
        regular = (await world.get("/timesales", interval="15min", session_filter="open", **asked))["series"][
            "data"
        ]
        minutes = (await world.get("/timesales", interval="1min", **asked))["series"]["data"]
        today = (await world.get("/timesales", symbol="SPY", interval="5min", session_filter="open"))[
            "series"
        ]["data"]
        none = await world.get("/timesales", symbol="ZZZZ", interval="1min")
    assert [one["time"] for one in every] == [
        f"{FRIDAY}T{at}:00" for at in ("09:00", "09:15", "09:30", "09:45")
    ]
    assert every[2]["timestamp"] == eastern(FRIDAY, "09:30") // 1_000_000
    assert regular == every[2:]
    assert len(minutes) == 46
    assert every[2].keys() == {"time", "timestamp", "price", "open", "high", "low", "close", "volume", "vwap"}
    assert every[2]["volume"] == sum(one["volume"] for one in minutes[30:45])
    assert (today[0]["time"], today[-1]["time"]) == (f"{FRIDAY}T09:30:00", f"{FRIDAY}T10:55:00")
    assert none == {"series": None}


async def test_ticks_are_the_trades_behind_the_minutes_and_no_sandbox_has_them(tmp_path: Path) -> None:
    asked = {"symbol": "SPY", "start": f"{FRIDAY} 10:00", "end": f"{FRIDAY} 10:01"}
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        ticks = (await world.get("/timesales", interval="tick", **asked))["series"]["data"]
        minutes = (await world.get("/timesales", interval="1min", **asked))["series"]["data"]
        assert await world.refused("/timesales", interval="tick", session_filter="all", **asked) == (
            "Invalid parameter, session_filter: must be open for tick."
        )
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00"), sandbox=True) as world:
        assert (
            await world.refused("/timesales", interval="tick", **asked)
            == "Invalid parameter, interval: is not valid."
        )
    assert [one["time"][-5:] for one in ticks] == ["00:00", "00:29", "00:59", "01:00", "01:29", "01:59"]
    assert sum(one["volume"] for one in ticks) == sum(one["volume"] for one in minutes)
    assert (ticks[0]["price"], ticks[2]["price"]) == (minutes[0]["open"], minutes[0]["close"])


@pytest.mark.parametrize(
    ("interval", "sessions", "days"),
    [
        ("tick", "open", 5),
        ("1min", "open", 20),
        ("1min", "all", 10),
        ("5min", "open", 40),
        ("15min", "all", 18),
    ],
)
async def test_timesales_go_back_so_many_days(
    tmp_path: Path, interval: str, sessions: str, days: int
) -> None:
    asked = {"symbol": "SPY", "interval": interval, "session_filter": sessions}
    oldest = date.fromisoformat(FRIDAY) - timedelta(days=days)
    too_old = oldest - timedelta(days=1)
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        await world.get("/timesales", start=f"{oldest} 00:00", end=f"{oldest} 00:10", **asked)
        assert await world.refused("/timesales", start=f"{too_old} 23:59", **asked) == (
            f"Invalid parameter, start: must be on or after {oldest} 00:00:00."
        )


async def test_bars_of_a_market_in_hand_are_told_as_they_are(tmp_path: Path) -> None:
    async with in_hand(tmp_path) as world:
        day_us = eastern("2026-10-08", "00:00")
        bar = Bar(
            day_us, Decimal(100), Decimal("102.5"), Decimal("99.99"), Decimal("101.0001"), Decimal(1234)
        )
        world.side.market._base.bars["AAPL", Timeframe.DAY_1] = [bar]  # type: ignore[attr-defined]
        answer = await world.client.get(
            "/v1/markets/history", params={"symbol": "AAPL", "start": "2026-10-01"}
        )
    assert answer.text == (
        '{"history":{"day":{"date":"2026-10-08","open":100.0,"high":102.5,"low":99.99,"close":101.0001,"volume":1234}}}'
    )


# -- clock and calendar -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "at", "state", "changes", "following", "description"),
    [
        (FRIDAY, "03:59", "closed", "04:00", "premarket", "Market is closed"),
        (FRIDAY, "04:00", "premarket", "09:30", "open", "Market is in premarket"),
        (FRIDAY, "09:30", "open", "16:00", "postmarket", "Market is open from 09:30 to 16:00"),
        (FRIDAY, "16:00", "postmarket", "20:00", "closed", "Market is in postmarket"),
        (FRIDAY, "20:00", "closed", "04:00", "premarket", "Market is closed"),
        ("2026-11-26", "12:00", "closed", "04:00", "premarket", "Market is closed"),
        ("2026-11-27", "12:59", "open", "13:00", "postmarket", "Market is open from 09:30 to 13:00"),
        ("2026-11-27", "13:00", "postmarket", "17:00", "closed", "Market is in postmarket"),
    ],
)
async def test_the_clock_tells_what_the_market_is_in_and_what_comes_next(
    tmp_path: Path, day: str, at: str, state: str, changes: str, following: str, description: str
) -> None:
    async with simulated_at(tmp_path, eastern(day, at)) as world:
        assert await world.get("/clock") == {
            "clock": {
                "date": day, "description": description, "state": state,
                "timestamp": eastern(day, at) // 1_000_000, "next_change": changes, "next_state": following,
            }
        }  # fmt: skip


async def test_the_clock_can_be_asked_for_a_quarter_of_an_hour_ago(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "09:40")) as world:
        assert (await world.get("/clock", delayed="true"))["clock"]["state"] == "premarket"
        assert (await world.get("/clock", delayed="false"))["clock"]["state"] == "open"


async def test_the_calendar_tells_every_day_of_a_month_half_days_and_closed_ones(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        told = (await world.get("/calendar", month="11", year="2026"))["calendar"]
        now = (await world.get("/calendar"))["calendar"]
    days = {one["date"]: one for one in told["days"]["day"]}
    assert (told["month"], told["year"], len(days)) == (11, 2026, 30)
    assert days["2026-11-25"] == {
        "date": "2026-11-25", "status": "open", "description": "Market is open",
        "premarket": {"start": "04:00", "end": "09:30"}, "open": {"start": "09:30", "end": "16:00"},
        "postmarket": {"start": "16:00", "end": "20:00"},
    }  # fmt: skip
    assert days["2026-11-26"] == {"date": "2026-11-26", "status": "closed", "description": "Market is closed"}
    assert days["2026-11-27"]["open"] == {"start": "09:30", "end": "13:00"}
    assert days["2026-11-27"]["postmarket"] == {"start": "13:00", "end": "17:00"}
    assert days["2026-11-28"]["status"] == "closed"
    assert (now["month"], now["year"]) == (10, 2026)


async def test_a_market_that_never_closes_is_open_every_day(tmp_path: Path) -> None:
    async with in_hand(tmp_path, at_us=eastern("2026-10-10", "12:00")) as world:
        clock = (await world.get("/clock"))["clock"]
        days = (await world.get("/calendar", month="10", year="2026"))["calendar"]["days"]["day"]
    assert (clock["state"], clock["next_change"], clock["next_state"]) == ("open", "16:00", "open")
    assert {one["status"] for one in days} == {"open"}
