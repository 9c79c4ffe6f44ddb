"""What Alpaca tells of positions, accounts and activities, and what each comes to."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import structlog

from paiid.brokers import BrokerOrderView
from paiid.brokers.alpaca.activities import read_activity
from paiid.brokers.alpaca.holdings import read_account, read_position
from paiid.domain.money import money_to_int, qty_to_int
from tests.alpaca_wire import NUMBER, account, fill

_POSITION = {
    "asset_id": "0a1b2c3d-0000-4000-8000-00000000a551", "symbol": "XYZ", "exchange": "NYSE", "asset_class": "us_equity",
    "avg_entry_price": "65.251234", "qty": "2.5", "qty_available": "2.5", "side": "long", "market_value": "163.5",
    "current_price": "65.4",
}  # fmt: skip
_ACTIVITY = {
    "activity_type": "OPASN", "id": "20261008000000000::aaaaaaaa-2222-4333-8444-555555555555", "date": "2026-10-08",
    "net_amount": "0", "symbol": "SPY261218P00640000", "qty": "1", "status": "executed", "description": "Option Assignment",
}  # fmt: skip


def spots(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in an object."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from spots(inner, (*path, key))


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


@pytest.mark.parametrize(
    ("side", "qty", "expected"),
    [
        ("long", "2.5", "2.5"),
        ("short", "-2.5", "-2.5"),
        ("short", "2.5", "-2.5"),
        (None, "-2.5", "-2.5"),
        ("long", 3, "3"),
    ],
)
def test_a_positions_sign_comes_from_its_side(side: Any, qty: Any, expected: str) -> None:
    position = read_position(_POSITION | {"side": side, "qty": qty})
    assert position is not None
    assert position.qty == Decimal(expected)
    assert position.avg_entry_price == Decimal("65.251234")


@pytest.mark.parametrize(
    ("changes", "status", "suspended"),
    [
        ({}, "active", False),
        ({"status": "INACTIVE"}, "blocked", False),
        ({"status": "PAPER_ONLY"}, "blocked", False),
        ({"status": None}, "blocked", False),
        ({"account_blocked": True}, "blocked", False),
        ({"trading_blocked": "true"}, "blocked", False),
        ({"trade_suspended_by_user": True}, "active", True),
    ],
)
def test_an_account_trades_only_where_nothing_blocks_it(
    changes: dict[str, Any], status: str, suspended: bool
) -> None:
    found = read_account(account(**changes), "paper")
    assert found is not None
    assert (found.status, found.suspended, found.number) == (status, suspended, NUMBER)
    assert (found.cash, found.margin, found.options_level, found.mode) == (
        Decimal("98765.43"),
        True,
        3,
        "paper",
    )


def test_an_account_without_cash_is_reckoned_from_its_equity_or_not_told() -> None:
    found = read_account(
        account(cash=None, equity="100", long_market_value="70", short_market_value="-10"), "live"
    )
    assert found is not None
    assert (found.cash, found.mode) == (Decimal(40), "live")
    with structlog.testing.capture_logs():
        assert read_account(account(cash=None, equity=None), "paper") is None


@pytest.mark.parametrize(
    ("row", "kind", "qty", "cash", "price"),
    [
        ({}, "assignment", "1", "0", "0"),
        ({"activity_type": "OPEXP", "qty": "-2"}, "expiration", "-2", "0", "0"),
        ({"activity_type": "OPEXC", "qty": "-2"}, "exercise", "-2", "0", "0"),
        ({"activity_type": "OPTRD", "qty": "100", "price": "640", "net_amount": "-64000"}, "assignment", "100", "-64000", "640"),
        ({"activity_type": "OPTRD", "qty": "100", "price": "640", "net_amount": None, "description": ""}, "exercise", "100", "-64000", "640"),
        ({"activity_type": "OPCSH", "qty": "-1", "net_amount": "12.5"}, "expiration", "-1", "12.5", "0"),
        ({"activity_type": "FEE", "net_amount": "-0.02"}, "fee", "0", "-0.02", "0"),
        ({"activity_type": "DIV", "qty": "2", "net_amount": "1.02"}, "dividend", "0", "1.02", "0"),
        ({"activity_type": "DIVNRA", "net_amount": "-0.1"}, "dividend", "0", "-0.1", "0"),
        ({"activity_type": "INT", "net_amount": 3}, "interest", "0", "3", "0"),
        ({"activity_type": "JNLC", "net_amount": "5"}, "journal", "0", "5", "0"),
        ({"activity_type": "CSD", "net_amount": "5"}, "transfer", "0", "5", "0"),
        ({"activity_type": "CSW", "net_amount": "-5"}, "transfer", "0", "-5", "0"),
        ({"activity_type": "SSP", "qty": "30", "net_amount": "0"}, "split", "30", "0", "0"),
        ({"activity_type": "NEWONE", "qty": "30", "net_amount": "7"}, "other", "0", "7", "0"),
    ],
)  # fmt: skip
def test_activities_move_cash_and_only_some_of_them_shares(
    row: dict[str, Any], kind: str, qty: str, cash: str, price: str
) -> None:
    with structlog.testing.capture_logs():
        found = read_activity(_ACTIVITY | row, NUMBER, 1)
    assert found is not None
    assert (found.kind, found.qty, found.cash, found.price) == (
        kind,
        Decimal(qty),
        Decimal(cash),
        Decimal(price),
    )


def test_a_bare_date_counts_from_the_side_of_the_day_on_which_it_works() -> None:
    expiry = read_activity(_ACTIVITY, NUMBER, 1)
    split = read_activity(_ACTIVITY | {"activity_type": "SSP"}, NUMBER, 1)
    timeless = read_activity(_ACTIVITY | {"date": None}, NUMBER, 1)
    assert expiry is not None
    assert split is not None
    assert timeless is not None
    assert (expiry.at_us, split.at_us, timeless.at_us) == (1_791_504_000_000_000, 1_791_432_000_000_000, 1)
    with structlog.testing.capture_logs() as lines:
        assert read_activity(_ACTIVITY | {"status": "canceled"}, NUMBER, 1) is None
    assert [line["event"] for line in lines] == ["alpaca_activity_canceled"]
    assert read_activity(fill(), NUMBER, 1) is None
