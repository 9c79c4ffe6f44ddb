"""What the simulated Tradier tells of accounts: orders of this day and others, positions, balances, the nightly file."""

from collections.abc import AsyncIterator
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import pytest

from paiid.domain.calendar import eastern_date, eastern_us
from tests.sim_tradier_forms import LIMIT, OTOCO, option, spread
from tests.sim_tradier_world import TradierWorld, noon, simulated, until

NOON = time(12)


@pytest.fixture
async def sim(sqlite_url: str, tmp_path: Path) -> AsyncIterator[TradierWorld]:
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon()) as world:
        yield world


def tomorrow(sim: TradierWorld) -> None:
    """Noon of the next day in New York."""
    sim.clock.set(eastern_us(eastern_date(sim.clock.now_us()) + timedelta(days=1), NOON))


@pytest.mark.parametrize(("null_text", "nothing"), [(True, "null"), (False, None)])
async def test_none_is_null_one_is_an_object_and_more_are_an_array(
    sqlite_url: str, tmp_path: Path, null_text: bool, nothing: str | None
) -> None:
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon(), null_text=null_text) as sim:
        assert await sim.get(sim.orders_path) == {"orders": nothing}
        assert await sim.get(f"/v1/accounts/{sim.account}/positions") == {"positions": nothing}
        first = await sim.place()
        told = await sim.get(sim.orders_path)
        assert told["orders"]["order"]["id"] == first
        second = await sim.place()
        told = await sim.get(sim.orders_path)
        assert [one["id"] for one in told["orders"]["order"]] == [first, second]


async def test_pages_end_with_an_empty_one(sim: TradierWorld) -> None:
    numbers = [await sim.place() for _ in range(5)]
    found = [[one["id"] for one in await sim.orders(f"page={page}&limit=2")] for page in (1, 2, 3, 4)]
    assert found == [numbers[:2], numbers[2:4], numbers[4:], []]
    assert [one["id"] for one in await sim.orders()] == numbers
    bad = await sim.client.get(f"{sim.orders_path}?page=0")
    assert (bad.status_code, bad.text) == (400, "Invalid parameter, page: is not valid.")


async def test_a_refused_order_takes_no_place_on_a_page(sim: TradierWorld) -> None:
    first = await sim.place()
    await sim.refused({**LIMIT, "quantity": "100000"})
    second = await sim.place()
    assert [one["id"] for one in await sim.orders("page=2&limit=1")] == [second]
    assert second > first


async def test_a_sandbox_drops_its_orders_at_midnight(sqlite_url: str, tmp_path: Path) -> None:
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon(), sandbox=True) as sim:
        order_id = await sim.taken({**LIMIT, "duration": "gtc"})
        group = await sim.taken({**OTOCO, "duration": "gtc"})
        assert [one["id"] for one in await sim.orders()] == [order_id, group]
        tomorrow(sim)
        assert await sim.orders() == []
        assert (await sim.client.get(f"{sim.orders_path}/{order_id}")).status_code == 401

        async def nothing_works() -> bool:
            return not await sim.sim.exchange.venue.fetch_open_orders(sim.account, 5.0)

        await until(nothing_works)
        assert await sim.orders("filter=all") == []


async def test_production_forgets_what_has_ended_and_tells_it_of_its_day(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon()) as sim:
        done = await sim.hold()
        works = await sim.taken({**LIMIT, "duration": "gtc", "price": "90.00"})
        tomorrow(sim)
        fresh = await sim.place(price="91.00")
        assert [one["id"] for one in await sim.orders()] == [works, fresh]
        gone = await sim.client.get(f"{sim.orders_path}/{done['id']}")
        assert (gone.status_code, gone.text) == (401, f"Unauthorized Account: {sim.account}")
        past = await sim.orders("filter=all&date=2026-10-05&includeTags=true")
        assert [(one["id"], one["status"]) for one in past] == [(done["id"], "filled"), (works, "open")]
        both = await sim.orders("filter=all&start=2026-10-05&end=2026-10-06")
        assert [one["id"] for one in both] == [done["id"], works, fresh]
        assert [one["id"] for one in await sim.orders("filter=all&limit=1&page=2")] == [works]


@pytest.mark.parametrize(
    "query",
    ["filter=some", "filter=all&date=2026-13-01", "filter=all&start=2026-01-01&end=2026-03-01", "filter=all&date=x",
     "filter=all&start=2026-10-06&end=2026-10-05", "includeTags=perhaps", "limit=0", "limit=99999999999"],
)  # fmt: skip
async def test_a_list_that_can_not_be_is_a_text(sim: TradierWorld, query: str) -> None:
    answer = await sim.client.get(f"{sim.orders_path}?{query}")
    assert answer.status_code == 400
    assert answer.text.startswith("Invalid parameter, ")


async def test_a_day_that_ends_early_empties_the_list(sim: TradierWorld) -> None:
    done, works = await sim.hold(), await sim.place(price="90.00")
    await sim.fault("day_rollover", on="list")
    assert [one["id"] for one in await sim.orders()] == [works]
    assert (await sim.client.get(f"{sim.orders_path}/{done['id']}")).status_code == 401


async def test_a_day_that_ends_early_drops_the_orders_of_a_sandbox(sqlite_url: str, tmp_path: Path) -> None:
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon(), sandbox=True) as sim:
        await sim.place(price="90.00")
        await sim.sim.exchange.roll_day()
        assert await sim.orders() == []
        assert await sim.sim.exchange.venue.fetch_open_orders(sim.account, 5.0) == []


async def test_positions_have_a_sign_and_their_whole_cost(sim: TradierWorld) -> None:
    await sim.hold(20)
    sim.show("50.00", "51.00", "MSFT")
    short = await sim.taken(
        {**LIMIT, "symbol": "MSFT", "side": "sell_short", "type": "market", "quantity": "4"}
    )
    await sim.until_status(short, "filled")
    await sim.until_status(await sim.taken(option(sim)), "filled")
    rows = await positions(sim)
    assert [(one["symbol"], one["quantity"], one["cost_basis"]) for one in rows] == [
        ("AAPL", 20.0, 2020.0),
        (sim.contract(), 2.0, 840.0),
        ("MSFT", -4.0, -200.0),
    ]
    assert all(isinstance(one["id"], int) and one["date_acquired"].endswith("Z") for one in rows)
    assert [set(one) for one in rows] == [{"cost_basis", "date_acquired", "id", "quantity", "symbol"}] * 3


async def test_a_position_was_acquired_when_it_was_opened_and_keeps_its_number(sim: TradierWorld) -> None:
    first = await sim.hold(20)
    before = (await positions(sim))[0]
    await sim.hold(5)
    after = (await positions(sim))[0]
    assert (after["date_acquired"], after["id"]) == (before["date_acquired"], before["id"])
    assert before["date_acquired"] >= first["create_date"]


async def test_balances_add_up(sim: TradierWorld) -> None:
    empty = (await sim.get(f"/v1/accounts/{sim.account}/balances"))["balances"]
    assert (empty["total_cash"], empty["total_equity"], empty["equity"]) == (100_000.0, 100_000.0, 0.0)
    assert (empty["account_number"], empty["account_type"], "cash" in empty) == (
        "VA00000001",
        "margin",
        False,
    )
    assert empty["margin"]["stock_buying_power"] == 200_000.0
    await sim.hold(20)
    resting = await sim.place(price="90.00")
    told = (await sim.get(f"/v1/accounts/{sim.account}/balances"))["balances"]
    assert told["total_cash"] == 97_980.0
    assert told["stock_long_value"] == told["market_value"] == told["long_market_value"] == 1_980.0
    assert told["total_equity"] == 99_960.0
    assert (told["open_pl"], told["close_pl"], told["pending_orders_count"]) == (-40.0, 0.0, 1)
    await sim.send("DELETE", f"{sim.orders_path}/{resting}")
    await sim.until_status(resting, "canceled")
    sold = await sim.taken({**LIMIT, "side": "sell", "type": "market", "quantity": "5"})
    await sim.until_status(sold, "filled")
    later = (await sim.get(f"/v1/accounts/{sim.account}/balances"))["balances"]
    assert (later["open_pl"], later["close_pl"]) == (-30.0, -10.0)


async def test_what_is_short_is_told_below_zero(sim: TradierWorld) -> None:
    await sim.until_status(await sim.taken(spread(sim, "credit", "0.10")), "filled")
    told = (await sim.get(f"/v1/accounts/{sim.account}/balances"))["balances"]
    assert (told["option_short_value"], told["option_long_value"]) == (-320.0, 200.0)
    assert told["market_value"] == -120.0
    assert told["short_market_value"] == -320.0


async def test_a_profile_has_one_account_or_several(sim: TradierWorld) -> None:
    told = (await sim.get("/v1/user/profile"))["profile"]
    account = told["account"]
    assert (account["account_number"], account["status"], account["type"]) == (
        "VA00000001",
        "active",
        "margin",
    )
    assert 0 <= account["option_level"] <= 6
    token = sim.sim.exchange.accounts.users()[0].token
    second = sim.sim.exchange.accounts.add(token, "VA00000002")
    await sim.sim.exchange.open(second)
    several = (await sim.get("/v1/user/profile"))["profile"]["account"]
    assert [one["account_number"] for one in several] == ["VA00000001", "VA00000002"]
    sim.account = second.number
    await sim.place()
    assert len(await sim.orders()) == 1


async def test_accounts_and_tokens_outlive_a_restart(sqlite_url: str, tmp_path: Path) -> None:
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon()) as sim:
        sim.sim.exchange.accounts.add("test-token-kept", "VA00000042")
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon()) as sim:
        user = sim.sim.exchange.accounts.find("test-token-kept")
        assert user is not None
        assert [one.number for one in user.accounts] == ["VA00000042"]
        assert "test-token-kept" not in repr(user)


async def test_the_history_tells_the_days_before_and_nothing_of_today(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon()) as sim:
        await sim.hold(10)
        await sim.until_status(await sim.taken(option(sim)), "filled")
        path = f"/v1/accounts/{sim.account}/history"
        assert await sim.get(path) == {"history": "null"}
        assert await sim.get(f"/v1/accounts/{sim.account}/gainloss") == {"gainloss": "null"}
        tomorrow(sim)
        events = (await sim.get(path))["history"]["event"]
        assert [(one["amount"], one["date"], one["type"]) for one in events] == [
            (-840.0, "2026-10-05T00:00:00Z", "trade"),
            (-1010.0, "2026-10-05T00:00:00Z", "trade"),
        ]
        contract, shares = (one["trade"] for one in events)
        assert (contract["trade_type"], contract["quantity"], contract["price"]) == ("Option", 2.0, 4.2)
        assert contract["description"].startswith("CALL AAPL")
        assert (shares["symbol"], shares["quantity"], shares["trade_type"]) == ("AAPL", 10.0, "Equity")
        assert one_symbol(await sim.get(f"{path}?symbol=AAPL&exactMatch=true")) == "AAPL"
        assert await sim.get(f"{path}?type=dividend") == {"history": "null"}
        assert await sim.get(f"{path}?end=2026-10-04") == {"history": "null"}
        assert (await sim.client.get(f"{path}?type=gift")).status_code == 400


def one_symbol(told: Any) -> str:
    symbol: str = told["history"]["event"]["trade"]["symbol"]
    return symbol


async def test_gains_are_told_of_the_days_before(sqlite_url: str, tmp_path: Path) -> None:
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon()) as sim:
        await sim.hold(10)
        sim.show("111.10", "112.00")
        sold = await sim.taken({**LIMIT, "side": "sell", "type": "market", "quantity": "4"})
        await sim.until_status(sold, "filled")
        tomorrow(sim)
        told = (await sim.get(f"/v1/accounts/{sim.account}/gainloss"))["gainloss"]["closed_position"]
        assert told == {
            "close_date": "2026-10-05T00:00:00.000Z",
            "cost": 404.0,
            "gain_loss": 40.4,
            "gain_loss_percent": 10.0,
            "open_date": "2026-10-05T00:00:00.000Z",
            "proceeds": 444.4,
            "quantity": 4.0,
            "symbol": "AAPL",
            "term": 0,
        }


async def test_a_sandbox_has_no_history(sqlite_url: str, tmp_path: Path) -> None:
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon(), sandbox=True) as sim:
        for name in ("history", "gainloss"):
            answer = await sim.client.get(f"/v1/accounts/{sim.account}/{name}")
            assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (400, "text/plain")


async def positions(sim: TradierWorld) -> list[dict[str, Any]]:
    rows = (await sim.get(f"/v1/accounts/{sim.account}/positions"))["positions"]["position"]
    return rows if isinstance(rows, list) else [rows]
