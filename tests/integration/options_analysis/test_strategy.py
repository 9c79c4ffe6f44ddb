"""POST /api/options/strategy: pay-offs, break-evens and who may ask."""

import numpy as np
import pytest

from tests.analysis_world import leg, strategy
from tests.options_world import MIDDLE, NEAR
from tests.world import App, Client


async def test_an_iron_condor_has_the_numbers_of_its_strikes_and_its_credit(caller: Client) -> None:
    told = await strategy(
        caller, leg("put", 90, 1), leg("put", 95, -1), leg("call", 105, -1), leg("call", 110, 1)
    )
    credit = -told["net"]["cost"]
    assert told["net"]["kind"] == "credit"
    end = told["at_expiration"]
    assert end["exact"] is True
    assert end["max_gain"] == pytest.approx(credit)
    assert end["max_loss"] == pytest.approx(credit - 500)
    assert end["break_evens"] == pytest.approx([95 - credit / 100, 105 + credit / 100])
    assert (end["max_gain_unlimited"], end["max_loss_unlimited"]) == (False, False)
    odds = told["probability_of_profit"]
    assert odds["volatility"]["source"] == "surface"
    assert 0.3 < odds["value"] < 0.7
    curve = told["payoff"]
    assert {90, 95, 105, 110} <= set(curve["spots"])
    assert max(curve["at_expiration"]) == pytest.approx(credit)
    at = curve["spots"].index(95)
    assert curve["at_expiration"][at] == pytest.approx(credit)
    assert told["total"]["now"]["delta"] == pytest.approx(0, abs=5)


async def test_a_naked_call_loses_without_limit_and_that_is_null_with_a_flag(caller: Client) -> None:
    told = await strategy(caller, leg("call", 105, -1, price=2.5))
    end = told["at_expiration"]
    assert (end["max_loss"], end["max_loss_unlimited"]) == (None, True)
    assert (end["max_gain"], end["break_evens"]) == (250, [107.5])
    covered = await strategy(caller, leg("call", 105, -1, price=2.5), {"symbol": "ACME", "qty": 100})
    end = covered["at_expiration"]
    assert (end["max_gain"], end["max_loss"], end["break_evens"]) == (750, -9750, [97.5])
    assert covered["legs"][0]["cost_source"] == "given"


async def test_a_calendar_is_valued_at_its_first_expiration(caller: Client) -> None:
    far = {**leg("call", 100, 1), "expiration_date": MIDDLE.isoformat()}
    told = await strategy(
        caller, leg("call", 100, -1), far, range={"from_pct": -30, "to_pct": 30, "points": 31}
    )
    end = told["at_expiration"]
    assert (end["date"], end["exact"]) == (NEAR.isoformat(), False)
    assert len(end["break_evens"]) == 2
    assert end["max_loss"] == pytest.approx(-told["net"]["cost"], abs=2)
    curve = told["payoff"]
    assert max(curve["at_expiration"]) == pytest.approx(end["max_gain"], abs=0.5)
    assert curve["spots"][int(np.argmax(curve["at_expiration"]))] == 100


async def test_a_viewer_may_ask_and_contracts_are_named_by_their_symbols(app: App) -> None:
    viewer = await app.user("viewer")
    symbol = f"ACME{NEAR:%y%m%d}C00105000"
    answer = await viewer.post("/api/options/strategy", json={"legs": [{"symbol": symbol, "qty": 1}]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["legs"][0]["symbol"] == symbol
    assert (await viewer.get("/api/options/surface/ACME")).status_code == 200
