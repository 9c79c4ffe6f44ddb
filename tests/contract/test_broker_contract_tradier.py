"""What is really said on Tradier's wire where the suite's promises hold all the same (tradier.md, sections 5.3, 6.6 to 6.8)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from paiid.brokers import BrokerRejected
from tests.contract.readers import ended, reading
from tests.contract.stages import S, bracket, canceled, sale
from tests.contract.tradier_dialect import OtherWords
from tests.contract.tradier_stage import TradierStage, tradier_stage
from tests.paper_live import found, order


@pytest.fixture
async def stage(sqlite_url: str, tmp_path: Path) -> AsyncIterator[TradierStage]:
    async with tradier_stage(sqlite_url, tmp_path) as one:
        yield one


async def test_an_unknown_id_is_none_although_the_wire_says_401(stage: TradierStage) -> None:
    view = await stage.broker.submit(order("a-1"), S)
    others = await stage.of("bob").submit(order("b-1", account="bob"), S)
    for order_id in ("999999", others.broker_order_id):
        said = await stage.wire("GET", f"/orders/{order_id}")
        assert (said.status_code, said.text) == (401, "Unauthorized Account: me")
        assert await stage.broker.fetch_order_by_id("me", order_id, S) is None
        with pytest.raises(BrokerRejected) as caught:
            await stage.broker.cancel("me", order_id, S)
        assert caught.value.code == "not_found"
    # The token is as good as before.
    assert await found(stage.broker, "a-1") == view
    assert (await stage.of("bob").fetch_order("bob", "b-1", S)) == others


async def test_an_order_is_found_by_its_tag_although_the_list_tells_it_only_when_asked(
    stage: TradierStage,
) -> None:
    view = await stage.broker.submit(order("a-1"), S)
    for query, tag in (("", None), ("?includeTags=true", "a-1")):
        (row,) = [(await stage.wire("GET", f"/orders{query}")).json()["orders"]["order"]]
        assert (row["id"], row.get("tag")) == (int(view.broker_order_id), tag)
    assert await found(stage.broker, "a-1") == view


async def test_an_order_that_has_ended_is_not_canceled_and_the_reason_is_the_wire_s(
    stage: TradierStage,
) -> None:
    gone = await canceled(stage, await stage.broker.submit(order("a-1"), S))
    filled = await stage.broker.submit(order("a-2"), S)
    await stage.execute(filled, 10, "99.00")
    for view, status in ((gone, "canceled"), (filled, "filled")):
        words = f"order already in finalized state: {status}"
        said = await stage.wire("DELETE", f"/orders/{view.broker_order_id}")
        assert (said.status_code, said.text) == (400, words)
        with pytest.raises(BrokerRejected) as caught:
            await stage.broker.cancel("me", view.broker_order_id, S)
        assert (caught.value.code, caught.value.message) == ("not_cancelable", words)


async def test_a_short_position_has_a_price_above_zero_although_its_cost_is_below(
    stage: TradierStage,
) -> None:
    short = await stage.broker.submit(sale(stage, "a-1", 5, "101.00", "sell_to_open"), S)
    await stage.execute(short, 5, "103.00")
    said = (await stage.wire("GET", "/positions")).json()["positions"]["position"]
    assert (said["quantity"], said["cost_basis"]) == (-5.0, -515.0)
    (held,) = await stage.broker.fetch_positions("me", S)
    assert (held.qty, held.avg_entry_price) == (-5, 103)


async def test_no_orders_and_no_positions_are_empty_although_the_wire_says_null_as_a_word(
    stage: TradierStage,
) -> None:
    assert (await stage.wire("GET", "/orders")).json() == {"orders": "null"}
    assert (await stage.wire("GET", "/positions")).json() == {"positions": "null"}
    assert list(await stage.broker.fetch_open_orders("me", S)) == []
    assert list(await stage.broker.fetch_positions("me", S)) == []
    assert await stage.broker.fetch_order("me", "a-1", S) is None


async def test_the_other_words_are_other_words(sqlite_url: str, tmp_path: Path) -> None:
    async with tradier_stage(sqlite_url, tmp_path, OtherWords, null_text=False) as stage:
        assert (await stage.wire("GET", "/orders")).json() == {"orders": {}}
        first = await stage.broker.submit(order("a-1"), S)
        group = await stage.broker.submit(bracket("a-2"), S)
        rows = (await stage.wire("GET", "/orders")).json()["orders"]["order"]
        assert [str(row["id"]) for row in rows] == [group.broker_order_id, first.broker_order_id]
        assert [leg["status"] for leg in rows[0]["leg"]] == ["open", "held", "held"]
        assert (rows[0]["symbol"], rows[0]["side"], rows[1]["stop_price"]) == (None, "null", 0)
        await stage.execute(first, 10, "99.00")
        await canceled(stage, group)
        await stage.execute(await stage.broker.submit(sale(stage, "a-3", 10, "101.00"), S), 10, "102.00")
        short = await stage.broker.submit(sale(stage, "a-4", 5, "101.00", "sell_to_open"), S)
        await stage.execute(short, 5, "103.00")
        held = (await stage.wire("GET", "/positions")).json()["positions"]["position"]
        assert (held["quantity"], held["cost_basis"]) == (-5.0, 515.0)


async def test_E18_what_was_read_for_a_look_up_is_not_told_after_something_newer(stage: TradierStage) -> None:
    async with reading(stage) as reader:
        view = await stage.broker.submit(order("a-1", qty=10), S)
        await stage.execute(view, 4, "99.00")
        await reader.until(lambda told: any(one.order and one.order.filled_qty == 4 for one in told))
        # A look-up that has taken its time.
        stage.adapter._stream.offer(view)
        await canceled(stage, view)
        told = await reader.until(ended("a-1"))
    filled = [update.order.filled_qty for update in told if update.order]
    assert filled == sorted(filled)
