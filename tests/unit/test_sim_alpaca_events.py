"""What the simulated Alpaca's stream makes of the venue's events, without a clock and without a venue."""

from dataclasses import replace
from decimal import Decimal

from paiid.brokers import BrokerOrderView, BrokerUpdate
from paiid.domain.orders import OrderStatus
from paiid.sim.alpaca.events import Facts, Translator

ONE = BrokerOrderView(
    account_number="A", broker_order_id="po_1", client_order_id="one", symbol="AAPL", side="buy",
    qty=Decimal(1), type="limit", time_in_force="gtc", limit_price=Decimal(1), stop_price=None,
    status=OrderStatus.NEW, filled_qty=Decimal(0), filled_avg_price=None, submitted_at_us=100, updated_at_us=100,
)  # fmt: skip


def test_an_order_that_became_new_before_something_happened_is_told_before_it() -> None:
    two = replace(ONE, broker_order_id="po_2", client_order_id="two")
    stream = Translator({}, [(two, Facts(1, 0))], cursor=1, now_us=50)
    assert stream.take(BrokerUpdate(2, ONE), Facts(2, 120)) == []
    canceled = replace(two, status=OrderStatus.CANCELED, updated_at_us=130)
    told = stream.take(BrokerUpdate(3, canceled), None)
    assert [(each.name, each.order.client_order_id) for each in told] == [("new", "one"), ("canceled", "two")]
    assert [(each.cursor, each.index) for each in told] == [(2, 1), (3, 1)]


def test_an_order_that_ends_before_it_is_new_is_never_told_as_new() -> None:
    stream = Translator({})
    stream.take(BrokerUpdate(1, ONE), Facts(1, 120))
    canceled = replace(ONE, status=OrderStatus.CANCELED, updated_at_us=110)
    assert [each.name for each in stream.take(BrokerUpdate(2, canceled), None)] == ["canceled"]
    assert stream.due(10_000) == []
