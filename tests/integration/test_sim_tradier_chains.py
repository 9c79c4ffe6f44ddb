"""The simulated Tradier's option chains: contracts with their greeks, expirations, strikes, and the faults of a chain."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from paiid.sim.engine.shared_kinds import chain_kinds
from tests.tradier_markets_world import MarketsWorld, eastern, simulated_at

FRIDAY = "2026-10-09"
EXPIRATION = "2026-12-18"
GREEKS = {
    "delta",
    "gamma",
    "theta",
    "vega",
    "rho",
    "phi",
    "bid_iv",
    "mid_iv",
    "ask_iv",
    "smv_vol",
    "updated_at",
}


async def chain(
    world: MarketsWorld, symbol: str = "SPY", expiration: str = EXPIRATION, greeks: str = "true"
) -> list[Any]:
    """The contracts of a chain."""
    told = await world.get("/options/chains", symbol=symbol, expiration=expiration, greeks=greeks)
    rows: list[Any] = told["options"]["option"]
    return rows


async def test_a_chain_has_all_contracts_of_one_expiration(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        rows = await chain(world)
        plain = await chain(world, greeks="false")
        strikes = (await world.get("/options/strikes", symbol="SPY", expiration=EXPIRATION))["strikes"][
            "strike"
        ]
        none = await world.get("/options/chains", symbol="SPY", expiration="2026-12-17")
        unknown = await world.get("/options/chains", symbol="ZZZZ", expiration=EXPIRATION)
    assert none == unknown == {"options": None}
    assert {one["expiration_date"] for one in rows} == {EXPIRATION}
    assert {one["expiration_type"] for one in rows} == {"standard"}
    assert sorted({one["strike"] for one in rows}) == strikes
    assert len(rows) == 2 * len(strikes)
    assert all(one.keys() | {"greeks"} == two.keys() for one, two in zip(plain, rows, strict=True))
    assert all("greeks" not in one for one in plain)


async def test_greeks_are_those_of_the_market_in_tradiers_scale(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        rows = await chain(world)
        spot = world.market.newest("SPY")
    assert spot is not None
    told = [one for one in rows if one["greeks"] is not None]
    assert len(told) > len(rows) / 2
    for one in told:
        greeks = one["greeks"]
        assert greeks.keys() == GREEKS
        assert greeks["updated_at"] == "2026-10-09 15:00:04"
        assert greeks["bid_iv"] <= greeks["mid_iv"] <= greeks["ask_iv"]
        assert (
            (greeks["delta"] > 0)
            is (greeks["rho"] > 0)
            is (greeks["phi"] < 0)
            is (one["option_type"] == "call")
        )
    call = min(
        (one for one in told if one["option_type"] == "call"), key=lambda one: abs(one["strike"] - spot.mid)
    )["greeks"]
    # Ten weeks at the money: half a share, and a few cents a day and a point of volatility.
    assert Decimal("0.45") < call["delta"] < Decimal("0.6")
    assert Decimal("-0.4") < call["theta"] < Decimal("-0.05")
    assert Decimal("0.8") < call["vega"] < Decimal("1.5")
    assert abs(call["mid_iv"] - call["smv_vol"]) < Decimal("0.01")


async def test_a_contract_without_a_bid_has_no_greeks(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        days = (await world.get("/options/expirations", symbol="SPY"))["expirations"]["date"]
        rows = await chain(world, expiration=days[0])
    without = [one for one in rows if one["bid"] == 0]
    assert without
    for one in rows:
        assert (one["greeks"] is None) is (one["bid"] == 0)
    assert {(one["bidsize"], one["bid_date"]) for one in without} == {(0, 0)}


async def test_greeks_are_those_of_the_hour_however_the_market_moves(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        before = await chain(world)
        world.clock.stands_at_us = eastern(FRIDAY, "11:59")
        same_hour = await chain(world)
        world.clock.stands_at_us = eastern(FRIDAY, "12:01")
        after = await chain(world)
        world.clock.stands_at_us = eastern("2026-10-10", "12:00")
        weekend = await chain(world)
    assert [one["greeks"] for one in same_hour] == [one["greeks"] for one in before]
    assert [one["bid"] for one in same_hour] != [one["bid"] for one in before]
    assert [one["greeks"] for one in after] != [one["greeks"] for one in before]
    assert {one["greeks"]["updated_at"] for one in after if one["greeks"]} == {"2026-10-09 16:00:04"}
    assert {one["greeks"]["updated_at"] for one in weekend if one["greeks"]} == {"2026-10-09 20:00:04"}


async def test_class_shares_have_a_slash_and_a_root_without(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        rows = await chain(world, "BRK/B")
        looked_up = (await world.get("/options/lookup", underlying="BRK/B"))["symbols"]
    assert {(one["underlying"], one["root_symbol"]) for one in rows} == {("BRK/B", "BRKB")}
    assert rows[0]["symbol"].startswith("BRKB261218")
    assert rows[0]["description"].startswith("BRK/B Dec 18 2026 $")
    [one] = looked_up
    assert one["rootSymbol"] == "BRKB"
    assert {row["symbol"] for row in rows} <= set(one["options"])


async def test_expirations_are_dates_or_objects_with_what_was_asked_for(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        dates = (await world.get("/options/expirations", symbol="SPY"))["expirations"]["date"]
        roots = (await world.get("/options/expirations", symbol="SPY", includeAllRoots="true"))[
            "expirations"
        ]["date"]
        typed = (await world.get("/options/expirations", symbol="SPY", expirationType="true"))["expirations"][
            "expiration"
        ]
        full = (
            await world.get(
                "/options/expirations",
                symbol="SPY",
                strikes="true",
                contractSize="true",
                expirationType="true",
            )
        )["expirations"]["expiration"]
        none = await world.get("/options/expirations", symbol="ZZZZ")
        unknown = await world.get("/options/lookup", underlying="ZZZZ")
    assert dates == roots
    assert dates[:2] == [FRIDAY, "2026-10-16"]
    assert [one["date"] for one in typed] == dates
    kinds = {one["date"]: one["expiration_type"] for one in typed}
    assert (kinds[FRIDAY], kinds["2026-10-16"], kinds[EXPIRATION]) == ("weeklys", "standard", "standard")
    assert full[1].keys() == {"date", "contract_size", "expiration_type", "strikes"}
    assert full[1]["contract_size"] == 100
    assert len(full[1]["strikes"]["strike"]) > 20
    assert none == {"expirations": None}
    assert unknown == {"symbols": None}


# -- faults -----------------------------------------------------------------------------------------


async def test_every_fault_of_a_chain_can_be_played_and_spoils_what_it_says(tmp_path: Path) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        good = await chain(world)
        told: dict[str, list[Any]] = {}
        for name in KINDS:
            world.fault(name)
            told[name] = await chain(world)
        assert await chain(world) == good
    place = next(number for number, one in enumerate(good) if one["greeks"] and one["bid"] > 1)
    spoiled = {name: rows[place] for name, rows in told.items()}
    true = good[place]
    assert spoiled["chain_nan"]["bid"] == spoiled["chain_nan"]["greeks"]["delta"] == "NaN"
    assert (spoiled["chain_zero"]["bid"], spoiled["chain_zero"]["ask"]) == (0, 0)
    assert spoiled["chain_negative"]["bid"] == -1
    assert spoiled["chain_negative"]["greeks"]["smv_vol"] < 0
    assert spoiled["chain_crossed"]["bid"] > spoiled["chain_crossed"]["ask"] == true["bid"]
    assert spoiled["chain_no_greeks"] == {**true, "greeks": None}
    assert [spoiled["chain_no_quote"][name] for name in ("bid", "ask", "last")] == [None] * 3
    assert (spoiled["chain_odd"]["bid"], spoiled["chain_odd"]["greeks"]) == ([1], 7)


KINDS = (
    "chain_nan",
    "chain_zero",
    "chain_negative",
    "chain_crossed",
    "chain_no_greeks",
    "chain_no_quote",
    "chain_odd",
)


def test_no_fault_of_a_chain_is_left_out() -> None:
    assert {one.name for one in chain_kinds()} == set(KINDS)


@pytest.mark.parametrize("greeks", ["true", "false"])
async def test_only_every_so_many_th_contract_is_spoiled(tmp_path: Path, greeks: str) -> None:
    async with simulated_at(tmp_path, eastern(FRIDAY, "11:00")) as world:
        good = await chain(world, greeks=greeks)
        for name in KINDS:
            world.fault(name, params={"every": 3})
            told = await chain(world, greeks=greeks)
            touched = [place for place, pair in enumerate(zip(good, told, strict=True)) if pair[0] != pair[1]]
            assert all(place % 3 == 0 for place in touched), name
            assert touched or (name, greeks) == ("chain_no_greeks", "false")
        assert [one["fault_kind"] for one in world.book.of("fault")] == list(KINDS)
