"""Every class of order through the whole service: what is shown, what it counts, and what becomes of it (E0, E7, K1)."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from paiid.core.clock import SystemClock
from paiid.core.db import statement
from paiid.core.tables import accounts, orders, paper_orders, positions
from paiid.domain.money import money_to_int
from tests.conftest import MakeApp
from tests.market_world import FakeFeed
from tests.venue_world import CALL, HIGHER, LOWER, MINUTE_US, PUT, Venue, roles

BRACKET: dict[str, Any] = {
    "symbol": "AAPL", "side": "buy", "qty": 10, "type": "limit", "limit_price": 100, "time_in_force": "gtc",
    "take_profit": {"limit_price": 110}, "stop_loss": {"stop_price": 95},
}  # fmt: skip
SPREAD: dict[str, Any] = {
    "qty": 2, "type": "limit", "limit_price": 2.2,
    "legs": [{"symbol": CALL, "side": "buy_to_open"}, {"symbol": HIGHER, "side": "sell_to_open"}],
}  # fmt: skip


@pytest.fixture
async def venue(make_app: MakeApp) -> Venue:
    feed = FakeFeed("AAPL", "MSFT", quoted_us=SystemClock().now_us() + 5 * MINUTE_US)
    app = await make_app(feed=feed)
    return Venue(app, feed, await app.owner())


async def counters(venue: Venue) -> tuple[int, int, int]:
    """Open orders and open spreads of the accounts, and everything that open orders count on symbols."""
    async with venue.app.state.db.read() as tx:
        rows = await tx.fetch(statement(select(accounts.c.open_orders, accounts.c.open_combos)))
        held = await tx.fetch(statement(select(positions)))
    names = ("open_buy_qty", "open_buy_value", "open_sell_qty", "open_sell_value")
    counted = sum(abs(row[name]) for row in held for name in names)
    return sum(row["open_orders"] for row in rows), sum(row["open_combos"] for row in rows), counted


async def until_followed(venue: Venue, best: str) -> None:
    """Until a trailing stop at the venue has seen this price; it tells of that only now and then."""
    async with asyncio.timeout(20):
        while True:
            async with venue.app.state.db.read() as tx:
                rows = await tx.fetch(statement(select(paper_orders.c.hwm)))
            if money_to_int(Decimal(best)) in [row["hwm"] for row in rows]:
                return
            await asyncio.sleep(0.02)


async def test_E07_exits_are_held_until_the_entry_is_filled_and_then_cancel_one_another(venue: Venue) -> None:
    entry = await venue.place(**{**BRACKET, "limit_price": 98})
    assert (entry["order_class"], entry["group_role"]) == ("bracket", "entry")
    shown = await venue.until(entry["id"], lambda one: set(roles(one).values()) == {"HELD"})
    assert roles(shown) == {"take_profit": "HELD", "stop_loss": "HELD"}
    assert {leg["parent_id"] for leg in shown["legs"]} == {entry["id"]}
    venue.quote("AAPL", "97.90", "98.00")
    await venue.until_status(entry["id"], "FILLED")
    shown = await venue.until(entry["id"], lambda one: set(roles(one).values()) == {"NEW"})
    await venue.until_held(AAPL=10)
    # Two exits for ten shares: ten count, not twenty, and nothing more can be sold.
    reason = await venue.refused(symbol="AAPL", side="sell", qty=10.5)
    assert reason["code"] == "short_sale_whole_shares"
    venue.quote("AAPL", "110.00", "110.10")
    shown = await venue.until(entry["id"], lambda one: roles(one)["take_profit"] == "FILLED")
    shown = await venue.until(entry["id"], lambda one: roles(one)["stop_loss"] == "CANCELED")
    await venue.until_held()
    venue.quote("AAPL", "90.00", "90.10")
    await asyncio.sleep(0.3)
    assert await venue.held() == {}
    assert await counters(venue) == (0, 0, 0)


async def test_E07_the_other_exit_sells_at_the_stop(venue: Venue) -> None:
    entry = await venue.place(**BRACKET)
    await venue.until(entry["id"], lambda one: set(roles(one).values()) == {"NEW"})
    venue.quote("AAPL", "94.00", "94.10")
    await venue.until(
        entry["id"], lambda one: roles(one) == {"take_profit": "CANCELED", "stop_loss": "FILLED"}
    )
    await venue.until_held()
    assert await counters(venue) == (0, 0, 0)


async def test_E00_canceling_a_member_ends_the_group(venue: Venue) -> None:
    entry = await venue.place(**{**BRACKET, "limit_price": 98})
    answer = await venue.owner.delete(f"/api/trading/orders/{entry['id']}")
    assert answer.json()["outcome"] == "done"
    await venue.until(entry["id"], lambda one: set(roles(one).values()) == {"CANCELED"})
    filled = await venue.place(**BRACKET)
    shown = await venue.until(filled["id"], lambda one: set(roles(one).values()) == {"NEW"})
    outcomes = (await venue.owner.delete("/api/trading/orders")).json()["data"]
    assert {one["outcome"] for one in outcomes} <= {"done", "requested"}, outcomes
    assert {one["id"] for one in outcomes} == {leg["id"] for leg in shown["legs"]}
    await venue.until(filled["id"], lambda one: set(roles(one).values()) == {"CANCELED"})
    assert await counters(venue) == (0, 0, 0)


async def test_E07_an_oco_is_one_pair_of_exits_for_what_is_held(venue: Venue) -> None:
    await venue.place(symbol="AAPL", side="buy", qty=10)
    await venue.until_held(AAPL=10)
    pair = await venue.place(
        symbol="AAPL", side="sell", qty=10, order_class="oco",
        take_profit={"limit_price": 110}, stop_loss={"trail_percent": 5}, time_in_force="gtc",
    )  # fmt: skip
    assert (pair["type"], pair["group_role"], pair["limit_price"]) == ("limit", "take_profit", 110)
    shown = await venue.until(pair["id"], lambda one: roles(one) == {"stop_loss": "NEW"})
    venue.quote("AAPL", "104.00", "104.10")
    await until_followed(venue, "104")
    venue.quote("AAPL", "98.80", "98.90")
    shown = await venue.until(pair["id"], lambda one: roles(one) == {"stop_loss": "FILLED"})
    await venue.until_status(pair["id"], "CANCELED")
    assert shown["legs"][0]["stop_price"] == 98.8
    await venue.until_held()
    assert await counters(venue) == (0, 0, 0)


async def test_a_bracket_without_prices_takes_the_distances_of_the_settings(venue: Venue) -> None:
    reason = await venue.refused(symbol="AAPL", side="buy", qty=1, bracket=True)
    assert (reason["code"], reason["field"]) == ("no_bracket_settings", "bracket")
    await venue.owner.post("/api/settings", json={"take_profit": 10, "stop_loss": 2.5})
    entry = await venue.place(symbol="AAPL", side="buy", qty=1, bracket=True)
    prices = {leg["group_role"]: leg["limit_price"] or leg["stop_price"] for leg in entry["legs"]}
    assert prices == {"take_profit": 110, "stop_loss": 97.5}
    plain = await venue.place(symbol="MSFT", side="buy", qty=1, type="limit", limit_price=9)
    assert plain["legs"] == [], "nothing is added to an order that does not ask"


async def test_exits_on_the_wrong_side_of_the_market_are_refused_with_price_and_field(venue: Venue) -> None:
    reason = await venue.refused(
        symbol="AAPL", side="buy", qty=1, take_profit={"limit_price": 99}, stop_loss={"stop_price": 90}
    )
    assert (reason["code"], reason["field"], reason["measured"]) == (
        "bracket_prices",
        "take_profit.limit_price",
        "100",
    )


async def test_a_spread_fills_as_one_and_its_legs_are_the_positions(venue: Venue) -> None:
    before = (await venue.account())["cash"]
    spread = await venue.place(**SPREAD)
    assert (spread["symbol"], spread["order_class"], len(spread["legs"])) == ("AAPL", "mleg", 2)
    done = await venue.until_status(spread["id"], "FILLED")
    assert (done["filled_qty"], done["filled_avg_price"]) == (2, 2.1)
    assert {leg["symbol"]: leg["filled_avg_price"] for leg in done["legs"]} == {CALL: 5.1, HIGHER: 3}
    await venue.until_held(**{CALL: 2, HIGHER: -2})
    assert before - (await venue.account())["cash"] == pytest.approx(420)
    fills = (await venue.owner.get("/api/trading/fills")).json()["data"]
    assert sorted((fill["symbol"], fill["side"], fill["qty"], fill["price"]) for fill in fills) == [
        (CALL, "buy", 2, 5.1),
        (HIGHER, "sell", 2, 3),
    ]
    assert await counters(venue) == (0, 0, 0)


async def test_an_open_spread_counts_its_debit_and_goes_whole(venue: Venue) -> None:
    power = (await venue.account())["buying_power"]
    spread = await venue.place(**{**SPREAD, "limit_price": 1.5})
    assert power - (await venue.account())["buying_power"] == pytest.approx(300)
    assert (await counters(venue))[:2] == (3, 1)
    outcomes = (await venue.owner.delete("/api/trading/orders")).json()["data"]
    assert {one["outcome"] for one in outcomes} <= {"done", "requested"}
    await venue.until_status(spread["id"], "CANCELED")
    await venue.until(spread["id"], lambda one: {leg["status"] for leg in one["legs"]} == {"CANCELED"})
    assert (await venue.account())["buying_power"] == power
    assert await counters(venue) == (0, 0, 0)


async def test_a_credit_spread_needs_what_it_can_lose(venue: Venue) -> None:
    legs = [{"symbol": PUT, "side": "sell_to_open"}, {"symbol": LOWER, "side": "buy_to_open"}]
    power = (await venue.account())["buying_power"]
    spread = await venue.place(qty=1, type="limit", limit_price=-1.2, legs=legs)
    done = await venue.until_status(spread["id"], "FILLED")
    assert done["filled_avg_price"] == -1.2
    await venue.until_held(**{PUT: -1, LOWER: 1})
    # Five dollars wide less the credit, a hundred times.
    assert power - (await venue.account())["buying_power"] == pytest.approx(380)
    close = [{"symbol": PUT, "side": "buy_to_close"}, {"symbol": LOWER, "side": "sell_to_close"}]
    closing = await venue.place(qty=1, type="limit", limit_price=1.4, legs=close)
    await venue.until_status(closing["id"], "FILLED")
    await venue.until_held()
    assert power - (await venue.account())["buying_power"] == pytest.approx(20)


async def test_the_contract_that_covers_a_short_call_is_not_sold_before_it(venue: Venue) -> None:
    spread = await venue.place(**SPREAD)
    await venue.until_status(spread["id"], "FILLED")
    await venue.until_held(**{CALL: 2, HIGHER: -2})
    reason = await venue.refused(symbol=CALL, side="sell_to_close", qty=1)
    assert reason["code"] == "uncovered_option"
    reason = await venue.refused(symbol=HIGHER, side="sell_to_open", qty=1)
    assert reason["code"] == "uncovered_option"


async def test_closing_more_contracts_than_are_held_is_refused_counting_what_already_closes(
    venue: Venue,
) -> None:
    await venue.place(symbol=CALL, side="buy_to_open", qty=3)
    await venue.until_held(**{CALL: 3})
    await venue.place(symbol=CALL, side="sell_to_close", qty=2, type="limit", limit_price=9)
    reason = await venue.refused(symbol=CALL, side="sell_to_close", qty=2, type="limit", limit_price=9)
    assert (reason["code"], reason["measured"], reason["limit"]) == ("insufficient_qty", "2", "1")
    reason = await venue.refused(symbol=CALL, side="buy_to_close", qty=1)
    assert reason["code"] == "position_intent_mismatch"


async def test_an_option_position_is_closed_by_its_symbol(venue: Venue) -> None:
    await venue.place(symbol=CALL, side="buy", qty=3)
    await venue.until_held(**{CALL: 3})
    answer = await venue.owner.delete(f"/api/portfolio/positions/{CALL}")
    (order,) = answer.json()["orders"]
    assert (order["position_intent"], order["qty"], order["state"]) == ("sell_to_close", 3, "ACCEPTED")
    await venue.until_held()


@pytest.mark.parametrize(
    "order", [SPREAD, {"symbol": CALL, "side": "buy", "qty": 1}], ids=["spread", "option"]
)
async def test_K01_a_halt_of_a_symbol_stops_its_options_and_any_leg(
    venue: Venue, order: dict[str, Any]
) -> None:
    await venue.owner.post("/api/admin/kill", json={"halt": True, "scope": "symbol:AAPL", "reason": "news"})
    answer = await venue.owner.execute(order)
    assert (answer.status_code, answer.json()["orders"][0]["reason"]["code"]) == (423, "trading_halted")
    other = await venue.owner.execute({"symbol": "MSFT", "side": "buy", "qty": 1})
    assert other.json()["accepted"] is True


async def test_K01_reduce_only_lets_a_spread_pass_that_only_closes(venue: Venue) -> None:
    spread = await venue.place(**SPREAD)
    await venue.until_status(spread["id"], "FILLED")
    await venue.until_held(**{CALL: 2, HIGHER: -2})
    kill = {"halt": True, "scope": "global", "mode": "reduce_only", "reason": "calm"}
    await venue.owner.post("/api/admin/kill", json=kill)
    assert (await venue.owner.execute(SPREAD)).status_code == 423
    close = [{"symbol": CALL, "side": "sell_to_close"}, {"symbol": HIGHER, "side": "buy_to_close"}]
    closing = await venue.place(qty=2, legs=close)
    await venue.until_status(closing["id"], "FILLED")
    await venue.until_held()


async def test_K06_flatten_closes_short_contracts_before_those_that_cover_them(venue: Venue) -> None:
    spread = await venue.place(**SPREAD)
    await venue.until_status(spread["id"], "FILLED")
    await venue.until_held(**{CALL: 2, HIGHER: -2})
    kill = {"halt": True, "reason": "out", "cancel": True, "flatten": True}
    await venue.owner.post("/api/admin/kill", json=kill)
    await venue.until_held()


async def test_E08_exits_and_legs_have_ids_of_their_own_and_are_told_once(venue: Venue) -> None:
    entry = await venue.place(**BRACKET)
    await venue.until(entry["id"], lambda one: set(roles(one).values()) == {"NEW"})
    async with venue.app.state.db.read() as tx:
        rows = await tx.fetch(statement(select(orders)))
    assert len(rows) == 3
    assert {row["origin"] for row in rows} == {"ours"}
    assert len({row["client_order_id"] for row in rows}) == len({row["broker_order_id"] for row in rows}) == 3
    listed = (await venue.owner.get("/api/trading/orders?status=all")).json()["data"]
    assert {one["id"] for one in listed} == {row["id"] for row in rows}


@pytest.mark.parametrize("order", [BRACKET, SPREAD], ids=["bracket", "spread"])
async def test_E05_the_answer_tells_all_that_is_known_of_an_order_and_what_hangs_on_it(
    venue: Venue, order: dict[str, Any]
) -> None:
    placed = await venue.place(**order)
    for one in (placed, *placed["legs"]):
        assert one["state"] == "ACCEPTED"
        assert one["broker_order_id"] is not None
        assert one["submitted_at"] is not None
        assert one["status"] in ("NEW", "HELD"), one


async def test_E14_a_replay_of_a_bracket_is_byte_for_byte_the_first_answer(venue: Venue) -> None:
    first = await venue.owner.execute(BRACKET, key="bracket-once-1")
    await venue.until(first.json()["orders"][0]["id"], lambda one: set(roles(one).values()) == {"NEW"})
    again = await venue.owner.execute(BRACKET, key="bracket-once-1")
    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
    await venue.until_held(AAPL=10)


async def test_E16_a_dry_run_of_every_class_says_what_it_would_do_and_keeps_nothing(venue: Venue) -> None:
    for order in (BRACKET, SPREAD, {"symbol": "AAPL", "side": "buy", "notional": 500}):
        answer = await venue.owner.execute(order, dryRun=True)
        assert answer.json()["accepted"] is True, answer.text
        (one,) = answer.json()["orders"]
        assert (one["state"], one["id"]) == ("WOULD_SEND", None)
        assert Decimal(str(one["estimated_value"])) > 0
    assert await counters(venue) == (0, 0, 0)


async def test_a_notional_order_buys_for_its_amount(venue: Venue) -> None:
    order = await venue.place(symbol="AAPL", side="buy", notional=250)
    assert (order["qty"], order["notional"]) == (None, 250)
    done = await venue.until_status(order["id"], "FILLED")
    assert (done["filled_qty"], done["filled_avg_price"]) == (2.5, 100)
    assert await counters(venue) == (0, 0, 0)
