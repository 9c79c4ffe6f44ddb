"""Tradier's order objects read tolerantly: whatever is missing, new or of another type, a reading never breaks (tradier.md, 6.6, 7)."""

import copy
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paiid.brokers import BrokerOrderView
from paiid.brokers.tradier.books import read_account, read_position
from paiid.brokers.tradier.connection import messages_of
from paiid.brokers.tradier.day_view import looks_ours
from paiid.brokers.tradier.gain_loss import read_closed
from paiid.brokers.tradier.history import read_events
from paiid.brokers.tradier.known_orders import KnownOrders
from paiid.brokers.tradier.readers import Reading, read, read_order
from paiid.brokers.tradier.session import ProfileAccount
from paiid.domain.money import money_to_int, qty_to_int
from paiid.domain.orders import TERMINAL_STATUSES, OrderStatus
from tests.tradier_stage import NUMBER, row

_PROFILE = ProfileAccount(NUMBER, "active", "margin", "6")
CALL, PUT = "SPY261218C00700000", "SPY261218P00640000"


def leg(order_id: int, **changes: Any) -> dict[str, Any]:
    """A leg: an order object without a tag."""
    made = row(id=order_id, **changes)
    del made["tag"]
    return made


def group(order_class: str, *legs: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A parent, which leaves empty what its legs tell."""
    return {
        "id": 900, "type": "market", "status": "open", "duration": "day", "create_date": "2026-10-05T14:31:02.310Z",
        "transaction_date": "2026-10-05T14:31:02.357Z", "class": order_class, "num_legs": len(legs), "tag": "r1-0009",
        "leg": list(legs),
    } | changes  # fmt: skip


def bracket(entry: dict[str, Any] | None = None, **exit_changes: Any) -> dict[str, Any]:
    """An otoco: buy 10 at 65.25, sell at 70 or at 60."""
    return group(
        "otoco",
        leg(901, **(entry or {})),
        leg(902, side="sell", price=70.0, **({"status": "pending"} | exit_changes)),
        leg(903, side="sell", type="stop", price=0.0, stop_price=60.0, **({"status": "held"} | exit_changes)),
    )


def spread(**changes: Any) -> dict[str, Any]:
    """Two units of 1 : 2, for a credit of 0.85."""
    option = {"class": "option", "symbol": "SPY", "price": 0.0, "type": "limit"}
    return group(
        "multileg",
        leg(911, **option, option_symbol=PUT, side="sell_to_open", quantity=2.0),
        leg(912, **option, option_symbol=CALL, side="buy_to_open", quantity=4.0),
        **({"symbol": "SPY", "side": "buy", "type": "credit", "price": 0.85, "quantity": 2.0} | changes),
    )


def filled(qty: float, price: float, **changes: Any) -> dict[str, Any]:
    """The numbers of an order that has filled so far."""
    return {"status": "filled", "exec_quantity": qty, "avg_fill_price": price, "last_fill_quantity": qty,
            "last_fill_price": price} | changes  # fmt: skip


def viewed(data: Any) -> BrokerOrderView:
    """The view of an order that can be read."""
    view = read_order(data, NUMBER)
    assert view is not None
    return view


def reading_of(data: Any) -> Reading:
    """The reading of an order that can be read."""
    reading = read(data, NUMBER)
    assert reading is not None
    return reading


# -- one order ----------------------------------------------------------------------------------------


def test_an_order_is_read_with_its_tag_its_terms_and_its_newest_print() -> None:
    view = viewed(
        row(status="partially_filled", exec_quantity=4.0, avg_fill_price=65.2, last_fill_price="65.1",
            last_fill_quantity="1.0", remaining_quantity=6.0)
    )  # fmt: skip
    assert (view.broker_order_id, view.client_order_id, view.symbol) == ("228175", "r1-0001", "XYZ")
    assert (view.side, view.position_intent, view.qty, view.type) == (
        "buy",
        "buy_to_open",
        Decimal(10),
        "limit",
    )
    assert (view.limit_price, view.stop_price, view.time_in_force) == (Decimal("65.25"), None, "day")
    assert (view.status, view.filled_qty, view.filled_avg_price) == (
        "PARTIALLY_FILLED",
        Decimal(4),
        Decimal("65.2"),
    )
    assert view.last_fill == (Decimal(1), Decimal("65.1"))
    assert view.submitted_at_us == 1_791_210_662_310_000
    assert view.updated_at_us == 1_791_210_662_357_000
    assert not view.extended_hours
    assert view.order_class == "simple"
    assert view.reason is None


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("pending", "NEW"), ("open", "NEW"), ("submitted", "NEW"), ("accepted_for_bidding", "NEW"),
        ("calculated", "NEW"), ("held", "NEW"), ("pending_cancel", "NEW"), ("partially_filled", "NEW"),
        ("expired", "EXPIRED"), ("canceled", "CANCELED"), ("cancelled", "CANCELED"), ("rejected", "REJECTED"),
        ("error", "REJECTED"), ("levitating", "NEW"), (None, "NEW"), ("null", "NEW"), (7, "NEW"), ("Open", "NEW"),
    ],
)  # fmt: skip
def test_every_status_has_one_of_ours_and_an_unknown_one_is_no_end(word: object, status: str) -> None:
    assert viewed(row(status=word)).status == status


@pytest.mark.parametrize("word", ["open", "pending_cancel", "levitating", "pending"])
def test_what_has_filled_in_part_and_works_is_partially_filled_whatever_it_is_called(word: str) -> None:
    view = viewed(row(status=word, exec_quantity=3.0, avg_fill_price=65.0))
    assert (view.status, view.filled_qty) == (OrderStatus.PARTIALLY_FILLED, Decimal(3))


@pytest.mark.parametrize(
    ("side", "ours"),
    [
        ("buy", ("buy", "buy_to_open")), ("sell", ("sell", "sell_to_close")),
        ("sell_short", ("sell", "sell_to_open")), ("buy_to_cover", ("buy", "buy_to_close")),
        ("buy_to_open", ("buy", "buy_to_open")), ("buy_to_close", ("buy", "buy_to_close")),
        ("sell_to_open", ("sell", "sell_to_open")), ("sell_to_close", ("sell", "sell_to_close")),
    ],
)  # fmt: skip
def test_a_side_says_what_it_does_to_the_position(side: str, ours: tuple[str, str]) -> None:
    view = viewed(row(side=side))
    assert (view.side, view.position_intent) == ours


def test_a_cancelled_order_keeps_what_it_filled_although_nothing_remains() -> None:
    view = viewed(
        row(status="canceled", exec_quantity=4.0, avg_fill_price=65.2, remaining_quantity=0.0, quantity=10.0)
    )
    assert (view.status, view.qty, view.filled_qty) == (OrderStatus.CANCELED, Decimal(10), Decimal(4))


@pytest.mark.parametrize(
    "early",
    [
        {"status": "filled"},
        {"status": "filled", "exec_quantity": 10.0},
        {"status": "filled", "exec_quantity": 10.0, "avg_fill_price": None},
        {"status": "filled", "exec_quantity": None, "avg_fill_price": 65.2},
        {"status": "canceled", "exec_quantity": 4.0, "avg_fill_price": 0.0},
        {"status": "partially_filled", "exec_quantity": 4.0, "avg_fill_price": 0.0},
    ],
)
def test_a_fill_whose_price_or_quantity_is_not_there_yet_is_no_fill_and_is_read_again(
    early: dict[str, Any],
) -> None:
    reading = reading_of(row(**early))
    assert (reading.view.status, reading.view.filled_qty) == (OrderStatus.NEW, Decimal(0))
    assert reading.view.filled_avg_price is None
    assert reading.view.last_fill is None
    assert reading.unpriced == {"228175"}


def test_a_fill_without_its_numbers_is_told_as_the_order_was_known_before() -> None:
    known = KnownOrders()
    part = known.take(reading_of(row(exec_quantity=4.0, avg_fill_price=65.2, status="partially_filled")))
    again = known.take(reading_of(row(status="filled", exec_quantity=10.0, avg_fill_price=0.0)))
    assert (again.status, again.filled_qty, again.filled_avg_price) == (
        part.status,
        Decimal(4),
        Decimal("65.2"),
    )
    whole = known.take(reading_of(row(**filled(10.0, 65.3))))
    assert (whole.status, whole.filled_qty, whole.filled_avg_price) == (
        "FILLED",
        Decimal(10),
        Decimal("65.3"),
    )
    flapping = known.take(reading_of(row(status="filled")))
    assert (flapping.status, flapping.filled_qty) == ("FILLED", Decimal(10))


def test_filled_with_less_than_its_quantity_has_not_ended_yet() -> None:
    reading = reading_of(row(status="filled", exec_quantity=4.0, avg_fill_price=65.2))
    assert (reading.view.status, reading.view.filled_qty) == (OrderStatus.PARTIALLY_FILLED, Decimal(4))
    assert reading.unpriced


def test_the_price_of_the_only_print_is_the_average_where_that_is_missing() -> None:
    reading = reading_of(row(**filled(10.0, 0.0, last_fill_price=65.3)))
    assert (reading.view.status, reading.view.filled_avg_price) == (OrderStatus.FILLED, Decimal("65.3"))
    assert not reading.unpriced


def test_an_option_is_its_occ_symbol_and_a_class_share_has_a_dot() -> None:
    option = viewed(row(**{"class": "option"}, symbol="SPY", option_symbol="SPY   261218C00700000"))
    assert option.symbol == CALL
    assert viewed(row(**{"class": "option"}, symbol=CALL)).symbol == CALL
    assert viewed(row(symbol="brk/b")).symbol == "BRK.B"
    assert viewed(row(option_symbol="null")).symbol == "XYZ"


def test_prices_that_the_type_does_not_have_are_none_of_the_orders() -> None:
    stop = viewed(row(type="stop", price=0.0, stop_price=60.0))
    assert (stop.type, stop.limit_price, stop.stop_price) == ("stop", None, Decimal(60))
    both = viewed(row(type="stop_limit", price=59.5, stop_price=60.0))
    assert (both.limit_price, both.stop_price) == (Decimal("59.5"), Decimal(60))
    limit = viewed(row(price=65.0, stop_price=60.0))
    assert (limit.limit_price, limit.stop_price) == (Decimal(65), None)
    market = viewed(row(type="market", price=65.0, stop_price=60.0))
    assert (market.type, market.limit_price, market.stop_price) == ("market", None, None)
    assert viewed(row(type="peg", price=0.0, stop_price=60.0)).type == "stop"


@pytest.mark.parametrize("duration", ["pre", "post"])
def test_the_sessions_before_and_after_are_a_day_order_outside_the_hours(duration: str) -> None:
    view = viewed(row(duration=duration))
    assert (view.time_in_force, view.extended_hours) == ("day", True)


def test_an_unknown_duration_is_not_taken_to_end_by_itself() -> None:
    assert viewed(row(duration="fortnight")).time_in_force == "gtc"


@pytest.mark.parametrize("status", ["rejected", "error"])
def test_a_rejection_says_why_in_the_brokers_words(status: str) -> None:
    view = viewed(row(status=status, reason_description="Backoffice rejected override of the order."))
    assert (view.status, view.reason) == (
        OrderStatus.REJECTED,
        "Backoffice rejected override of the order.",
    )
    assert viewed(row(reason_description="something")).reason is None


@pytest.mark.parametrize("odd", [{"id": None}, {"symbol": None}, {"side": "hold"}, {"id": "null"}])
def test_without_an_id_a_symbol_or_a_side_nothing_can_be_told(odd: dict[str, Any]) -> None:
    assert read_order(row(**odd), NUMBER) is None


def test_only_tags_of_our_own_form_are_names() -> None:
    assert looks_ours("pd-" + "0123456789abcdef" * 2)
    assert not any(looks_ours(tag) for tag in ("mybot", "pd-1", "pd-" + "g" * 32, "pd-" + "a" * 33))


# -- groups -------------------------------------------------------------------------------------------


def test_a_bracket_is_its_entry_under_the_groups_id_with_two_exits_that_are_held() -> None:
    reading = reading_of(bracket())
    view = reading.view
    assert (view.broker_order_id, reading.aliases) == ("900", ("901",))
    assert (view.client_order_id, view.order_class, view.group_role) == ("r1-0009", "bracket", "entry")
    assert (view.symbol, view.side, view.qty, view.limit_price) == (
        "XYZ",
        "buy",
        Decimal(10),
        Decimal("65.25"),
    )
    assert view.status is OrderStatus.NEW
    exits = [
        (one.broker_order_id, one.group_role, one.status, one.parent_broker_order_id) for one in view.legs
    ]
    assert exits == [("902", "take_profit", "HELD", "900"), ("903", "stop_loss", "HELD", "900")]
    assert [(one.type, one.limit_price, one.stop_price) for one in view.legs] == [
        ("limit", 70, None),
        ("stop", None, 60),
    ]
    assert all(one.client_order_id is None and one.order_class == "bracket" for one in view.legs)


def test_the_exits_of_an_entry_that_has_filled_are_live() -> None:
    view = viewed(bracket(filled(10.0, 65.2), status="open"))
    assert view.status is OrderStatus.FILLED
    assert [one.status for one in view.legs] == [OrderStatus.NEW, OrderStatus.NEW]


def test_the_exits_of_an_entry_that_has_filled_but_has_no_price_yet_are_not_held_again() -> None:
    reading = reading_of(bracket({"status": "filled"}, status="pending"))
    assert (reading.view.status, reading.unpriced) == (OrderStatus.NEW, frozenset({"900"}))
    assert [one.status for one in reading.view.legs] == [OrderStatus.NEW, OrderStatus.NEW]


def test_an_exit_that_fills_is_told_with_its_own_numbers() -> None:
    data = bracket(filled(10.0, 65.2))
    data["leg"][1] |= filled(10.0, 70.1)
    data["leg"][2] |= {"status": "canceled"}
    view = viewed(data)
    assert [(one.status, one.filled_qty) for one in view.legs] == [
        ("FILLED", Decimal(10)),
        ("CANCELED", Decimal(0)),
    ]
    assert view.legs[0].filled_avg_price == Decimal("70.1")


@pytest.mark.parametrize("word", ["canceled", "expired", "rejected"])
def test_the_exits_of_an_entry_that_ended_with_nothing_filled_have_ended_too(word: str) -> None:
    view = viewed(bracket({"status": word}))
    assert view.status in TERMINAL_STATUSES
    assert [one.status for one in view.legs] == [OrderStatus.CANCELED, OrderStatus.CANCELED]


def test_a_group_that_was_rejected_as_a_whole_is_rejected_although_its_legs_say_nothing() -> None:
    view = viewed(bracket() | {"status": "rejected", "reason_description": "InitialMargin"})
    assert (view.status, view.reason) == (OrderStatus.REJECTED, "InitialMargin")


def test_an_oto_is_an_entry_with_one_exit_and_an_oco_a_take_profit_with_its_stop() -> None:
    oto = viewed(
        group("oto", leg(901), leg(902, side="sell", type="stop", stop_price=60.0, status="pending"))
    )
    assert (oto.order_class, oto.group_role) == ("oto", "entry")
    assert [(one.group_role, one.status) for one in oto.legs] == [("stop_loss", "HELD")]
    oco = reading_of(
        group("oco", leg(902, side="sell", type="stop", stop_price=60.0), leg(901, side="sell", price=70.0))
    )
    view = oco.view
    assert (view.broker_order_id, view.group_role, view.limit_price, oco.aliases) == (
        "900",
        "take_profit",
        Decimal(70),
        ("901",),
    )
    assert [(one.broker_order_id, one.group_role, one.status) for one in view.legs] == [
        ("902", "stop_loss", "NEW")
    ]


def test_one_leg_may_come_bare_and_one_that_cannot_be_read_makes_the_group_a_part() -> None:
    alone = reading_of(group("oto", leg(901)) | {"leg": leg(901)})
    assert alone.view.legs == ()
    assert alone.whole
    broken = bracket()
    broken["leg"][2]["side"] = None
    assert not reading_of(broken).whole
    broken["leg"][0]["side"] = None
    assert read(broken, NUMBER) is None
    assert read(bracket() | {"leg": "null"}, NUMBER) is None


def test_legs_have_the_duration_of_their_group_where_they_tell_none() -> None:
    data = bracket() | {"duration": "post"}
    for one in data["leg"]:
        del one["duration"]
    view = viewed(data)
    assert {(one.time_in_force, one.extended_hours) for one in (view, *view.legs)} == {("day", True)}


# -- spreads ------------------------------------------------------------------------------------------


def test_a_spread_counts_units_and_its_credit_is_negative() -> None:
    view = viewed(spread())
    assert (view.order_class, view.symbol, view.side, view.qty) == ("mleg", "SPY", "buy", Decimal(2))
    assert (view.type, view.limit_price, view.group_role) == ("limit", Decimal("-0.85"), None)
    assert [(one.symbol, one.side, one.ratio_qty, one.position_intent) for one in view.legs] == [
        (PUT, "sell", 1, "sell_to_open"),
        (CALL, "buy", 2, "buy_to_open"),
    ]
    assert all((one.group_role, one.parent_broker_order_id) == ("leg", "900") for one in view.legs)


@pytest.mark.parametrize(
    ("terms", "type_", "net"),
    [
        ({"type": "debit", "price": 0.85}, "limit", Decimal("0.85")),
        ({"type": "credit", "price": -0.85}, "limit", Decimal("-0.85")),
        ({"type": "even", "price": None}, "limit", Decimal(0)),
        ({"type": "market", "price": 0.0}, "market", None),
    ],
)
def test_the_direction_of_a_spreads_price_stands_in_its_type(
    terms: dict[str, Any], type_: str, net: Decimal | None
) -> None:
    view = viewed(spread(**terms))
    assert (view.type, view.limit_price) == (type_, net)


def test_a_spread_has_filled_what_all_its_legs_have_and_its_net_price_is_signed() -> None:
    data = spread(status="filled", avg_fill_price=-0.9, exec_quantity=2.0)
    data["leg"][0] |= filled(2.0, 3.1)
    data["leg"][1] |= filled(4.0, -1.1)
    view = viewed(data)
    assert (view.status, view.filled_qty, view.filled_avg_price) == ("FILLED", Decimal(2), Decimal("-0.9"))
    assert [(one.filled_qty, one.filled_avg_price) for one in view.legs] == [
        (Decimal(2), Decimal("3.1")),
        (Decimal(4), Decimal("1.1")),
    ]


def test_a_spread_that_is_filled_before_its_legs_have_their_numbers_is_read_again() -> None:
    data = spread(status="filled", avg_fill_price=-0.9)
    data["leg"][0] |= filled(2.0, 3.1)
    reading = reading_of(data)
    assert (reading.view.status, reading.view.filled_qty) == (OrderStatus.NEW, Decimal(0))
    assert reading.unpriced == {"900", "912"}


def test_legs_end_with_their_spread_where_they_do_not_say_so_themselves() -> None:
    view = viewed(spread(status="canceled"))
    assert [one.status for one in view.legs] == [OrderStatus.CANCELED, OrderStatus.CANCELED]


def test_a_combo_is_read_as_a_spread_with_a_leg_of_shares() -> None:
    view = viewed(
        group(
            "combo",
            leg(921, symbol="SPY", quantity=100.0),
            leg(922, **{"class": "option"}, symbol="SPY", option_symbol=CALL, side="sell_to_open", quantity=1.0),
            symbol="SPY", side="buy", type="debit", price=650.0,
        )
    )  # fmt: skip
    assert (view.order_class, view.qty, view.symbol) == ("mleg", Decimal(1), "SPY")
    assert [(one.symbol, one.ratio_qty) for one in view.legs] == [("SPY", 100), (CALL, 1)]


# -- accounts and positions ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "part", "margin", "power"),
    [
        ("margin", {"stock_buying_power": 190000.20}, True, Decimal("190000.2")),
        ("pdt", {"stock_buying_power": "4.0E5"}, True, Decimal(400_000)),
        ("cash", {"cash_available": 94280.55}, False, Decimal("94280.55")),
    ],
)
def test_an_account_has_the_buying_power_of_its_type(
    kind: str, part: dict[str, Any], margin: bool, power: Decimal
) -> None:
    balances = {"total_cash": 94280.55, "total_equity": "102310.55", "account_type": kind, kind: part}
    account = read_account(balances, _PROFILE, live=False)
    assert account is not None
    assert (account.cash, account.equity) == (Decimal("94280.55"), Decimal("102310.55"))
    assert (account.margin, account.buying_power, account.options_level) == (margin, power, 3)
    assert (account.mode, account.status) == ("paper", "active")


def test_a_closed_account_is_blocked_and_one_without_cash_is_not_read() -> None:
    closed = read_account({"total_cash": 0}, ProfileAccount(NUMBER, "closed", "cash", None), live=True)
    assert closed is not None
    assert (closed.status, closed.mode, closed.margin, closed.options_level) == ("blocked", "live", False, 0)
    assert read_account({"total_equity": 1}, _PROFILE, live=True) is None


@pytest.mark.parametrize(
    ("told", "symbol", "qty", "price"),
    [
        ({"symbol": "SPY", "quantity": 20.0, "cost_basis": 8120.0}, "SPY", 20, Decimal(406)),
        ({"symbol": CALL, "quantity": -1.0, "cost_basis": -210.0}, CALL, -1, Decimal("2.1")),
        ({"symbol": CALL, "quantity": -1.0, "cost_basis": 210.0}, CALL, -1, Decimal("2.1")),
        ({"symbol": "BRK/B", "quantity": "3", "cost_basis": "1000"}, "BRK.B", 3, Decimal("333.333333")),
        ({"symbol": "SPY", "quantity": 1, "cost_basis": None}, "SPY", 1, Decimal(0)),
    ],
)
def test_a_position_costs_its_whole_basis_over_its_shares(
    told: dict[str, Any], symbol: str, qty: int, price: Decimal
) -> None:
    position = read_position(told)
    assert position is not None
    assert (position.symbol, position.qty, position.avg_entry_price) == (symbol, Decimal(qty), price)


# -- whatever comes -----------------------------------------------------------------------------------

_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", " ", "null", "NaN", "Infinity", "-0", "1e999", "9" * 60, "1_000", "٣", "\ud800", "1.0E-4",
                     "2026-99-99T99:99:99Z", "9999-12-31T23:59:60.999999999Z", "filled", "multileg", "otoco", "oco"]),
    st.lists(st.none() | st.integers() | st.text(max_size=3), max_size=3),
    st.dictionaries(st.sampled_from(["leg", "order", "id", "x"]), st.none() | st.text(max_size=3), max_size=2),
)  # fmt: skip


def spots(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in an object."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from spots(inner, (*path, key))


def changed(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    """The object with something else at a place."""
    made = copy.deepcopy(value)
    at = made
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = odd
    return made


_ORDERS = [row(), row(**filled(10.0, 65.2)), bracket(), bracket(filled(10.0, 65.2)), spread()]


def sound(view: BrokerOrderView) -> None:
    """Everything in it can be kept by the ledger, and an end or a fill is never told without its numbers."""
    assert view.broker_order_id
    assert view.symbol
    assert view.account_number == NUMBER
    for qty in (view.qty, view.filled_qty):
        assert qty is None or qty_to_int(qty) >= 0
    for money in (view.limit_price, view.stop_price, view.filled_avg_price):
        assert money is None or money_to_int(money) is not None
    if view.order_class != "mleg" or view.group_role == "leg":
        assert view.filled_qty == 0 or view.filled_avg_price is not None
        assert view.status is not OrderStatus.FILLED or view.filled_qty > 0
    for one in view.legs:
        assert one.parent_broker_order_id == view.broker_order_id
        sound(one)


@given(st.data())
def test_an_order_with_anything_anywhere_in_it_is_read_or_left_and_never_raises(data: st.DataObject) -> None:
    order = data.draw(st.sampled_from(_ORDERS))
    for _ in range(data.draw(st.integers(1, 3))):
        places = list(spots(order))
        if places:
            order = changed(order, data.draw(st.sampled_from(places)), data.draw(_ODD))
    reading = read(order, NUMBER)
    if reading is not None:
        sound(reading.view)
        sound(KnownOrders().take(reading))


@given(_ODD)
def test_something_that_is_no_order_no_account_and_no_position_is_none(odd: Any) -> None:
    assert read_order(odd, NUMBER) is None
    assert read_position(odd) is None
    assert read_closed(odd) is None
    assert read_account(odd, _PROFILE, live=False) is None
    assert read_events([odd], NUMBER) == []


@given(_ODD, _ODD, _ODD)
def test_a_position_with_anything_in_it_never_raises_and_can_be_kept(a: Any, b: Any, c: Any) -> None:
    position = read_position({"symbol": a, "quantity": b, "cost_basis": c})
    if position is not None:
        money_to_int(position.avg_entry_price)
        qty_to_int(position.qty)


@given(st.text(max_size=50) | st.binary(max_size=50) | _ODD.map(lambda odd: json.dumps(odd)))
def test_any_frame_is_messages_or_none(frame: str | bytes) -> None:
    messages = messages_of(frame)
    assert messages is None or all(isinstance(one, dict) for one in messages)
