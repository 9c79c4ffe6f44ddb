"""Alpaca's objects read tolerantly: whatever is missing, new or of another type, a reading never breaks."""

import contextlib
import copy
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from paiid.brokers import BrokerOrderView
from paiid.brokers.alpaca.activities import read_activity
from paiid.brokers.alpaca.events import EventReader
from paiid.brokers.alpaca.families import Families
from paiid.brokers.alpaca.holdings import read_account, read_execution, read_position
from paiid.brokers.alpaca.readers import is_whole, read_order
from paiid.brokers.alpaca.wire import Unreadable, parse
from paiid.domain.money import money_to_int, qty_to_int
from paiid.domain.orders import TERMINAL_STATUSES, OrderStatus
from paiid.wires.values import decimal_of, instant_of, message_of, money_of, plain_digits, qty_of
from tests.alpaca_wire import NUMBER, ORDER_ID, account, bracket, fill, order, spread

_POSITION = {
    "asset_id": "0a1b2c3d-0000-4000-8000-00000000a551", "symbol": "XYZ", "exchange": "NYSE", "asset_class": "us_equity",
    "avg_entry_price": "65.251234", "qty": "2.5", "qty_available": "2.5", "side": "long", "market_value": "163.5",
    "current_price": "65.4",
}  # fmt: skip
_ACTIVITY = {
    "activity_type": "OPASN", "id": "20261008000000000::aaaaaaaa-2222-4333-8444-555555555555", "date": "2026-10-08",
    "net_amount": "0", "symbol": "SPY261218P00640000", "qty": "1", "status": "executed", "description": "Option Assignment",
}  # fmt: skip
_EVENT = {
    "event": "partial_fill", "execution_id": "2f63ea93-423d-4169-b3f6-3fdafc10c418", "price": "65.25", "qty": "4",
    "timestamp": "2026-10-08T14:45:10.130000Z", "position_qty": "4",
    "order": order(status="partially_filled", filled_qty="4", filled_avg_price="65.25"),
}  # fmt: skip

_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", " ", "NaN", "Infinity", "-0", "1e999", "9" * 60, "1_000", "٣", "\ud800", "2026-99-99T99:99:99Z",
                     "0000-01-01T00:00:00+99:99", "9999-12-31T23:59:60.999999999Z", "filled", "mleg", "bracket"]),
    st.lists(st.none() | st.integers() | st.text(max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.none() | st.text(max_size=3), max_size=2),
)  # fmt: skip


def spots(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in an object."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from spots(inner, (*path, key))


@st.composite
def bent(draw: st.DrawFn, sample: Any) -> Any:
    """A sample with up to four fields dropped, of another type, or added."""
    value = copy.deepcopy(sample)
    for _ in range(draw(st.integers(1, 4))):
        places = list(spots(value))
        if not places:
            return draw(_ODD)
        path = draw(st.sampled_from(places))
        at = value
        for key in path[:-1]:
            at = at[key]
        what = draw(st.sampled_from(["drop", "retype", "add"]))
        if what == "drop":
            del at[path[-1]]
        elif what == "retype" or isinstance(at, list):
            at[path[-1]] = draw(_ODD)
        else:
            at[draw(st.text(max_size=8))] = draw(_ODD)
    return value


def fits_the_ledger(view: BrokerOrderView) -> None:
    """Every number must have a place in the ledger: scaling raises where one has not."""
    assert view.broker_order_id
    assert view.symbol
    assert view.filled_qty >= 0
    for money in (
        view.limit_price,
        view.stop_price,
        view.notional,
        view.filled_avg_price,
        view.hwm,
        view.trail_price,
    ):
        if money is not None:
            money_to_int(money)
    for qty in (view.qty, view.filled_qty):
        if qty is not None:
            qty_to_int(qty)
    for leg in view.legs:
        assert leg.parent_broker_order_id == view.broker_order_id
        fits_the_ledger(leg)


@pytest.mark.parametrize("sample", [order(), bracket(), spread()], ids=["order", "bracket", "spread"])
def test_no_change_of_an_order_breaks_its_reading(sample: Any) -> None:
    @settings(max_examples=200)
    @given(bent(sample))
    def check(data: Any) -> None:
        view = read_order(data, NUMBER)
        if view is not None:
            fits_the_ledger(view)
            is_whole(data, view)

    with structlog.testing.capture_logs():
        check()


@pytest.mark.parametrize(
    ("sample", "read"),
    [
        (account(), lambda data: read_account(data, "paper")),
        (_POSITION, read_position),
        (fill(), lambda data: read_execution(data, NUMBER, 1)),
        (_ACTIVITY, lambda data: read_activity(data, NUMBER, 1)),
        (_EVENT, lambda data: EventReader(Families()).read(data, NUMBER)),
    ],
    ids=["account", "position", "fill", "activity", "event"],
)
def test_no_change_of_any_other_object_breaks_its_reading(sample: Any, read: Callable[[Any], Any]) -> None:
    @settings(max_examples=150)
    @given(bent(sample))
    def check(data: Any) -> None:
        found = read(data)
        for name in ("cash", "price", "avg_entry_price", "equity"):
            value = getattr(found, name, None)
            if value is not None:
                money_to_int(value)
        qty = getattr(found, "qty", None)
        if qty is not None:
            qty_to_int(qty)

    with structlog.testing.capture_logs():
        check()


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_bytes_are_json_or_unreadable_and_nothing_else(content: bytes) -> None:
    with contextlib.suppress(Unreadable):
        parse(content)


def test_numbers_keep_their_digits_and_depth_is_no_crash() -> None:
    assert parse(b'{"a": 1.10, "b": 1e5, "c": NaN, "d": 123456789012345678901234567890}') == {
        "a": "1.10",
        "b": "1e5",
        "c": None,
        "d": "123456789012345678901234567890",
    }
    parse(b'{"n": ' + b"9" * 100_000 + b"}")
    with pytest.raises(Unreadable):
        parse(b"[" * 1_000_000)


def test_the_sample_order_reads_as_it_says() -> None:
    view = read_order(order(), NUMBER)
    assert view is not None
    assert (view.broker_order_id, view.client_order_id, view.symbol, view.side) == (
        ORDER_ID,
        "r1-0001",
        "XYZ",
        "buy",
    )
    assert (view.qty, view.limit_price, view.order_class) == (Decimal(10), Decimal("65.25"), "simple")
    assert (view.submitted_at_us, view.updated_at_us) == (1_791_470_710_124_050, 1_791_470_710_125_060)
    assert (view.type, view.time_in_force, view.legs, view.group_role) == ("limit", "day", (), None)


def test_numbers_read_alike_as_text_or_number_and_null_like_absent() -> None:
    as_numbers = json.loads(json.dumps(order()), parse_float=str)
    as_numbers |= {"qty": 10, "filled_qty": 0, "limit_price": 65.25}
    for name in ("notional", "stop_price", "legs", "replaces", "hwm"):
        del as_numbers[name]
    assert read_order(as_numbers, NUMBER) == read_order(order(), NUMBER)
    assert read_order(order(order_class="simple"), NUMBER) == read_order(order(order_class=""), NUMBER)
    assert read_order(order(order_class=None), NUMBER) == read_order(order(), NUMBER)


@pytest.mark.parametrize(
    ("status", "changes", "expected"),
    [
        ("new", {}, OrderStatus.NEW),
        ("pending_new", {}, OrderStatus.NEW),
        ("accepted", {}, OrderStatus.NEW),
        ("accepted_for_bidding", {}, OrderStatus.NEW),
        ("stopped", {}, OrderStatus.NEW),
        ("suspended", {}, OrderStatus.NEW),
        ("calculated", {"filled_qty": "4"}, OrderStatus.PARTIALLY_FILLED),
        ("pending_cancel", {}, OrderStatus.NEW),
        ("pending_cancel", {"filled_qty": "4"}, OrderStatus.PARTIALLY_FILLED),
        ("pending_replace", {"filled_qty": 4}, OrderStatus.PARTIALLY_FILLED),
        ("partially_filled", {"filled_qty": "4"}, OrderStatus.PARTIALLY_FILLED),
        ("filled", {"filled_qty": "10"}, OrderStatus.FILLED),
        ("canceled", {"filled_qty": "4"}, OrderStatus.CANCELED),
        ("expired", {}, OrderStatus.EXPIRED),
        ("replaced", {}, OrderStatus.REPLACED),
        ("rejected", {}, OrderStatus.REJECTED),
        ("held", {}, OrderStatus.HELD),
        ("done_for_day", {"time_in_force": "day"}, OrderStatus.EXPIRED),
        ("done_for_day", {"time_in_force": "gtc"}, OrderStatus.NEW),
        ("done_for_day", {"time_in_force": "new one"}, OrderStatus.NEW),
    ],
)
def test_every_status_of_the_reference_has_its_place(
    status: str, changes: dict[str, Any], expected: OrderStatus
) -> None:
    with structlog.testing.capture_logs() as lines:
        view = read_order(order(status=status, **changes), NUMBER)
    assert view is not None
    assert view.status is expected
    assert not any(line["event"] == "unknown_order_status" for line in lines)


@pytest.mark.parametrize("status", ["teleported", "", None, 7, ["filled"], {"filled": 1}])
def test_an_unknown_status_is_an_alarm_and_never_an_end(status: Any) -> None:
    with structlog.testing.capture_logs() as lines:
        quiet = read_order(order(status=status), NUMBER)
        filling = read_order(order(status=status, filled_qty="10"), NUMBER)
    assert quiet is not None
    assert filling is not None
    assert quiet.status is OrderStatus.NEW
    assert filling.status is OrderStatus.PARTIALLY_FILLED
    assert not TERMINAL_STATUSES & {quiet.status, filling.status}
    alarms = [line for line in lines if line["event"] == "unknown_order_status"]
    assert [(line["log_level"], line["order"]) for line in alarms] == [("error", ORDER_ID)] * 2


@pytest.mark.parametrize(
    "changes", [{"id": None}, {"id": ""}, {"symbol": None}, {"side": None, "position_intent": None}]
)
def test_an_order_that_cannot_be_used_is_left_out_and_logged(changes: dict[str, Any]) -> None:
    with structlog.testing.capture_logs() as lines:
        assert read_order(order(**changes), NUMBER) is None
    assert [line["event"] for line in lines] == ["alpaca_order_unusable"]


def test_a_missing_type_side_or_time_is_told_by_what_else_is_there() -> None:
    bare = order(type=None, order_type=None, side="", stop_price="64", time_in_force=None, submitted_at=None)
    with structlog.testing.capture_logs():
        view = read_order(bare, NUMBER)
    assert view is not None
    assert (view.type, view.side, view.time_in_force) == ("stop_limit", "buy", "gtc")
    assert view.submitted_at_us == 1_791_470_710_120_304


def test_a_bracket_names_its_exits_by_role_from_the_field_or_from_what_they_are() -> None:
    view = read_order(bracket(), NUMBER)
    assert view is not None
    assert (view.group_role, [leg.group_role for leg in view.legs]) == ("entry", ["take_profit", "stop_loss"])
    assert {leg.parent_broker_order_id for leg in view.legs} == {ORDER_ID}
    swapped = bracket()
    swapped["legs"][0]["group_role"] = "stop_loss"
    told = read_order(swapped, NUMBER)
    assert told is not None
    assert told.legs[0].group_role == "stop_loss"
    oco = bracket(order_class="oco")
    del oco["legs"][0]
    pair = read_order(oco, NUMBER)
    assert pair is not None
    assert (pair.group_role, [leg.group_role for leg in pair.legs]) == ("take_profit", ["stop_loss"])


def test_a_spread_is_told_by_its_underlying_with_what_is_empty_filled_in() -> None:
    view = read_order(spread(filled_qty="1", filled_avg_price="-0.85"), NUMBER)
    assert view is not None
    assert (view.symbol, view.side, view.position_intent, view.group_role) == ("SPY", "buy", None, None)
    assert (view.limit_price, view.filled_avg_price) == (Decimal("-0.85"), Decimal("-0.85"))
    assert [(leg.type, leg.side, leg.group_role, leg.ratio_qty, leg.qty) for leg in view.legs] == [
        ("limit", "sell", "leg", 1, Decimal(2)),
        ("limit", "buy", "leg", 1, Decimal(2)),
    ]


def test_a_leg_that_cannot_be_used_shows_as_missing() -> None:
    broken = bracket()
    broken["legs"][1] = {"symbol": "XYZ"}
    with structlog.testing.capture_logs():
        view = read_order(broken, NUMBER)
    assert view is not None
    assert not is_whole(broken, view)
    assert is_whole(order(), read_order(order(), NUMBER))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-10-08T14:45:10.124050607Z", 1_791_470_710_124_050),
        ("2026-10-08T10:45:10.13-04:00", 1_791_470_710_130_000),
        ("2026-10-08T14:45:10Z", 1_791_470_710_000_000),
        ("2026-10-08 14:45:10+00:00", 1_791_470_710_000_000),
        ("2026-10-08T14:45:60Z", 1_791_470_759_000_000),
        ("2026-10-08", None),
        ("yesterday", None),
        (1_791_470_710, None),
        (None, None),
    ],
)
def test_instants_have_nanoseconds_and_offsets(text: Any, expected: int | None) -> None:
    assert instant_of(text) == expected


def test_single_values_are_exact_or_none() -> None:
    assert decimal_of("1e999999999") is None
    assert decimal_of("1_000") is None
    assert decimal_of(True) is None
    assert money_of("1.28333333333") == Decimal("1.283333")
    assert money_of("99999999999999") is None
    assert qty_of("0.1234567891") == Decimal("0.123456789")
    assert plain_digits(Decimal("1E+2")) == "100"
    assert plain_digits(Decimal("10.500")) == "10.5"
    assert plain_digits(Decimal("-0.00")) == "0"
    assert message_of("a\x00\n b" + "c" * 999) == ("a b" + "c" * 297)
    assert message_of(None) == ""
