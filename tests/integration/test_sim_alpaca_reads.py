"""What the simulated Alpaca tells: lists of orders, positions, the account and its past."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import insert

from paiid.core.db import statement
from paiid.core.tables import paper_activities
from paiid.domain.calendar import AlwaysOpen
from paiid.sim.alpaca.queries import PrintFilter, list_prints
from tests.paper_live import until
from tests.sim_exchange import SimWorld, sim_world

_ACTIVITY = statement(insert(paper_activities))


@pytest.fixture
async def sim(sqlite_url: str, tmp_path: Path) -> AsyncIterator[SimWorld]:
    async with sim_world(sqlite_url, tmp_path / "sim") as world:
        yield world


# -- lists of orders ----------------------------------------------------------------------------------


async def _ids(sim: SimWorld, query: str) -> list[str]:
    answer = await sim.client.get(f"/v2/orders?{query}")
    assert answer.status_code == 200, answer.text
    return [one["client_order_id"] for one in answer.json()]


async def test_orders_are_listed_by_what_is_asked_for(sim: SimWorld) -> None:
    told = {}
    for name, body in {
        "a": {},
        "b": {"symbol": "MSFT", "limit_price": "50"},
        "c": {"limit_price": "101"},
        "d": {"symbol": "F", "side": "sell", "limit_price": "12"},
    }.items():
        sim.show("49", "51", symbol="MSFT")
        sim.show("10", "10.01", symbol="F")
        told[name] = await sim.place(client_order_id=name, **body)
        await sim.exchange.clock.sleep(0.002)
    await sim.until_status(told["c"]["id"], "filled")
    assert await _ids(sim, "") == ["d", "b", "a"]
    assert await _ids(sim, "status=closed") == ["c"]
    assert await _ids(sim, "status=all&direction=asc") == ["a", "b", "c", "d"]
    assert await _ids(sim, "status=all&limit=2") == ["d", "c"]
    assert await _ids(sim, "status=all&symbols=MSFT,F") == ["d", "b"]
    assert await _ids(sim, "status=all&side=sell") == ["d"]
    assert await _ids(sim, "status=all&asset_class=us_option") == []
    assert await _ids(sim, "status=all&asset_class=us_equity,us_option&limit=1") == ["d"]
    after, until_ = told["a"]["submitted_at"], told["d"]["submitted_at"]
    assert await _ids(sim, f"status=all&after={after}&until={until_}") == ["c", "b"]
    assert await _ids(sim, f"status=all&before_order_id={told['c']['id']}") == ["b", "a"]
    assert await _ids(sim, f"status=all&after_order_id={told['b']['id']}&direction=asc") == ["c", "d"]


@pytest.mark.parametrize(
    "query",
    [
        "status=working",
        "limit=0",
        "limit=501",
        "limit=ten",
        "direction=up",
        "side=short",
        "after=yesterday",
        "before_order_id=5b2a3c1d-0000-4000-8000-00000000a551&after_order_id=5b2a3c1d-0000-4000-8000-00000000a551",
        "before_order_id=5b2a3c1d-0000-4000-8000-00000000a551&until=2026-10-08",
        "before_order_id=17",
        "nested=maybe",
    ],
)
async def test_a_wrong_list_is_refused(sim: SimWorld, query: str) -> None:
    assert (await sim.get(f"/v2/orders?{query}", status=422))["code"] == 40010001


async def test_exits_are_rows_of_their_own_unless_they_are_nested(sim: SimWorld) -> None:
    told = await sim.place(
        client_order_id="b",
        order_class="bracket",
        time_in_force="gtc",
        take_profit={"limit_price": "120"},
        stop_loss={"stop_price": "90"},
    )
    flat = await sim.get("/v2/orders")
    assert len(flat) == 3
    assert all(one["legs"] is None for one in flat)
    (nested,) = await sim.get("/v2/orders?nested=true")
    assert [one["id"] for one in nested["legs"]] == [one["id"] for one in told["legs"]]
    sim.show("99", "100")
    await sim.until_status(told["id"], "filled")
    # The entry is over, and its exits are not: nested, the whole is open.
    assert len(await sim.get("/v2/orders")) == 2
    (nested,) = await sim.get("/v2/orders?nested=true")
    assert nested["status"] == "filled"
    assert await sim.get("/v2/orders?nested=true&status=closed") == []
    assert [one["id"] for one in await sim.get("/v2/orders?status=closed")] == [told["id"]]


async def test_a_spread_is_found_by_the_symbols_of_its_legs(sim: SimWorld) -> None:
    low, high = sim.contract("call", 100), sim.contract("call", 105)
    sim.show("3.00", "3.10", symbol=low)
    sim.show("1.00", "1.10", symbol=high)
    legs = [
        {"symbol": low, "ratio_qty": "1", "side": "buy"},
        {"symbol": high, "ratio_qty": "1", "side": "sell"},
    ]
    told = await sim.place(
        symbol=None, side=None, client_order_id="s", order_class="mleg", qty="1", limit_price="1", legs=legs
    )
    assert await _ids(sim, f"symbols={high}") == ["s"]
    assert await _ids(sim, "symbols=AAPL") == []
    assert await _ids(sim, "asset_class=us_option") == ["s"]
    assert await _ids(sim, "side=buy") == []
    leg = await sim.order(told["legs"][1]["id"])
    assert (leg["symbol"], leg["ratio_qty"]) == (high, "1")
    refused = await sim.client.delete(f"/v2/orders/{leg['id']}")
    assert refused.status_code == 422


async def test_orders_that_a_fault_hides_are_neither_found_nor_listed(sim: SimWorld) -> None:
    told = await sim.place(client_order_id="h")
    sim.book.hidden = True
    await sim.get(f"/v2/orders/{told['id']}", status=404)
    await sim.get("/v2/orders:by_client_order_id?client_order_id=h", status=404)
    assert await sim.get("/v2/orders?status=all") == []
    sim.book.hidden = False
    assert await _ids(sim, "") == ["h"]


# -- positions ----------------------------------------------------------------------------------------


async def test_a_position_is_valued_at_what_it_would_bring(sim: SimWorld) -> None:
    await sim.hold(10)
    await sim.place(side="sell", qty="4", limit_price="120")
    sim.show("110", "112")
    (told,) = await sim.get("/v2/positions")
    assert told == await sim.get("/v2/positions/AAPL") == await sim.get(f"/v2/positions/{told['asset_id']}")
    assert {
        "symbol": "AAPL", "exchange": "NASDAQ", "asset_class": "us_equity", "asset_marginable": True, "qty": "10",
        "qty_available": "6", "avg_entry_price": "101", "side": "long", "market_value": "1100", "cost_basis": "1010",
        "unrealized_pl": "90", "unrealized_plpc": "0.089109", "unrealized_intraday_pl": "90",
        "current_price": "110", "lastday_price": "110", "change_today": "0",
    }.items() <= told.items()  # fmt: skip
    assert (await sim.get("/v2/positions/MSFT", status=404)) == {
        "code": 40410000,
        "message": "position does not exist",
    }
    await sim.get("/v2/positions/no symbol", status=404)


async def test_a_position_of_contracts_counts_hundreds(sim: SimWorld) -> None:
    call = sim.contract()
    sim.show("3.00", "3.10", symbol=call)
    bought = await sim.place(symbol=call, qty="2", limit_price="3.10")
    assert (bought["order_class"], bought["position_intent"]) == ("simple", "buy_to_open")
    await sim.until_status(bought["id"], "filled")
    (told,) = await sim.get("/v2/positions")
    assert (told["exchange"], told["asset_class"]) == ("", "us_option")
    assert (told["avg_entry_price"], told["cost_basis"], told["market_value"]) == ("3.1", "620", "600")
    refused = await sim.client.post(f"/v2/positions/{call}/exercise")
    assert (refused.status_code, refused.json()["code"]) == (403, 40310000)
    await sim.place(symbol=call, side="sell", qty="2", limit_price="9.00")
    refused = await sim.client.post(f"/v2/positions/{call}/exercise")
    assert refused.json()["message"] == "no available position for the specified contract"
    refused = await sim.client.post("/v2/positions/AAPL/do-not-exercise")
    assert (refused.status_code, refused.json()["message"]) == (422, "invalid symbol")


async def test_a_short_contract_cannot_be_exercised(sim: SimWorld) -> None:
    put = sim.contract("put", 90)
    sim.show("1.00", "1.10", symbol=put)
    sold = await sim.place(symbol=put, side="sell", qty="1", limit_price="1.00")
    await sim.until_status(sold["id"], "filled")
    refused = await sim.client.post(f"/v2/positions/{put}/exercise")
    assert (refused.status_code, refused.json()) == (
        403,
        {"code": 40310001, "message": "cannot exercise short position"},
    )


@pytest.mark.parametrize(("query", "qty"), [("", "10"), ("?qty=3", "3"), ("?percentage=25", "2.5")])
async def test_closing_a_position_is_a_market_order(sim: SimWorld, query: str, qty: str) -> None:
    await sim.hold(10)
    answer = await sim.client.delete(f"/v2/positions/AAPL{query}")
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["type"], told["side"], told["qty"], told["status"]) == ("market", "sell", qty, "pending_new")
    assert sim.book.of("position_close_accepted")[0]["order_id"] == told["id"]
    await sim.until_status(told["id"], "filled")


async def test_a_wrong_close_is_refused(sim: SimWorld) -> None:
    await sim.hold(10)
    for query, status in (
        ("qty=1&percentage=1", 422),
        ("qty=0", 422),
        ("percentage=101", 422),
        ("qty=11", 403),
        ("qty=x", 422),
    ):
        assert (await sim.client.delete(f"/v2/positions/AAPL?{query}")).status_code == status
    assert (await sim.client.delete("/v2/positions/MSFT")).status_code == 404


async def test_closing_everything_answers_a_row_for_each_position(sim: SimWorld) -> None:
    sim.show("49", "51", symbol="MSFT")
    await sim.hold(10)
    await sim.hold(5, "MSFT")
    resting = await sim.place(side="sell", limit_price="120")
    answer = await sim.client.delete("/v2/positions")
    assert answer.status_code == 207
    rows = {one["symbol"]: one for one in answer.json()}
    assert rows["AAPL"]["status"] == 403
    assert rows["AAPL"]["body"]["held_for_orders"] == "10"
    assert rows["MSFT"]["status"] == 200
    assert rows["MSFT"]["body"]["status"] == "pending_new"
    await sim.until_status(rows["MSFT"]["body"]["id"], "filled")
    answer = await sim.client.delete("/v2/positions?cancel_orders=true")
    assert [one["status"] for one in answer.json()] == [200]
    assert (await sim.order(resting["id"]))["status"] == "canceled"
    await until(lambda: _flat(sim))


async def _flat(sim: SimWorld) -> bool:
    return await sim.get("/v2/positions") == []


# -- the account --------------------------------------------------------------------------------------


async def test_an_account_is_told_in_texts(sim: SimWorld) -> None:
    told = await sim.get("/v2/account")
    assert told["account_number"].startswith("PA3")
    assert (told["status"], told["cash"], told["equity"], told["buying_power"]) == (
        "ACTIVE",
        "100000",
        "100000",
        "200000",
    )
    assert (told["multiplier"], told["options_trading_level"], told["last_equity"]) == ("2", 3, "100000")
    assert "pattern_day_trader" not in told
    await sim.hold(100)
    told = await sim.get("/v2/account")
    assert (told["cash"], told["long_market_value"], told["equity"]) == ("89900", "9900", "99800")
    # Half of the shares is lent: 99,800 of equity less 4,950 are free, twice.
    assert (told["initial_margin"], told["maintenance_margin"], told["buying_power"]) == (
        "4950",
        "2475",
        "189700",
    )


async def test_last_equity_is_that_of_the_last_close(sim: SimWorld) -> None:
    told = await sim.hold(100)
    assert (await sim.get("/v2/account"))["last_equity"] == "100000"
    # Another trading day: what was done is of yesterday, and counts at its close, which the hand shows as the bid.
    async with sim.exchange.db.read() as tx:
        (done,) = await list_prints(tx, sim.exchange.accounts.all()[0].number, PrintFilter())
    assert told["filled_avg_price"] == "101"
    sim.street.market.hours.roll_us = done.execution.executed_at_us
    sim.show("110", "112")
    assert (await sim.get("/v2/account"))["last_equity"] == str(100_000 - 100 * 101 + 100 * 110)
    (position,) = await sim.get("/v2/positions")
    assert (position["unrealized_pl"], position["unrealized_intraday_pl"]) == ("900", "0")


async def test_the_old_fields_of_day_traders_can_be_had(sqlite_url: str, tmp_path: Path) -> None:
    async with sim_world(sqlite_url, tmp_path / "sim", legacy_pdt_fields=True) as sim:
        told = await sim.get("/v2/account")
        assert (told["pattern_day_trader"], told["daytrade_count"]) == (False, 0)
        assert (await sim.get("/v2/account/configurations"))["pdt_check"] == "entry"


async def test_the_past_of_an_account_is_reckoned_from_what_it_did(sim: SimWorld) -> None:
    sim.exchange.hours = AlwaysOpen()
    await sim.hold(100)
    sim.show("105", "106")
    told = await sim.get("/v2/account/portfolio/history?period=1D&timeframe=1H")
    assert told["timeframe"] == "1H"
    assert told["equity"][-1] == 100_400
    assert told["profit_loss"][-1] == 400
    assert told["profit_loss_pct"][-1] == 0.004
    assert told["base_value"] == 100_000
    assert told["timestamp"] == sorted(told["timestamp"])
    lengths = {len(told[name]) for name in ("timestamp", "equity", "profit_loss", "profit_loss_pct")}
    assert len(lengths) == 1
    days = await sim.get("/v2/account/portfolio/history")
    assert (days["timeframe"], days["equity"][-1]) == ("1D", 100_400)
    for query in ("period=1", "timeframe=2Min", "period=1A&timeframe=1Min", "pnl_reset=never", "start=x"):
        await sim.get(f"/v2/account/portfolio/history?{query}", status=422)
