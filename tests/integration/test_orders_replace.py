"""Replacing an order: a new order in an old one's place, once, and never more than was wished (contract E0)."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from paiid.brokers import BrokerRejected, BrokerReplace, NotSent, OutcomeUnknown
from paiid.core.clock import SystemClock
from tests.conftest import MakeApp
from tests.fakes import FakeBroker
from tests.market_world import FakeFeed
from tests.orders_world import QUICK
from tests.venue_world import CALL, HIGHER, MINUTE_US, Venue, roles

LIMIT: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "qty": 10, "type": "limit", "limit_price": 98}
PATIENT = replace(QUICK, send_window_s=5.0, broker_deadline_s=5.0, call_budget_s=20.0, horizon_s=60.0)
"""The venue is another database's worth of work: on a slow machine it may need more than the short deadline."""


@pytest.fixture
async def venue(make_app: MakeApp) -> Venue:
    feed = FakeFeed("AAPL", "MSFT", quoted_us=SystemClock().now_us() + 5 * MINUTE_US)
    app = await make_app(feed=feed, timings=PATIENT)
    return Venue(app, feed, await app.owner())


async def test_E00_a_new_order_takes_the_old_ones_place_and_its_shares(venue: Venue) -> None:
    old = await venue.place(**LIMIT)
    answer = await venue.replace(old["id"], old["version"], limit_price=97.5, qty=8)
    assert (answer.status_code, answer.json()["accepted"]) == (200, True), answer.text
    (new,) = answer.json()["orders"]
    assert (new["replaces"], new["limit_price"], new["qty"], new["status"]) == (old["id"], 97.5, 8, "NEW")
    gone = await venue.until_status(old["id"], "REPLACED")
    assert (gone["replaced_by"], gone["replace_state"]) == (new["id"], "ACCEPTED")
    account = await venue.account()
    assert (account["open_orders"], account["cash"] - account["buying_power"]) == (1, pytest.approx(780))
    venue.quote("AAPL", "97.40", "97.50")
    await venue.until_status(new["id"], "FILLED")
    await venue.until_held(AAPL=8)


async def test_E00_a_retry_replaces_once_with_a_key_and_without(venue: Venue) -> None:
    old = await venue.place(**LIMIT)
    first = await venue.replace(old["id"], old["version"], key="replace-one-1", limit_price=97)
    again = await venue.replace(old["id"], old["version"], key="replace-one-1", limit_price=97)
    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")
    (new,) = first.json()["orders"]
    path, headers = f"/api/trading/orders/{new['id']}", {"If-Match": str(new["version"])}
    one, two = await asyncio.gather(
        *(venue.owner.request("PATCH", path, json={"limit_price": 96}, headers=headers) for _ in range(2))
    )
    assert {one.status_code, two.status_code} <= {200, 409}
    told = await venue.owner.request("PATCH", path, json={"limit_price": 96}, headers=headers)
    assert told.headers["idempotency-replayed"] == "true"
    listed = (await venue.owner.get("/api/trading/orders?status=open")).json()["data"]
    assert [order["limit_price"] for order in listed] == [96]


async def test_E00_the_version_that_was_seen_must_still_stand(venue: Venue) -> None:
    old = await venue.place(**LIMIT)
    stale = await venue.replace(old["id"], old["version"] - 1, key="seen-too-early", limit_price=97)
    assert (stale.status_code, stale.json()["version"]) == (412, old["version"])
    missing = await venue.owner.request("PATCH", f"/api/trading/orders/{old['id']}", json={"limit_price": 97})
    assert missing.status_code == 428
    nonsense = await venue.replace(old["id"], "yesterday", limit_price=97)
    assert nonsense.status_code == 400
    # A version that has moved on claims nothing: the key may try again.
    assert (await venue.replace(old["id"], old["version"], key="seen-too-early", limit_price=97)).json()[
        "accepted"
    ]


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"limit_price": 99.995}, "price_increment", "limit_price"),
        ({"limit_price": 200}, "price_collar", "limit_price"),
        ({"qty": 200000}, "quantity_limit", "qty"),
        ({"qty": 5000}, "buying_power", "qty"),
        ({"stop_price": 90}, "not_of_this_type", "stop_price"),
        ({"trail_percent": 5}, "not_of_this_type", "trail_percent"),
        ({"time_in_force": "cls"}, "time_in_force_not_supported", "time_in_force"),
    ],
    ids=lambda value: str(value),
)
async def test_E00_what_would_break_a_limit_is_refused_and_the_old_order_goes_on(
    venue: Venue, change: dict[str, Any], code: str, field: str
) -> None:
    old = await venue.place(**LIMIT)
    answer = await venue.replace(old["id"], **change)
    (refused,) = answer.json()["orders"]
    assert (answer.status_code, refused["state"]) == (200, "REFUSED")
    assert (refused["reason"]["code"], refused["reason"].get("field")) == (code, field), refused["reason"]
    now = await venue.order(old["id"])
    assert (now["status"], now["version"], now["replaced_by"]) == ("NEW", old["version"], None)
    venue.quote("AAPL", "97.90", "98.00")
    await venue.until_status(old["id"], "FILLED")


async def test_E00_an_order_that_is_over_cannot_be_replaced(venue: Venue) -> None:
    filled = await venue.place(**{**LIMIT, "limit_price": 100})
    await venue.until_status(filled["id"], "FILLED")
    answer = await venue.replace(filled["id"], limit_price=99)
    reason = answer.json()["orders"][0]["reason"]
    assert (reason["code"], reason["field"], reason["measured"]) == ("not_replaceable", "status", "FILLED")
    missing = await venue.replace("ord_01m00000000000000000000000", limit_price=99)
    assert missing.status_code == 404


async def test_E00_another_users_order_is_not_there_to_be_replaced(venue: Venue) -> None:
    old = await venue.place(**LIMIT)
    other = await venue.app.user("trader")
    answer = await other.request(
        "PATCH", f"/api/trading/orders/{old['id']}", json={"limit_price": 1}, headers={"If-Match": "*"}
    )
    assert answer.status_code == 404
    assert (await venue.order(old["id"]))["version"] == old["version"]


async def test_E06_a_halt_stops_a_replace_and_the_key_stays_refused(venue: Venue) -> None:
    old = await venue.place(**LIMIT)
    arm = {"halt": True, "scope": "symbol:AAPL", "reason": "news"}
    epoch = (await venue.owner.post("/api/admin/kill", json=arm)).json()["epoch"]
    assert (await venue.replace(old["id"], key="halted-replace", limit_price=97)).status_code == 423
    resume = {**arm, "halt": False, "reason": "over", "epoch": epoch}
    assert (await venue.owner.post("/api/admin/kill", json=resume)).status_code == 200
    assert (await venue.replace(old["id"], key="halted-replace", limit_price=97)).status_code == 423
    last = await venue.replace(old["id"], limit_price=97)
    assert last.json()["accepted"] is True, last.text


async def test_an_exit_is_replaced_within_its_group(venue: Venue) -> None:
    entry = await venue.place(
        symbol="AAPL", side="buy", qty=10, type="limit", limit_price=100, time_in_force="gtc",
        take_profit={"limit_price": 110}, stop_loss={"stop_price": 95},
    )  # fmt: skip
    shown = await venue.until(entry["id"], lambda one: set(roles(one).values()) == {"NEW"})
    stop = next(leg for leg in shown["legs"] if leg["group_role"] == "stop_loss")
    answer = await venue.replace(stop["id"], stop_price=97)
    assert answer.json()["accepted"] is True, answer.text
    (new,) = answer.json()["orders"]
    assert (new["group_role"], new["parent_id"], new["stop_price"]) == ("stop_loss", entry["id"], 97)
    venue.quote("AAPL", "96.90", "97.00")
    await venue.until_status(new["id"], "FILLED")
    await venue.until(entry["id"], lambda one: roles(one)["take_profit"] == "CANCELED")
    await venue.until_held()
    assert (await venue.account())["open_orders"] == 0


async def test_an_entry_is_replaced_and_its_exits_go_with_the_new_one(venue: Venue) -> None:
    entry = await venue.place(**LIMIT, take_profit={"limit_price": 110}, stop_loss={"stop_price": 95})
    answer = await venue.replace(entry["id"], limit_price=99, qty=6)
    assert answer.json()["accepted"] is True, answer.text
    (new,) = answer.json()["orders"]
    venue.quote("AAPL", "98.90", "99.00")
    await venue.until_status(new["id"], "FILLED")
    shown = await venue.until(new["id"], lambda one: set(roles(one).values()) == {"NEW"})
    assert {leg["qty"] for leg in shown["legs"]} == {6}
    venue.quote("AAPL", "94.00", "94.10")
    await venue.until(new["id"], lambda one: roles(one) == {"take_profit": "CANCELED", "stop_loss": "FILLED"})
    await venue.until_held()


async def test_the_net_of_a_spread_is_replaced(venue: Venue) -> None:
    legs = [{"symbol": CALL, "side": "buy_to_open"}, {"symbol": HIGHER, "side": "sell_to_open"}]
    spread = await venue.place(qty=1, type="limit", limit_price=1.5, legs=legs)
    answer = await venue.replace(spread["id"], limit_price=2.1)
    assert answer.json()["accepted"] is True, answer.text
    (new,) = answer.json()["orders"]
    await venue.until_status(new["id"], "FILLED")
    await venue.until_held(**{CALL: 1, HIGHER: -1})
    assert (await venue.account())["open_orders"] == 0


async def test_a_replace_that_races_with_the_fill_buys_no_more_than_one_of_them(venue: Venue) -> None:
    for round_number in range(12):
        old = await venue.place(**{**LIMIT, "symbol": "AAPL"})
        _, answer = await asyncio.gather(
            _fill_soon(venue, round_number), venue.replace(old["id"], limit_price=97.99)
        )
        told = answer.json()
        if told["accepted"]:
            new = told["orders"][0]
            await venue.until(new["id"], lambda one: one["status"] in ("FILLED", "REJECTED"))
        else:
            assert told["orders"][0]["reason"]["code"] in ("not_replaceable", "filled"), told
        await venue.until(old["id"], lambda one: one["status"] in ("FILLED", "REPLACED"))
        await venue.until_held(AAPL=10 * (round_number + 1))
        venue.quote("AAPL", "99.99", "100.00")
    assert (await venue.account())["open_orders"] == 0


async def _fill_soon(venue: Venue, turn: int) -> None:
    await asyncio.sleep(0.004 * turn)
    venue.quote("AAPL", "97.90", "97.95")


# -- the broker's answers, one by one -------------------------------------------------------------------


class ReplacingBroker(FakeBroker):
    """A broker whose answer to a replace is in the test's hand: an error to raise, after doing it or not."""

    error: Exception | None = None
    does_it = True
    times = 0

    async def replace(
        self, account_number: str, broker_order_id: str, change: BrokerReplace, timeout_s: float
    ) -> Any:
        self.times += 1
        view = (
            await super().replace(account_number, broker_order_id, change, timeout_s)
            if self.does_it
            else None
        )
        if self.error is not None:
            raise self.error
        return view


@pytest.mark.parametrize(
    ("error", "does_it", "ends"),
    [
        (BrokerRejected("filled", "it has filled"), False, ("REJECTED", "REFUSED")),
        (NotSent("connection refused"), False, ("REJECTED", "REFUSED")),
        (OutcomeUnknown("reset"), True, ("ACCEPTED", "ACCEPTED")),
        (OutcomeUnknown("reset"), False, ("NOT_PLACED", "REFUSED")),
        (RuntimeError("anything"), True, ("ACCEPTED", "ACCEPTED")),
    ],
    ids=["rejected", "not-sent", "lost-answer", "lost-request", "broken"],
)
async def test_E00_an_unknown_replace_is_looked_up_and_never_sent_again(
    make_app: MakeApp, error: Exception, does_it: bool, ends: tuple[str, str]
) -> None:
    broker = ReplacingBroker()
    feed = FakeFeed("AAPL", quoted_us=SystemClock().now_us() + 5 * MINUTE_US)
    app = await make_app(broker=broker, feed=feed, timings=QUICK)
    venue = Venue(app, feed, await app.owner())
    old = await venue.place(**LIMIT)
    broker.error, broker.does_it = error, does_it
    answer = await venue.replace(old["id"], key="in-doubt-key-1", limit_price=97)
    intent = answer.json().get("intent_id")
    new = await venue.until(answer.json()["orders"][0]["id"], lambda one: one["state"] == ends[0])
    gone = await venue.until(old["id"], lambda one: one["replace_state"] == ends[1])
    assert (broker.times, intent is not None) == (1, True)
    assert gone["replaced_by"] == (new["id"] if ends[1] == "ACCEPTED" else None)
    again = await venue.replace(old["id"], key="in-doubt-key-1", limit_price=97)
    assert (again.status_code, broker.times) == (200, 1)
    if ends[1] == "REFUSED":
        # The old order goes on, and may be replaced again.
        assert gone["status"] == "NEW"
        broker.error, broker.does_it = None, True
        assert (await venue.replace(old["id"], limit_price=96)).json()["accepted"] is True
