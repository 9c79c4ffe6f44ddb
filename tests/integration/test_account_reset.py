"""A reset starts a paper account afresh: nothing of before counts, everything of before can be read."""

import json
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import bindparam, select, update

from paiid.brokers import BrokerExecution, BrokerOrderView, BrokerUpdate
from paiid.core.clock import SystemClock
from paiid.core.db import statement
from paiid.core.tables import accounts, audit, events
from paiid.domain.orders import OrderStatus
from paiid.domain.terms import DEFAULT_TERMS, PLAIN
from paiid.trading.execution_store import load_of_symbol, newest_of_symbol
from tests.conftest import MakeApp
from tests.halt_world import add_account, add_order
from tests.ledger_world import happened
from tests.orders_world import Trading, until
from tests.reset_world import BUY, TABLES, start
from tests.rows import every_row

_AUDIT = statement(select(audit).where(audit.c.action == "account.reset").order_by(audit.c.id))
_EVENTS = statement(select(events).where(events.c.account_id == bindparam("b_id")).order_by(events.c.seq))
_PROBLEM = statement(
    update(accounts).where(accounts.c.id == bindparam("b_id")), columns=["reconcile_problem", "mode"]
)


async def test_after_a_reset_nothing_is_held_and_the_history_can_still_be_read(make_app: MakeApp) -> None:
    world = await start(make_app)
    bought = await world.trade()
    resting = await world.rest()
    fills = await world.get("/api/trading/fills")
    answer = await world.reset()
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["account"], told["number"]) == (world.account, f"{world.account}.2")
    assert (told["cash"], told["canceled"]) == (100_000, 1)

    assert await world.get("/api/portfolio/positions") == []
    summary = await world.get("/api/portfolio/summary")
    assert (summary["cash"], summary["total_value"]) == (100_000, 100_000)
    ended = await world.get(f"/api/trading/orders/{resting}")
    # Whoever was first: the reset, or the venue's own word on the cancellation.
    assert (ended["status"], ended["reason"]["code"] in ("account_reset", "canceled")) == ("CANCELED", True)
    assert (await world.get(f"/api/trading/orders/{bought['id']}")) == bought
    assert await world.get("/api/trading/fills") == fills
    assert (await world.get("/api/trading/orders?status=open"))["data"] == []
    row = await world.row()
    assert (row["open_orders"], row["open_combos"]) == (0, 0)
    async with world.db.read() as tx:
        held = [dict(zip(r.keys(), tuple(r), strict=True)) for r in await tx.fetch(TABLES["positions"])]
    assert all(
        one[name] == 0 for one in held for name in one if name.startswith(("qty", "cost", "real", "open"))
    )
    assert await world.venue.fetch_open_orders(world.account, 5.0) == []


async def test_trading_goes_on_under_the_new_number_and_the_books_agree(make_app: MakeApp) -> None:
    world = await start(make_app)
    await world.trade()
    await world.reset()
    again = await world.trade({**BUY, "qty": 3})
    assert again["status"] == "FILLED"
    (position,) = await world.get("/api/portfolio/positions")
    assert position["qty"] == 3
    assert position["avg_entry_price"] == again["filled_avg_price"]
    row = await world.row()
    at_venue = await world.at_venue(row["number"])
    assert (row["cash"], row["number"]) == (at_venue["cash"], f"{world.account}.2")
    reader = world.app.state.desk.readers["paper"]
    (account,) = await reader._reconciler.accounts()
    assert await reader._reconciler.compare(account) == ()


async def test_only_prints_since_the_reset_make_the_cost_of_a_position(make_app: MakeApp) -> None:
    world = await start(make_app)
    await world.trade()
    async with world.db.read() as tx:
        before = await newest_of_symbol(tx, world.account, "AAPL")
        assert len(await load_of_symbol(tx, world.account, "AAPL")) >= 1
    assert before != (0, "")
    await world.reset()
    async with world.db.read() as tx:
        assert await load_of_symbol(tx, world.account, "AAPL") == []
        assert await newest_of_symbol(tx, world.account, "AAPL") == (0, "")
    order = await world.trade({**BUY, "qty": 2})
    async with world.db.read() as tx:
        counted = await load_of_symbol(tx, world.account, "AAPL")
    assert {one.order_id for one in counted} == {order["id"]}
    assert sum(one.qty for one in counted) == 2 * 10**9


async def test_S02_a_reset_begins_a_new_epoch_of_the_accounts_channel(make_app: MakeApp) -> None:
    world = await start(make_app)
    await world.rest()
    before = await world.row()
    await world.reset(cash=5000)
    after = await world.row()
    assert after["event_epoch"] == before["event_epoch"] + 1
    async with world.db.read() as tx:
        told = await tx.fetch(_EVENTS, {"b_id": world.account})
    assert [row["seq"] for row in told] == list(range(1, len(told) + 1))
    last = told[-1]
    assert (last["kind"], last["epoch"], last["seq"]) == ("reset", after["event_epoch"], after["event_seq"])
    assert json.loads(last["data"])["cash"] == 5000
    assert all(row["epoch"] == before["event_epoch"] for row in told[:-1]), (
        "the cancelling belongs to the old one"
    )


async def test_K11_a_reset_is_audited_and_clears_what_did_not_agree(make_app: MakeApp) -> None:
    world = await start(make_app)
    async with world.db.begin() as tx:
        await tx.execute(
            _PROBLEM, {"b_id": world.account, "reconcile_problem": "order.overfilled x", "mode": "paper"}
        )
    await world.reset(cash=1234.56, margin=True)
    row = await world.row()
    assert row["reconcile_problem"] is None
    async with world.db.read() as tx:
        (entry,) = await tx.fetch(_AUDIT)
    detail = json.loads(entry["detail"])
    assert (entry["subject"], detail["cash"], detail["margin"]) == (world.account, "1234.56", True)
    assert (detail["from"], detail["to"]) == (world.account, f"{world.account}.2")


async def test_what_is_named_becomes_the_accounts_terms_and_the_rest_stays(make_app: MakeApp) -> None:
    world = await start(make_app)
    first = (await world.reset(cash=2500, margin=True, options_level=1, fees=True)).json()
    wanted = {"cash": 2500, "margin": True, "options_level": 1, "fees": True, "impact": PLAIN.impact}
    assert {name: first[name] for name in wanted} == wanted
    second = (await world.reset(price_improvement_pct=12.5)).json()
    assert second == {**first, "number": f"{world.account}.3", "reset_at": second["reset_at"],
                      "price_improvement_pct": 12.5}  # fmt: skip
    row, at_venue = await world.row(), await world.at_venue(f"{world.account}.3")
    assert (row["cash"], row["starting_cash"], row["margin"], row["options_level"]) == (
        2_500_000_000,
    ) * 2 + (1, 1)
    assert (at_venue["cash"], at_venue["margin"], at_venue["options_level"]) == (2_500_000_000, 1, 1)
    assert (at_venue["fees"], at_venue["impact"], at_venue["price_improvement"]) == (1, 0, 12_500_000)


async def test_an_account_that_never_traded_keeps_the_terms_that_its_first_order_would_have_got(
    make_app: MakeApp,
) -> None:
    world = await start(make_app, paper_terms=DEFAULT_TERMS)
    told = (await world.reset()).json()
    wanted = {"margin": True, "options_level": 3, "fees": True, "impact": True, "price_improvement_pct": 0}
    assert {name: told[name] for name in wanted} == wanted


async def test_the_terms_of_a_reset_rule_the_next_order(make_app: MakeApp) -> None:
    world = await start(make_app)
    await world.reset(cash=100)
    answer = await world.owner.execute({**BUY, "qty": 100})
    assert answer.json()["accepted"] is False, answer.text
    assert answer.json()["orders"][0]["reason"]["code"] == "buying_power"


# -- what comes late ---------------------------------------------------------------------------------


def late_print(number: str) -> BrokerUpdate:
    """A fill that the old number still tells."""
    view = BrokerOrderView(
        account_number=number,
        broker_order_id="po_late",
        client_order_id=None,
        symbol="AAPL",
        side="buy",
        qty=Decimal(7),
        type="market",
        time_in_force="day",
        limit_price=None,
        stop_price=None,
        status=OrderStatus.FILLED,
        filled_qty=Decimal(7),
        filled_avg_price=Decimal(100),
        submitted_at_us=1,
        updated_at_us=1,
    )
    execution = BrokerExecution(
        number, "late-1", "po_late", "AAPL", "buy", Decimal(7), Decimal(100), Decimal(0), 1
    )
    return BrokerUpdate(1, view, execution)


async def test_what_the_old_number_still_tells_changes_nothing(make_app: MakeApp) -> None:
    """The reader knows the old number from before: that is what makes it dangerous."""
    world = await start(make_app)
    await world.trade()
    reader = world.app.state.desk.readers["paper"]
    assert world.account in reader._merger._accounts
    await world.reset()
    before = await world.everything()
    await reader.merge(
        None, [late_print(world.account), happened(world.account, 9, "dividend", "0", "0", "5")]
    )
    assert await world.everything() == before
    await reader.merge(None, [late_print(f"{world.account}.2")])
    assert await world.everything() != before, "under the new number it would have counted"


async def test_a_comparison_that_a_reset_overtakes_says_nothing_of_the_new_books(make_app: MakeApp) -> None:
    world = await start(make_app)
    await world.trade()
    reconciler = world.app.state.desk.readers["paper"]._reconciler
    (stale,) = await reconciler.accounts()
    await world.reset()
    await reconciler.compare(stale)
    assert (await world.row())["reconcile_problem"] is None


# -- when it may not be ------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["QUEUED", "DISPATCHING", "UNKNOWN"])
async def test_while_an_order_is_on_the_wire_or_in_doubt_nothing_is_reset(
    make_app: MakeApp, state: str
) -> None:
    world = await start(make_app)
    await world.rest()
    order_id = await add_order(world.db, SystemClock(), world.account, "u", state)
    before = await world.everything()
    answer = await world.reset()
    assert answer.status_code == 409, answer.text
    assert answer.json()["order_id"] == order_id
    assert await world.everything() == before
    assert len(await world.venue.fetch_open_orders(world.account, 5.0)) == 1


async def test_an_account_that_is_not_at_the_built_in_venue_is_not_reset(trading: Trading) -> None:
    account = (await trading.owner.get("/api/accounts")).json()[0]["id"]
    before = await trading.everything()
    answer = await trading.owner.post(f"/api/accounts/{account}/reset")
    assert answer.status_code == 409, answer.text
    assert await trading.everything() == before


async def test_a_live_account_is_never_reset_even_at_the_built_in_venue(make_app: MakeApp) -> None:
    world = await start(make_app, settings={"live_trading": True})
    async with world.db.begin() as tx:
        await tx.execute(_PROBLEM, {"b_id": world.account, "reconcile_problem": None, "mode": "live"})
    world.app.state.accounts.forget((await world.get("/auth/me"))["id"])
    assert (await world.reset()).status_code == 409


async def test_A10_only_who_may_trade_in_the_account_resets_it(make_app: MakeApp) -> None:
    world = await start(make_app)
    trader = await world.app.user("trader")
    viewer = await world.app.user("viewer")
    before = await world.row()
    assert (await world.reset(trader)).status_code == 404
    me = (await trader.get("/auth/me")).json()["id"]
    grant = f"/api/accounts/{world.account}/grants/{me}"
    await world.owner.request("PUT", grant, json={"access": "view"})
    assert (await world.reset(trader)).status_code == 403
    assert (await world.reset(viewer)).status_code == 403
    assert (await world.row())["number"] == before["number"]
    await world.owner.request("PUT", grant, json={"access": "trade"})
    assert (await world.reset(trader)).status_code == 200


_WRONG_TERMS: list[tuple[dict[str, Any], str, str]] = [
    ({"cash": 0.99}, "cash", "greater_than_equal"),
    ({"cash": 10_000_000.01}, "cash", "less_than_equal"),
    ({"cash": 100.001}, "cash", "decimal_max_places"),
    ({"cash": "100"}, "cash", "invalid"),
    ({"margin": 1}, "margin", "bool_type"),
    ({"options_level": 4}, "options_level", "less_than_equal"),
    ({"options_level": -1}, "options_level", "greater_than_equal"),
    ({"price_improvement_pct": 50.1}, "price_improvement_pct", "less_than_equal"),
    ({"leverage": 4}, "leverage", "unknown_field"),
]


async def test_terms_that_no_account_can_have_are_refused_and_nothing_is_reset(make_app: MakeApp) -> None:
    world = await start(make_app)
    before = await world.everything()
    with every_row() as row:
        for body, field, code in _WRONG_TERMS:
            with row(body):
                answer = await world.reset(**body)
                assert answer.status_code == 422, answer.text
                assert [(one["field"], one["code"]) for one in answer.json()["errors"]] == [(field, code)]
                assert await world.everything() == before


async def test_a_reset_of_one_account_leaves_the_others_alone(make_app: MakeApp) -> None:
    world = await start(make_app)
    me = (await world.get("/auth/me"))["id"]
    await add_account(world.db, SystemClock(), "other", me, broker="elsewhere")
    trader = await world.app.user("trader")
    bought = await trader.execute(BUY)
    await trader.wait_filled(bought.json()["orders"][0]["id"], 15)

    async def booked() -> bool:
        return bool((await trader.get("/api/portfolio/positions")).json())

    await until(booked)
    await world.reset()
    assert (await trader.get("/api/portfolio/positions")).json()[0]["qty"] == 10
