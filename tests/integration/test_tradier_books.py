"""Tradier's books over a real socket: accounts, balances, positions, history, in every form, and nothing made of what cannot be read."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers import (
    BrokerError,
    BrokerOrder,
    BrokerRejected,
    NotSent,
    OutcomeUnknown,
)
from paiid.brokers.tradier import TradierBroker
from paiid.brokers.tradier.history import History
from paiid.brokers.tradier.listing import DayList
from paiid.core.clock import SystemClock
from tests.fake_clock import FakeClock
from tests.tradier_stage import (
    NUMBER,
    TOKEN,
    Answer,
    Asked,
    TradierStage,
    listed,
    resets,
    says,
    staged,
    told,
    within,
)

S = 5.0
OUR_TAG = "pd-" + "0123456789abcdef" * 2
_PROFILE, _BALANCES = "/v1/user/profile", f"/v1/accounts/{NUMBER}/balances"
_POSITIONS, _HISTORY = f"/v1/accounts/{NUMBER}/positions", f"/v1/accounts/{NUMBER}/history"
_GAIN_LOSS = f"/v1/accounts/{NUMBER}/gainloss"
_WRONG: list[Answer] = [
    told(200, "<html>", "text/html"), told(200, b""), told(200, []), told(200, {}), told(200, {"orders": 7}),
    told(200, "<orders/>", "application/xml"), says(500, "no"), told(502, b""), resets, told(200, "null"),
]  # fmt: skip


@pytest.fixture
async def stage() -> AsyncIterator[TradierStage]:
    async with staged() as one:
        yield one


@pytest.fixture
async def broker(stage: TradierStage) -> AsyncIterator[TradierBroker]:
    one = TradierBroker(SystemClock(), stage.keys())
    yield one
    await one.stop()


@pytest.fixture
async def day_list(stage: TradierStage) -> AsyncIterator[DayList]:
    one = DayList(SystemClock(), stage.session())
    yield one
    await one.stop()


def profile(*accounts: dict[str, Any]) -> dict[str, Any]:
    """A profile with these accounts by the 0/1/n rule."""
    rows = accounts or ({"account_number": NUMBER, "status": "active", "type": "margin", "option_level": 6},)
    return {"profile": {"id": "id-1", "account": rows[0] if len(rows) == 1 else list(rows)}}


def pages(*lists: list[dict[str, Any]]) -> Answer:
    """A list in pages; behind the last one there is nothing."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        page = int(asked.query["page"])
        await told(200, listed(*(lists[page - 1] if page <= len(lists) else [])))(asked, writer)

    return answer


# -- the account --------------------------------------------------------------------------------------


def balances(**changes: Any) -> dict[str, Any]:
    return {
        "balances": {
            "total_equity": 102310.55, "total_cash": 94280.55, "account_number": NUMBER, "account_type": "margin",
            "margin": {"stock_buying_power": 190000.20, "option_buying_power": 95000.10},
        } | changes
    }  # fmt: skip


async def test_the_account_of_a_token_is_learned_and_told_with_its_balances(stage: TradierStage) -> None:
    stage.say("GET", _PROFILE, told(200, profile()))
    stage.say("GET", _BALANCES, told(200, balances()))
    broker = TradierBroker(SystemClock(), stage.keys(account_id=None))
    (account,) = await broker.fetch_accounts(S)
    assert (account.number, str(account.cash), account.mode, account.status) == (
        NUMBER,
        "94280.55",
        "paper",
        "active",
    )
    assert (str(account.buying_power), account.margin, account.options_level) == ("190000.2", True, 3)
    assert await broker.fetch_account(NUMBER, S) == account
    # The profile is believed for a while.
    assert len(stage.requests("GET", _PROFILE)) == 2
    await broker.stop()


async def test_a_token_with_several_accounts_needs_to_be_told_which(stage: TradierStage) -> None:
    two = profile(
        {"account_number": "VA1", "status": "active", "type": "cash"},
        {"account_number": NUMBER, "status": "active", "type": "margin"},
    )
    stage.say("GET", _PROFILE, told(200, two))
    stage.say("GET", _BALANCES, told(200, balances()))
    unsaid = TradierBroker(SystemClock(), stage.keys(account_id=None))
    with pytest.raises(BrokerError, match="TRADIER_ACCOUNT_ID"):
        await unsaid.fetch_accounts(S)
    await unsaid.stop()
    said = TradierBroker(SystemClock(), stage.keys())
    assert [one.number for one in await said.fetch_accounts(S)] == [NUMBER]
    await said.stop()
    wrong = TradierBroker(SystemClock(), stage.keys(account_id="VA9"))
    with pytest.raises(BrokerRejected, match="VA9") as refused:
        await wrong.fetch_accounts(S)
    assert refused.value.code == "unknown_account"
    assert TOKEN not in str(refused.value)
    await wrong.stop()


async def test_a_call_for_another_account_asks_nothing_of_ours(
    stage: TradierStage, broker: TradierBroker
) -> None:
    with pytest.raises(BrokerRejected) as refused:
        await broker.fetch_positions("VA9", S)
    assert refused.value.code == "unknown_account"
    order = BrokerOrder("VA9", OUR_TAG, "XYZ", "buy", None, "market", "day")
    with pytest.raises(NotSent):
        await broker.submit(order, S)
    assert stage.asked == []


@pytest.mark.parametrize(
    "wrong", [told(200, {}), told(200, {"balances": "null"}), told(200, balances(total_cash=None))]
)
async def test_balances_that_cannot_be_read_are_unknown(
    stage: TradierStage, broker: TradierBroker, wrong: Answer
) -> None:
    stage.say("GET", _PROFILE, told(200, profile()))
    stage.say("GET", _BALANCES, wrong)
    with pytest.raises(OutcomeUnknown):
        await broker.fetch_account(NUMBER, S)


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ("null", []),
        (None, []),
        ({"position": {"symbol": "SPY", "quantity": 20.0, "cost_basis": 8120.0}}, [("SPY", 20)]),
        (
            {"position": [{"symbol": "BRK/B", "quantity": 1.0, "cost_basis": 400.0},
                          {"symbol": "SPY261218C00700000", "quantity": -1.0, "cost_basis": -210.0},
                          {"symbol": "OLD", "quantity": 0.0, "cost_basis": 0}]},
            [("BRK.B", 1), ("SPY261218C00700000", -1)],
        ),
    ],
)  # fmt: skip
async def test_positions_come_in_every_form_that_a_list_has(
    stage: TradierStage, broker: TradierBroker, rows: Any, found: list[tuple[str, int]]
) -> None:
    stage.say("GET", _POSITIONS, told(200, {"positions": rows}))
    held = await broker.fetch_positions(NUMBER, S)
    assert [(one.symbol, int(one.qty)) for one in held] == found


@pytest.mark.parametrize(
    "wrong", [{}, {"positions": 7}, {"positions": {"position": [{"symbol": "SPY"}]}}, []]
)
async def test_positions_that_cannot_be_read_are_unknown_and_not_none(
    stage: TradierStage, broker: TradierBroker, wrong: Any
) -> None:
    stage.say("GET", _POSITIONS, told(200, wrong))
    with pytest.raises(OutcomeUnknown):
        await broker.fetch_positions(NUMBER, S)


# -- history ------------------------------------------------------------------------------------------


def happened(count: int, **changes: Any) -> list[dict[str, Any]]:
    return [
        {"amount": i + 1, "date": "2026-09-17T00:00:00Z", "type": "dividend", "adjustment": {}} | changes
        for i in range(count)
    ]


async def test_activities_are_read_page_by_page_and_then_not_again_for_a_while(stage: TradierStage) -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        rows = {"1": happened(100), "2": happened(3, type="fee")}.get(asked.query["page"], [])
        await told(200, {"history": {"event": rows} if rows else "null"})(asked, writer)

    stage.say("GET", _HISTORY, answer)
    clock = FakeClock()
    history = History(clock, stage.session())
    assert len(await history.fetch(0, within())) == 103
    assert len(await history.fetch(10_000_000, within())) == 103
    assert [one.query["page"] for one in stage.requests("GET", _HISTORY)] == ["1", "2", "3"]
    assert {one.query["start"] for one in stage.requests("GET", _HISTORY)} == {"2025-01-15"}
    clock.advance(901)
    assert len(await history.fetch(0, within())) == 103
    assert len(stage.requests("GET", _HISTORY)) == 6


async def test_where_there_is_no_history_there_are_no_activities(
    stage: TradierStage, broker: TradierBroker
) -> None:
    stage.say("GET", _HISTORY, says(400, "History is not available."))
    for _ in range(3):
        assert await broker.fetch_activities(NUMBER, 0, S) == []
    assert len(stage.requests("GET", _HISTORY)) == 1


async def test_a_history_that_was_never_read_is_unknown_and_one_that_was_stays_known(
    stage: TradierStage,
) -> None:
    stage.say("GET", _HISTORY, says(500, "no"), told(200, {"history": {"event": happened(1)[0]}}))
    clock = FakeClock()
    history = History(clock, stage.session())
    with pytest.raises(OutcomeUnknown):
        await history.fetch(0, within())
    (one,) = await history.fetch(0, within())
    clock.advance(901)
    stage.say("GET", _HISTORY, says(500, "no"))
    assert await history.fetch(0, within()) == [one]


async def test_the_sandbox_is_not_asked_for_a_history_that_it_does_not_have() -> None:
    keyed = TradierStage()
    session = keyed.session(
        api_url="https://sandbox.tradier.com/v1", stream_url="wss://sandbox-ws.tradier.com/v1"
    )
    assert await History(SystemClock(), session).fetch(0, within()) == []
    await session.wire.close()


async def test_closed_positions_are_read_where_they_are_told(
    stage: TradierStage, broker: TradierBroker
) -> None:
    closed = {"close_date": "2026-09-30T00:00:00.000Z", "cost": 2000.0, "gain_loss": 300.0, "proceeds": 2300.0,
              "open_date": "2026-06-06T00:00:00.000Z", "quantity": 10.0, "symbol": "AAPL", "term": 116}  # fmt: skip
    stage.say(
        "GET",
        _GAIN_LOSS,
        told(200, {"gainloss": {"closed_position": closed}}),
        told(200, {"gainloss": "null"}),
    )
    (one,) = await broker.fetch_gain_loss(NUMBER, date(2026, 9, 1), date(2026, 9, 30), S)
    assert (one.symbol, one.gain_loss, one.closed_on) == ("AAPL", Decimal(300), date(2026, 9, 30))
    stage.say("GET", _GAIN_LOSS, says(400, "Not available."))
    with pytest.raises(BrokerRejected):
        await broker.fetch_gain_loss(NUMBER, date(2026, 9, 1), date(2026, 9, 30), S)
