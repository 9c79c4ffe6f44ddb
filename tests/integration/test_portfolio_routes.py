"""Positions, summary and account figures over HTTP: exact, from real rows, and never made up."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from paiid.core.instants import instant
from paiid.domain.money import money_to_int
from paiid.domain.terms import DEFAULT_TERMS
from tests.conftest import MakeApp
from tests.halt_world import add_order
from tests.market_world import FakeFeed
from tests.portfolio_world import PortfolioWorld, portfolio_world

POSITION = {
    "symbol", "qty", "side", "avg_entry_price", "market_value", "cost_basis", "unrealized_pl", "unrealized_plpc",
    "current_price", "lastday_price", "change_today", "asset_class", "source", "as_of", "stale",
}  # fmt: skip
SUMMARY = {
    "account", "total_value", "cash", "buying_power", "options_buying_power", "initial_margin", "maintenance_margin",
    "margin_call", "margin", "options_level", "total_pl", "total_pl_percent", "day_pl", "day_pl_percent",
    "day_since", "num_positions", "num_winning", "num_losing", "largest_winner", "largest_loser", "exposure", "greeks",
    "source", "as_of", "stale", "missing_prices",
}  # fmt: skip
ACCOUNT = {
    "id", "name", "broker", "mode", "number", "status", "currency", "cash", "equity", "buying_power",
    "options_buying_power", "initial_margin", "maintenance_margin", "margin_call", "margin", "options_level",
    "long_market_value", "short_market_value", "starting_cash", "open_orders", "num_positions", "source", "as_of",
    "stale", "missing_prices", "reconciled_at", "reconcile_problem", "only_reduces", "created_at", "capabilities",
}  # fmt: skip


OPTION = POSITION | {
    "underlying", "option_type", "strike_price", "expiration_date", "multiplier", "implied_volatility", "delta", "gamma",
    "theta", "vega", "rho", "greeks_source", "greeks_as_of", "quality", "position_greeks",
}  # fmt: skip
CALL_100, PUT_95 = "AAPL261218C00100000", "AAPL261218P00095000"


@pytest.fixture
async def world(make_app: MakeApp) -> PortfolioWorld:
    return await portfolio_world(make_app)


async def test_positions_have_every_field_that_is_promised_with_exact_figures(world: PortfolioWorld) -> None:
    long, short = await world.get("/api/portfolio/positions")
    assert set(long) == set(short) == POSITION
    as_of = [one.pop("as_of") for one in (long, short)]
    assert all(one.endswith("Z") for one in as_of)
    assert long == {
        "symbol": "AAPL", "qty": 10, "side": "long", "avg_entry_price": 100, "market_value": 1110, "cost_basis": 1000,
        "unrealized_pl": 110, "unrealized_plpc": Decimal("0.11"), "current_price": 111, "lastday_price": 110,
        "change_today": Decimal("0.009091"), "asset_class": "stock", "source": "hand", "stale": False,
    }  # fmt: skip
    assert short == {
        "symbol": "MSFT", "qty": -5, "side": "short", "avg_entry_price": 50, "market_value": -200, "cost_basis": -250,
        "unrealized_pl": 50, "unrealized_plpc": Decimal("0.2"), "current_price": 40, "lastday_price": 39,
        "change_today": Decimal("0.025641"), "asset_class": "stock", "source": "hand", "stale": False,
    }  # fmt: skip


async def test_both_addresses_answer_the_same(world: PortfolioWorld) -> None:
    for tail in ("", "/AAPL"):
        one = await world.owner.get(f"/api/portfolio/positions{tail}")
        two = await world.owner.get(f"/api/positions{tail}")
        assert one.status_code == two.status_code == 200
        assert one.content == two.content


async def test_one_position_by_symbol_in_either_case_and_404_when_flat(world: PortfolioWorld) -> None:
    listed = (await world.get("/api/positions"))[0]
    assert await world.get("/api/positions/AAPL") == listed
    assert await world.get("/api/positions/aapl") == listed
    flat = await world.owner.get("/api/positions/NVDA")
    assert (flat.status_code, flat.json()["type"]) == (404, "urn:paiid:problem:not-found")
    odd = await world.owner.get("/api/positions/А1")
    assert (odd.status_code, odd.json()["errors"][0]["field"]) == (422, "symbol")


async def test_the_summary_adds_up(world: PortfolioWorld) -> None:
    found = await world.get("/api/portfolio/summary")
    assert set(found) == SUMMARY
    # 100,000 - 1,000 + 250 in cash; 1,110 long and 200 short.
    assert (found["cash"], found["total_value"]) == (99_250, 100_160)
    assert (found["total_pl"], found["total_pl_percent"]) == (160, Decimal("0.16"))
    assert found["exposure"] == {"long": 1110, "short": -200, "gross": 1310, "net": 910}
    assert (found["num_positions"], found["num_winning"], found["num_losing"]) == (2, 2, 0)
    assert found["largest_winner"] == {
        "symbol": "AAPL",
        "unrealized_pl": 110,
        "unrealized_plpc": Decimal("0.11"),
    }
    assert found["largest_loser"] is None
    assert (found["source"], found["stale"], found["missing_prices"]) == ("hand", False, [])
    assert 0 < found["buying_power"] <= found["cash"]


async def test_the_day_counts_from_the_equity_kept_at_the_last_roll(world: PortfolioWorld) -> None:
    before = await world.get("/api/portfolio/summary")
    created = (await world.get("/api/account"))["created_at"]
    assert (before["day_pl"], before["day_since"]) == (160, created), "before any roll, from the beginning"
    await world.keep_day("100060")
    found = await world.get("/api/portfolio/summary")
    assert found["day_pl"] == 100
    assert found["day_pl_percent"] == Decimal("0.0999")
    assert found["day_since"] < created
    assert found["total_pl"] == 160, "the total still counts from the starting cash"


async def test_a_stale_price_is_told_and_said_to_be_stale(world: PortfolioWorld) -> None:
    world.quote("AAPL", "110", "112", age_s=600)
    aapl, msft = await world.get("/api/positions")
    assert (aapl["current_price"], aapl["stale"]) == (111, True)
    assert msft["stale"] is False
    summary = await world.get("/api/portfolio/summary")
    assert summary["stale"] is True
    assert summary["as_of"] == aapl["as_of"], "as old as its oldest price"


async def test_a_missing_price_is_null_wherever_it_would_be_needed_and_never_invented(
    world: PortfolioWorld,
) -> None:
    await world.keep_day("100060")
    world.feed.unlist("MSFT")
    aapl, msft = await world.get("/api/positions")
    assert aapl["market_value"] == 1110
    needs_a_price = {
        "market_value", "unrealized_pl", "unrealized_plpc", "current_price", "lastday_price", "change_today", "source",
        "as_of",
    }  # fmt: skip
    assert {name for name, value in msft.items() if value is None} == needs_a_price
    assert (msft["qty"], msft["cost_basis"], msft["avg_entry_price"], msft["stale"]) == (-5, -250, 50, True)
    summary = await world.get("/api/portfolio/summary")
    for name in ("total_value", "total_pl", "total_pl_percent", "day_pl", "day_pl_percent", "buying_power"):
        assert summary[name] is None, name
    assert summary["exposure"] == dict.fromkeys(("long", "short", "gross", "net"))
    assert (summary["missing_prices"], summary["stale"]) == (["MSFT"], True)
    assert (summary["num_positions"], summary["num_winning"]) == (2, 1)
    assert summary["cash"] == 99_250
    account = await world.get("/api/account")
    assert (account["equity"], account["cash"]) == (None, 99_250)
    world.feed.down = "the feed is away"
    assert (await world.owner.get("/api/positions")).status_code == 200, "holdings are told all the same"


async def test_an_account_has_its_figures_and_what_its_broker_can_hold(world: PortfolioWorld) -> None:
    found = await world.get("/api/account")
    assert set(found) == ACCOUNT
    assert (found["broker"], found["mode"], found["status"], found["currency"]) == (
        "paper", "paper", "active", "USD",
    )  # fmt: skip
    assert (found["cash"], found["equity"], found["starting_cash"]) == (99_250, 100_160, 100_000)
    assert (found["long_market_value"], found["short_market_value"]) == (1110, -200)
    assert (found["open_orders"], found["num_positions"]) == (0, 2)
    can = world.broker.capabilities
    assert found["capabilities"] == {
        "asset_classes": sorted(can.asset_classes),
        "order_types": sorted(can.order_types),
        "order_classes": sorted(can.order_classes),
        "times_in_force": sorted(can.times_in_force),
        "fractional": can.fractional,
        "short_selling": can.short_selling,
        "replaceable": sorted(can.replaceable),
        "table": [
            {
                "kind": row.kind,
                "order_classes": sorted(row.order_classes),
                "order_types": sorted(row.order_types),
                "times_in_force": sorted(row.times_in_force),
                "extended_hours": row.extended_hours,
            }
            for row in can.rows
        ],
        "notes": dict(can.notes),
    }
    assert await world.get(f"/api/accounts/{found['id']}") == found
    assert await world.get("/api/accounts") == [found]


async def test_an_open_order_holds_buying_power_and_is_no_position(world: PortfolioWorld) -> None:
    before = await world.get("/api/account")
    answer = await world.owner.execute(
        {"symbol": "NVDA", "side": "buy", "qty": 1}, {"symbol": "AAPL", "side": "buy", "qty": 2}
    )
    assert not answer.json()["accepted"], "there is no price for NVDA"
    answer = await world.owner.execute({"symbol": "AAPL", "side": "buy", "qty": 2})
    assert answer.json()["accepted"], answer.text
    after = await world.get("/api/account")
    assert after["open_orders"] == before["open_orders"] + 1
    assert after["buying_power"] < before["buying_power"]
    assert after["equity"] == before["equity"]
    assert len(await world.get("/api/positions")) == 2


async def test_A10_every_route_takes_an_account_and_shows_only_those_granted(world: PortfolioWorld) -> None:
    mine = (await world.get("/api/account"))["id"]
    trader = await world.app.user("trader")
    theirs = (await trader.get("/api/account")).json()["id"]
    assert theirs != mine
    assert (await trader.get("/api/positions")).json() == []
    paths = ["/api/positions", "/api/portfolio/positions", "/api/portfolio/summary", "/api/account"]
    for path in paths:
        assert (await world.owner.get(f"{path}?account={mine}")).status_code == 200
        hidden = await trader.get(f"{path}?account={mine}")
        absent = await trader.get(f"{path}?account=nobodys")
        assert hidden.status_code == absent.status_code == 404
        assert hidden.json()["detail"] == absent.json()["detail"], "whether it exists is not told"
    assert (await trader.get(f"/api/accounts/{mine}")).status_code == 404
    assert [one["id"] for one in (await trader.get("/api/accounts")).json()] == [theirs]
    user = (await trader.get("/auth/me")).json()["id"]
    put = await world.owner.request("PUT", f"/api/accounts/{mine}/grants/{user}", json={"access": "view"})
    assert put.status_code == 200
    assert len((await trader.get(f"/api/positions?account={mine}")).json()) == 2
    assert len((await trader.get("/api/accounts")).json()) == 2


async def test_a_new_account_is_worth_its_cash(make_app: MakeApp) -> None:
    app = await make_app()
    owner = await app.owner()
    summary = (await owner.get("/api/portfolio/summary")).json()
    assert (summary["total_value"], summary["cash"], summary["buying_power"]) == (100_000, 100_000, 100_000)
    assert (summary["total_pl"], summary["day_pl"], summary["total_pl_percent"]) == (0, 0, 0)
    assert (summary["largest_winner"], summary["source"], summary["stale"]) == (None, None, False)
    assert (await owner.get("/api/positions")).json() == []


async def test_figures_keep_every_digit(world: PortfolioWorld) -> None:
    world.quote("AAPL", "110.000001", "110.000002")
    await asyncio.sleep(0)
    answer = await world.owner.get("/api/positions/AAPL")
    # The middle is 110.0000015; a stored millionth is the smallest amount there is.
    assert b'"current_price":110.000002' in answer.content
    assert b'"market_value":1100.00002' in answer.content
    assert money_to_int(Decimal("1100.00002")) == 1_100_000_020


async def test_an_option_is_shown_with_what_it_is_about_and_a_hundred_times_its_price(
    world: PortfolioWorld,
) -> None:
    await world.hold(CALL_100, 2, 600)
    world.quote(CALL_100, "4.90", "5.10")
    found = await world.get(f"/api/positions/{CALL_100}")
    assert set(found) == OPTION
    assert (found["qty"], found["avg_entry_price"], found["cost_basis"]) == (2, 3, 600)
    assert (found["current_price"], found["market_value"], found["unrealized_pl"]) == (5, 1000, 400)
    assert (found["asset_class"], found["underlying"], found["option_type"]) == ("option", "AAPL", "call")
    assert (found["strike_price"], found["expiration_date"], found["multiplier"]) == (100, "2026-12-18", 100)
    assert await world.get("/api/positions/aapl  261218c00100000") == found
    summary = await world.get("/api/portfolio/summary")
    assert (summary["total_value"], summary["exposure"]["long"]) == (100_160 + 1000, 1110 + 1000)


async def test_what_may_be_bought_and_what_is_needed_follow_the_terms_of_the_account(
    make_app: MakeApp,
) -> None:
    app = await make_app(feed=FakeFeed(), paper_terms=DEFAULT_TERMS)
    owner = await app.owner()
    for path in ("/api/account", "/api/portfolio/summary"):
        found = (await owner.get(path)).json()
        assert (found["buying_power"], found["options_buying_power"]) == (200_000, 100_000)
        assert (found["margin"], found["options_level"], found["margin_call"]) == (True, 3, False)
        assert (found["initial_margin"], found["maintenance_margin"]) == (0, 0)


async def test_margin_is_reckoned_from_the_positions(world: PortfolioWorld) -> None:
    """99,250 in cash, 1,110 long and 200 short."""
    await world.set_account(margin=1, options_level=2)
    found = await world.get("/api/account")
    # 99,250 + half of 1,110 - one and a half times 200.
    assert (found["options_buying_power"], found["buying_power"]) == (99_505, 199_010)
    assert found["initial_margin"] == 100_160 - 99_505
    assert found["maintenance_margin"] == Decimal("337.5"), "a quarter of 1,110, 30 % of 200"
    assert (found["margin_call"], found["options_level"]) == (False, 2)
    await world.set_account(cash=-600 * 10**6)
    assert (await world.get("/api/account"))["margin_call"] is True


async def test_open_spreads_hold_buying_power(world: PortfolioWorld) -> None:
    before = await world.get("/api/account")
    db, clock = world.app.state.db, world.app.state.clock
    shared: dict[str, Any] = {"order_class": "mleg", "asset_class": "option", "qty": 3 * 10**9}
    parent = await add_order(
        db, clock, before["id"], "u", "ACCEPTED", **shared, filled_qty=10**9, reserve_price=-1_800_000
    )
    for symbol, side in (("AAPL261218P00100000", "sell"), (PUT_95, "buy")):
        await add_order(
            db, clock, before["id"], "u", "ACCEPTED", **shared, parent_id=parent, group_role="leg", symbol=symbol,
            side=side, ratio_qty=1,
        )  # fmt: skip
    after = await world.get("/api/account")
    # Two of three units are open: 500 each, less the credit of 180.
    assert after["buying_power"] == before["buying_power"] - 640
    assert after["equity"] == before["equity"]


async def test_after_a_reset_only_the_days_since_then_count(world: PortfolioWorld) -> None:
    await world.keep_day("100060")
    now_us = world.app.state.clock.now_us()
    assert (await world.get("/api/portfolio/summary"))["day_pl"] == 100
    await world.set_account(reset_at=now_us)
    found = await world.get("/api/portfolio/summary")
    assert found["day_pl"] == found["total_pl"] == 160
    assert found["day_since"] == instant(now_us)
