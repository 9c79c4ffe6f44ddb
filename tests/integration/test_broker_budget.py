"""Orders while the broker takes no more requests: refused before the claim, so that the key stays free (E5, ADR 0026)."""

from tests.orders_world import BUY, Trading
from tests.world import fresh_key


async def test_E05_an_order_for_which_the_broker_has_no_place_is_429_and_leaves_no_row(
    trading: Trading,
) -> None:
    key = fresh_key()
    before = await trading.counts()
    trading.broker.order_free = 12.3
    busy = await trading.owner.execute(BUY, key=key)
    assert (busy.status_code, busy.headers["Retry-After"]) == (429, "13")
    assert busy.json()["type"].endswith("rate-limited")
    assert await trading.counts() == before
    assert trading.broker.submitted == []

    trading.broker.order_free = None
    assert (await trading.owner.execute(BUY, key=key)).status_code == 200
    assert len(trading.broker.submitted) == 1


async def test_E05_a_key_that_has_been_executed_is_replayed_though_there_is_no_place_now(
    trading: Trading,
) -> None:
    key = fresh_key()
    first = await trading.owner.execute(BUY, key=key)
    trading.broker.order_free = 30.0
    again = await trading.owner.execute(BUY, key=key)
    assert (again.status_code, again.content) == (200, first.content)


async def test_E10_an_order_that_gets_its_place_within_its_send_window_goes(trading: Trading) -> None:
    trading.broker.order_free = 0.2
    assert (await trading.owner.execute(BUY)).status_code == 200


async def test_E16_a_dry_run_needs_no_place(trading: Trading) -> None:
    trading.broker.order_free = 30.0
    told = await trading.owner.execute(BUY, dryRun=True)
    assert (told.status_code, told.json()["accepted"]) == (200, True)


async def test_E05_a_close_goes_while_only_places_for_closes_are_left(trading: Trading) -> None:
    await trading.hold("AAPL", 5)
    trading.broker.order_free, trading.broker.close_free = 30.0, None
    assert (await trading.owner.execute(BUY)).status_code == 429
    closed = await trading.owner.delete(
        "/api/portfolio/positions/AAPL", headers={"Idempotency-Key": fresh_key()}
    )
    assert closed.status_code == 200, closed.text
    trading.broker.close_free = 12.0
    assert (await trading.owner.execute({**BUY, "side": "sell"})).status_code == 429
