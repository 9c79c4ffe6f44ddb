"""What every broker promises of what has filled, and of what is held and owned after it (contract E18)."""

from decimal import Decimal

from paiid.brokers import BrokerOrderView
from paiid.domain.orders import OrderStatus
from tests.contract.stages import S, Stage, bracket, canceled, said, sale
from tests.contract.test_broker_contract import stage
from tests.paper_live import found, order

__all__ = ["stage"]


async def test_E18_executions_come_oldest_first_and_the_instant_asked_about_is_included(stage: Stage) -> None:
    view = await stage.broker.submit(order("a-1", qty=9), S)
    for qty, price in ((2, "99.00"), (3, "98.00"), (4, "97.00")):
        await stage.execute(view, qty, price)
    told = await stage.broker.fetch_executions("me", 0, S)
    if not stage.broker.capabilities.tells_prints:
        # Quantity, average and the newest print are all that is told (ADR 0023).
        assert list(told) == []
        done = await found(stage.broker, "a-1")
        assert (done.filled_qty, done.last_fill) == (9, (4, 97))
        assert done.filled_avg_price is not None
        assert abs(done.filled_avg_price * 9 - (2 * 99 + 3 * 98 + 4 * 97)) < Decimal("0.001")
        return
    assert [(one.qty, one.price) for one in told] == [(2, 99), (3, 98), (4, 97)]
    assert {(one.account_number, one.broker_order_id, one.symbol, one.side, one.kind) for one in told} == {
        ("me", view.broker_order_id, "AAPL", "buy", "fill")
    }
    assert len({one.execution_id for one in told}) == 3
    second = told[1].executed_at_us
    assert told[0].executed_at_us < second < told[2].executed_at_us
    assert await stage.broker.fetch_executions("me", second, S) == told[1:]
    assert await stage.broker.fetch_executions("me", second + 1, S) == told[2:]
    assert await stage.broker.fetch_executions("bob", 0, S) == []


async def test_E08_orders_since_an_instant_are_told_under_our_ids_whatever_has_become_of_them(
    stage: Stage,
) -> None:
    """What a restored ledger is brought up with: a few at a time, until nothing new comes."""
    filled = await stage.broker.submit(order("a-1", qty=2), S)
    await stage.execute(filled, 2, "99.00")
    gone = await canceled(stage, await stage.broker.submit(order("a-2"), S))
    entry = await stage.broker.submit(bracket("a-3"), S)
    rests = await stage.broker.submit(order("a-4"), S)
    told: dict[str, BrokerOrderView] = {}
    since = filled.submitted_at_us
    while True:
        page = await stage.broker.fetch_orders_since("me", since, S)
        assert [one.submitted_at_us for one in page] == sorted(one.submitted_at_us for one in page)
        fresh = {one.broker_order_id: one for one in page if one.broker_order_id not in told}
        if not fresh:
            break
        told |= fresh
        since = max(one.submitted_at_us for one in fresh.values())
    views = [filled, gone, entry, rests]
    roots = [one for one in told.values() if one.parent_broker_order_id is None]
    assert [one.broker_order_id for one in roots] == [one.broker_order_id for one in views]
    assert [one.client_order_id for one in roots] == ["a-1", "a-2", "a-3", "a-4"]
    statuses = (OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.NEW, OrderStatus.NEW)
    assert [one.status for one in roots] == list(statuses)
    assert {one.group_role for one in roots[2].legs} == {"take_profit", "stop_loss"}
    assert {one.parent_broker_order_id for one in roots[2].legs} == {entry.broker_order_id}
    later = await stage.broker.fetch_orders_since("me", rests.submitted_at_us + 1_000_000, S)
    assert list(later) == []
    assert list(await stage.of("bob").fetch_orders_since("bob", 0, S)) == []


async def test_E18_what_has_filled_is_told_with_its_average_and_never_falls(stage: Stage) -> None:
    view = await stage.broker.submit(order("a-1", qty=9), S)
    told = [view]
    for qty, price in ((2, "99.00"), (3, "98.00"), (4, "97.00")):
        await stage.execute(view, qty, price)
        told.append(await found(stage.broker, "a-1"))
    assert [one.filled_qty for one in told] == [0, 2, 5, 9]
    averages = [one.filled_avg_price for one in told]
    assert averages[0] is None
    worth = [one.filled_qty * (one.filled_avg_price or 0) for one in told]
    expected = (0, 2 * 99, 2 * 99 + 3 * 98, 2 * 99 + 3 * 98 + 4 * 97)
    assert all(abs(one - other) < Decimal("0.001") for one, other in zip(worth, expected, strict=True))
    assert [one.updated_at_us for one in told] == sorted(one.updated_at_us for one in told)


async def test_positions_are_signed_and_at_their_average_price_and_none_is_zero(stage: Stage) -> None:
    assert await stage.broker.fetch_positions("me", S) == []
    buy = await stage.broker.submit(order("a-1", qty=10), S)
    await stage.execute(buy, 4, "100.00")
    await stage.execute(buy, 6, "99.00")
    (long,) = await stage.broker.fetch_positions("me", S)
    assert (long.symbol, long.qty, long.avg_entry_price) == ("AAPL", 10, Decimal("99.40"))
    sell = await stage.broker.submit(sale(stage, "a-2", 10, "101.00"), S)
    await stage.execute(sell, 10, "102.00")
    assert await stage.broker.fetch_positions("me", S) == []
    short = await stage.broker.submit(sale(stage, "a-3", 5, "101.00", "sell_to_open"), S)
    await stage.execute(short, 5, "103.00")
    (held,) = await stage.broker.fetch_positions("me", S)
    assert (held.qty, held.avg_entry_price) == (-5, 103)
    assert await stage.of("bob").fetch_positions("bob", S) == []


async def test_a_short_position_is_bought_back_and_gone(stage: Stage) -> None:
    cash = (await stage.broker.fetch_account("me", S)).cash
    short = await stage.broker.submit(sale(stage, "a-1", 5, "101.00", "sell_to_open"), S)
    await stage.execute(short, 5, "103.00")
    back = said(stage, order("a-2", qty=2, price="98.00"), "buy_to_close")
    await stage.execute(await stage.broker.submit(back, S), 2, "97.00")
    (held,) = await stage.broker.fetch_positions("me", S)
    assert (held.qty, held.avg_entry_price) == (-3, 103)
    rest = said(stage, order("a-3", qty=3, price="98.00"), "buy_to_close")
    await stage.execute(await stage.broker.submit(rest, S), 3, "96.00")
    assert await stage.broker.fetch_positions("me", S) == []
    earned = 5 * 103 - 2 * 97 - 3 * 96
    assert (await stage.broker.fetch_account("me", S)).cash == cash + earned


async def test_cash_moves_by_what_was_paid_and_an_untouched_account_is_there_too(stage: Stage) -> None:
    before = await stage.broker.fetch_account("me", S)
    assert (before.number, before.status) == ("me", "active")
    view = await stage.broker.submit(order("a-1", qty=10), S)
    await stage.execute(view, 10, "98.76")
    assert (await stage.broker.fetch_account("me", S)).cash == before.cash - Decimal("987.60")
