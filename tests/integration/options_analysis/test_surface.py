"""GET /api/options/surface: what is drawn, what is left out, and what is not drawn at all."""

import pytest

from tests.analysis_world import STRIKES, VOLATILITY, surface
from tests.options_world import FAR, MIDDLE, NEAR, ChainFeed, chain, row
from tests.world import App, Client


async def test_the_surface_of_a_flat_chain_is_flat_and_free_of_arbitrage(caller: Client) -> None:
    told = await surface(caller)
    assert [one["date"] for one in told["expirations"]] == [day.isoformat() for day in (NEAR, MIDDLE, FAR)]
    for one in told["expirations"]:
        assert one["atm_volatility"] == pytest.approx(VOLATILITY, abs=5e-4)
        assert one["skew"]["slope"] == pytest.approx(0, abs=0.02)
        assert one["skew"]["risk_reversal_25_delta"] == pytest.approx(0, abs=2e-3)
        assert one["quotes_used"] + one["quotes_left_out"]["total"] == 2 * len(STRIKES)
        assert one["forward"] == pytest.approx(100, abs=0.05)
        assert one["reason"] is None
        move = one["expected_move"]
        assert move["volatility"]["dollars"] == pytest.approx(30 * one["years"] ** 0.5, rel=2e-3)
        # The straddle is the mean absolute move.
        assert move["straddle"]["dollars"] == pytest.approx(0.798 * move["volatility"]["dollars"], rel=0.01)
        assert move["straddle"]["strike_price"] == 100
    assert told["arbitrage"] == {"butterfly": False, "calendar": False}
    assert [one["forward_volatility"] for one in told["term_structure"]] == pytest.approx([0.3] * 3, abs=2e-3)
    for by in ("moneyness", "delta"):
        grid = (await surface(caller, f"?by={by}"))["grid"]
        assert [line["days"] for line in grid["rows"]] == [30, 45, 60, 90, 120, 180, 270]
        known = [one for line in grid["rows"] for one in line["volatilities"] if one is not None]
        assert known == pytest.approx([0.3] * len(known), abs=3e-3)
        assert len(known) > len(grid["rows"]) * 6


async def test_what_is_badly_quoted_is_left_out_and_counted_and_does_not_bend_the_rest(
    app: App, feed: ChainFeed, caller: Client
) -> None:
    good = [one for one in feed.rows if one.contract.expiration != NEAR or one.contract.strike != 95]
    feed.rows = [
        *good,
        row(95, NEAR, "put", bid="5", ask="9"),
        row(95, NEAR, "call", bid="0", ask="9"),
        row(95, NEAR, "put", bid="1", ask="1.02", root="ACME1", size=None),
    ]
    told = (await surface(caller, f"?expiration={NEAR}"))["expirations"]
    assert len(told) == 1
    assert told[0]["quotes_left_out"]["untrusted"] >= 1
    assert told[0]["quotes_left_out"]["adjusted"] == 1
    assert told[0]["quotes_left_out"]["no_volatility"] >= 1
    assert told[0]["atm_volatility"] == pytest.approx(VOLATILITY, abs=1e-3)


async def test_few_quotes_are_told_and_nothing_is_invented(feed: ChainFeed, caller: Client) -> None:
    feed.rows = chain(days=(NEAR,), strikes=(95, 105))
    told = await surface(caller)
    [one] = told["expirations"]
    assert told["reason"] == one["reason"] == "few_quotes"
    assert one["atm_volatility"] is one["skew"] is one["svi"] is one["fit"] is None
    assert one["quotes_used"] == 2
    assert one["expected_move"]["volatility"] is None
    assert told["grid"]["rows"] == told["term_structure"] == []


async def test_a_surface_that_the_client_has_is_a_304_and_an_unknown_symbol_a_404(caller: Client) -> None:
    first = await caller.get("/api/options/surface/acme")
    again = await caller.get("/api/options/surface/ACME", headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code) == (200, 304)
    empty = (await caller.get("/api/options/surface/BARE")).json()
    assert (empty["reason"], empty["expirations"]) == ("no_listed_options", [])
    for path, status, code in (
        ("NONE", 404, "not-found"),
        ("A1", 422, "validation"),
        ("ACME?expiration=2026-11-25x", 422, "validation"),
        ("ACME?expiration=2026-12-19", 422, "validation"),
        ("ACME?expiration=2020-01-17", 422, "validation"),
        ("ACME?by=color", 422, "validation"),
        ("ACME?accuracy=perfect", 422, "validation"),
    ):
        answer = await caller.get(f"/api/options/surface/{path}")
        assert answer.status_code == status, path
        assert answer.json()["type"].endswith(code), path
