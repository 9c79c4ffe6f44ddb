"""Orders at the simulated Tradier: what they look like on the wire through their lives."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.sim_tradier_forms import LIMIT, OCO, OTOCO, option, spread
from tests.sim_tradier_world import HandHours, TradierWorld, noon, simulated


def sizes(bid: str, bid_size: int, ask: str, ask_size: int) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    return Decimal(bid), Decimal(bid_size), Decimal(ask), Decimal(ask_size)


@pytest.fixture
async def sim(sqlite_url: str, tmp_path: Path) -> AsyncIterator[TradierWorld]:
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon()) as world:
        yield world


async def test_an_order_is_received_then_open_then_filled(sim: TradierWorld) -> None:
    answer = await sim.post(price="100.50", tag="r1-0001")
    told = answer.json()["order"]
    assert isinstance(told["id"], int)
    assert told["status"] == "ok"
    seen = await sim.order(told["id"])
    assert {
        name: seen[name] for name in ("type", "symbol", "side", "status", "duration", "class", "tag")
    } == {
        "type": "limit",
        "symbol": "AAPL",
        "side": "buy",
        "status": "open",
        "duration": "day",
        "class": "equity",
        "tag": "r1-0001",
    }
    assert (seen["quantity"], seen["exec_quantity"], seen["remaining_quantity"]) == (10.0, 0.0, 10.0)
    assert (seen["price"], seen["avg_fill_price"], seen["last_fill_price"]) == (100.5, 0.0, 0.0)
    assert "stop_price" not in seen
    sim.show("99.00", "100.00")
    done = await sim.until_status(told["id"], "filled")
    assert (done["exec_quantity"], done["avg_fill_price"], done["remaining_quantity"]) == (10.0, 100.0, 0.0)
    assert (done["last_fill_quantity"], done["last_fill_price"]) == (10.0, 100.0)
    assert done["create_date"].endswith("Z")
    assert len(done["create_date"]) == len("2026-10-05T14:31:02.310Z")


async def test_numbers_are_written_with_a_point_and_keep_their_order(sim: TradierWorld) -> None:
    answer = await sim.post()
    order_id = answer.json()["order"]["id"]
    text = (await sim.client.get(f"{sim.orders_path}/{order_id}")).text
    assert '"quantity":10.0' in text
    assert '"price":100.0' in text
    assert '"avg_fill_price":0.0' in text
    assert await sim.place() > order_id


async def test_a_tag_is_told_when_asked_for_and_may_be_used_twice(sim: TradierWorld) -> None:
    first, second = await sim.place(tag="r1-7"), await sim.place(tag="r1-7", price="99.50")
    assert first != second
    assert [one["tag"] for one in await sim.orders()] == ["r1-7", "r1-7"]
    assert all("tag" not in one for one in await sim.orders(""))
    assert "tag" not in await sim.order(first, tags=False)


async def test_a_change_keeps_the_number_and_counts_on_over_the_venues_orders(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon(), check_sizes=True) as sim:
        order_id = await sim.place(quantity="10", price="100.00", tag="r1-0001")
        sim.market.show("AAPL", *sizes("99.00", 100, "100.00", 4))
        part = await sim.until_status(order_id, "partially_filled")
        assert (part["exec_quantity"], part["remaining_quantity"]) == (4.0, 6.0)
        sim.market.show("AAPL", *sizes("100.00", 100, "101.00", 1))
        answer = await sim.send("PUT", f"{sim.orders_path}/{order_id}", {"type": "limit", "price": "100.80"})
        assert answer.json()["order"]["id"] == order_id
        changed = await sim.order(order_id)
        assert (changed["price"], changed["quantity"], changed["exec_quantity"]) == (100.8, 10.0, 4.0)
        assert (changed["status"], changed["tag"]) == ("partially_filled", "r1-0001")
        sim.market.show("AAPL", *sizes("100.00", 100, "100.50", 100))
        done = await sim.until_status(order_id, "filled")
        assert (done["exec_quantity"], done["quantity"], done["last_fill_quantity"]) == (10.0, 10.0, 6.0)
        assert done["avg_fill_price"] == pytest.approx((4 * 100 + 6 * 100.5) / 10)
        assert [one["id"] for one in await sim.orders()] == [order_id]


async def test_a_change_of_nothing_is_received(sim: TradierWorld) -> None:
    order_id = await sim.place()
    answer = await sim.send("PUT", f"{sim.orders_path}/{order_id}", {"price": "100.00", "duration": "day"})
    assert answer.json()["order"]["status"] == "ok"
    assert (await sim.order(order_id))["price"] == 100.0


async def test_a_change_of_duration_makes_an_order_good_until_canceled(sim: TradierWorld) -> None:
    order_id = await sim.place()
    await sim.send("PUT", f"{sim.orders_path}/{order_id}", {"duration": "gtc"})
    assert (await sim.order(order_id))["duration"] == "gtc"


async def test_a_cancel_is_acknowledged_first_and_done_later(sqlite_url: str, tmp_path: Path) -> None:
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon(), cancel_latency_s=600.0) as sim:
        order_id = await sim.place()
        answer = await sim.send("DELETE", f"{sim.orders_path}/{order_id}")
        assert answer.json() == {"order": {"id": order_id, "status": "ok"}}
        assert (await sim.order(order_id))["status"] == "open"
        await sim.sim.exchange.cancels.drain()
        done = await sim.until_status(order_id, "canceled")
        assert done["remaining_quantity"] == 0.0
        again = await sim.send("DELETE", f"{sim.orders_path}/{order_id}")
        assert (again.status_code, again.text) == (400, "order already in finalized state: canceled")


async def test_an_order_that_is_about_to_be_canceled_is_not_changed(sqlite_url: str, tmp_path: Path) -> None:
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon(), cancel_latency_s=600.0) as sim:
        order_id = await sim.place()
        await sim.send("DELETE", f"{sim.orders_path}/{order_id}")
        answer = await sim.send("PUT", f"{sim.orders_path}/{order_id}", {"price": "99.00"})
        assert answer.status_code == 400
        await sim.sim.exchange.cancels.drain()
        assert (await sim.until_status(order_id, "canceled"))["price"] == 100.0


async def test_changes_and_a_cancel_at_once_leave_nothing_working(sim: TradierWorld) -> None:
    order_id = await sim.place()
    path = f"{sim.orders_path}/{order_id}"
    changes = [sim.send("PUT", path, {"price": f"99.{cents}"}) for cents in range(10, 20)]
    answers = await asyncio.gather(*changes[:5], sim.send("DELETE", path), *changes[5:])
    assert {one.status_code for one in answers} <= {200, 400}
    await sim.until_status(order_id, "canceled")
    assert await sim.sim.exchange.venue.fetch_open_orders(sim.account, 5.0) == []


async def test_a_filled_order_can_not_be_canceled_or_changed(sim: TradierWorld) -> None:
    done = await sim.hold()
    for method, form in (("DELETE", None), ("PUT", {"price": "1.00"})):
        answer = await sim.send(method, f"{sim.orders_path}/{done['id']}", form)
        assert (answer.status_code, answer.text) == (400, "order already in finalized state: filled")


async def test_an_otoco_is_a_parent_without_figures_and_three_legs(sim: TradierWorld) -> None:
    parent_id = await sim.taken(OTOCO)
    told = await sim.order(parent_id)
    assert (told["class"], told["status"], told["num_legs"], told["tag"]) == ("otoco", "open", 3, "r1-9")
    assert not {"symbol", "side", "quantity", "exec_quantity"} & set(told)
    entry, profit, loss = told["leg"]
    assert [one["id"] for one in told["leg"]] == [parent_id + 1, parent_id + 2, parent_id + 3]
    assert [one["status"] for one in told["leg"]] == ["open", "pending", "pending"]
    assert (entry["side"], profit["side"], loss["side"]) == ("buy", "sell", "sell")
    assert (profit["price"], loss["stop_price"], loss["type"]) == (110.0, 90.0, "stop")
    sim.show("99.00", "100.00")
    await sim.until_status(entry["id"], "filled")
    assert [one["status"] for one in (await sim.order(parent_id))["leg"]] == ["filled", "open", "open"]
    sim.show("110.00", "111.00")
    done = await sim.until_status(parent_id, "filled")
    assert [one["status"] for one in done["leg"]] == ["filled", "filled", "canceled"]


async def test_the_exits_of_an_otoco_may_come_in_either_order(sim: TradierWorld) -> None:
    form = {**OTOCO, "type[1]": "stop", "stop[1]": "90.00", "type[2]": "limit", "price[2]": "110.00"}
    del form["price[1]"], form["stop[2]"]
    told = await sim.order(await sim.taken(form))
    assert [one["type"] for one in told["leg"]] == ["limit", "stop", "limit"]


async def test_the_cancel_of_a_group_cancels_all_that_works_of_it(sim: TradierWorld) -> None:
    parent_id = await sim.taken(OTOCO)
    await sim.send("DELETE", f"{sim.orders_path}/{parent_id}")
    told = await sim.until_status(parent_id, "canceled")
    assert [one["status"] for one in told["leg"]] == ["canceled"] * 3
    answer = await sim.send("DELETE", f"{sim.orders_path}/{parent_id}")
    assert answer.text == "order already in finalized state: canceled"


async def test_the_cancel_of_a_group_whose_entry_has_filled_cancels_its_exits(sim: TradierWorld) -> None:
    parent_id = await sim.taken(OTOCO)
    sim.show("99.00", "100.00")
    await sim.until_status(parent_id + 1, "filled")
    await sim.send("DELETE", f"{sim.orders_path}/{parent_id}")
    told = await sim.until_status(parent_id, "canceled")
    assert [one["status"] for one in told["leg"]] == ["filled", "canceled", "canceled"]


async def test_an_oto_releases_its_exit(sim: TradierWorld) -> None:
    form = {name: one for name, one in OTOCO.items() if "[2]" not in name} | {"class": "oto"}
    parent_id = await sim.taken(form)
    sim.show("99.00", "100.00")
    await sim.until_status(parent_id + 1, "filled")
    told = await sim.until_status(parent_id + 2, "open")
    assert told["side"] == "sell"
    assert (await sim.order(parent_id))["status"] == "open"


async def test_an_oco_closes_what_is_held_one_way_or_the_other(sim: TradierWorld) -> None:
    await sim.hold()
    parent_id = await sim.taken(OCO)
    told = await sim.order(parent_id)
    assert (told["class"], [one["status"] for one in told["leg"]]) == ("oco", ["open", "open"])
    # The stop is the first leg here.
    assert told["leg"][0]["stop_price"] == 90.0
    sim.show("89.00", "91.00")
    done = await sim.until_status(parent_id, "filled")
    assert [one["status"] for one in done["leg"]] == ["filled", "canceled"]


async def test_the_members_of_a_group_can_not_be_changed(sim: TradierWorld) -> None:
    parent_id = await sim.taken(OTOCO)
    for order_id in (parent_id, parent_id + 1):
        answer = await sim.send("PUT", f"{sim.orders_path}/{order_id}", {"price": "99.00"})
        assert answer.json()["errors"]["error"][1] == "OrderContingentChangeNotAllowed"


async def test_a_spread_has_a_price_without_a_sign_and_fills_with_one(sim: TradierWorld) -> None:
    order_id = await sim.taken(spread(sim, "credit", "0.85"))
    told = await sim.order(order_id)
    assert (told["class"], told["type"], told["side"], told["price"]) == ("multileg", "credit", "buy", 0.85)
    assert (told["symbol"], told["quantity"], told["num_legs"], told["strategy"]) == (
        "AAPL",
        2.0,
        2,
        "spread",
    )
    assert [(one["id"], one["side"], one["quantity"], one["class"]) for one in told["leg"]] == [
        (order_id + 1, "sell_to_open", 2.0, "option"),
        (order_id + 2, "buy_to_open", 2.0, "option"),
    ]
    # The market would give 0.40; another order, which comes later and fills, has let it pass.
    await sim.hold(1)
    assert (await sim.order(order_id))["status"] == "open"
    sim.show("2.00", "2.10", sim.contract("put", 95))
    done = await sim.until_status(order_id, "filled")
    assert done["exec_quantity"] == 2.0
    assert done["avg_fill_price"] == pytest.approx(-0.9)
    assert done["last_fill_price"] == pytest.approx(-0.9)
    assert [one["avg_fill_price"] for one in done["leg"]] == [2.0, 1.1]
    held = (await sim.get(f"/v1/accounts/{sim.account}/positions"))["positions"]["position"]
    assert [(one["symbol"], one["quantity"], one["cost_basis"]) for one in held[1:]] == [
        (sim.contract("put", 90), 2.0, 220.0),
        (sim.contract("put", 95), -2.0, -400.0),
    ]


async def test_the_price_of_a_spread_can_be_changed(sim: TradierWorld) -> None:
    order_id = await sim.taken(spread(sim, "credit", "0.85"))
    await sim.send("PUT", f"{sim.orders_path}/{order_id}", {"price": "0.70"})
    told = await sim.order(order_id)
    assert (told["price"], told["status"], len(told["leg"])) == (0.7, "open", 2)
    await sim.send("DELETE", f"{sim.orders_path}/{order_id}")
    done = await sim.until_status(order_id, "canceled")
    assert [one["status"] for one in done["leg"]] == ["canceled", "canceled"]


async def test_an_option_has_its_underlying_as_symbol(sim: TradierWorld) -> None:
    contract = sim.contract()
    order_id = await sim.taken(option(sim))
    done = await sim.until_status(order_id, "filled")
    assert (done["symbol"], done["option_symbol"], done["class"]) == ("AAPL", contract, "option")
    assert (done["option_type"], done["expiration_date"]) == ("call", sim.hand.expiration.isoformat())
    assert "price" not in done


async def test_class_shares_have_a_slash(sim: TradierWorld) -> None:
    sim.show("400.00", "401.00", "BRK.B")
    done = await sim.hold(2, "BRK/B")
    assert done["symbol"] == "BRK/B"
    held = (await sim.get(f"/v1/accounts/{sim.account}/positions"))["positions"]["position"]
    assert held["symbol"] == "BRK/B"
    assert (await sim.post(symbol="BRK.B")).text == "Invalid parameter, symbol: is not valid."


async def test_an_order_outside_market_hours_is_pending(sqlite_url: str, tmp_path: Path) -> None:
    hours = HandHours()
    async with simulated(sqlite_url, tmp_path / "sim", clock=noon(), hours=hours) as sim:
        hours.open = False
        order_id = await sim.place()
        assert (await sim.order(order_id))["status"] == "pending"
        assert (await sim.refused({**LIMIT, "type": "market"}))[1] == (
            "The market is closed; market, ioc and fok orders need it open."
        )
        hours.open = True
        assert (await sim.order(order_id))["status"] == "open"


async def test_numbers_tags_and_changes_outlive_a_restart(sqlite_url: str, tmp_path: Path) -> None:
    clock = noon()
    async with simulated(sqlite_url, tmp_path / "sim", clock=clock) as sim:
        first = await sim.place(tag="r1-1")
        await sim.send("PUT", f"{sim.orders_path}/{first}", {"price": "99.50"})
        group = await sim.taken(OTOCO)
        before = await sim.orders()
    async with simulated(sqlite_url, tmp_path / "sim", clock=clock) as sim:
        assert await sim.orders() == before
        assert (await sim.order(first))["price"] == 99.5
        assert (await sim.order(group + 3))["stop_price"] == 90.0
        await sim.send("PUT", f"{sim.orders_path}/{first}", {"price": "99.25"})
        assert (await sim.order(first))["price"] == 99.25
        assert await sim.place() == group + 4


async def test_a_line_that_was_not_written_to_its_end_costs_no_other(sqlite_url: str, tmp_path: Path) -> None:
    clock = noon()
    async with simulated(sqlite_url, tmp_path / "sim", clock=clock) as sim:
        first = await sim.place(tag="r1-1")
    with (tmp_path / "sim" / "orders.jsonl").open("ab") as file:
        file.write(b'{"id":228999,"acc')
    async with simulated(sqlite_url, tmp_path / "sim", clock=clock) as sim:
        second = await sim.place(tag="r1-2")
    async with simulated(sqlite_url, tmp_path / "sim", clock=clock) as sim:
        assert [(one["id"], one["tag"]) for one in await sim.orders()] == [(first, "r1-1"), (second, "r1-2")]


async def test_a_late_rejection_is_accepted_first_and_never_reaches_the_venue(sim: TradierWorld) -> None:
    await sim.fault("late_rejection", params={"delay_ms": 300, "reason": "InitialMargin"})
    order_id = await sim.place(tag="r1-1", price="150.00", type="limit")
    assert (await sim.order(order_id))["status"] in ("open", "rejected")
    told = await sim.until_status(order_id, "rejected")
    assert (told["reason_description"], told["exec_quantity"], told["remaining_quantity"]) == (
        "InitialMargin",
        0.0,
        0.0,
    )
    assert await sim.sim.exchange.venue.fetch_open_orders(sim.account, 5.0) == []
    answer = await sim.send("DELETE", f"{sim.orders_path}/{order_id}")
    assert answer.text == "order already in finalized state: rejected"


async def test_a_late_rejection_of_a_group_rejects_every_leg(sim: TradierWorld) -> None:
    await sim.fault("late_rejection", params={"delay_ms": 0})
    told = await sim.until_status(await sim.taken(OTOCO), "rejected")
    assert [one["status"] for one in told["leg"]] == ["rejected"] * 3


async def test_a_fill_may_be_seen_before_its_price(sim: TradierWorld) -> None:
    await sim.fault("filled_without_price", params={"lag_ms": 600_000})
    order_id = await sim.place(type="market", price=None)
    seen = await sim.until_status(order_id, "filled")
    assert (seen["avg_fill_price"], seen["exec_quantity"], seen["remaining_quantity"]) == (0.0, 0.0, 0.0)
    assert (await sim.orders())[0]["exec_quantity"] == 0.0
    sim.sim.faults.remove()
    assert (await sim.order(order_id))["avg_fill_price"] == 101.0
    assert (await sim.orders())[0]["exec_quantity"] == 10.0


async def test_orders_that_lag_are_neither_found_nor_listed(sim: TradierWorld) -> None:
    await sim.fault("lookup_lag", params={"lag_ms": 600_000}, rate=1.0)
    order_id = await sim.place()
    answer = await sim.client.get(f"{sim.orders_path}/{order_id}")
    assert (answer.status_code, answer.text) == (401, f"Unauthorized Account: {sim.account}")
    assert await sim.orders() == []
    sim.sim.faults.remove()
    assert [one["id"] for one in await sim.orders()] == [order_id]


async def test_a_preview_says_what_it_would_cost_and_places_nothing(sim: TradierWorld) -> None:
    answer = await sim.post(preview="true")
    told = answer.json()["order"]
    assert (told["status"], told["result"], told["class"], told["symbol"]) == ("ok", True, "equity", "AAPL")
    assert (told["cost"], told["order_cost"], told["commission"], told["quantity"]) == (
        1000.0,
        1000.0,
        0.0,
        10.0,
    )
    assert told["margin_change"] > 0
    assert not told["request_date"].endswith("Z")
    assert await sim.orders() == []
    dear = await sim.post(preview="true", quantity="100000")
    assert "DayTradingBuyingPowerExceeded" in dear.json()["errors"]["error"]
    for form in (OTOCO, spread(sim, "debit", "0.50")):
        answer = await sim.send("POST", sim.orders_path, {**form, "preview": "true"})
        assert answer.json()["order"]["result"] is True, answer.text
