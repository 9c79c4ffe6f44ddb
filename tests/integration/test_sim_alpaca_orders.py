"""Orders at the simulated Alpaca: what they look like on the wire through their lives."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from paiid.brokers import OutcomeUnknown
from paiid.sim.alpaca.ids import child_client_id, venue_id
from tests.paper_live import until
from tests.sim_exchange import SimWorld, sim_world


@pytest.fixture
async def sim(sqlite_url: str, tmp_path: Path) -> AsyncIterator[SimWorld]:
    async with sim_world(sqlite_url, tmp_path / "sim") as world:
        yield world


async def test_an_order_is_pending_new_then_new_then_filled(sim: SimWorld) -> None:
    told = await sim.place(client_order_id="r1-0001", limit_price="100.50")
    assert told["status"] == "pending_new"
    assert told["client_order_id"] == "r1-0001"
    assert (told["qty"], told["filled_qty"], told["filled_avg_price"]) == ("10", "0", None)
    assert (told["order_class"], told["type"], told["order_type"], told["legs"]) == (
        "",
        "limit",
        "limit",
        None,
    )
    assert (told["limit_price"], told["asset_class"], told["position_intent"]) == (
        "100.5",
        "us_equity",
        "buy_to_open",
    )
    assert "group_id" not in told
    assert "ratio_qty" not in told
    assert str(uuid.UUID(told["id"])) == told["id"]
    live = await sim.until_status(told["id"], "new")
    assert live["id"] == told["id"]
    sim.show("99.00", "100.00")
    done = await sim.until_status(told["id"], "filled")
    assert (done["filled_qty"], done["filled_avg_price"]) == ("10", "100")
    assert done["filled_at"] is not None
    assert done["canceled_at"] is None


async def test_instants_have_more_digits_than_microseconds(sim: SimWorld) -> None:
    stamps = [(await sim.place(client_order_id=f"n-{n}"))["submitted_at"] for n in range(5)]
    assert all(one.endswith("Z") for one in stamps)
    assert max(len(one.partition(".")[2]) for one in stamps) > len("123456Z")


async def test_numbers_are_taken_as_well_as_texts(sim: SimWorld) -> None:
    told = await sim.place(qty=2.5, type="limit", limit_price=100.25)
    assert (told["qty"], told["limit_price"]) == ("2.5", "100.25")


async def test_an_order_without_a_client_order_id_gets_a_uuid(sim: SimWorld) -> None:
    told = await sim.place()
    assert str(uuid.UUID(told["client_order_id"])) == told["client_order_id"]
    found = await sim.get(f"/v2/orders:by_client_order_id?client_order_id={told['client_order_id']}")
    assert found["id"] == told["id"]


async def test_a_notional_order_shows_no_qty_even_when_it_has_filled(sim: SimWorld) -> None:
    told = await sim.place(qty=None, notional="50.5", type="market", limit_price=None)
    assert (told["qty"], told["notional"]) == (None, "50.5")
    done = await sim.until_status(told["id"], "filled")
    assert done["qty"] is None
    assert Decimal(done["filled_qty"]) == Decimal("0.5")


async def test_a_symbol_may_be_an_asset_id(sim: SimWorld) -> None:
    asset = await sim.get("/v2/assets/AAPL")
    told = await sim.place(symbol=asset["id"])
    assert (told["symbol"], told["asset_id"]) == ("AAPL", asset["id"])


async def test_a_closed_market_accepts_orders_and_keeps_them_waiting(sim: SimWorld) -> None:
    sim.street.market.hours.open = False
    told = await sim.place(time_in_force="gtc")
    assert told["status"] == "accepted"
    assert (await sim.order(told["id"]))["status"] == "accepted"
    answer = await sim.client.patch(f"/v2/orders/{told['id']}", json={"limit_price": "99"})
    assert answer.status_code == 422
    assert answer.json()["message"] == "unable to replace order, order isn't sent to exchange yet"
    sim.street.market.hours.open = True
    await sim.until_status(told["id"], "new")


async def test_every_acceptance_is_in_the_ledger_before_its_answer(sim: SimWorld) -> None:
    told = await sim.place(client_order_id="l-1")
    entry = sim.book.of("order_accepted")[0]
    assert entry["order_id"] == told["id"]
    assert (entry["client_order_id"], entry["symbol"], entry["side"], entry["qty"]) == (
        "l-1",
        "AAPL",
        "buy",
        "10",
    )
    assert entry["order_class"] == "simple"
    await sim.place(client_order_id="l-1", status=422)
    assert len(sim.book.of("order_accepted")) == 1


@pytest.mark.parametrize("name", ["a.tp", "a.sl", "a.leg1", "a.tp~", "a.sl~~", "blank name"])
async def test_names_like_those_of_exits_are_free_to_clients(sim: SimWorld, name: str) -> None:
    told = await sim.place(client_order_id=name)
    assert told["client_order_id"] == name
    found = await sim.client.get("/v2/orders:by_client_order_id", params={"client_order_id": name})
    assert found.json()["id"] == told["id"]
    await sim.place(client_order_id=name, status=422)


# -- groups -------------------------------------------------------------------------------------------


async def test_a_bracket_has_held_exits_that_go_live_with_the_fill(sim: SimWorld) -> None:
    told = await sim.place(
        client_order_id="b-1",
        order_class="bracket",
        time_in_force="gtc",
        take_profit={"limit_price": "120"},
        stop_loss={"stop_price": "90", "limit_price": "89.5"},
    )
    profit, loss = told["legs"]
    assert [told["order_class"], profit["status"], loss["status"]] == ["bracket", "held", "held"]
    assert [one["group_role"] for one in (told, profit, loss)] == ["entry", "take_profit", "stop_loss"]
    assert len({one["group_id"] for one in (told, profit, loss)}) == 1
    assert (profit["side"], loss["type"], loss["stop_price"], loss["limit_price"]) == (
        "sell",
        "stop_limit",
        "90",
        "89.5",
    )
    assert str(uuid.UUID(profit["client_order_id"])) == profit["client_order_id"]
    found = await sim.get(f"/v2/orders:by_client_order_id?client_order_id={profit['client_order_id']}")
    assert found["id"] == profit["id"]
    sim.show("99.00", "100.00")
    done = await sim.until_status(told["id"], "filled")
    assert [one["status"] for one in done["legs"]] == ["new", "new"]
    assert (await sim.order(told["id"]))["legs"] is None
    await sim.client.delete(f"/v2/orders/{profit['id']}")
    await sim.until_status(loss["id"], "canceled")


async def test_an_exit_cannot_be_found_by_the_name_that_the_venue_gives_it(sim: SimWorld) -> None:
    await sim.place(
        client_order_id="b-2",
        order_class="oto",
        stop_loss={"stop_price": "90"},
    )
    await sim.get("/v2/orders:by_client_order_id?client_order_id=b-2.sl", status=404)
    told = await sim.get("/v2/orders:by_client_order_id?client_order_id=b-2")
    # Nor an order that has a name of its own by one that could have been made up for it.
    ours = venue_id("po", told["id"])
    assert ours is not None
    await sim.get(f"/v2/orders:by_client_order_id?client_order_id={child_client_id(ours)}", status=404)


async def test_an_oco_order_names_its_take_profit_either_way(sim: SimWorld) -> None:
    await sim.hold(10)
    told = await sim.place(
        order_class="oco",
        side="sell",
        limit_price=None,
        time_in_force="gtc",
        take_profit={"limit_price": "120"},
        stop_loss={"stop_price": "90"},
    )
    assert (told["limit_price"], told["group_role"], told["order_class"]) == ("120", "take_profit", "oco")
    assert [one["type"] for one in told["legs"]] == ["stop"]
    again = await sim.place(
        order_class="oco", side="sell", limit_price="120", stop_loss={"stop_price": "90"}, status=403
    )
    assert again["message"] == "insufficient qty available for order (requested: 10, available: 0)"


async def test_a_spread_has_empty_texts_and_legs_of_its_own(sim: SimWorld) -> None:
    low, high = sim.contract("call", 100), sim.contract("call", 105)
    sim.show("3.00", "3.10", symbol=low)
    sim.show("1.00", "1.10", symbol=high)
    told = await sim.place(
        symbol=None,
        side=None,
        order_class="mleg",
        qty="2",
        limit_price="1.00",
        legs=[
            {"symbol": low, "ratio_qty": "1", "side": "buy", "position_intent": "buy_to_open"},
            {"symbol": high, "ratio_qty": 1, "side": "sell"},
        ],
    )
    assert [told[name] for name in ("symbol", "asset_id", "asset_class", "side")] == ["", "", "", ""]
    assert "position_intent" not in told
    assert (told["order_class"], told["limit_price"]) == ("mleg", "1")
    buy, sell = told["legs"]
    assert (buy["type"], buy["order_type"], buy["limit_price"]) == ("", "", None)
    assert (buy["qty"], buy["ratio_qty"], sell["position_intent"]) == ("2", "1", "sell_to_open")
    assert [one["id"] for one in await sim.get("/v2/orders")] == [told["id"]]
    sim.show("1.95", "2.00", symbol=low)
    sim.show("1.05", "1.10", symbol=high)
    done = await sim.until_status(told["id"], "filled")
    assert done["filled_avg_price"] == "0.95"
    assert [one["filled_avg_price"] for one in done["legs"]] == ["2", "1.05"]
    fills = await sim.get("/v2/account/activities/FILL")
    assert {one["order_id"] for one in fills} == {one["id"] for one in done["legs"]}


async def test_a_credit_is_a_price_below_zero(sim: SimWorld) -> None:
    low, high = sim.contract("put", 95), sim.contract("put", 100)
    sim.show("1.00", "1.10", symbol=low)
    sim.show("3.00", "3.10", symbol=high)
    told = await sim.place(
        symbol=None,
        side=None,
        order_class="mleg",
        qty="1",
        limit_price="-1.90",
        legs=[
            {"symbol": high, "ratio_qty": "1", "side": "sell", "position_intent": "sell_to_open"},
            {"symbol": low, "ratio_qty": "1", "side": "buy", "position_intent": "buy_to_open"},
        ],
    )
    assert told["limit_price"] == "-1.9"
    done = await sim.until_status(told["id"], "filled")
    assert done["filled_avg_price"] == "-1.9"


# -- cancels ------------------------------------------------------------------------------------------


async def test_a_cancel_is_promised_at_once_and_done_later(sim: SimWorld) -> None:
    told = await sim.place()
    sim.book.delay_s = 30.0
    answer = await sim.client.delete(f"/v2/orders/{told['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await sim.order(told["id"]))["status"] == "pending_cancel"
    assert sim.exchange.pending_work == 1
    assert sim.book.of("cancel_accepted")[0]["order_id"] == told["id"]
    assert (await sim.client.delete(f"/v2/orders/{told['id']}")).status_code == 204
    refused = await sim.client.patch(f"/v2/orders/{told['id']}", json={"limit_price": "99"})
    assert refused.json()["message"] == 'order is already in "pending_cancel" state'
    await sim.exchange.stop()
    over = await sim.order(told["id"])
    assert over["status"] == "canceled"
    assert over["canceled_at"] is not None


async def test_an_order_may_fill_while_its_cancel_is_pending(sim: SimWorld) -> None:
    told = await sim.place()
    # Longer than a busy machine takes to fill it.
    sim.book.delay_s = 2.5
    await sim.client.delete(f"/v2/orders/{told['id']}")
    sim.show("99.00", "100.00")
    await sim.until_status(told["id"], "filled")
    await until(lambda: _no_work(sim))
    refused = await sim.client.delete(f"/v2/orders/{told['id']}")
    assert (refused.status_code, refused.json()) == (
        422,
        {"code": 42210000, "message": 'order is already in "filled" state'},
    )


async def _no_work(sim: SimWorld) -> bool:
    return sim.exchange.pending_work == 0


async def test_a_promised_cancel_outlives_a_database_that_is_away_for_a_moment(sim: SimWorld) -> None:
    told = await sim.place()
    sim.venue.db.cut = True
    sim.exchange.cancels.promise(sim.exchange.accounts.all()[0].number, venue_id("po", told["id"]) or "", 0.0)
    await sim.exchange.clock.sleep(0.05)
    assert sim.exchange.pending_work == 1
    sim.venue.db.cut = False
    await until(lambda: _no_work(sim))
    assert (await sim.order(told["id"]))["status"] == "canceled"


async def test_cancelling_everything_answers_a_row_for_each_order(sim: SimWorld) -> None:
    ids = {(await sim.place(client_order_id=f"c-{n}"))["id"] for n in range(3)}
    answer = await sim.client.delete("/v2/orders")
    assert answer.status_code == 207
    assert {one["id"] for one in answer.json()} == ids
    assert {one["status"] for one in answer.json()} == {200}
    for one in ids:
        await sim.until_status(one, "canceled")
    assert (await sim.client.delete("/v2/orders")).json() == []


# -- replacing ----------------------------------------------------------------------------------------


async def test_a_replacement_is_a_new_order_that_names_the_old_one(sim: SimWorld) -> None:
    old = await sim.place(client_order_id="r-1")
    await sim.until_status(old["id"], "new")
    answer = await sim.client.patch(
        f"/v2/orders/{old['id']}", json={"qty": "12", "limit_price": 99.5, "client_order_id": "r-2"}
    )
    assert answer.status_code == 200
    new = answer.json()
    assert (new["replaces"], new["client_order_id"], new["qty"], new["limit_price"]) == (
        old["id"],
        "r-2",
        "12",
        "99.5",
    )
    assert new["status"] == "pending_new"
    gone = await sim.order(old["id"])
    assert (gone["status"], gone["replaced_by"]) == ("replaced", new["id"])
    assert gone["replaced_at"] is not None
    entry = sim.book.of("order_replaced")[0]
    assert (entry["old"], entry["new"], entry["client_order_id"]) == (old["id"], new["id"], "r-2")


async def test_a_replacement_without_a_client_order_id_gets_another_one(sim: SimWorld) -> None:
    old = await sim.place(client_order_id="r-1")
    await sim.until_status(old["id"], "new")
    new = (await sim.client.patch(f"/v2/orders/{old['id']}", json={"limit_price": "99"})).json()
    assert str(uuid.UUID(new["client_order_id"])) == new["client_order_id"]


async def test_an_exit_that_was_replaced_keeps_the_id_its_owner_gave_it(sim: SimWorld) -> None:
    told = await sim.place(
        order_class="bracket", take_profit={"limit_price": "120"}, stop_loss={"stop_price": "90"}
    )
    profit = told["legs"][0]
    new = await sim.client.patch(
        f"/v2/orders/{profit['id']}", json={"limit_price": "130", "client_order_id": "mine.tp"}
    )
    assert new.status_code == 200, new.text
    assert (new.json()["client_order_id"], new.json()["status"]) == ("mine.tp", "held")
    assert new.json()["group_id"] == told["group_id"]
    found = await sim.get("/v2/orders:by_client_order_id?client_order_id=mine.tp")
    assert found["id"] == new.json()["id"]


async def test_a_replacement_is_refused_for_an_id_used_before(sim: SimWorld) -> None:
    old = await sim.place(client_order_id="r-1")
    await sim.until_status(old["id"], "new")
    answer = await sim.client.patch(f"/v2/orders/{old['id']}", json={"qty": "5", "client_order_id": "r-1"})
    assert (answer.status_code, answer.json()["message"]) == (422, "client_order_id must be unique")
    assert (await sim.order(old["id"]))["status"] == "new"


async def test_a_replacement_cannot_sell_more_than_there_is(sim: SimWorld) -> None:
    await sim.hold(10)
    await sim.place(side="sell", qty="3", limit_price="120")
    old = await sim.place(side="sell", qty="5", limit_price="120")
    await sim.until_status(old["id"], "new")
    answer = await sim.client.patch(f"/v2/orders/{old['id']}", json={"qty": "8"})
    assert (answer.status_code, answer.json()["message"]) == (
        403,
        "insufficient qty available for order (requested: 8, available: 7)",
    )
    assert (await sim.client.patch(f"/v2/orders/{old['id']}", json={"qty": "7"})).json()["qty"] == "7"


async def test_one_client_order_id_is_taken_once_however_many_ask(sim: SimWorld) -> None:
    body = {
        "symbol": "AAPL",
        "qty": 1,
        "side": "buy",
        "type": "limit",
        "limit_price": 50,
        "time_in_force": "day",
    }
    answers = await asyncio.gather(
        *(sim.client.post("/v2/orders", json={**body, "client_order_id": "one"}) for _ in range(12))
    )
    codes = sorted(one.status_code for one in answers)
    assert codes == [200] + [422] * 11
    assert {one.json()["message"] for one in answers if one.status_code == 422} == {
        "client_order_id must be unique"
    }
    assert len(await sim.get("/v2/orders")) == len(sim.book.of("order_accepted")) == 1


async def test_the_shares_of_a_position_are_sold_once_however_many_ask(sim: SimWorld) -> None:
    await sim.hold(10)
    body = {
        "symbol": "AAPL",
        "qty": 10,
        "side": "sell",
        "type": "limit",
        "limit_price": 120,
        "time_in_force": "day",
    }
    answers = await asyncio.gather(*(sim.client.post("/v2/orders", json=body) for _ in range(8)))
    assert sorted(one.status_code for one in answers) == [200] + [403] * 7
    assert {one.json()["available"] for one in answers if one.status_code == 403} == {"0"}


async def test_the_trail_of_a_trailing_stop_can_be_replaced(sim: SimWorld) -> None:
    await sim.hold(5)
    old = await sim.place(
        side="sell", qty="5", type="trailing_stop", limit_price=None, trail_percent="5", time_in_force="gtc"
    )
    assert (old["trail_percent"], old["trail_price"]) == ("5", None)
    live = await sim.until_status(old["id"], "new")
    await until(lambda: _has_peak(sim, old["id"]))
    live = await sim.order(old["id"])
    assert (live["hwm"], live["stop_price"]) == ("99", "94.05")
    new = (await sim.client.patch(f"/v2/orders/{old['id']}", json={"trail": "6"})).json()
    assert new["trail_percent"] == "6"


async def _has_peak(sim: SimWorld, order_id: str) -> bool:
    return (await sim.order(order_id))["hwm"] is not None


# -- short sales --------------------------------------------------------------------------------------


async def test_a_short_sale_and_its_cover_say_what_they_do(sim: SimWorld) -> None:
    sold = await sim.place(side="sell", type="market", limit_price=None)
    assert sold["position_intent"] == "sell_to_open"
    await sim.until_status(sold["id"], "filled")
    (position,) = await sim.get("/v2/positions")
    assert (position["side"], position["qty"]) == ("short", "-10")
    bought = await sim.place(side="buy", type="market", limit_price=None)
    assert bought["position_intent"] == "buy_to_close"
    (fill,) = await sim.get(f"/v2/account/activities/FILL?order_id={sold['id']}")
    assert fill["side"] == "sell_short"


async def test_a_call_in_doubt_at_the_venue_is_a_gateway_timeout(
    sim: SimWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object) -> None:
        raise OutcomeUnknown("the test has lost it")

    monkeypatch.setattr(sim.exchange.venue, "submit", lost)
    answer = await sim.client.post(
        "/v2/orders",
        json={"symbol": "AAPL", "qty": 1, "side": "buy", "type": "market", "time_in_force": "day"},
    )
    assert answer.status_code == 504


def test_an_exit_s_id_and_name_are_different_uuids() -> None:
    wire = "01a2246a-d7d4-6f02-c953-5b3ac0e8228a"
    ours = venue_id("po", wire)
    assert ours is not None
    assert child_client_id(ours) != wire
