"""A replace at a broker that changes an order where it stands: once, and the sums are always the broker's (ADR 0024)."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from sqlalchemy import bindparam, update

from paiid.brokers import BrokerError, BrokerOrderView, BrokerRejected, BrokerReplace, NotSent, OutcomeUnknown
from paiid.core.audit import AuditEntry
from paiid.core.clock import SystemClock
from paiid.core.db import statement
from paiid.core.tables import orders
from paiid.domain.identity import SYSTEM
from paiid.domain.orders import OrderStatus
from paiid.trading.book import Book
from paiid.trading.records import OrderRow
from paiid.trading.resolve import settle_by_owner
from tests.conftest import MakeApp
from tests.fake_tradier_like import TradierLike
from tests.ledger_world import books
from tests.market_world import FakeFeed
from tests.orders_world import QUICK, until
from tests.venue_world import CALL, HIGHER, MINUTE_US, Venue
from tests.world import fresh_key

LIMIT: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "qty": 10, "type": "limit", "limit_price": 98}
OFTEN = replace(QUICK, poll_s=0.3, recompare_s=0.3)
_SINCE = statement(update(orders).where(orders.c.id == bindparam("b_id")), columns=["unknown_at"])
D = Decimal


class Desk(Venue):
    """The whole service over such a broker."""

    broker: TradierLike

    async def replace(
        self, order_id: str, version: int | str = "*", *, key: str | None = None, **change: Any
    ) -> httpx2.Response:
        """PATCH the order; again under its key where the database did not come free in time (503), so that nothing was claimed."""
        key = key or fresh_key()
        while (answer := await super().replace(order_id, version, key=key, **change)).status_code == 503:
            await asyncio.sleep(0.1)
        return answer

    async def chain(self) -> list[dict[str, Any]]:
        """The rows of the one order at the broker, the oldest first, with their sums checked against it."""
        (account,) = [one for one in (await books(self.app.state.db)).values() if one["orders"]]
        rows = sorted(account["orders"], key=lambda one: one["replaces"] is not None)
        (view,) = self.broker.orders.values()
        qty, value = self.broker.counted(view.broker_order_id)
        assert sum(one["filled_qty"] for one in rows) == qty
        assert sum(one["filled_value"] for one in rows) == value * 10**6
        assert account["cash"] == D(100_000) - value
        return rows

    async def until_booked(self, qty: int) -> None:
        """Until so much is held."""
        await self.until_held(**({"AAPL": qty} if qty else {}))


@pytest.fixture
def broker() -> TradierLike:
    """A broker that changes orders where they stand."""
    return TradierLike()


async def _desk(make_app: MakeApp, broker: TradierLike, **timings: Any) -> Desk:
    feed = FakeFeed("AAPL", "MSFT", quoted_us=SystemClock().now_us() + 5 * MINUTE_US)
    app = await make_app(broker=broker, feed=feed, timings=replace(OFTEN, **timings))
    desk = Desk(app, feed, await app.owner())
    desk.broker = broker
    return desk


@pytest.fixture
async def desk(make_app: MakeApp, broker: TradierLike) -> Desk:
    return await _desk(make_app, broker)


async def test_E00_the_brokers_id_moves_to_the_new_order_which_has_what_was_left(desk: Desk) -> None:
    old = await desk.place(**LIMIT)
    name = old["broker_order_id"]
    desk.broker.fill(name, "4", "97.9")
    await desk.until_booked(4)
    answer = await desk.replace(old["id"], limit_price=97.5)
    assert (answer.status_code, answer.json()["accepted"]) == (200, True), answer.text
    (new,) = answer.json()["orders"]
    assert (new["broker_order_id"], new["qty"], new["filled_qty"], new["status"]) == (name, 6, 0, "NEW")
    assert (new["replaces"], new["limit_price"]) == (old["id"], 97.5)
    gone = await desk.order(old["id"])
    assert (gone["broker_order_id"], gone["status"], gone["filled_qty"]) == (f"{name}~1", "REPLACED", 4)
    assert (gone["replaced_by"], gone["replace_state"]) == (new["id"], "ACCEPTED")
    account = await desk.account()
    assert account["open_orders"] == 1
    assert account["cash"] - account["buying_power"] == pytest.approx(6 * 97.5)
    desk.broker.fill(name, "6", "97.4")
    done = await desk.until_status(new["id"], "FILLED")
    assert (done["filled_qty"], done["filled_avg_price"]) == (6, 97.4)
    await desk.chain()
    assert (await desk.account())["open_orders"] == 0


async def test_E00_of_several_replaces_each_keeps_what_it_had_filled(desk: Desk) -> None:
    """What filled before a replace and was not told yet is booked to the order after it; a late word changes nothing."""
    order = await desk.place(**LIMIT)
    name = order["broker_order_id"]
    words = [desk.broker.view(name)]
    for turn, price in enumerate(("97.5", "97.25", "97", "96.5")):
        desk.broker.mute = turn == 2
        desk.broker.fill(name, "2", D("97.9") - turn)
        words.append(desk.broker.view(name))
        if turn != 2:
            await desk.until_booked(2 * turn + 2)
        answer = await desk.replace(order["id"], limit_price=float(price))
        assert answer.json()["accepted"] is True, answer.text
        (order,) = answer.json()["orders"]
        assert order["broker_order_id"] == name
    desk.broker.mute = False
    for word in (*reversed(words), *words):
        desk.broker.tell_again(word)
    desk.broker.end(name, OrderStatus.CANCELED)
    ended = await desk.until_status(order["id"], "CANCELED")
    rows = {row["id"]: row for row in await _rows_with_ids(desk)}
    assert [rows[one]["broker_order_id"] for one in _line(rows, order["id"])] == [
        f"{name}~1",
        f"{name}~2",
        f"{name}~3",
        f"{name}~4",
        name,
    ]
    assert sum(D(rows[one]["filled_qty"]) for one in rows) == 8
    assert ended["qty"] == 2
    await desk.chain()
    assert (await desk.account())["open_orders"] == 0


async def _rows_with_ids(desk: Desk) -> list[dict[str, Any]]:
    (account,) = [one for one in (await books(desk.app.state.db, everything=True)).values() if one["orders"]]
    found: list[dict[str, Any]] = account["orders"]
    return found


def _line(rows: dict[str, dict[str, Any]], last: str) -> list[str]:
    """The ids of the chain that ends with this order, the oldest first."""
    line = [last]
    while (before := rows[line[0]]["replaces"]) is not None:
        line.insert(0, before)
    return line


async def test_a_cancel_after_the_replace_goes_to_the_order_that_has_the_id_now(desk: Desk) -> None:
    old = await desk.place(**LIMIT)
    (new,) = (await desk.replace(old["id"], limit_price=97)).json()["orders"]
    answer = await desk.owner.delete(f"/api/trading/orders/{new['id']}")
    assert answer.status_code in (200, 202), answer.text
    gone = await desk.until_status(new["id"], "CANCELED")
    assert gone["cancel_state"] == "ACCEPTED"
    assert desk.broker.canceled == [old["broker_order_id"]]


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"qty": 8}, "replace_not_supported", "qty"),
        ({"qty": 12, "limit_price": 97}, "replace_not_supported", "qty"),
        ({"limit_price": 98}, "nothing_to_change", None),
        ({"time_in_force": "day", "qty": 10}, "nothing_to_change", None),
    ],
    ids=["smaller", "larger", "same-price", "same-everything"],
)
async def test_E19_what_the_broker_cannot_change_is_refused_and_nothing_is_sent(
    desk: Desk, change: dict[str, Any], code: str, field: str | None
) -> None:
    old = await desk.place(**LIMIT)
    (refused,) = (await desk.replace(old["id"], **change)).json()["orders"]
    assert (refused["state"], refused["reason"]["code"]) == ("REFUSED", code)
    assert refused["reason"].get("field") == field
    if field == "qty":
        assert refused["reason"]["message"] == desk.broker.capabilities.notes["replace_qty"]
    assert desk.broker.replaced == []
    assert (await desk.order(old["id"]))["version"] == old["version"]


async def test_a_quantity_as_it_is_is_no_change_and_is_not_sent(desk: Desk) -> None:
    old = await desk.place(**LIMIT)
    answer = await desk.replace(old["id"], limit_price=97, qty=10)
    assert answer.json()["accepted"] is True, answer.text
    (sent,) = desk.broker.replaced
    assert sent[1].qty is None
    assert sent[1].limit_price == 97


async def test_E19_orders_that_hang_together_are_not_replaced_in_place(make_app: MakeApp) -> None:
    """Whatever the broker's table says: the rows that hang on them would have to move, too."""
    broker = TradierLike()
    broker.capabilities = replace(broker.capabilities, replaceable=frozenset({"simple", "bracket", "mleg"}))
    desk = await _desk(make_app, broker)
    legs = [{"symbol": CALL, "side": "buy_to_open"}, {"symbol": HIGHER, "side": "sell_to_open"}]
    entry = await desk.place(**LIMIT, take_profit={"limit_price": 110}, stop_loss={"stop_price": 95})
    spread = await desk.place(qty=1, type="limit", limit_price=1.5, legs=legs)
    for one, price in ((entry, 97), (spread, 1.4)):
        (refused,) = (await desk.replace(one["id"], limit_price=price)).json()["orders"]
        assert (refused["state"], refused["reason"]["code"]) == ("REFUSED", "replace_not_supported")


async def test_a_change_of_nothing_but_the_time_in_force_is_told_by_it(desk: Desk) -> None:
    old = await desk.place(**LIMIT)
    desk.broker.replace_answer_lost = True
    answer = await desk.replace(old["id"], time_in_force="gtc")
    new = await desk.until(answer.json()["orders"][0]["id"], lambda one: one["state"] == "ACCEPTED")
    assert (new["time_in_force"], new["broker_order_id"]) == ("gtc", old["broker_order_id"])
    assert len(desk.broker.replaced) == 1


# -- answers that are lost, wrong, or late --------------------------------------------------------------


def _lost_on_the_way_back(broker: TradierLike) -> None:
    broker.replace_answer_lost = True


def _lost_and_nothing_told(broker: TradierLike) -> None:
    broker.replace_answer_lost = broker.mute = True


def _lost_on_the_way_there(broker: TradierLike) -> None:
    broker.replace_lost = True


def _refused(broker: TradierLike) -> None:
    broker.replace_error = BrokerRejected("invalid_parameter", "it says no")


def _refused_and_done(broker: TradierLike) -> None:
    broker.refusal, broker.mute = BrokerRejected("invalid_parameter", "it says no"), True


def _not_sent(broker: TradierLike) -> None:
    broker.replace_error = NotSent("connection refused")


def _broken(broker: TradierLike) -> None:
    broker.replace_error = RuntimeError("anything")


def _silent(broker: TradierLike) -> None:
    """Answer and look-ups are lost for a while."""
    broker.replace_answer_lost = broker.mute = True
    broker.lookup_error = OutcomeUnknown("no answer in time")


@pytest.mark.parametrize(
    ("trouble", "ends"),
    [
        (_lost_on_the_way_back, ("ACCEPTED", "ACCEPTED")),
        (_lost_and_nothing_told, ("ACCEPTED", "ACCEPTED")),
        (_lost_on_the_way_there, ("NOT_PLACED", "REFUSED")),
        (_refused, ("REJECTED", "REFUSED")),
        (_refused_and_done, ("ACCEPTED", "ACCEPTED")),
        (_not_sent, ("REJECTED", "REFUSED")),
        (_broken, ("NOT_PLACED", "REFUSED")),
        (_silent, ("ACCEPTED", "ACCEPTED")),
    ],
)
async def test_E12_a_replace_in_doubt_is_looked_up_by_the_brokers_id_and_the_terms_tell(
    desk: Desk, trouble: Callable[[TradierLike], None], ends: tuple[str, str]
) -> None:
    """And it is never sent a second time (E7, E10)."""
    old = await desk.place(**LIMIT)
    name = old["broker_order_id"]
    desk.broker.fill(name, "3", "97.9")
    await desk.until_booked(3)
    trouble(desk.broker)
    answer = await desk.replace(old["id"], key="in-doubt-key-1", limit_price=97)
    new_id = answer.json()["orders"][0]["id"]
    if trouble is _silent:
        await until(lambda: _asked_often(desk.broker))
        assert (await desk.order(new_id))["state"] == "UNKNOWN"
        desk.broker.lookup_error = None
    new = await desk.until(new_id, lambda one: one["state"] == ends[0])
    gone = await desk.until(old["id"], lambda one: one["replace_state"] == ends[1])
    assert len(desk.broker.replaced) == 1
    again = await desk.replace(old["id"], key="in-doubt-key-1", limit_price=97)
    assert (again.status_code, len(desk.broker.replaced)) == (200, 1)
    desk.broker.mute = False
    if ends[1] == "REFUSED":
        # The old order goes on, and may be replaced again.
        assert (gone["status"], gone["broker_order_id"], gone["replaced_by"]) == (
            "PARTIALLY_FILLED",
            name,
            None,
        )
        desk.broker.replace_error, desk.broker.replace_lost = None, False
        answer = await desk.replace(old["id"], limit_price=97)
        assert answer.json()["accepted"] is True, answer.text
        (new,) = answer.json()["orders"]
    assert (new["broker_order_id"], new["qty"], new["limit_price"]) == (name, 7, 97)
    desk.broker.fill(name, "7", "96.9")
    await desk.until_status(new["id"], "FILLED")
    await desk.until_status(old["id"], "REPLACED")
    await desk.chain()
    assert (await desk.account())["open_orders"] == 0


async def _asked_often(broker: TradierLike) -> bool:
    return len(broker.looked_up_by_id) >= 4


async def test_E12_an_order_that_ended_before_it_could_be_changed_stays_as_it_ended(desk: Desk) -> None:
    old = await desk.place(**LIMIT)
    desk.broker.replace_lost = True
    answer = await desk.replace(old["id"], limit_price=97)
    desk.broker.fill(old["broker_order_id"], "10", "97.8")
    await desk.until_status(old["id"], "FILLED")
    new = await desk.until(answer.json()["orders"][0]["id"], lambda one: one["state"] == "NOT_PLACED")
    assert (new["filled_qty"], new["broker_order_id"]) == (0, None)
    assert (await desk.order(old["id"]))["replace_state"] == "REFUSED"
    await desk.chain()
    assert (await desk.account())["open_orders"] == 0


class SaysYes(TradierLike):
    """Acknowledges a change, and what it shows is in the test's hand: the order fills before, or as soon as it is changed."""

    fills: str = "after"

    async def replace(
        self, account_number: str, broker_order_id: str, change: BrokerReplace, timeout_s: float
    ) -> BrokerOrderView:
        self.replaced.append((broker_order_id, change))
        if self.fills == "before":
            self.fill(broker_order_id, "6", "97.9")
        else:
            self.change(broker_order_id, change)
            self.fill(broker_order_id, "6", "97.0")
        # Long enough for its words on the stream to be there before its answer.
        await asyncio.sleep(0.3)
        return self.view(broker_order_id)


@pytest.mark.parametrize("fills", ["before", "after"])
async def test_E00_a_fill_that_is_told_before_the_answer_is_booked_to_the_order_whose_terms_it_has(
    make_app: MakeApp, fills: str
) -> None:
    """A yes may be followed by the end of the old order: then there was nothing left to change."""
    broker = SaysYes()
    broker.fills = fills
    desk = await _desk(make_app, broker)
    old = await desk.place(**LIMIT)
    broker.fill(old["broker_order_id"], "4", "97.9")
    await desk.until_booked(4)
    answer = await desk.replace(old["id"], limit_price=97)
    new_id = answer.json()["orders"][0]["id"]
    await desk.until_booked(10)
    if fills == "before":
        new = await desk.until(new_id, lambda one: one["state"] in ("REJECTED", "NOT_PLACED"))
        assert (await desk.order(old["id"]))["status"] == "FILLED"
    else:
        new = await desk.until_status(new_id, "FILLED")
        assert (new["filled_qty"], new["filled_avg_price"]) == (6, 97)
        gone = await desk.order(old["id"])
        assert (gone["status"], gone["filled_qty"]) == ("REPLACED", 4)
    await desk.chain()
    assert (await desk.account())["open_orders"] == 0


async def test_replaces_that_race_with_fills_come_to_what_the_broker_counts(
    make_app: MakeApp,
) -> None:
    broker = TradierLike()
    desk = await _desk(make_app, broker)
    order = await desk.place(**{**LIMIT, "qty": 200})
    name = order["broker_order_id"]
    for turn in range(10):

        async def fill(turn: int = turn) -> None:
            for part in range(5):
                await asyncio.sleep(0.003 * part)
                broker.fill(name, "2", D("97.5") - D(turn) / 10)

        price = 97.9 - turn / 10
        _, answer = await asyncio.gather(fill(), desk.replace(order["id"], limit_price=round(price, 2)))
        told = answer.json()["orders"][0]
        order = await desk.until(told["id"], lambda one: one["state"] == "ACCEPTED")
        assert order["broker_order_id"] == name
        # Prints of several turns that came in one word would have a mean that is no stored price, and the sums be off by the rounding.
        await desk.until_booked(10 * (turn + 1))
    broker.end(name, OrderStatus.CANCELED)
    await desk.until_status(order["id"], "CANCELED")
    assert len(await desk.chain()) == 11
    assert len(broker.replaced) == 10
    assert (await desk.account())["open_orders"] == 0


async def test_a_cancel_that_was_under_way_stays_one_of_the_order_that_has_the_id_now(desk: Desk) -> None:
    old = await desk.place(**LIMIT)
    desk.broker.replace_answer_lost = desk.broker.mute = True
    desk.broker.lookup_error = OutcomeUnknown("no answer in time")
    answer = await desk.replace(old["id"], limit_price=97)
    desk.broker.cancel_error = OutcomeUnknown("no answer in time")
    await desk.owner.delete(f"/api/trading/orders/{old['id']}")
    desk.broker.lookup_error = desk.broker.cancel_error = None
    desk.broker.mute = False
    gone = await desk.until_status(answer.json()["orders"][0]["id"], "CANCELED")
    assert (gone["state"], gone["cancel_state"]) == ("ACCEPTED", "ACCEPTED")
    assert (await desk.order(old["id"]))["status"] == "REPLACED"


async def test_E07_a_change_that_comes_after_not_placed_is_the_loud_correction(
    make_app: MakeApp, broker: TradierLike
) -> None:
    desk = await _desk(make_app, broker)
    old = await desk.place(**LIMIT)
    broker.replace_lost = True
    answer = await desk.replace(old["id"], key="late-change-1", limit_price=97)
    new_id = answer.json()["orders"][0]["id"]
    await desk.until(new_id, lambda one: one["state"] == "NOT_PLACED")
    broker.mute = True
    broker.change(*broker.replaced[0])
    new = await desk.until(new_id, lambda one: one["state"] == "ACCEPTED")
    assert new["broker_order_id"] == old["broker_order_id"]
    again = await desk.replace(old["id"], key="late-change-1", limit_price=97)
    assert again.headers["idempotency-replayed"] == "corrected"
    assert (await desk.owner.execute(LIMIT)).status_code == 423
    assert (await desk.order(old["id"]))["status"] == "REPLACED"


async def test_a_later_replace_with_the_same_terms_does_not_bring_back_one_that_was_not_placed(
    desk: Desk,
) -> None:
    old = await desk.place(**LIMIT)
    desk.broker.replace_lost = True
    answer = await desk.replace(old["id"], limit_price=97)
    lost_id = answer.json()["orders"][0]["id"]
    await desk.until(lost_id, lambda one: one["state"] == "NOT_PLACED")
    desk.broker.replace_lost = False
    assert (await desk.replace(old["id"], limit_price=97)).json()["accepted"] is True
    async with desk.app.state.db.read() as tx:
        at_us = await tx.now_us()

    async def watched_twice() -> bool:
        rows = {row["id"]: row for row in await _rows_with_ids(desk)}
        return bool((rows[lost_id]["next_lookup_at"] or 0) > at_us + 1_000_000)

    await until(watched_twice)
    assert (await desk.order(lost_id))["state"] == "NOT_PLACED"
    # A row that has passed its id on has none that could be asked for.
    assert not [one for one in desk.broker.looked_up_by_id if "~" in one]
    assert (await desk.account())["open_orders"] == 1


async def test_a_word_from_before_an_earlier_change_does_not_accept_one_back_to_the_same_terms(
    desk: Desk,
) -> None:
    """98, then 97, then 98 again, which is lost on the way there; and a late word says 98."""
    first = await desk.place(**LIMIT)
    early = desk.broker.view(first["broker_order_id"])
    (second,) = (await desk.replace(first["id"], limit_price=97)).json()["orders"]
    desk.broker.replace_lost = True
    answer = await desk.replace(second["id"], limit_price=98)
    third_id = answer.json()["orders"][0]["id"]
    desk.broker.tell_again(early)
    third = await desk.until(third_id, lambda one: one["state"] != "UNKNOWN")
    assert third["state"] == "NOT_PLACED"
    assert (await desk.order(second["id"]))["broker_order_id"] == first["broker_order_id"]


@pytest.mark.parametrize("forgotten", [True, False])
async def test_E12_the_old_terms_prove_on_any_day_what_absence_proves_only_on_the_same(
    make_app: MakeApp, forgotten: bool
) -> None:
    broker = TradierLike()
    broker.capabilities = replace(broker.capabilities, lists_end_with_day=True)
    desk = await _desk(make_app, broker)
    old = await desk.place(**LIMIT)
    broker.replace_lost = True
    broker.lookup_error = OutcomeUnknown("no answer in time")
    answer = await desk.replace(old["id"], limit_price=97)
    new_id = answer.json()["orders"][0]["id"]
    await desk.until(new_id, lambda one: one["state"] == "UNKNOWN")
    async with desk.app.state.db.begin() as tx:
        now_us = await tx.now_us()
        # As whoever changes an order does: what is written down at the same time would put back what it has read.
        await Book(tx, desk.app.state.clock, now_us).open([old["account"]])
        await tx.execute(_SINCE, {"b_id": new_id, "unknown_at": now_us - 30 * 3600 * 1_000_000})
    broker.lookup_error, broker.hidden = None, forgotten
    if not forgotten:
        await desk.until(new_id, lambda one: one["state"] == "NOT_PLACED")
        return
    asked = len(broker.looked_up_by_id)

    async def asked_again() -> bool:
        return len(broker.looked_up_by_id) >= asked + 8

    await until(asked_again)
    assert (await desk.order(new_id))["state"] == "UNKNOWN"


@pytest.mark.parametrize("placed", [True, False])
async def test_E12_the_owner_can_settle_a_replace_in_doubt(
    make_app: MakeApp, broker: TradierLike, placed: bool
) -> None:
    desk = await _desk(make_app, broker)
    old = await desk.place(**LIMIT)
    broker.lookup_error = OutcomeUnknown("no answer in time")
    broker.mute = True
    broker.replace_lost, broker.replace_answer_lost = not placed, placed
    answer = await desk.replace(old["id"], limit_price=97)
    new_id = answer.json()["orders"][0]["id"]

    def audited(book: Book, row: OrderRow) -> None:
        book.audit(AuditEntry(SYSTEM, "order.settle", row.id, {"placed": placed}))

    assert await settle_by_owner(desk.app.state.db, desk.app.state.clock, new_id, placed, audited)
    broker.lookup_error, broker.mute = None, False
    broker.fill(old["broker_order_id"], "10", "96.9")
    done = await desk.until_status(new_id if placed else old["id"], "FILLED")
    assert done["broker_order_id"] == old["broker_order_id"]
    await desk.chain()
    assert (await desk.account())["open_orders"] == 0


async def test_a_lookup_that_fails_is_no_absence(desk: Desk) -> None:
    """A refusal that cannot be confirmed leaves the order in doubt (E11)."""
    old = await desk.place(**LIMIT)
    desk.broker.replace_error = BrokerRejected("invalid_parameter", "it says no")
    desk.broker.lookup_error = BrokerError("away")
    answer = await desk.replace(old["id"], limit_price=97)
    assert answer.json()["orders"][0]["state"] == "UNKNOWN"
    desk.broker.lookup_error = None
    await desk.until(answer.json()["orders"][0]["id"], lambda one: one["state"] == "NOT_PLACED")
    assert len(desk.broker.replaced) == 1
