"""What nobody can be sure of: a COMMIT that broke, an answer that is late, a list that ends with the day (E9 to E15)."""

import asyncio
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import bindparam, select, update

from paiid.brokers import BrokerOrder, BrokerOrderView, OutcomeUnknown
from paiid.core.audit import AuditEntry
from paiid.core.clock import new_id
from paiid.core.db import BatchFn, CommitUnknown, Database, DatabaseUnavailable, Tx, statement
from paiid.core.failpoints import no_probe
from paiid.core.leases import Leases
from paiid.core.tables import intents, orders
from paiid.domain.identity import SYSTEM
from paiid.trading import store
from paiid.trading.book import Book
from paiid.trading.claim import Claims
from paiid.trading.desk import Desk, load_secret
from paiid.trading.latch import Latch
from paiid.trading.record import Recorder
from paiid.trading.records import OrderRow
from paiid.trading.resolve import settle_by_owner
from tests.conftest import MakeApp
from tests.fakes import FakeBroker, loses_answer
from tests.orders_world import BUY, QUICK, Trading, final_answer, until
from tests.world import fresh_key

LIMIT: dict[str, Any] = {"symbol": "MSFT", "side": "buy", "qty": 1, "type": "limit", "limit_price": 100.25}
_YESTERDAY = statement(
    update(orders)
    .where(orders.c.id == bindparam("b_id"))
    .values(unknown_at=orders.c.unknown_at - 86_400_000_000)
)
_DEAD = statement(update(intents).values(expires_at=1))
_QUEUED = statement(
    update(orders)
    .where(orders.c.id == bindparam("b_id"))
    .values(state="QUEUED", dispatch_deadline_at=None, broker_order_id=None, status=None)
)
_STATES = statement(select(orders.c.state).order_by(orders.c.position))


class Doubtful:
    """A database whose COMMIT of some work breaks off once: after it was done, or before."""

    def __init__(self, db: Database, work: type, *, done: bool, blind: bool = False) -> None:
        self._db = db
        self._work: type | None = work
        self._done = done
        self._blind = blind
        self.dialect = db.dialect

    async def start(self) -> None:
        await self._db.start()

    async def stop(self) -> None:
        await self._db.stop()

    async def ping(self) -> None:
        await self._db.ping()

    def begin(self, **how: Any) -> AbstractAsyncContextManager[Tx]:
        return self._db.begin(**how)

    @asynccontextmanager
    async def read(self, **how: Any) -> Any:
        if self._blind and self._work is None:
            raise DatabaseUnavailable("no new connection can be had")
        async with self._db.read(**how) as tx:
            yield tx

    async def commit_with(self, fn: BatchFn[Any, Any], item: Any) -> Any:
        if self._work is None or not isinstance(getattr(fn, "__self__", None), self._work):
            return await self._db.commit_with(fn, item)
        self._work = None
        if self._done:
            await self._db.commit_with(fn, item)
        raise CommitUnknown("the connection broke during COMMIT")


async def over(trading: Trading, doubtful: Doubtful) -> None:
    """Let the routes execute over this database; everything else goes on as it is."""
    state = trading.app.state
    clock = state.clock
    desk = Desk(
        doubtful, clock, {trading.broker.name: trading.broker}, state.market, state.accounts,
        Latch(trading.app.settings.data_dir), Leases(trading.db, new_id(clock, "rep")),
        await load_secret(trading.db, clock), 3600, QUICK, no_probe,
    )  # fmt: skip
    state.trading = desk.service


async def test_E09_a_claim_whose_commit_broke_is_read_back_and_nothing_is_sent(trading: Trading) -> None:
    """It was committed: the key says so at once and the truth in the end, which is that nothing was placed."""
    await over(trading, Doubtful(trading.db, Claims, done=True))
    key = fresh_key()
    answer = await trading.owner.execute(BUY, LIMIT, key=key)
    assert answer.status_code == 409, answer.text
    assert answer.json()["type"] == "urn:paiid:problem:idempotency-in-flight"
    assert answer.headers["Retry-After"] == "1"
    found = await trading.owner.get(answer.headers["Location"])
    assert [one["state"] for one in found.json()["orders"]] == ["DISPATCHING", "QUEUED"]
    final = await final_answer(trading.owner, key, BUY, LIMIT)
    assert [one["state"] for one in final.json()["orders"]] == ["NOT_PLACED", "SKIPPED"]
    assert final.json()["accepted"] is False
    assert trading.broker.submitted == []


async def test_E09_a_claim_that_was_not_committed_is_a_503_and_the_key_may_try_again(
    trading: Trading,
) -> None:
    before = await trading.everything()
    await over(trading, Doubtful(trading.db, Claims, done=False))
    key = fresh_key()
    answer = await trading.owner.execute(BUY, key=key)
    assert answer.status_code == 503
    assert await trading.everything() == before
    assert (await trading.owner.get("/api/trading/intents", params={"key": key})).status_code == 404
    assert (await trading.owner.execute(BUY, key=key)).json()["accepted"] is True
    assert len(trading.broker.submitted) == 1


async def test_E09_who_cannot_read_back_says_503_sends_nothing_and_the_key_knows_later(
    trading: Trading,
) -> None:
    await over(trading, Doubtful(trading.db, Claims, done=True, blind=True))
    key = fresh_key()
    answer = await trading.owner.execute(BUY, key=key)
    assert answer.status_code == 503
    final = await final_answer(trading.owner, key, BUY)
    assert final.json()["orders"][0]["state"] == "NOT_PLACED"
    assert trading.broker.submitted == []


@pytest.mark.parametrize("done", [True, False])
async def test_E09_a_record_whose_commit_broke_sends_nothing_twice_and_nothing_out_of_turn(
    trading: Trading, done: bool
) -> None:
    """Where it was committed, the second order is marked and its stamp is lost: it is not sent, nor is the third."""
    await over(trading, Doubtful(trading.db, Recorder, done=done))
    key = fresh_key()
    asked = (BUY, LIMIT, {**LIMIT, "qty": 2})
    await trading.owner.execute(*asked, key=key)
    final = await final_answer(trading.owner, key, *asked)
    states = [one["state"] for one in final.json()["orders"]]
    assert states == (["ACCEPTED", "NOT_PLACED", "SKIPPED"] if done else ["ACCEPTED"] * 3)
    assert len(trading.broker.submitted) == (1 if done else 3)


async def test_E13_queued_orders_of_a_dead_call_are_skipped(trading: Trading) -> None:
    """As if the process had died before the second order's turn and the call's time had passed since."""
    key = fresh_key()
    first = await trading.owner.execute(BUY, LIMIT, key=key)
    async with trading.db.begin() as tx:
        await tx.execute(_QUEUED, {"b_id": first.json()["orders"][1]["id"]})
        await tx.execute(_DEAD)

    async def skipped() -> bool:
        async with trading.db.read() as tx:
            return [row["state"] for row in await tx.fetch(_STATES)] == ["ACCEPTED", "SKIPPED"]

    await until(skipped)
    assert len(trading.broker.submitted) == 2


async def in_doubt(trading: Trading, key: str) -> dict[str, Any]:
    """An order whose answer was lost at a broker that shows nothing."""
    trading.broker.hidden = True
    trading.broker.scripts.append(loses_answer(placed=True))
    answer = await trading.owner.execute(BUY, key=key)
    assert answer.status_code == 202, answer.text
    (order,) = answer.json()["orders"]
    found: dict[str, Any] = order
    return found


@pytest.mark.parametrize("placed", [True, False])
async def test_E12_where_the_list_ends_with_the_day_only_the_owner_can_settle_it(
    make_app: MakeApp, placed: bool
) -> None:
    """Absent today proves nothing about yesterday; his word is audited and makes the answer final."""
    broker = FakeBroker()
    broker.capabilities = replace(broker.capabilities, lists_end_with_day=True)
    app = await make_app(broker=broker, timings=QUICK)
    trading = Trading(app, broker, await app.owner())
    key = fresh_key()
    order = await in_doubt(trading, key)
    # Before it is yesterday's, no look-up may find out that it is not there today: a slow machine needs its time.
    broker.lookup_error = OutcomeUnknown("not now")
    async with trading.db.begin() as tx:
        await tx.execute(_YESTERDAY, {"b_id": order["id"]})
    broker.lookup_error = None
    looked = len(broker.looked_up)
    await asyncio.sleep(QUICK.horizon_s + 0.5)

    async def asked_again() -> bool:
        return len(broker.looked_up) > looked

    await until(asked_again)
    assert (await trading.owner.execute(BUY, key=key)).status_code == 202

    def audited(book: Book, row: OrderRow) -> None:
        book.audit(AuditEntry(SYSTEM, "order.settle", row.id, {"placed": placed}))

    settled = await settle_by_owner(trading.db, app.state.clock, order["id"], placed, audited)
    assert settled is not None
    final = await trading.owner.execute(BUY, key=key)
    assert final.status_code == 200
    assert final.json()["orders"][0]["state"] == ("ACCEPTED" if placed else "NOT_PLACED")
    assert await settle_by_owner(trading.db, app.state.clock, order["id"], not placed, audited) is None
    assert len(broker.submitted) == 1


class Late(FakeBroker):
    """Answers long after everybody has stopped waiting, once it is `awake`: a process that was frozen in between."""

    def __init__(self) -> None:
        super().__init__()
        self.awake = asyncio.Event()

    async def submit(self, order: BrokerOrder, timeout_s: float) -> BrokerOrderView:
        self.submitted.append(order)
        view = self.place(order)
        if len(self.submitted) == 1:
            self.hidden = True
            await self.awake.wait()
            self.hidden = False
        return view


async def test_E07_an_answer_after_not_placed_is_the_loud_correction_too(make_app: MakeApp) -> None:
    """Whoever finds the order alive, its account is halted and the stored answer replaced."""
    broker = Late()
    app = await make_app(broker=broker, timings=replace(QUICK, watch_lookup_s=600.0))
    trading = Trading(app, broker, await app.owner())
    key = fresh_key()
    call = asyncio.create_task(trading.owner.execute(BUY, key=key))

    async def given_up() -> bool:
        intent = await trading.owner.get("/api/trading/intents", params={"key": key})
        return intent.status_code == 200 and intent.json()["orders"][0]["state"] == "NOT_PLACED"

    await until(given_up)
    broker.awake.set()

    async def corrected() -> bool:
        answer = await trading.owner.execute(BUY, key=key)
        return answer.headers.get("Idempotency-Replayed") == "corrected"

    await until(corrected)
    await call
    assert (await trading.owner.execute(BUY)).status_code == 423
    assert len(broker.submitted) == 1


async def test_E14_what_is_settled_while_the_first_call_waits_is_answered_at_once(trading: Trading) -> None:
    trading.broker.scripts.append(loses_answer(placed=True))
    app_timings = QUICK.first_lookups_s
    assert app_timings[0] < QUICK.unknown_wait_s
    key = fresh_key()
    answer = await trading.owner.execute(BUY, key=key)
    final = await final_answer(trading.owner, key, BUY)
    assert final.json()["orders"][0]["state"] == "ACCEPTED"
    # On a machine too busy to look it up in that time, 202 is the right answer.
    assert answer.status_code == 202 or answer.content == final.content


async def test_E14_202_has_an_address_that_tells_the_end(make_app: MakeApp, broker: FakeBroker) -> None:
    # With the short horizon a slow machine would count it as not placed before the second question.
    app = await make_app(broker=broker, timings=replace(QUICK, horizon_s=90.0))
    trading = Trading(app, broker, await app.owner())
    key = fresh_key()
    trading.broker.hidden = True
    trading.broker.scripts.append(loses_answer(placed=True))
    answer = await trading.owner.execute(BUY, key=key)
    assert answer.status_code == 202
    assert answer.json()["accepted"] is None
    assert int(answer.headers["Retry-After"]) >= 1
    again = await trading.owner.execute(BUY, key=key)
    assert (again.status_code, again.headers["Location"]) == (202, answer.headers["Location"])
    trading.broker.hidden = False

    async def ended() -> bool:
        return bool((await trading.owner.get(answer.headers["Location"])).json()["status"] == "final")

    await until(ended)
    seen = (await trading.owner.get(answer.headers["Location"])).json()
    assert seen["accepted"] is True
    assert seen["orders"][0]["broker_order_id"] == "fake-1"


async def test_E15_when_the_stored_body_has_gone_the_key_still_executes_nothing(
    make_app: MakeApp, broker: FakeBroker
) -> None:
    app = await make_app({"idmp_ttl_seconds": 1}, broker=broker, timings=QUICK)
    trading = Trading(app, broker, await app.owner())
    key = fresh_key()
    first = await trading.owner.execute(BUY, key=key)
    async with trading.db.begin() as tx:
        assert await store.drop_expired_bodies(tx, await tx.now_us() + 10**9) == 1
    again = await trading.owner.execute(BUY, key=key)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "summary")
    assert again.json()["orders"] == first.json()["orders"]
    assert (await trading.owner.execute({**BUY, "qty": 1}, key=key)).status_code == 422
    assert len(broker.submitted) == 1
