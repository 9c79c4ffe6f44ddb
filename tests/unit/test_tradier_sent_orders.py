"""Rows without a tag: which of them may be an order that was just sent, and which is somebody else's."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers import BrokerOrder
from paiid.brokers.tradier.accepted import accepted_view
from paiid.brokers.tradier.sent_orders import SentOrders
from tests.fake_clock import FakeClock

ORDER = BrokerOrder("VA00000001", "pd-" + "0" * 32, "AAPL", "buy", Decimal(10), "market", "day")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def sent(clock: FakeClock) -> SentOrders:
    one = SentOrders(clock)
    one.add(ORDER)
    return one


def told(clock: FakeClock, **changes: Any) -> Any:
    """The order as it is listed, without its tag."""
    view = accepted_view(ORDER, "228175", clock.now_us())
    return replace(view, **{"client_order_id": None, **changes})


def test_a_row_without_a_tag_may_be_the_order_that_was_just_sent(sent: SentOrders, clock: FakeClock) -> None:
    assert sent.may_be(told(clock))
    assert sent.may_be(told(clock, qty=None))


@pytest.mark.parametrize(
    "changes",
    [
        {"client_order_id": "mine"},
        {"symbol": "MSFT"},
        {"side": "sell"},
        {"qty": Decimal(9)},
        {"submitted_at_us": 0},
    ],
    ids=lambda one: next(iter(one)),
)
def test_a_row_that_does_not_fit_is_somebody_elses(
    changes: dict[str, Any], sent: SentOrders, clock: FakeClock
) -> None:
    assert not sent.may_be(told(clock, **changes))


def test_what_was_seen_with_its_tag_or_never_placed_is_doubted_no_more(
    sent: SentOrders, clock: FakeClock
) -> None:
    sent.drop(None)
    assert sent.may_be(told(clock))
    sent.drop(ORDER.client_order_id)
    assert not sent.may_be(told(clock))


def test_a_spread_is_told_as_a_purchase(clock: FakeClock) -> None:
    sent = SentOrders(clock)
    sent.add(replace(ORDER, side="sell", order_class="mleg"))
    assert sent.may_be(told(clock))


def test_no_order_is_doubted_for_longer_than_a_tag_stays_away(sent: SentOrders, clock: FakeClock) -> None:
    row = told(clock)
    clock.advance(119)
    assert sent.may_be(row)
    clock.advance(2)
    assert not sent.may_be(row)
