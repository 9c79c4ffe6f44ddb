"""A broker that tells no prints: what its views say beyond what is booked is booked, once, whatever comes (ADR 0023)."""

import asyncio
import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from paiid.brokers import BrokerOrder, BrokerOrderView, BrokerUpdate
from paiid.core.clock import SystemClock
from paiid.core.db import Database
from paiid.domain.money import money_from_int, money_to_int, qty_from_int, qty_to_int
from paiid.domain.orders import OrderStatus
from paiid.trading.order_rows import as_broker_order, blank_order
from paiid.trading.prints_of_views import believable, print_of
from paiid.trading.records import average_price, value_of
from tests.conftest import MakeApp
from tests.fake_tradier_like import TradierLike
from tests.fakes import FakeBroker
from tests.group_lives import LIVES, GroupLife, open_lives
from tests.ledger_world import START_US, Life, Merging, books
from tests.orders_world import QUICK, Trading, until
from tests.reconcile_world import Books
from tests.world import fresh_key

LIMIT: dict[str, Any] = {"symbol": "MSFT", "side": "buy", "qty": 10, "type": "limit", "limit_price": 100.25}
OFTEN = replace(QUICK, poll_s=0.3, recompare_s=0.3)
PURE = settings(phases=[Phase.generate], max_examples=300, derandomize=True, database=None)
NEW, PART, FILLED = OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED
CANCELED, EXPIRED = OrderStatus.CANCELED, OrderStatus.EXPIRED
D = Decimal


@pytest.fixture
def broker() -> TradierLike:
    """A broker that tells no prints."""
    return TradierLike()


@pytest.fixture
async def trading(make_app: MakeApp, broker: TradierLike) -> Trading:
    """The whole app over it, which looks for what was missed every moment."""
    app = await make_app(broker=broker, timings=OFTEN)
    return Trading(app, broker, await app.owner())


async def asked_for(trading: Trading) -> httpx2.Response:
    """The answer to the order; asked for again under its key where the database did not come free in time (503), so that nothing was
    claimed."""
    key = fresh_key()
    while (answer := await trading.owner.execute(LIMIT, key=key)).status_code == 503:
        await asyncio.sleep(0.1)
    return answer


async def fills_of(trading: Trading, order_id: str) -> list[tuple[str, Decimal, Decimal]]:
    """(execution id, quantity, price) of an order, oldest first."""
    answer = await trading.owner.get("/api/trading/fills", params={"order_id": order_id})
    rows = answer.json()["data"]
    return [(one["execution_id"], D(str(one["qty"])), D(str(one["price"]))) for one in reversed(rows)]


async def assert_as_at_the_broker(trading: Trading) -> None:
    """Cash and positions; each order's quantity and average."""
    fake, found = trading.broker, await books(trading.db)
    (account,) = (one for one in found.values() if one["orders"])
    name = next(iter(fake.orders.values())).account_number
    cash = (await fake.fetch_account(name, 1)).cash
    assert account["cash"] == cash
    held = {one.symbol: one.qty for one in await fake.fetch_positions(name, 1)}
    assert {one["symbol"]: one["qty"] for one in account["positions"] if one["qty"]} == held
    for row in account["orders"]:
        view = fake.orders[row["broker_order_id"]]
        assert (row["filled_qty"], row["status"]) == (view.filled_qty, view.status.value)
        if view.filled_qty and not (row["order_class"] == "mleg" and row["group_role"] is None):
            assert view.filled_avg_price is not None
            assert row["filled_avg_price"] == pytest.approx(float(view.filled_avg_price * 10**6), abs=1)


async def test_what_a_view_tells_beyond_what_is_booked_is_booked_as_one_print(
    trading: Trading, broker: TradierLike
) -> None:
    order = (await asked_for(trading)).json()["orders"][0]
    broker.fill(order["broker_order_id"], "4", "100.20")
    # A look at the broker must not come between the two words and bring both at once.
    await until(lambda: _has_filled(trading, order["id"], 4))
    broker.fill(order["broker_order_id"], "6", "100.10")
    told = await trading.owner.wait_filled(order["id"], 15)
    assert (told["status"], told["filled_qty"]) == ("FILLED", 10)
    name = order["broker_order_id"]
    assert await fills_of(trading, order["id"]) == [
        (f"{name}:4", D(4), D("100.2")),
        (f"{name}:10", D(6), D("100.1")),
    ]
    await assert_as_at_the_broker(trading)


async def test_E18_prints_between_two_looks_come_as_one_at_what_the_average_leaves(
    trading: Trading, broker: TradierLike
) -> None:
    order = (await asked_for(trading)).json()["orders"][0]
    name = order["broker_order_id"]
    broker.fill(name, "2", "100.20")
    await until(lambda: _has_filled(trading, order["id"], 2))
    broker.mute = True
    broker.fill(name, "4", "100.10")
    broker.fill(name, "2", "100.04")
    broker.end(name, CANCELED)
    told = await trading.owner.wait_filled(order["id"], 15)
    assert (told["status"], told["filled_qty"]) == ("CANCELED", 8)
    # (400.40 + 200.08) / 6
    assert await fills_of(trading, order["id"]) == [
        (f"{name}:2", D(2), D("100.2")),
        (f"{name}:8", D(6), D("100.08")),
    ]
    await assert_as_at_the_broker(trading)


async def _has_filled(trading: Trading, order_id: str, qty: int) -> bool:
    order = (await trading.owner.get(f"/api/trading/orders/{order_id}")).json()
    return bool(order["filled_qty"] == qty)


async def filled_at_once(broker: FakeBroker, order: BrokerOrder) -> BrokerOrderView:
    """It has filled whole before it is answered, and nothing of that is told."""
    assert isinstance(broker, TradierLike)
    broker.mute = True
    placed = broker.place(order)
    broker.fill(placed.broker_order_id, "10", "100.10")
    return broker.view(placed.broker_order_id)


@pytest.mark.parametrize("lost", [False, True], ids=["answered", "looked-up"])
async def test_an_order_that_is_filled_when_it_is_accepted_is_shown_as_filled_once_it_is_booked(
    trading: Trading, broker: TradierLike, lost: bool
) -> None:
    """Neither the answer nor the look-up books; the next view does. Until then it is not said to have filled."""

    async def script(fake: FakeBroker, order: BrokerOrder) -> BrokerOrderView:
        view = await filled_at_once(fake, order)
        if lost:
            raise TimeoutError
        return view

    broker.scripts.append(script)
    answer = await asked_for(trading)
    (order,) = answer.json()["orders"]
    if answer.json()["accepted"]:
        assert (order["status"], order["filled_qty"]) == ("NEW", 0)
    told = await trading.owner.wait_filled(order["id"], 15)
    assert (told["state"], told["status"], told["filled_qty"]) == ("ACCEPTED", "FILLED", 10)
    assert len(broker.submitted) == 1
    await assert_as_at_the_broker(trading)


@pytest.mark.parametrize("lost", [False, True], ids=["answered", "looked-up"])
async def test_an_order_that_is_said_to_have_filled_before_its_numbers_are_there_goes_on_until_they_are(
    trading: Trading, broker: TradierLike, lost: bool
) -> None:
    async def script(fake: FakeBroker, order: BrokerOrder) -> BrokerOrderView:
        broker.numbers_late = True
        view = await filled_at_once(fake, order)
        if lost:
            raise TimeoutError
        return view

    broker.scripts.append(script)
    (order,) = (await asked_for(trading)).json()["orders"]
    await until(lambda: _is_accepted(trading, order["id"]))
    asked = len(broker.looked_up_by_id) + len(broker.looked_up)
    await until(lambda: _asked_more(broker, asked + 2))
    now = (await trading.owner.get(f"/api/trading/orders/{order['id']}")).json()
    assert (now["status"], now["filled_qty"]) == ("NEW", 0)
    broker.numbers_late = False
    told = await trading.owner.wait_filled(order["id"], 15)
    assert (told["status"], told["filled_qty"]) == ("FILLED", 10)
    await assert_as_at_the_broker(trading)


async def _is_accepted(trading: Trading, order_id: str) -> bool:
    return bool((await trading.owner.get(f"/api/trading/orders/{order_id}")).json()["state"] == "ACCEPTED")


async def _asked_more(broker: TradierLike, than: int) -> bool:
    return len(broker.looked_up_by_id) + len(broker.looked_up) > than


async def test_an_order_of_somebody_else_is_booked_too(trading: Trading, broker: TradierLike) -> None:
    ours = (await asked_for(trading)).json()["orders"][0]
    number = broker.orders[ours["broker_order_id"]].account_number
    other = broker.place(BrokerOrder(number, "web-1", "AAPL", "buy", D(3), "limit", "day", D(90)))
    broker.fill(other.broker_order_id, "3", "89.5")
    broker.fill(ours["broker_order_id"], "10", "100")
    await trading.owner.wait_filled(ours["id"], 15)

    async def is_booked() -> bool:
        # A look at the broker may book ours while the stream has not yet brought the other.
        listed = (await trading.owner.get("/api/trading/orders")).json()["data"]
        found = {one["broker_order_id"]: (one["origin"], one["status"]) for one in listed}
        return found.get(other.broker_order_id) == ("external", "FILLED")

    await until(is_booked)
    await assert_as_at_the_broker(trading)


async def test_the_reconciliation_finds_nothing_to_say_about_books_made_of_views(db: Database) -> None:
    world = await Books(db, broker=TradierLike("fake")).open()
    _, first = await world.placed()
    _, second = await world.placed()
    for broker_id, qty, price in ((first, 4, "99.9"), (second, 10, "99.7"), (first, 6, "99.8")):
        world.broker.fill(broker_id, D(qty), price)
    world.broker.place(BrokerOrder("one", "web", "AAPL", "buy", D(3), "limit", "day", D(90)))
    await world.catch_up()
    assert await world.compare(heal=True) == []
    account = await world.shown()
    assert (account["cash"], account["open_orders"]) == (D("-1995.4"), 1)
    assert (await world.row()).reconcile_problem is None


# -- what cannot be believed yet -----------------------------------------------------------------------


def told_view(
    account: str, status: OrderStatus, filled: str, average: str | None, at: int, **more: Any
) -> Any:
    """A view of the order `b-1` of ten AAPL."""
    return BrokerOrderView(
        account_number=account,
        broker_order_id="b-1",
        client_order_id=None,
        symbol="AAPL",
        side="buy",
        qty=D(10),
        type="limit",
        time_in_force="day",
        limit_price=D(101),
        stop_price=None,
        status=status,
        filled_qty=D(filled),
        filled_avg_price=None if average is None else D(average),
        submitted_at_us=START_US,
        updated_at_us=START_US + at,
        **more,
    )


@pytest.mark.parametrize("end", [FILLED, CANCELED, EXPIRED, PART])
@pytest.mark.parametrize("average", [None, "0"])
async def test_a_fill_without_its_price_is_no_fill_yet_and_the_order_is_looked_at_again(
    db: Database, clock: SystemClock, end: OrderStatus, average: str | None
) -> None:
    """`filled` shows before `avg_fill_price` (tradier.md 7)."""
    merging = Merging(db, clock, broker=TradierLike("fake"))
    await _open(merging)
    await merging.merge([BrokerUpdate(1, told_view("a", PART, "4", "100", 1))])
    filled = "10" if end is FILLED else "6"
    await merging.merge([BrokerUpdate(2, told_view("a", end, filled, average, 2))])
    (order,) = (await books(db))["a"]["orders"]
    assert (order["status"], order["open"], order["filled_qty"]) == ("PARTIALLY_FILLED", 1, 4)
    assert order["broker_filled_qty"] == 4
    await merging.merge([BrokerUpdate(3, told_view("a", end, filled, "100.3", 3))])
    (order,) = (await books(db))["a"]["orders"]
    assert (order["status"], order["filled_qty"]) == (end.value, D(filled))
    assert (await books(db))["a"]["cash"] == -D(filled) * D("100.3")


async def _open(merging: Merging, *names: str) -> None:
    await merging.open(names or ("a",), Life("10", (), {}, limit="101"), "ACCEPTED")


async def test_an_order_that_has_filled_before_its_quantity_is_told_goes_on(
    db: Database, clock: SystemClock
) -> None:
    merging = Merging(db, clock, broker=TradierLike("fake"))
    await _open(merging)
    for filled, average in (("0", None), ("4", "100")):
        await merging.merge([BrokerUpdate(1, told_view("a", FILLED, filled, average, 1))])
        (order,) = (await books(db))["a"]["orders"]
        assert (order["open"], order["filled_qty"]) == (1, D(filled))
    await merging.merge([BrokerUpdate(1, told_view("a", FILLED, "10", "100", 1))])
    assert (await books(db))["a"]["orders"][0]["status"] == "FILLED"


# -- any order, any number of times, or not at all ---------------------------------------------------------

# Prices of which any few have a mean that is exact to the stored digit.
LIFE = (
    (NEW, "0", None, None),
    (PART, "2", "100", ("2", "100")),
    (PART, "4", "100.06", ("2", "100.12")),
    (PART, "8", "99.97", ("4", "99.88")),
    (CANCELED, "8", "99.97", ("4", "99.88")),
)


def _update(account: str, at: int) -> BrokerUpdate:
    status, filled, average, last = LIFE[at]
    newest = None if last is None else (D(last[0]), D(last[1]))
    return BrokerUpdate(at + 1, told_view(account, status, filled, average, at, last_fill=newest))


def _without_prints(account: dict[str, Any]) -> dict[str, Any]:
    """An account's rows; of the prints only what they come to."""
    prints = account["executions"]
    worth = sum(one["qty"] * one["price"] for one in prints)
    return account | {"executions": (sum(one["qty"] for one in prints), worth)}


async def test_E18_any_order_of_told_views_with_some_twice_and_some_never_ends_in_the_same_rows(
    db: Database, clock: SystemClock
) -> None:
    """All 120 orders, each with one word twice; and the end after every choice of the others."""
    merging = Merging(db, clock, broker=TradierLike("fake"))
    dice = random.Random(7)
    ways = [[*order, dice.choice(order)] for order in itertools.permutations(range(5))]
    ways += [[*some, 4] for size in range(4) for some in itertools.combinations(range(4), size)]
    names = [f"way-{n}" for n in range(len(ways))]
    for start in range(0, len(names), 60):
        await _open(merging, *names[start : start + 60])
    for step in range(max(map(len, ways))):
        told = [_update(name, way[step]) for name, way in zip(names, ways, strict=True) if step < len(way)]
        for start in range(0, len(told), 60):
            await merging.merge(told[start : start + 60])
    found = {name: _without_prints(account) for name, account in (await books(db)).items()}
    straight = found[names[0]]
    different = [(way, found[name]) for name, way in zip(names, ways, strict=True) if found[name] != straight]
    assert not different, (len(different), different[0], straight)
    assert (straight["cash"], straight["open_orders"]) == (D("-799.76"), 0)
    assert straight["executions"] == (8, D("799.76"))
    (order,) = straight["orders"]
    assert (order["status"], order["filled_qty"], order["filled_avg_price"]) == ("CANCELED", 8, 99_970_000)
    assert not merging.alarms


async def test_E18_what_comes_after_the_end_changes_nothing(db: Database, clock: SystemClock) -> None:
    merging = Merging(db, clock, broker=TradierLike("fake"))
    await _open(merging)
    for at in range(5):
        await merging.merge([_update("a", at)])
    before = await books(db, everything=True)
    for at in range(5):
        await merging.merge([_update("a", at)])
        assert await books(db, everything=True) == before


# -- orders that hang together ------------------------------------------------------------------------------


def as_views(life: GroupLife) -> GroupLife:
    """The same life at a broker that tells no prints and takes no fees: each view has the average of its own."""
    came: dict[tuple[str, Decimal], Decimal] = {}
    for _, one in life.told:
        if one is not None:
            before = {filled: value for (name, filled), value in came.items() if name == one.broker_order_id}
            filled = max(before, default=D(0))
            if all(one is not earlier for _, earlier in life.told[: life.told.index((_, one))]):
                value = before.get(filled, D(0)) + one.qty * one.price
                came[one.broker_order_id, filled + one.qty] = value

    def priced(view: BrokerOrderView) -> BrokerOrderView:
        value = came.get((view.broker_order_id, view.filled_qty))
        if view.order_class == "mleg" and view.group_role is None and view.filled_qty:
            # The net of a unit, which is no print of anything.
            value = D("0.9") * view.filled_qty
        legs = tuple(priced(leg) for leg in view.legs)
        return replace(view, filled_avg_price=None if value is None else value / view.filled_qty, legs=legs)

    fees = D("0.01") * len({one.execution_id for _, one in life.told if one is not None})
    return replace(
        life,
        answer=priced(life.answer),
        told=tuple((priced(view), None) for view, _ in life.told),
        cash=str(D(life.cash) + fees),
    )


@pytest.mark.parametrize("name", ["bracket", "stopped-out", "spread", "trailing"])
async def test_E18_exits_and_legs_are_booked_from_whichever_view_tells_them_first(
    db: Database, clock: SystemClock, name: str
) -> None:
    """Of the spread the last word comes with both legs in it, and may come first."""
    life = as_views(LIVES[name]())
    dice = random.Random(11)
    ways: list[Sequence[int]] = [range(6), *(dice.sample(range(6), 6) for _ in range(40))]
    if name == "spread":
        # What hangs on it is told with it, and never by itself.
        ways += [[0, 5], [5], [0, 5, 5]]
    names = [f"one-{n}" for n in range(len(ways))]
    await open_lives(db, clock, names, life, accepted=False)
    merging = Merging(db, clock, broker=TradierLike("fake"))
    for step in range(6):
        await merging.merge(
            [life.update(one, way[step]) for one, way in zip(names, ways, strict=True) if step < len(way)]
        )
    assert not merging.alarms
    found = await books(db)
    for one, way in zip(names, ways, strict=True):
        account = found[one]
        said = {
            row["client_order_id"].removeprefix(f"{one}:"): (row["status"], str(row["filled_qty"]))
            for row in account["orders"]
        }
        assert said == life.orders, way
        assert account["cash"] == D(life.cash), way
        held = {row["symbol"]: str(row["qty"]) for row in account["positions"]}
        assert {symbol: held.get(symbol) for symbol in life.positions} == life.positions, way
        assert account["open_orders"] == 0 == account["open_combos"], way


# -- the arithmetic -----------------------------------------------------------------------------------------

PRINTS = st.lists(
    st.tuples(st.integers(1, 400), st.integers(1, 9_000_000)), min_size=1, max_size=12
)  # shares, and hundredths of a cent


@PURE
@given(PRINTS, st.sets(st.integers(0, 11)), st.integers(4, 8))
def test_whichever_views_are_seen_the_sums_are_the_brokers_to_the_rounding_of_its_average(
    prints: list[tuple[int, int]], missed: set[int], digits: int
) -> None:
    """Only the last view must be seen; the broker rounds its averages."""
    order = blank_order(0, id="o", account_id="a", origin="ours", client_order_id="c", symbol="AAPL",
                        asset_class="stock", side="buy", type="limit", time_in_force="day", qty=0)  # fmt: skip
    total, worth = 0, D(0)
    for at, (qty, price) in enumerate(prints):
        total, worth = total + qty, worth + qty * D(price) / 10_000
        if at in missed and at < len(prints) - 1:
            continue
        average = round(worth / total, digits)
        newest = (D(qty), D(price) / 10_000)
        view = told_view("a", PART, str(total), str(average), at, last_fill=newest)
        view = believable(replace(view, qty=None), TradierLike.capabilities)
        told = print_of(order, view, view)
        if average <= 0:
            assert told is None
            continue
        assert told is not None
        assert told.price > 0
        assert told.execution_id == f"b-1:{total}"
        order.filled_qty += qty_to_int(told.qty)
        order.filled_value += value_of(qty_to_int(told.qty), money_to_int(told.price))
        assert print_of(order, view, view) is None
        assert qty_from_int(order.filled_qty) == total
        # Half a unit of the average's last digit for each share, and half a millionth for the print's.
        slack = total * (D(5) / 10 ** (digits + 1) + D("0.0000005")) + D("0.000001")
        if average > D(5) / 10**digits:
            assert abs(money_from_int(order.filled_value) - worth) <= slack * 2
    if order.filled_qty:
        assert average_price(order.filled_value, order.filled_qty) is not None


def test_a_step_that_the_rounding_of_the_average_leaves_no_price_costs_the_average() -> None:
    """1,000 at 0.00055 and one more, told with four digits: what is left for the one is below zero."""
    order = blank_order(0, id="o", account_id="a", origin="ours", client_order_id="c", symbol="AAPL",
                        asset_class="stock", side="buy", type="limit", time_in_force="day", qty=0,
                        filled_qty=1000 * 10**9, filled_value=600_000)  # fmt: skip
    view = replace(told_view("a", PART, "1001", "0.0005", 1), qty=None)
    told = print_of(order, view, view)
    assert told is not None
    assert told.qty == 1
    assert told.price == D("0.0005")


def test_the_intent_of_a_stock_order_goes_to_the_broker_with_it() -> None:
    order = blank_order(0, id="o", account_id="a", origin="ours", client_order_id="c", symbol="AAPL",
                        asset_class="stock", side="sell", type="market", time_in_force="day", qty=10**9,
                        position_intent="sell_to_close")  # fmt: skip
    assert as_broker_order(order, [], "VA1").position_intent == "sell_to_close"
