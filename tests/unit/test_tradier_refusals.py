"""Every kind of answer that Tradier can give to an order, and what each is called (contract E11)."""

import json
from typing import Any

import pytest

from paiid.brokers import BrokerError, BrokerRejected, OutcomeUnknown
from paiid.brokers.tradier.reasons import code_of
from paiid.brokers.tradier.refusals import (
    judge_canceled,
    judge_changed,
    judge_placed,
    judge_preview,
    judge_read,
    no_such_order,
)
from paiid.core.clock import SystemClock
from paiid.wires.governor import Governors
from paiid.wires.outbound import Reply
from paiid.wires.tradier.keys import TradierKeys
from paiid.wires.tradier.wire import Answer, TradierWire

_TOKEN = "test-token-0000000000000000000001"
_OK = {"order": {"id": 228175, "status": "ok", "partner_id": "x"}}
_DOCUMENTED = """
    AccountDisabled AccountIsNotApproved AccountMarginRuleViolation AssetTradingNotConfiguredForAccount
    BuyStopOrderStopPriceLessAsk ContingentOrderExecution DayTraderPatternRestriction
    DayTradingBuyingPowerExceeded ExpirationDateUndefined IncorrectOrderQuantity IncorrectTimeInForce
    IndexOptionsOneExparyDate InitialMargin InvalidOrderExpiration LimitPriceUndefined
    LongOptionTradingDeniedForAccount LongPositionCrossZero MaintenanceMargin MarketOrderIsGtc
    OcoExpirationTypeNotTheSame OcoOrderWithOppositeLegs OcoPriceDifferenceIsLessThanDelta OmsInternalError
    OmsUnavailable OptionLevelRestriction OptionTypeUndefined OrderContingentChangeNotAllowed
    OrderIsNotAllowedForAccount OrderPriceIsInvalid OrderQuantity OrderWithDifferentSide
    OtoFirstLesIsMarketNotAllowed OtoFirstLegIsMarketNotAllowed OtoOcoMarketNotAllowed
    OtoOcoTrailingNotAllowed QuotePriceIsInvalid SecurityUndefined SellShortOrderLastPriceBelow5
    SellStopOrderStopPriceGreaterBid ShortOptionTradingDeniedForAccount ShortOrderIsGtc ShortPositionCrossZero
    ShortStockTradingDeniedForAccount ShortTradingDeniedForSecurity SpreadTradingDeniedForAccount
    StopPriceUndefined StrikePriceUndefined TooSmallEquityForDayTrading TotalInitialMargin
    TradeNonStandartOptions TradingDeniedForAccount TradingDeniedForSecurity UnexpectedBuyOrder
    UnexpectedBuyOrderOption UnexpectedBuyToCoverOrder UnexpectedBuyToCoverOrderOption UnexpectedSellOrder
    UnexpectedSellOrderOption UnexpectedSellShortOrder UnexpectedSellShortOrderOption UserDisabled
    WashTradeAttempt
"""


def answer(status: int, body: Any, **headers: str) -> Answer:
    """As the wire makes it of these bytes."""
    content = (
        body
        if isinstance(body, bytes)
        else body.encode()
        if isinstance(body, str)
        else json.dumps(body).encode()
    )
    clock = SystemClock()
    wire = TradierWire(clock, TradierKeys(_TOKEN), Governors(clock))
    return wire._read(Reply(status, headers, content))


def placed(status: int, body: Any) -> str | BrokerError:
    try:
        return judge_placed(answer(status, body))
    except BrokerError as problem:
        return problem


def rejected(status: int, body: Any) -> str:
    problem = placed(status, body)
    assert isinstance(problem, BrokerRejected), problem
    assert problem.message
    return problem.code


@pytest.mark.parametrize(
    "body",
    [
        _OK,
        {"order": {"id": "228175", "status": "OK"}},
        {"order": {"id": 228175, "status": "ok"}, "errors": None},
        {"order": {"id": 228175, "status": "ok", "result": True}, "errors": "null"},
    ],
)
def test_E11_ok_with_a_whole_number_as_id_is_a_yes(body: Any) -> None:
    assert placed(200, body) == "228175"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"{}", b"ok", b"<order><id>1</id><status>ok</status></order>", b"\xff\xfe", b"[" * 100_000,
        {"order": None}, {"order": "null"}, {"order": []}, {"order": [_OK["order"]]},
        {"order": {"status": "ok"}}, {"order": {"id": 228175}}, {"order": {"id": 228175, "status": "pending"}},
        {"order": {"id": "abc", "status": "ok"}}, {"order": {"id": 1.5, "status": "ok"}},
        {"order": {"id": 0, "status": "ok"}}, {"order": {"id": -5, "status": "ok"}},
        {"order": {"id": True, "status": "ok"}}, {"order": {"id": 10**30, "status": "ok"}},
        {"order": {"id": 228175, "status": "ok"}, "errors": {"error": "InitialMargin"}},
        {"order": [{"id": 228175, "status": "ok"}], "errors": {"error": "InitialMargin"}},
        {"order": {"id": 228175, "status": "ok", "result": False}},
        {"order": {"id": 228175, "status": "ok", "errors": {"error": "InitialMargin"}}},
        {"order": {"id": 228175, "status": "Bad Request", "result": False, "errors": "no"}},
        {"order": {"status": "Bad Request", "result": False}},
        {"errors": {}}, {"errors": {"error": None}}, {"errors": {"error": []}}, {"errors": []},
        {"errors": {"error": ["OmsInternalError"]}},
    ],
)  # fmt: skip
def test_E11_a_200_that_says_neither_yes_nor_no_is_unknown(body: Any) -> None:
    problem = placed(200, body)
    assert isinstance(problem, OutcomeUnknown), problem


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (
            {"errors": {"error": ["Backoffice rejected override of the order.", "DayTradingBuyingPowerExceeded"]}},
            "insufficient_buying_power",
        ),
        ({"errors": {"error": "UnexpectedSellOrder"}}, "position_intent_mismatch"),
        ({"errors": {"error": "Something that nobody has heard of."}, "order": None}, "invalid_order"),
        ({"errors": "WashTradeAttempt"}, "wash_trade"),
        ({"errors": ["x", "WashTradeAttempt"]}, "wash_trade"),
        (
            {"order": {"result": False, "status": "Bad Request", "errors": "You do not have enough buying power"}},
            "insufficient_buying_power",
        ),
        ({"order": {"result": "false", "errors": {"error": ["MarketOrderIsGtc"]}}}, "time_in_force_not_supported"),
    ],
)  # fmt: skip
def test_E11_a_200_with_errors_and_no_order_is_a_definite_no(body: Any, code: str) -> None:
    assert rejected(200, body) == code


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, "Invalid parameter, duration: is not valid.", "time_in_force_not_supported"),
        (400, "Invalid parameter, duration: post market no longer available.", "session"),
        (400, "Invalid parameter, tag: contains invalid characters.", "client_order_id"),
        (400, "Invalid parameter, symbol: is not valid", "unknown_symbol"),
        (400, {"errors": {"error": "OrderQuantity"}}, "invalid_qty"),
        (400, "", "invalid_order"),
        (400, "<html>Bad Request</html>", "invalid_order"),
        (401, "Invalid Access Token", "invalid_credentials"),
        (401, {"fault": {"faultstring": "Access Token expired", "detail": {"errorcode": "x"}}}, "invalid_credentials"),
        (401, "Unauthorized Account: VA00000001", "unknown_account"),
        (403, "", "forbidden"),
        (429, {"fault": {"faultstring": "Rate limit quota violation. Quota limit exceeded."}}, "rate_limited"),
        (429, "", "rate_limited"),
    ],
)  # fmt: skip
def test_E11_these_statuses_are_a_definite_no(status: int, body: Any, code: str) -> None:
    assert rejected(status, body) == code


@pytest.mark.parametrize(
    "status", [100, 204, 301, 302, 404, 405, 409, 411, 418, 500, 502, 503, 504, 520, 530]
)
def test_E11_every_other_status_is_unknown_whatever_it_says(status: int) -> None:
    for body in (
        b"",
        b"An error occurred while communicating with the backend.",
        json.dumps(_OK).encode()[:-3],
    ):
        assert isinstance(placed(status, body), OutcomeUnknown)


@pytest.mark.parametrize("status", [200, 400, 403])
def test_E11_a_provider_that_says_that_it_failed_itself_has_refused_nothing(status: int) -> None:
    for words in (
        "Unexpected server error",
        "An error occurred while communicating with the backend.",
        "Datastore Error",
    ):
        assert isinstance(placed(status, {"errors": {"error": words}}), OutcomeUnknown)


def test_the_first_reason_with_a_name_decides_and_all_are_shown() -> None:
    problem = placed(
        200, {"errors": {"error": ["Backoffice rejected override of the order.", "InitialMargin"]}}
    )
    assert isinstance(problem, BrokerRejected)
    assert problem.message == "Backoffice rejected override of the order. InitialMargin"


def test_every_rejection_code_of_the_documents_has_a_code_of_ours() -> None:
    without = {name for name in _DOCUMENTED.split() if code_of([name]) is None}
    assert without == {"OmsInternalError"}


@pytest.mark.parametrize(
    ("judge", "otherwise"), [(judge_changed, "not_replaceable"), (judge_canceled, "not_cancelable")]
)
def test_a_change_or_cancel_has_its_own_kinds_of_no(judge: Any, otherwise: str) -> None:
    judge(answer(200, _OK), "228175")
    refusals: tuple[tuple[int, Any, str], ...] = (
        (401, "Unauthorized Account: VA00000001", "not_found"),
        (401, "Invalid Access Token", "invalid_credentials"),
        (400, "order already in finalized state: filled", otherwise),
        (200, {"errors": {"error": "OrderContingentChangeNotAllowed"}}, "not_replaceable"),
        (429, "", "rate_limited"),
    )
    for status, body, code in refusals:
        with pytest.raises(BrokerRejected) as caught:
            judge(answer(status, body), "228175")
        assert caught.value.code == code
    doubtful: tuple[tuple[int, Any], ...] = (
        (200, {"order": {"id": 5, "status": "ok"}}),
        (200, ""),
        (404, ""),
        (500, ""),
    )
    for status, body in doubtful:
        with pytest.raises(OutcomeUnknown):
            judge(answer(status, body), "228175")


def test_a_401_says_that_there_is_no_such_order_only_in_these_words() -> None:
    assert no_such_order(answer(401, "Unauthorized Account: VA00000001"))
    assert not no_such_order(answer(401, "Invalid Access Token"))
    assert not no_such_order(answer(400, "Unauthorized Account: VA00000001"))


def test_a_read_gives_what_was_told_or_says_why_not() -> None:
    assert judge_read(answer(200, {"orders": "null"})) == {"orders": "null"}
    refusals: tuple[tuple[int, Any, str], ...] = (
        (401, "Invalid Access Token", "invalid_credentials"),
        (401, "Unauthorized Account: VA1", "unknown_account"),
        (404, "", "endpoint_not_found"),
        (400, "Invalid parameter, start: must be on or after 2026-01-01", "malformed_request"),
        (200, {"errors": {"error": "no"}}, "malformed_request"),
        (429, "", "rate_limited"),
    )
    for status, body, code in refusals:
        with pytest.raises(BrokerRejected) as caught:
            judge_read(answer(status, body))
        assert caught.value.code == code
    for status, body in ((200, ""), (200, "<orders/>"), (500, ""), (302, "")):
        with pytest.raises(OutcomeUnknown):
            judge_read(answer(status, body))


def test_a_preview_is_what_it_costs_or_why_it_would_be_refused() -> None:
    shown = judge_preview(answer(200, {"order": {"status": "ok", "cost": 5000.10}}))
    assert shown["cost"] == "5000.1"
    with pytest.raises(BrokerRejected):
        judge_preview(answer(200, {"errors": {"error": "InitialMargin"}}))
    doubtful: tuple[tuple[int, Any], ...] = (
        (200, ""),
        (200, {}),
        (400, "Unexpected server error"),
        (500, ""),
    )
    for status, body in doubtful:
        with pytest.raises(OutcomeUnknown):
            judge_preview(answer(status, body))


@pytest.mark.parametrize(
    "body",
    [f"no such token: {_TOKEN}", {"errors": {"error": f"{_TOKEN}!"}}, {"fault": {"faultstring": _TOKEN}}],
)
def test_an_answer_that_repeats_the_token_does_not_tell_it_on(body: Any) -> None:
    problem = placed(400, body)
    assert "[hidden]" in str(problem)
    assert _TOKEN not in str(problem)
    assert _TOKEN not in repr(answer(200, body))


def test_an_escaped_token_in_a_reason_is_not_told_on_either() -> None:
    escaped = f'{{"errors":{{"error":"\\u0074{_TOKEN[1:]}"}}}}'
    assert _TOKEN not in str(placed(400, escaped))
