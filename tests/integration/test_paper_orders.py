"""Every kind of single order at the paper venue over real databases: what is kept, what is told, what no restart
forgets."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers import BrokerOrder, BrokerOrderView, BrokerRejected
from paiid.brokers.paper.fills import TELL_TRAIL_EVERY_US
from paiid.brokers.paper.queries import load_events
from paiid.core.db import Database
from paiid.domain.orders import OrderStatus
from paiid.domain.terms import DEFAULT_TERMS, PLAIN
from tests.paper_live import DEADLINE_S, Street, audit, filled, found, order, over, until
from tests.paper_world import START_US, Market, RealVenue

S = DEADLINE_S
D = Decimal
CALL = "AAPL300118C00100000"


def asked(name: str, type: Any = "market", tif: Any = "day", side: Any = "buy", **more: Any) -> BrokerOrder:
    """An order of ten shares for `me`, unless told otherwise."""
    base: dict[str, Any] = {"qty": D(10), "symbol": "AAPL"}
    return BrokerOrder("me", name, side=side, type=type, time_in_force=tif, **{**base, **more})


@pytest.fixture
async def street(db_url: str) -> AsyncIterator[Street]:
    async with Street(db_url, DEFAULT_TERMS) as made:
        yield made


async def test_an_account_keeps_the_terms_it_was_opened_on(street: Street) -> None:
    first = await street.venue("first")
    assert (await first.broker.fetch_account("me", S)).margin
    await first.broker.submit(order("a-1", qty=1_500), S)
    await first.stop()
    street.terms = replace(PLAIN, options_level=1)
    later = await street.venue("later")
    old, new = await later.broker.fetch_account("me", S), await later.broker.fetch_account("bob", S)
    assert (old.margin, old.options_level) == (True, 3)
    assert (new.margin, new.options_level) == (False, 1)
    with pytest.raises(BrokerRejected, match="margin"):
        await later.broker.submit(order("b-1", qty=1_500, account="bob"), S)
    await later.broker.submit(order("a-2", qty=1), S)
    await audit(later, ["me"])


async def test_fees_are_told_with_each_print_and_taken_from_the_cash(street: Street) -> None:
    venue = await street.venue()
    street.show("99.99", "100.00")
    await venue.broker.submit(asked("a-1", qty=D(100)), S)
    await over(venue.broker, "a-1")
    street.show("99.99", "100.00", 50)
    await venue.broker.submit(asked("a-2", side="sell", qty=D(100)), S)
    await filled(venue.broker, "a-2", 50)
    street.show("99.99", "100.00", 50)
    await over(venue.broker, "a-2")
    prints = await venue.broker.fetch_executions("me", 0, S)
    # The second half fills a tick lower: all of the size of that quote was taken before.
    assert [(one.price, one.fee) for one in prints] == [
        (D("100.00"), D(0)),
        (D("99.99"), D("0.12")),
        (D("99.98"), D("0.11")),
    ]
    assert (await venue.broker.fetch_account("me", S)).cash == D("99998.27")
    await audit(venue, ["me"])


async def test_an_order_by_amount_tells_no_quantity_but_what_it_bought(street: Street) -> None:
    venue = await street.venue()
    street.show("99.90", "100.00")
    view = await venue.broker.submit(asked("a-1", qty=None, notional=D("250.50")), S)
    assert (view.qty, view.notional, view.status) == (None, D("250.50"), OrderStatus.NEW)
    done = await over(venue.broker, "a-1")
    assert (done.status, done.qty, done.filled_qty) == (OrderStatus.FILLED, None, D("2.505"))
    assert [one.qty for one in await venue.broker.fetch_positions("me", S)] == [D("2.505")]
    await venue.broker.submit(asked("a-2", side="sell", qty=D("2.505")), S)
    assert (await over(venue.broker, "a-2")).status == OrderStatus.FILLED
    assert await venue.broker.fetch_positions("me", S) == []
    await audit(venue, ["me"])


async def test_an_option_is_told_in_contracts_and_dollars_a_share(street: Street) -> None:
    venue = await street.venue()
    street.show("2.50", "2.55", 50, symbol=CALL)
    await venue.broker.submit(asked("a-1", symbol=CALL, qty=D(2), position_intent="buy_to_open"), S)
    done = await over(venue.broker, "a-1")
    assert (done.filled_qty, done.filled_avg_price, done.position_intent) == (2, D("2.55"), "buy_to_open")
    (position,) = await venue.broker.fetch_positions("me", S)
    assert (position.symbol, position.qty, position.avg_entry_price) == (CALL, 2, D("2.55"))
    assert (await venue.broker.fetch_account("me", S)).cash == D("99489.89")
    await audit(venue, ["me"])


async def test_a_trailing_stop_remembers_its_best_price_over_a_restart(street: Street) -> None:
    before = await street.venue("before")
    await before.broker.submit(asked("a-1", "trailing_stop", "gtc", "sell", trail_price=D(2)), S)

    def stands_at(stop: str) -> Any:
        async def ask() -> bool:
            return (await found(before.broker, "a-1")).stop_price == D(stop)

        return ask

    await until(stands_at("97.00"))
    street.show("110.00", "110.10")
    await until(stands_at("108.00"))
    street.show("109.00", "109.10")
    await before.stop()
    after = await street.venue("after")
    street.show("108.50", "108.60")
    await asyncio.sleep(0.3)
    kept = await found(after.broker, "a-1")
    assert (kept.status, kept.hwm, kept.stop_price) == (OrderStatus.NEW, D("110.00"), D("108.00"))
    street.show("107.90", "108.00")
    done = await over(after.broker, "a-1")
    assert (done.status, done.filled_avg_price) == (OrderStatus.FILLED, D("107.90"))
    await audit(after, ["me"])


async def test_a_trailing_stop_tells_of_its_moves_no_more_than_every_five_seconds(db: Database) -> None:
    market, size = Market(), Decimal(100)
    venue = await RealVenue.open(market, db)
    market.show("AAPL", D("99.90"), size, D("100.00"), size)
    await venue.submit(asked("a-1", "trailing_stop", "gtc", "sell", trail_price=D(1)))
    told = {}
    for second in range(12):
        market.clock.us = START_US + second * 1_000_000 + 20_000
        market.show("AAPL", D(100 + second), size, D(101 + second), size)
        await venue.look()
        assert (await venue.order("me", "a-1")).stop_price == 99 + second, "each move is kept"
    async with db.read() as tx:
        for update in await load_events(tx, 0, 100):
            assert update.order is not None
            told[update.order.updated_at_us - START_US] = update.order.stop_price
    assert told == {0: None, 20_000: 99, 5_020_000: 104, 10_020_000: 109}
    assert TELL_TRAIL_EVERY_US == 5_000_000


async def test_two_orders_that_would_wash_are_not_both_taken_however_they_come(street: Street) -> None:
    first = await street.venue("first", runs=False)
    second = await street.venue("second", runs=False)
    answers = await asyncio.gather(
        *(
            venue.broker.submit(order(f"{side}-{at}-{n}", side, 1, "100.00"), S)  # type: ignore[arg-type]
            for n in range(4)
            for at, venue in (("1", first), ("2", second))
            for side in ("buy", "sell")
        ),
        return_exceptions=True,
    )
    made = {one.side for one in answers if isinstance(one, BrokerOrderView)}
    codes = [one.code for one in answers if isinstance(one, BrokerRejected)]
    assert len(made) == 1
    assert codes == ["wash_trade"] * 8
    await audit(first, ["me"])


async def test_a_refusal_for_a_wash_trade_names_the_other_order(street: Street) -> None:
    venue = await street.venue(runs=False)
    resting = await venue.broker.submit(order("rests", "sell", price="100.50"), S)
    with pytest.raises(BrokerRejected, match=resting.broker_order_id) as caught:
        await venue.broker.submit(order("meets", price="100.50"), S)
    assert caught.value.code == "wash_trade"
    await venue.broker.submit(asked("trails", "trailing_stop", "gtc", trail_price=D(5)), S)
    await venue.broker.submit(order("other", account="bob", price="100.50"), S)
    await audit(venue, ["me", "bob"])


async def test_an_evening_order_fills_while_the_regular_session_is_over(street: Street) -> None:
    venue = await street.venue()
    street.market.hours.open, street.market.hours.extended = False, True
    street.show("99.90", "100.00")
    await venue.broker.submit(order("day", account="bob"), S)
    await venue.broker.submit(asked("evening", "limit", limit_price=D("100.00"), extended_hours=True), S)
    done = await over(venue.broker, "evening")
    assert (done.status, done.extended_hours) == (OrderStatus.FILLED, True)
    assert (await found(venue.broker, "day", "bob")).status == OrderStatus.NEW
    await audit(venue, ["me", "bob"])


async def test_what_the_table_does_not_list_the_venue_refuses_itself(street: Street) -> None:
    street.market.hours.never_closes = True
    venue = await street.venue(runs=False)
    assert not {"opg", "cls"} & venue.broker.capabilities.times_in_force
    with pytest.raises(BrokerRejected, match="no auction") as caught:
        await venue.broker.submit(asked("a-1", "limit", "opg", limit_price=D(100)), S)
    assert caught.value.code == "time_in_force_not_supported"
    assert await venue.broker.fetch_order("me", "a-1", S) is None
