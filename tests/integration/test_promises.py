"""The promises that need two things at once: a halt against a claim at the gate, a commit that breaks, an order on the
wire while the halt is acknowledged. Each catches a bug that is planted in `tests/planted`."""

import asyncio
import threading
from typing import Any

import asyncpg
import pytest

from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.core.failpoints import FailPoint
from paiid.domain.halts import Mode, Receipt, Scope
from paiid.trading.halt_change import Arm, arm_in
from paiid.trading.timings import Timings
from tests.conftest import MakeApp
from tests.fakes import FakeBroker, waits_for
from tests.halt_world import HOST
from tests.orders_world import BUY, counts
from tests.world import Client, fresh_key

LIMIT: dict[str, Any] = {"symbol": "MSFT", "side": "buy", "qty": 1, "type": "limit", "limit_price": 100.25}
# A broker that keeps its callers waiting until the test lets it answer, which may be long on a busy machine.
PATIENT = Timings(send_window_s=5.0, broker_deadline_s=20.0)


async def until(holds: Any, timeout_s: float = 20.0) -> None:
    """Wait for something that must come."""
    async with asyncio.timeout(timeout_s):
        while not await holds():
            await asyncio.sleep(0.01)


async def gate_is_waited_for(db_url: str) -> None:
    """Until a claim queues behind the closed gate. On SQLite the queue is inside the process and is joined within
    a few turns of the loop; a moment too short could only hide a bug, never invent one."""
    if not db_url.startswith("postgresql"):
        await asyncio.sleep(0.2)
        return
    connection = await asyncpg.connect(db_url)
    try:
        for _ in range(100):
            waiting = await connection.fetchval(
                "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
                " WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database()"
            )
            if waiting:
                return
            await asyncio.sleep(0.01)
    finally:
        await connection.close()


async def decided(client: Client, key: str, call: "asyncio.Task[Any]") -> Any:
    """The answer of a call; where the database was too slow for it (503, no row), that of the next try."""
    answer = await call
    while answer.status_code == 503:
        answer = await client.execute(BUY, key=key)
    return answer


@pytest.mark.parametrize("kind", ["global", "account", "user", "symbol"])
async def test_K03_a_halt_armed_while_a_claim_waits_at_the_gate_stops_that_claim(
    make_app: MakeApp, broker: FakeBroker, clock: Clock, db_url: str, kind: str
) -> None:
    arrived = asyncio.Event()

    def probe(point: FailPoint) -> None:
        if point is FailPoint.BEFORE_CLAIM:
            arrived.set()

    app = await make_app(broker=broker, probe=probe)
    owner = await app.owner()
    me = (await owner.get("/auth/me")).json()
    account = (await owner.get("/api/accounts")).json()[0]["id"]
    names = {"global": "global", "account": f"account:{account}", "user": f"user:{me['id']}"}
    scope = Scope.parse(names.get(kind, "symbol:AAPL"))
    db: Database = app.state.db
    key = fresh_key()
    # Longer than the service itself would hold it: a busy machine must have brought the claim to the gate by then.
    async with db.begin(urgent=True, within_s=10.0) as tx:
        await tx.close_gate()
        call = asyncio.create_task(owner.execute(BUY, key=key))
        await arrived.wait()
        await gate_is_waited_for(db_url)
        armed = await arm_in(tx, clock, Arm(scope, Mode.HALTED, "test", HOST))
    assert isinstance(armed, Receipt)
    answer = await decided(owner, key, call)
    assert answer.status_code == 423, answer.text
    assert answer.json()["orders"][0]["state"] == "REFUSED"
    assert broker.submitted == []


async def test_K03_a_halt_armed_while_an_order_is_sent_stops_the_next_one_of_the_call(
    make_app: MakeApp, broker: FakeBroker
) -> None:
    on_its_way = asyncio.Event()
    broker.scripts.append(waits_for(on_its_way))
    app = await make_app(broker=broker, timings=PATIENT)
    owner = await app.owner()
    call = asyncio.create_task(owner.execute(BUY, LIMIT, {**LIMIT, "qty": 2}))

    async def first_is_sent() -> bool:
        return len(broker.submitted) == 1

    await until(first_is_sent)
    arming = asyncio.create_task(owner.post("/api/admin/kill", json={"halt": True, "reason": "test"}))
    await until(lambda: is_halted(owner))
    on_its_way.set()
    answer = await call
    assert answer.status_code == 200
    assert [one["state"] for one in answer.json()["orders"]] == ["ACCEPTED", "REFUSED", "SKIPPED"]
    assert answer.json()["orders"][1]["reason"]["code"] == "trading_halted"
    assert (await arming).json()["level"] == "drained"
    assert len(broker.submitted) == 1


async def is_halted(client: Client) -> bool:
    """Whether the table holds a halt."""
    halted: bool = (await client.get("/api/admin/kill")).json()["tradingHalted"]
    return halted


async def test_K04_K05_nothing_is_on_the_wire_when_drained_is_answered_and_nothing_follows(
    make_app: MakeApp, broker: FakeBroker
) -> None:
    answering = asyncio.Event()
    on_the_wire: set[str] = set()

    async def held(venue: FakeBroker, order: Any) -> Any:
        on_the_wire.add(order.client_order_id)
        try:
            await answering.wait()
            # The last bytes are still under way for a moment after the venue has begun to answer.
            await asyncio.sleep(0.1)
            return venue.place(order)
        finally:
            on_the_wire.discard(order.client_order_id)

    broker.default = held
    app = await make_app(broker=broker, timings=PATIENT)
    owner = await app.owner()

    async def call(*asked: Any) -> Any:
        # Before its claim one may be refused for want of a turn at the database: then nothing was written.
        key = fresh_key()
        while (answer := await owner.execute(*asked, key=key)).status_code == 503:
            await asyncio.sleep(0.1)
        return answer

    calls = [asyncio.create_task(call(BUY, LIMIT)) for _ in range(12)]

    async def all_are_sent() -> bool:
        return len(on_the_wire) == len(calls)

    await until(all_are_sent)
    arming = asyncio.create_task(owner.post("/api/admin/kill", json={"halt": True, "reason": "test"}))
    at_the_answer: list[tuple[int, int]] = []
    arming.add_done_callback(lambda _: at_the_answer.append((len(on_the_wire), len(broker.submitted))))
    await until(lambda: is_halted(owner))
    await asyncio.sleep(0.2)
    too_early = arming.done()
    shown = (await owner.get("/api/admin/kill")).json()
    answering.set()
    assert not too_early, "acknowledged with orders on the wire"
    assert shown["level"] == "effective"
    assert shown["in_flight_count"] == len(calls)
    receipt = (await arming).json()
    assert receipt["level"] == "drained"
    assert receipt["in_flight"] == []
    assert at_the_answer == [(0, len(calls))]
    for answer in await asyncio.gather(*calls):
        assert [one["state"] for one in answer.json()["orders"]] == ["ACCEPTED", "REFUSED"]
    late = await asyncio.gather(*(call(BUY) for _ in range(12)))
    assert {answer.status_code for answer in late} == {423}
    assert len(broker.submitted) == len(calls)


def end_the_open_transactions(db_url: str) -> None:
    """Break every connection that is inside a transaction, and wait until it is gone."""

    async def run() -> None:
        connection = await asyncpg.connect(db_url)
        try:
            ended = await connection.fetchval(
                "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND state = 'idle in transaction'"
            )
            assert ended >= 1
        finally:
            await connection.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    thread.join()


@pytest.mark.parametrize("db_url", ["postgresql"], indirect=True)
async def test_E09_a_claim_whose_commit_breaks_sends_nothing_and_its_key_may_try_again(
    make_app: MakeApp, broker: FakeBroker, db_url: str
) -> None:
    broken: list[FailPoint] = []

    def probe(point: FailPoint) -> None:
        if point is FailPoint.IN_CLAIM and not broken:
            broken.append(point)
            end_the_open_transactions(db_url)

    app = await make_app(broker=broker, probe=probe)
    owner = await app.owner()
    before = await counts(app.state.db)
    key = fresh_key()
    lost = await owner.execute(BUY, key=key)
    assert broken
    assert lost.status_code == 503, lost.text
    assert broker.submitted == []
    assert await counts(app.state.db) == before
    call = asyncio.create_task(owner.execute(BUY, key=key))
    again = await decided(owner, key, call)
    assert again.status_code == 200
    assert again.json()["accepted"] is True
    assert len(broker.submitted) == 1


@pytest.mark.parametrize("db_url", ["postgresql"], indirect=True)
async def test_E09_an_outcome_whose_commit_breaks_is_recorded_by_the_next_try_and_not_sent_again(
    make_app: MakeApp, broker: FakeBroker, db_url: str
) -> None:
    broken: list[FailPoint] = []

    def probe(point: FailPoint) -> None:
        if point is FailPoint.IN_RECORD and not broken:
            broken.append(point)
            end_the_open_transactions(db_url)

    app = await make_app(broker=broker, probe=probe)
    owner = await app.owner()
    answer = await owner.execute(BUY, LIMIT)
    assert broken
    assert answer.status_code == 200, answer.text
    assert [one["state"] for one in answer.json()["orders"]] == ["ACCEPTED", "ACCEPTED"]
    assert len(broker.submitted) == 2
