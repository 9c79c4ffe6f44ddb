"""Whatever Alpaca's reference leaves unconfirmed, the adapter takes in either form: the same short life of orders ends in
the same views."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from paiid.brokers import BrokerOrderView, BrokerRejected, BrokerReplace, BrokerUpdate
from paiid.brokers.alpaca import AlpacaBroker
from paiid.domain.orders import TERMINAL_STATUSES, OrderStatus, StopLoss, TakeProfit
from paiid.sim.alpaca.app import SimApp
from paiid.sim.alpaca.stream import StreamOptions
from tests.alpaca_accents import (
    CarriesOver,
    DaysEndInCancels,
    EveryStep,
    Newer,
    NoNamesForPrints,
    Numbers,
    Older,
    OlderRefusals,
    OtherClocks,
    OtherNamesForPrints,
    PlainSpreads,
    SecondCancelsSucceed,
    ShortIsNegative,
    StopsAreStopLimits,
)
from tests.alpaca_dialects import Accent, Dialect
from tests.alpaca_stage import AlpacaStage, AlpacaWorld, alpaca_world
from tests.contract.readers import Reader, reading
from tests.contract.readers import ends as ends_of
from tests.contract.readers import prints as prints_of
from tests.contract.stages import (
    C100,
    C105,
    D,
    S,
    canceled,
    now,
    spread,
)
from tests.paper_live import found, order, until

Row = tuple[Any, ...]

ENDS: dict[str, Row] = {
    # name: class, role, side, qty, type, limit, stop, status, filled, average
    "a": ("simple", None, "buy", 10, "limit", 100, None, "REPLACED", 4, 99),
    "b": ("simple", None, "buy", 6, "limit", 98, None, "CANCELED", 2, 97),
    "wash": ("simple", None, "buy", 10, "limit", 100, None, "CANCELED", 0, None),
    "sell": ("simple", None, "sell", 6, "limit", 105, None, "FILLED", 6, 106),
    "short": ("simple", None, "sell", 5, "limit", 105, None, "FILLED", 5, 106),
    "stop": ("simple", None, "buy", 3, "stop", None, 120, "CANCELED", 0, None),
    "group": ("bracket", "entry", "buy", 10, "limit", 100, None, "FILLED", 10, 100),
    "group.take_profit": ("bracket", "take_profit", "sell", 10, "limit", 110, None, "CANCELED", 3, 110),
    "group.stop_loss": ("bracket", "stop_loss", "sell", 7, "stop", None, 95, "CANCELED", 0, None),
    "spread": ("mleg", None, "buy", 2, "limit", 2, None, "CANCELED", 1, D("1.5")),
    f"spread.{C100}": ("mleg", "leg", "buy", 2, "limit", None, None, "CANCELED", 1, 4),
    f"spread.{C105}": ("mleg", "leg", "sell", 2, "limit", None, None, "CANCELED", 1, D("2.5")),
}
PRINTS = [
    ("AAPL", "buy", 4, 99),
    ("AAPL", "buy", 2, 97),
    ("AAPL", "sell", 6, 106),
    ("AAPL", "sell", 5, 106),
    ("MSFT", "buy", 10, 100),
    ("MSFT", "sell", 3, 110),
    (C100, "buy", 1, 4),
    (C105, "sell", 1, D("2.5")),
]
HOLDINGS = {"AAPL": (-5, 106), "MSFT": (7, 100), C100: (1, 4), C105: (-1, D("2.5"))}
CASH = 100_000 - 4 * 99 - 2 * 97 + 11 * 106 - 1000 + 330 - 150


@dataclass
class Variant:
    """A way to say it, and where our view of it has to differ: what the broker tells of an order is passed on."""

    accent: Accent
    ends: Mapping[str, Row] = field(default_factory=dict)
    stream: StreamOptions | None = None


VARIANTS = {
    "as the simulator says it": lambda: Variant(Accent()),
    "older fields, no groups, no intents": lambda: Variant(Older()),
    "fields nobody knows": lambda: Variant(Newer()),
    "numbers for texts and a short without its sign": lambda: Variant(Numbers()),
    "a short with its sign": lambda: Variant(ShortIsNegative()),
    "offsets and nanoseconds": lambda: Variant(OtherClocks()),
    "execution ids that are not the activities', in text frames": lambda: Variant(OtherNamesForPrints()),
    "no execution ids and no running sum": lambda: Variant(NoNamesForPrints()),
    "a stop to buy as a stop-limit": lambda: Variant(
        StopsAreStopLimits(),
        {"stop": ("simple", None, "buy", 3, "stop_limit", 123, 120, "CANCELED", 0, None)},
    ),
    "a second cancel that succeeds": lambda: Variant(SecondCancelsSucceed()),
    "a wash trade as 422": lambda: Variant(OlderRefusals()),
    "every pending state, and everything twice": lambda: Variant(EveryStep()),
    "no updates of legs, null for empty": lambda: Variant(
        PlainSpreads(), stream=StreamOptions(leg_updates=False)
    ),
    "a replacement that counts what was filled before it": lambda: Variant(
        CarriesOver(),
        {"b": ("simple", None, "buy", 10, "limit", 98, None, "CANCELED", 6, D("98.333333"))},
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
async def test_the_same_life_of_orders_ends_in_the_same_views_in_either_form(
    name: str, sqlite_url: str, tmp_path: Path
) -> None:
    variant = VARIANTS[name]()
    dialects: list[Dialect] = []

    def dialect(sim: SimApp) -> Dialect:
        dialects.append(Dialect(sim, variant.accent))
        return dialects[0]

    async with alpaca_world(sqlite_url, tmp_path, variant.stream, dialect) as world:
        broker = world.broker()
        stage = AlpacaStage(world, broker)
        began_us = world.street.clock.now_us()
        try:
            async with reading(stage) as reader:
                await _live(stage, world)
                await _check(stage, reader, {**ENDS, **variant.ends})
                await _check_times(stage, began_us, world.street.clock.now_us())
        finally:
            await broker.stop()
    assert dialects[0].is_heard == (type(variant.accent) is not Accent)


@pytest.mark.parametrize("accent", [Accent, DaysEndInCancels])
async def test_a_day_order_is_over_after_its_day_whatever_its_end_is_called(
    accent: type[Accent], sqlite_url: str, tmp_path: Path
) -> None:
    async with alpaca_world(sqlite_url, tmp_path, dialect=lambda sim: Dialect(sim, accent())) as world:
        broker = world.broker()
        try:
            async with reading(AlpacaStage(world, broker)) as reader:
                view = await _last_order_of_the_day(broker, world)

                async def ended() -> BrokerOrderView | None:
                    told = await now(broker, view)
                    return told if told.status in TERMINAL_STATUSES else None

                over = await until(ended)
                assert over.status == (OrderStatus.EXPIRED if accent is Accent else OrderStatus.CANCELED)
                await reader.until(lambda told: (over.broker_order_id, over.status) in ends_of(told))
            assert list(await broker.fetch_open_orders("me", S)) == []
        finally:
            await broker.stop()


async def _last_order_of_the_day(broker: AlpacaBroker, world: AlpacaWorld) -> BrokerOrderView:
    """A day order whose day ends soon; another one where the machine was so slow that it came too late."""
    for attempt in range(6):
        roll_us = world.street.clock.now_us() + (300_000 << attempt)
        world.street.market.hours.roll_us = roll_us
        view = await broker.submit(order(f"day-{attempt}", qty=7, price="90.00", tif="day"), S)
        if view.submitted_at_us < roll_us:
            return view
        await broker.cancel("me", view.broker_order_id, S)
    raise AssertionError("no order could be placed within ten seconds")


async def _live(stage: AlpacaStage, world: AlpacaWorld) -> None:
    broker = stage.broker
    world.street.show("99.00", "101.00", symbol="MSFT")
    a = await broker.submit(order("a"), S)
    await stage.execute(a, 4, "99.00")
    b = await broker.replace("me", a.broker_order_id, BrokerReplace("b", limit_price=D(98)), S)
    assert (b.client_order_id, b.replaces, b.limit_price) == ("b", a.broker_order_id, 98)
    await stage.execute(b, 2, "97.00")
    await canceled(stage, b)
    await _wash_and_cancel_twice(stage)
    for name, qty in (("sell", 6), ("short", 5)):
        await stage.execute(await broker.submit(order(name, "sell", qty, "105.00"), S), qty, "106.00")
    await canceled(stage, await broker.submit(order("stop", qty=3, price="120.00", type="stop"), S))
    await _bracket(stage)
    await _spread(stage)


async def _wash_and_cancel_twice(stage: AlpacaStage) -> None:
    resting = await stage.broker.submit(order("wash"), S)
    with pytest.raises(BrokerRejected) as caught:
        await stage.broker.submit(order("washed", "sell", 6, "100.00"), S)
    assert caught.value.code == "wash_trade"
    assert await stage.broker.fetch_order("me", "washed", S) is None
    await canceled(stage, resting)
    with suppress(BrokerRejected):
        # Success or refusal, as the server likes it: it was canceled already.
        await stage.broker.cancel("me", resting.broker_order_id, S)


async def _bracket(stage: AlpacaStage) -> None:
    asked = replace(
        order("group", symbol="MSFT"),
        order_class="bracket",
        take_profit=TakeProfit(D(110)),
        stop_loss=StopLoss(D(95)),
    )
    group = await stage.broker.submit(asked, S)
    profit, loss = group.legs
    assert (profit.group_role, loss.group_role) == ("take_profit", "stop_loss")
    await stage.execute(group, 10, "100.00")
    await stage.execute(profit, 3, "110.00")
    await canceled(stage, loss)


async def _spread(stage: AlpacaStage) -> None:
    view = await stage.broker.submit(spread(stage, "spread", qty=2), S)
    await stage.execute_spread(view, 1, ("4.00", "2.50"))
    await canceled(stage, view)


async def _check(stage: AlpacaStage, reader: Reader, ends: Mapping[str, Row]) -> None:
    broker = stage.broker
    views: dict[str, BrokerOrderView] = {}
    for name in (name for name in ends if "." not in name):
        view = views[name] = await found(broker, name)
        for leg in view.legs:
            suffix = leg.symbol if leg.group_role == "leg" else leg.group_role
            views[f"{name}.{suffix}"] = leg
            assert await now(broker, leg) == leg
    assert {name: _row(view) for name, view in views.items()} == ends
    assert list(await broker.fetch_open_orders("me", S)) == []
    prints = await broker.fetch_executions("me", 0, S)
    assert sorted(_print(one) for one in prints) == sorted(PRINTS)
    names = {view.broker_order_id for view in views.values()}
    assert {one.broker_order_id for one in prints} <= names
    held = {one.symbol: (one.qty, one.avg_entry_price) for one in await broker.fetch_positions("me", S)}
    assert held == HOLDINGS
    assert (await broker.fetch_account("me", S)).cash == CASH

    def all_told(told: list[BrokerUpdate]) -> bool:
        over = {(view.broker_order_id, view.status) for view in views.values()}
        return ends_of(told) == over and prints_of(told) == {one.execution_id for one in prints}

    told = await reader.until(all_told)
    # Told more than once it is still the same print.
    again = {one.execution.execution_id: one.execution for one in told if one.execution is not None}
    assert sorted(_print(one) for one in again.values()) == sorted(PRINTS)
    assert sorted(reader.marks) == sorted(stage.own_accounts), "something was left to a catch-up"


async def _check_times(stage: AlpacaStage, began_us: int, now_us: int) -> None:
    for name in (name for name in ENDS if "." not in name):
        view = await found(stage.broker, name)
        assert began_us < view.submitted_at_us <= view.updated_at_us < now_us
    at_us = [one.executed_at_us for one in await stage.broker.fetch_executions("me", 0, S)]
    assert at_us == sorted(at_us)
    assert began_us < at_us[0] < at_us[-1] < now_us


def _row(view: BrokerOrderView) -> Row:
    return (
        view.order_class, view.group_role, view.side, view.qty, view.type, view.limit_price, view.stop_price,
        view.status.value, view.filled_qty, view.filled_avg_price,
    )  # fmt: skip


def _print(one: Any) -> Row:
    return (one.symbol, one.side, one.qty, one.price)
