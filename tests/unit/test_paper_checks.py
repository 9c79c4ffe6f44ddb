"""What the paper venue takes and what it refuses, at both sides of each boundary: form, prices, hours, positions."""

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pytest

from paiid.domain.calendar import EASTERN, AlwaysOpen, ExchangeHours, eastern_us
from paiid.domain.orders import OrderRequest
from paiid.domain.paper import Moment, PaperRefused, Working
from paiid.domain.paper_checks import (
    capabilities_of,
    check_band,
    check_market,
    check_order,
    check_wash,
    prepare,
    price_band,
    reserve_price,
)
from paiid.domain.quotes import Quote
from tests.paper_world import Market

D = Decimal
OPEN = Moment(0, is_open=True, is_extended=True)
SHUT = Moment(0, is_open=False, is_extended=False)
ALL = capabilities_of(never_closes=False)
CALL = "AAPL270219C00100000"
PUT = "AAPL270219P00090000"


def request(type: Any = "market", tif: Any = "day", side: Any = "buy", **more: Any) -> OrderRequest:
    """One share, unless told otherwise; numbers as text."""
    numbers = {"qty", "limit_price", "stop_price", "notional", "trail_price", "trail_percent"}
    given = {name: D(value) if name in numbers and value else value for name, value in more.items()}
    symbol = given.pop("symbol", "AAPL")
    base: dict[str, Any] = {"qty": D(1), "limit_price": None, "stop_price": None}
    if "notional" in given:
        base["qty"] = None
    return OrderRequest(symbol, side, type, tif, **{**base, **given})


def quote(bid: str = "99.90", ask: str = "100.00", symbol: str = "AAPL") -> Quote:
    return Market().show(symbol, D(bid), D(300), D(ask), D(300))


def refusal(order: OrderRequest) -> str | None:
    try:
        check_order(order, ALL)
    except PaperRefused as refused:
        return refused.code if refused.message.endswith(".") else refused.message
    return None


# -- form ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "order",
    [
        request(),
        request(qty="1000000"),
        request(qty="0.000000001"),
        request("limit", "gtc", limit_price="0.0001"),
        request("limit", "gtc", limit_price="1000000"),
        request("limit", "day", limit_price="10", extended_hours=True),
        request("limit", "gtc", limit_price="10", extended_hours=True),
        request("limit", "opg", limit_price="10"),
        request("market", "cls"),
        request("stop", "ioc", stop_price="10"),
        request("stop_limit", "gtc", stop_price="10", limit_price="9.99"),
        request("stop_limit", "day", qty="0.5", stop_price="10", limit_price="9.99"),
        request("trailing_stop", "gtc", trail_price="0.01"),
        request("trailing_stop", "day", trail_percent="99.999999"),
        request("trailing_stop", "day", trail_percent="0.000001"),
        request(notional="1"),
        request(notional="250.123456"),
        request(side="sell", notional="0.01"),
        request(symbol=CALL),
        request("limit", "gtc", symbol=CALL, limit_price="2.99"),
        request("limit", "gtc", symbol="SPY270219C00100000", limit_price="3.01"),
        request("stop_limit", "gtc", symbol=CALL, limit_price="3.05", stop_price="3.10"),
        request(symbol=CALL, position_intent="buy_to_open"),
    ],
)
def test_an_order_in_good_form_is_taken(order: OrderRequest) -> None:
    assert refusal(order) is None


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (request(qty="-1"), "invalid_qty"),
        (request(qty="0"), "invalid_qty"),
        (request(qty="NaN"), "invalid_qty"),
        (request(qty="Infinity"), "invalid_qty"),
        (request(qty="1E-30"), "invalid_qty"),
        (request(qty="0.0000000001"), "invalid_qty"),
        (request(qty="1000001"), "invalid_qty"),
        (request(qty=None), "invalid_qty"),
        (request(qty="1", notional="5"), "invalid_qty"),
        (request(symbol="aapl"), "unknown_symbol"),
        (request(symbol="AAPL\n"), "unknown_symbol"),
        (request(symbol="AAPL270230C00100000"), "unknown_contract"),
        (request(symbol="AAPL  270219C00100000"), "unknown_contract"),
        (request("limit"), "invalid_price"),
        (request("stop"), "invalid_price"),
        (request(limit_price="1"), "invalid_price"),
        (request("limit", limit_price="1", stop_price="1"), "invalid_price"),
        (request("limit", limit_price="0.00000"), "invalid_price"),
        (request("limit", limit_price="NaN"), "invalid_price"),
        (request("limit", limit_price="1000000.01"), "invalid_price"),
        (request("limit", limit_price="1.001"), "invalid_price"),
        (request("limit", limit_price="0.00001"), "invalid_price"),
        (request("stop", stop_price="12.345"), "invalid_price"),
        (request("stop_limit", stop_price="10"), "invalid_price"),
        (request("stop_limit", limit_price="10"), "invalid_price"),
        (request("trailing_stop"), "invalid_price"),
        (request("trailing_stop", trail_price="1", trail_percent="1"), "invalid_price"),
        (request("trailing_stop", trail_percent="0.0"), "invalid_price"),
        (request("trailing_stop", trail_percent="100"), "invalid_price"),
        (request("trailing_stop", trail_percent="0.0000001"), "invalid_price"),
        (request("trailing_stop", trail_price="0.00"), "invalid_price"),
        (request("trailing_stop", trail_price="1.001"), "invalid_price"),
        (request("limit", limit_price="1", trail_price="1"), "invalid_price"),
        (request("trailing_stop", "ioc", trail_price="1"), "time_in_force_not_supported"),
        (request("stop_limit", "fok", stop_price="2", limit_price="1"), "time_in_force_not_supported"),
        (request("stop", "opg", stop_price="2"), "time_in_force_not_supported"),
        (request("market", "day", extended_hours=True), "extended_hours_not_supported"),
        (request("limit", "ioc", limit_price="1", extended_hours=True), "extended_hours_not_supported"),
        (request("limit", qty="0.5", limit_price="1", extended_hours=True), "extended_hours_not_supported"),
        (request(qty="0.5", tif="gtc"), "time_in_force_not_supported"),
        (request("trailing_stop", qty="0.5", trail_price="1"), "type_not_supported"),
        (request(notional="0.999999"), "invalid_notional"),
        (request(notional="0.0"), "invalid_notional"),
        (request(notional="1.0000001"), "invalid_notional"),
        (request(notional="5", tif="gtc"), "time_in_force_not_supported"),
        (request("limit", notional="5", limit_price="1"), "type_not_supported"),
        (request(symbol=CALL, notional="500"), "invalid_notional"),
        (request(symbol=CALL, qty="1.5"), "invalid_qty"),
        (request(symbol=CALL, tif="ioc"), "time_in_force_not_supported"),
        (request("trailing_stop", symbol=CALL, trail_price="1"), "type_not_supported"),
        (request("limit", symbol=CALL, limit_price="1", extended_hours=True), "extended_hours_not_supported"),
        (request("limit", symbol=CALL, limit_price="3.01"), "invalid_price"),
        (request("limit", symbol=CALL, limit_price="2.995"), "invalid_price"),
        (request(symbol=CALL, position_intent="sell_to_open"), "position_intent_mismatch"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_with_its_code(order: OrderRequest, code: str) -> None:
    assert refusal(order) == code


def test_what_the_table_lists_is_taken_and_auctions_only_where_hours_close() -> None:
    assert {"opg", "cls"} <= ALL.times_in_force
    never = capabilities_of(never_closes=True)
    assert not {"opg", "cls"} & never.times_in_force
    assert "no auction" in never.notes["opg"]
    assert ALL.fractional
    assert ALL.asset_classes == {"stock", "option"}
    assert ALL.order_classes == {"simple", "bracket", "oto", "oco", "mleg"}


# -- the market ---------------------------------------------------------------------------------------


def against(order: OrderRequest, shown: Quote | None, moment: Moment = OPEN) -> str | None:
    try:
        check_market(order, shown, moment)
    except PaperRefused as refused:
        return refused.code
    return None


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (request("stop", side="sell", stop_price="99.89"), None),
        (request("stop", side="sell", stop_price="99.90"), "stop_through_market"),
        (request("stop", stop_price="100.01"), None),
        (request("stop", stop_price="100.00"), "stop_through_market"),
        (request("stop_limit", side="sell", stop_price="99.95", limit_price="90"), "stop_through_market"),
        (request("trailing_stop", side="sell", trail_price="99.89"), None),
        (request("trailing_stop", side="sell", trail_price="99.90"), "invalid_price"),
        (request("trailing_stop", trail_price="500"), None),
        (request("limit", limit_price="109.94"), None),
        (request("limit", limit_price="109.95"), "price_band"),
        (request("limit", side="sell", limit_price="89.96"), None),
        (request("limit", side="sell", limit_price="89.95"), "price_band"),
        (request("limit", limit_price="0.01"), None),
        (request("limit", side="sell", limit_price="900"), None),
    ],
)
def test_prices_are_held_against_the_quote(order: OrderRequest, code: str | None) -> None:
    assert against(order, quote()) == code


@pytest.mark.parametrize(
    ("middle", "band"), [("3.00", "0.10"), ("2.9999", "0.20"), ("0.75", "0.20"), ("0.7499", "0.75")]
)
def test_the_band_is_wider_where_prices_are_low(middle: str, band: str) -> None:
    assert price_band(D(middle)) == D(band)


def test_the_edge_of_the_band_is_within_it() -> None:
    shown = quote("10.00", "10.00")
    check_band("buy", D("11.00"), shown)
    check_band("sell", D("9.00"), shown)
    with pytest.raises(PaperRefused, match="10%"):
        check_band("buy", D("11.01"), shown)


def test_market_orders_in_options_need_the_market_open_and_a_price_on_their_side() -> None:
    shown = quote("2.50", "2.55", CALL)
    assert against(request(symbol=CALL), shown) is None
    assert against(request(symbol=CALL), shown, SHUT) == "market_closed"
    assert against(request("limit", symbol=CALL, limit_price="2.50"), shown, SHUT) is None
    assert against(request(symbol=CALL), None) == "unknown_contract"
    worthless = quote("0", "0.01", CALL)
    assert against(request(symbol=CALL), worthless) is None
    assert against(request(symbol=CALL, side="sell"), worthless) == "no_quote"
    assert against(request("limit", symbol=CALL, side="sell", limit_price="0.01"), worthless) is None
    assert against(request(symbol=CALL), quote("0", "0", CALL)) == "no_quote"
    assert against(request(), quote("0", "100")) == "no_quote"


@pytest.mark.parametrize(
    ("order", "reserved"),
    [
        (request(), "100.00"),
        (request("limit", limit_price="90.00"), "90.00"),
        (request("limit", limit_price="109.00"), "109.00"),
        (request("stop", stop_price="105.00"), "105.00"),
        (request("stop", stop_price="95.00"), "100.00"),
        (request("stop_limit", stop_price="105.00", limit_price="107.00"), "107.00"),
        (request("trailing_stop", trail_price="2.50"), "102.50"),
        (request("trailing_stop", trail_percent="5"), "105.00"),
        (request(notional="500"), "100.00"),
        (request(side="sell"), "99.90"),
        (request("limit", side="sell", limit_price="110.00"), "110.00"),
        (request("limit", side="sell", limit_price="90.00"), "99.90"),
        (request("stop", side="sell", stop_price="95.00"), "95.00"),
        (request("stop_limit", side="sell", stop_price="95.00", limit_price="94.00"), "99.90"),
        (request("trailing_stop", side="sell", trail_price="2.50"), "99.90"),
    ],
)
def test_an_order_reserves_what_it_may_cost(order: OrderRequest, reserved: str) -> None:
    assert reserve_price(order, quote()) == D(reserved)


# -- hours --------------------------------------------------------------------------------------------

WEDNESDAY, FRIDAY, AFTER_THANKSGIVING = date(2026, 12, 2), date(2026, 12, 4), date(2026, 11, 27)


def placed(order: OrderRequest, day: date, at: time) -> Working | str:
    try:
        return prepare(order, quote(symbol=order.symbol), ExchangeHours(), eastern_us(day, at), 20_000)[0]
    except PaperRefused as refused:
        return refused.code


@pytest.mark.parametrize(
    ("tif", "day", "at", "taken"),
    [
        ("opg", date(2026, 12, 1), time(18, 59, 59), False),
        ("opg", date(2026, 12, 1), time(19, 0), True),
        ("opg", WEDNESDAY, time(9, 27, 59), True),
        ("opg", WEDNESDAY, time(9, 28), False),
        ("opg", FRIDAY, time(20, 0), False),
        ("opg", date(2026, 12, 6), time(19, 0), True),
        ("cls", date(2026, 12, 1), time(19, 0), True),
        ("cls", WEDNESDAY, time(15, 49, 59), True),
        ("cls", WEDNESDAY, time(15, 50), False),
        ("cls", AFTER_THANKSGIVING, time(12, 49, 59), True),
        ("cls", AFTER_THANKSGIVING, time(12, 50), False),
    ],
)
def test_auctions_take_orders_in_their_hours_only(tif: str, day: date, at: time, taken: bool) -> None:
    assert (placed(request("market", tif), day, at) == "auction_closed") == (not taken)


def test_an_auction_order_is_live_at_its_auction() -> None:
    opening = placed(request("market", "opg"), WEDNESDAY, time(9, 0))
    closing = placed(request("market", "cls"), AFTER_THANKSGIVING, time(9, 0))
    assert isinstance(opening, Working)
    assert isinstance(closing, Working)
    assert opening.live_at_us == eastern_us(WEDNESDAY, time(9, 30))
    assert closing.live_at_us == eastern_us(AFTER_THANKSGIVING, time(12, 59, 58))
    assert closing.expires_at_us == eastern_us(AFTER_THANKSGIVING, time(13, 0))


@pytest.mark.parametrize(
    ("extended", "day", "at", "ends"),
    [
        (False, WEDNESDAY, time(15, 59), datetime(2026, 12, 2, 16, 0, tzinfo=EASTERN)),
        (False, WEDNESDAY, time(16, 0), datetime(2026, 12, 3, 16, 0, tzinfo=EASTERN)),
        (True, WEDNESDAY, time(16, 0), datetime(2026, 12, 2, 20, 0, tzinfo=EASTERN)),
        (True, WEDNESDAY, time(20, 0), datetime(2026, 12, 3, 20, 0, tzinfo=EASTERN)),
        (True, AFTER_THANKSGIVING, time(12, 0), datetime(2026, 11, 27, 17, 0, tzinfo=EASTERN)),
    ],
)
def test_a_day_order_ends_with_its_day_or_with_the_extended_one(
    extended: bool, day: date, at: time, ends: datetime
) -> None:
    working = placed(request("limit", limit_price="99", extended_hours=extended), day, at)
    assert isinstance(working, Working)
    assert working.expires_at_us == int(ends.timestamp()) * 1_000_000


def test_an_option_order_ends_with_its_contract_at_the_latest() -> None:
    order = request("limit", "gtc", symbol="AAPL261204C00100000", limit_price="1.00")
    last = eastern_us(FRIDAY, time(16, 0))
    working = placed(order, WEDNESDAY, time(12, 0))
    assert isinstance(working, Working)
    assert working.expires_at_us == last
    assert isinstance(placed(order, FRIDAY, time(15, 59, 59)), Working)
    assert placed(order, FRIDAY, time(16, 0)) == "expired_contract"
    # Its expiration is a holiday: it trades the day before for the last time.
    good_friday = request("limit", "gtc", symbol="AAPL270326C00100000", limit_price="1.00")
    working = placed(good_friday, date(2027, 3, 24), time(12, 0))
    assert isinstance(working, Working)
    assert working.expires_at_us == eastern_us(date(2027, 3, 25), time(16, 0))
    always, price = prepare(order, quote(symbol=order.symbol), AlwaysOpen(), last - 1, 0)
    assert (always.expires_at_us, price) == (last, D("1.00"))


# -- wash trades --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "limit", "opposite", "washes"),
    [
        ("buy", "100.00", "100.00", True),
        ("buy", "99.99", "100.00", False),
        ("sell", "100.00", "100.00", True),
        ("sell", "100.01", "100.00", False),
        ("buy", None, "100.00", True),
        ("buy", "1.00", None, True),
        ("sell", None, None, True),
    ],
)
def test_two_orders_wash_unless_their_limits_do_not_meet(
    side: Any, limit: str | None, opposite: str | None, washes: bool
) -> None:
    mine, other = (None if one is None else D(one) for one in (limit, opposite))
    if not washes:
        check_wash(side, mine, other, "po_other")
        return
    with pytest.raises(PaperRefused, match="po_other") as caught:
        check_wash(side, mine, other, "po_other")
    assert caught.value.code == "wash_trade"
