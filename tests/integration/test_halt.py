"""The halt against real databases: the gate, the drain, resuming, two processes' worth of services."""

import asyncio
import random
from contextlib import suppress

import pytest

from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable, make_database
from paiid.domain.errors import Code, Problem
from paiid.domain.halts import Level, Mode, Scope
from paiid.trading import halt_store
from paiid.trading.halt import HaltService
from paiid.trading.latch import Latch
from tests.halt_world import (
    ClaimLike,
    add_account,
    add_order,
    arm,
    audit_actions,
    halt_rows,
    order_states,
    person,
    resume,
    set_order,
)

ALL_FOUR = ["global", "account:acc1", "user:usr1", "symbol:AAPL"]


@pytest.mark.parametrize("scope", ALL_FOUR)
async def test_K03_a_first_halt_of_a_scope_races_64_claims_and_none_comes_after_it(
    peopled_db: Database, clock: Clock, service: HaltService, scope: str
) -> None:
    claims = ClaimLike(clock, "acc1", "usr1")
    stop = asyncio.Event()
    results: list[tuple[float, str]] = []

    async def trade() -> None:
        while not stop.is_set():
            try:
                outcome = await peopled_db.commit_with(claims.batch, 1)
            except DatabaseUnavailable:
                # A claim that finds no turn in time is a 503, and nothing is sent (E17).
                continue
            results.append((clock.monotonic_s(), outcome))
            await asyncio.sleep(random.random() / 200)

    async def until_told(outcome: str) -> None:
        async with asyncio.timeout(30):
            while outcome not in {told for _, told in results}:
                await asyncio.sleep(0.01)

    traders = [asyncio.create_task(trade()) for _ in range(64)]
    await until_told("claimed")
    await asyncio.sleep(0.1)
    short = HaltService(peopled_db, clock, service._latch, None, cap_s=0.2)
    view = await short.arm(arm(scope))
    at_answer = set(await order_states(peopled_db))
    assert view.halt is not None
    assert view.mode is Mode.HALTED
    await until_told("refused")
    await asyncio.sleep(0.1)
    stop.set()
    await asyncio.gather(*traders)
    after = await order_states(peopled_db)
    assert {outcome for _, outcome in results} == {"claimed", "refused"}
    assert set(after) == at_answer
    assert all(born <= view.halt.set_at_us for _, born in after.values())
    await short.stop()


async def test_K03_a_claim_that_passed_the_gate_before_is_seen_by_the_drain(
    peopled_db: Database, clock: Clock, service: HaltService
) -> None:
    passed, go_on = asyncio.Event(), asyncio.Event()
    claims = ClaimLike(clock, "acc1", "usr1")

    async def slow_claim() -> None:
        async with peopled_db.begin() as tx:
            await tx.pass_gate()
            passed.set()
            await go_on.wait()
            await claims.batch(tx, [1])

    claiming = asyncio.create_task(slow_claim())
    await passed.wait()
    arming = asyncio.create_task(service.arm(arm("account:acc1")))
    await asyncio.sleep(0.05)
    assert not arming.done()
    go_on.set()
    await claiming
    (order_id,) = await order_states(peopled_db)
    await asyncio.sleep(0.05)
    assert not arming.done()
    await set_order(peopled_db, order_id, state="ACCEPTED", status="NEW", dispatch_deadline_at=None)
    view = await arming
    assert view.receipt is not None
    assert view.receipt.level is Level.DRAINED
    assert view.receipt.on_wire == (order_id,)


async def test_K04_the_answer_names_what_is_in_flight_and_claims_no_more_than_effective(
    peopled_db: Database, clock: Clock, latch: Latch
) -> None:
    wire = await add_order(peopled_db, clock, "acc1", "usr1", "DISPATCHING")
    other = await add_order(peopled_db, clock, "acc2", "own1", "DISPATCHING")
    doubt = await add_order(peopled_db, clock, "acc1", "usr1", "UNKNOWN")
    service = HaltService(peopled_db, clock, latch, None, cap_s=0.1)
    view = await service.arm(arm("account:acc1"))
    assert view.receipt is not None
    assert view.receipt.level is Level.EFFECTIVE
    assert {(o.id, o.state) for o in view.in_flight} == {(wire, "DISPATCHING"), (doubt, "UNKNOWN")}
    await set_order(peopled_db, wire, state="REJECTED", dispatch_deadline_at=None)
    async with asyncio.timeout(20):
        while view.receipt is None or view.receipt.level is not Level.DRAINED:
            await asyncio.sleep(0.01)
            view = await service.view(Scope("account", "acc1"))
    assert view.receipt is not None
    assert view.receipt.level is Level.DRAINED
    assert {o.id for o in view.in_flight} == {doubt}
    assert other not in view.receipt.on_wire


async def test_K04_an_order_past_its_deadline_is_not_on_the_wire(
    peopled_db: Database, clock: Clock, service: HaltService
) -> None:
    await add_order(
        peopled_db, clock, "acc1", "usr1", "DISPATCHING", dispatch_deadline_at=clock.now_us() - 1_000_000
    )
    view = await service.arm(arm("global"))
    assert view.receipt is not None
    assert view.receipt.level is Level.DRAINED


async def test_K04_a_receipt_left_behind_by_a_dead_process_is_carried_on_by_another(
    peopled_db: Database, clock: Clock, latch: Latch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paiid.trading.halt._ABANDONED_US", 50_000)
    wire = await add_order(peopled_db, clock, "acc1", "usr1", "DISPATCHING")
    dead = HaltService(peopled_db, clock, latch, None, cap_s=0.05)
    view = await dead.arm(arm("account:acc1"))
    await dead.stop()
    await set_order(peopled_db, wire, state="REJECTED", dispatch_deadline_at=None)
    heir = HaltService(peopled_db, clock, latch, None)
    running = asyncio.create_task(heir.run())
    async with asyncio.timeout(20):
        while view.receipt is None or view.receipt.pending:
            await asyncio.sleep(0.02)
            view = await heir.view(Scope("account", "acc1"))
    running.cancel()
    assert view.receipt is not None
    assert view.receipt.level is Level.DRAINED


async def test_K02_a_restart_changes_nothing(
    peopled_db: Database, db_url: str, clock: Clock, service: HaltService, latch: Latch
) -> None:
    await service.arm(arm("user:usr1", Mode.REDUCE_ONLY))
    again = make_database(db_url, clock)
    await again.start()
    try:
        view = await HaltService(again, clock, latch, None).view(Scope("user", "usr1"))
        assert view.mode is Mode.REDUCE_ONLY
        async with again.read() as tx:
            assert (await halt_store.load_active(tx)).severest("x", "usr1", ["AAPL"])[0] is Mode.REDUCE_ONLY
    finally:
        await again.stop()


async def test_K02_every_change_has_a_larger_epoch(peopled_db: Database, service: HaltService) -> None:
    first = await service.arm(arm("global"))
    second = await service.arm(arm("symbol:AAPL"))
    assert first.halt is not None
    assert second.halt is not None
    third = await service.resume(resume("global", first.halt.epoch))
    assert third.halt is not None
    assert first.halt.epoch < second.halt.epoch < third.halt.epoch


async def test_K07_arming_twice_keeps_the_epoch_and_is_audited_twice(
    peopled_db: Database, service: HaltService
) -> None:
    first = await service.arm(arm("global", reason="first"))
    second = await service.arm(arm("global", reason="second"))
    assert first.halt == second.halt
    assert [a for a, _, _ in await audit_actions(peopled_db)] == ["halt.arm", "halt.arm"]


async def test_K07_a_resume_of_an_epoch_that_moved_on_is_refused_and_audited(
    peopled_db: Database, service: HaltService
) -> None:
    first = await service.arm(arm("global", Mode.REDUCE_ONLY))
    await service.arm(arm("global"))
    assert first.halt is not None
    with pytest.raises(Problem) as refused:
        await service.resume(resume("global", first.halt.epoch, person("own1")))
    assert refused.value.code is Code.HALT_EPOCH_MOVED
    assert (await halt_rows(peopled_db))["global"][0] == "halted"
    assert ("halt.resume_refused", "global", "own1") in await audit_actions(peopled_db)


async def test_K07_of_two_resumes_of_one_epoch_racing_an_arm_none_lifts_the_new_halt(
    peopled_db: Database, service: HaltService
) -> None:
    for _ in range(10):
        view = await service.arm(arm("global", Mode.REDUCE_ONLY))
        assert view.halt is not None
        results = await asyncio.gather(
            service.resume(resume("global", view.halt.epoch)),
            service.arm(arm("global")),
            service.resume(resume("global", view.halt.epoch)),
            return_exceptions=True,
        )
        assert (await halt_rows(peopled_db))["global"][0] == "halted"
        assert all(not isinstance(r, Exception) or isinstance(r, Problem) for r in results)
        await service.resume(resume("global", (await halt_rows(peopled_db))["global"][1]))


async def test_K08_a_trader_arms_himself_and_his_account_and_nothing_wider(
    peopled_db: Database, service: HaltService
) -> None:
    trader = person("usr1", "trader")
    assert (await service.arm(arm("user:usr1", who=trader))).mode is Mode.HALTED
    assert (await service.arm(arm("account:acc1", who=trader))).mode is Mode.HALTED
    for scope, code in [
        ("global", Code.FORBIDDEN),
        ("symbol:AAPL", Code.FORBIDDEN),
        ("user:own1", Code.NOT_FOUND),
        ("account:acc2", Code.NOT_FOUND),
        ("account:nowhere", Code.NOT_FOUND),
    ]:
        with pytest.raises(Problem) as refused:
            await service.arm(arm(scope, who=trader))
        assert refused.value.code is code
    with pytest.raises(Problem):
        await service.arm(arm("user:view1", who=person("view1", "viewer")))
    assert set(await halt_rows(peopled_db)) == {"user:usr1", "account:acc1"}
    hidden = await service.refuse(person("view1", "viewer"), Scope("account", "acc1"))
    assert hidden is not None
    assert hidden.code is Code.NOT_FOUND


async def test_K08_a_halt_of_what_does_not_exist_is_refused_for_it_would_be_false_comfort(
    peopled_db: Database, service: HaltService
) -> None:
    with pytest.raises(Problem) as refused:
        await service.arm(arm("account:acc-1", who=person("own1")))
    assert refused.value.code is Code.NOT_FOUND


@pytest.mark.parametrize("scope", ["global", "account:acc1"])
async def test_K08_only_the_owner_signed_in_or_the_host_resumes_global_and_accounts(
    peopled_db: Database, service: HaltService, scope: str
) -> None:
    view = await service.arm(arm(scope))
    assert view.halt is not None
    epoch = view.halt.epoch
    for who in [
        person("usr1", "trader"),
        person("own1", credential="token"),
        person("own1", credential="static"),
    ]:
        with pytest.raises(Problem) as refused:
            await service.resume(resume(scope, epoch, who))
        assert refused.value.code in (Code.FORBIDDEN, Code.INVALID_TOKEN)
    assert (await halt_rows(peopled_db))[scope] == ("halted", epoch)
    assert (await service.resume(resume(scope, epoch, person("own1")))).mode is Mode.ACTIVE


async def test_K08_a_trader_lifts_his_own_halt_but_not_the_owners_halt_of_him(
    peopled_db: Database, service: HaltService
) -> None:
    trader = person("usr1", "trader")
    mine = await service.arm(arm("user:usr1", who=trader))
    assert mine.halt is not None
    assert (await service.resume(resume("user:usr1", mine.halt.epoch, trader))).mode is Mode.ACTIVE
    theirs = await service.arm(arm("user:usr1", who=person("own1")))
    assert theirs.halt is not None
    with pytest.raises(Problem) as refused:
        await service.resume(resume("user:usr1", theirs.halt.epoch, trader))
    assert refused.value.code is Code.FORBIDDEN


@pytest.mark.parametrize("state", ["UNKNOWN", "DISPATCHING"])
async def test_K08_a_resume_is_refused_while_an_order_of_the_scope_is_not_settled(
    peopled_db: Database, clock: Clock, latch: Latch, state: str
) -> None:
    service = HaltService(peopled_db, clock, latch, None, cap_s=0.05)
    order = await add_order(peopled_db, clock, "acc1", "usr1", state)
    view = await service.arm(arm("account:acc1"))
    other = await service.arm(arm("account:acc2"))
    assert view.halt is not None
    assert other.halt is not None
    with pytest.raises(Problem) as refused:
        await service.resume(resume("account:acc1", view.halt.epoch))
    assert refused.value.code is Code.RESUME_REFUSED
    assert (await service.resume(resume("account:acc2", other.halt.epoch))).mode is Mode.ACTIVE
    await set_order(peopled_db, order, state="NOT_PLACED")
    assert (await service.resume(resume("account:acc1", view.halt.epoch))).mode is Mode.ACTIVE
    await service.stop()


async def test_K08_a_global_resume_needs_unsettled_accounts_halted_by_account(
    peopled_db: Database, clock: Clock, service: HaltService
) -> None:
    await add_account(peopled_db, clock, "acc3", "own1", problem="position AAPL: ours 1, broker 2")
    view = await service.arm(arm("global"))
    assert view.halt is not None
    with pytest.raises(Problem) as refused:
        await service.resume(resume("global", view.halt.epoch))
    assert refused.value.code is Code.RESUME_REFUSED
    await service.arm(arm("account:acc3", Mode.REDUCE_ONLY))
    with pytest.raises(Problem):
        await service.resume(resume("global", view.halt.epoch))
    await service.arm(arm("account:acc3"))
    assert (await service.resume(resume("global", view.halt.epoch))).mode is Mode.ACTIVE
    assert (await halt_rows(peopled_db))["account:acc3"][0] == "halted"


async def test_K08_to_loosen_is_to_resume_and_arming_cannot_do_it(
    peopled_db: Database, service: HaltService
) -> None:
    view = await service.arm(arm("global"))
    assert view.halt is not None
    with pytest.raises(Problem) as refused:
        await service.arm(arm("global", Mode.REDUCE_ONLY, person("own1")))
    assert refused.value.code is Code.CONFLICT
    loosened = await service.resume(resume("global", view.halt.epoch, mode=Mode.REDUCE_ONLY))
    assert loosened.mode is Mode.REDUCE_ONLY


async def test_K08_a_session_that_has_ended_resumes_nothing(
    peopled_db: Database, service: HaltService
) -> None:
    view = await service.arm(arm("global"))
    assert view.halt is not None
    with pytest.raises(Problem) as refused:
        await service.resume(resume("global", view.halt.epoch, person("ghost")))
    assert refused.value.code is Code.INVALID_TOKEN


async def test_K11_every_arm_and_resume_is_audited_with_who_did_it(
    peopled_db: Database, service: HaltService
) -> None:
    owner = person("own1")
    view = await service.arm(arm("global", who=owner))
    assert view.halt is not None
    await service.resume(resume("global", view.halt.epoch, owner))
    with pytest.raises(Problem):
        await service.arm(arm("global", who=person("usr1", "trader")))
    assert await audit_actions(peopled_db) == [
        ("halt.arm", "global", "own1"),
        ("halt.resume", "global", "own1"),
        ("halt.arm_refused", "global", "usr1"),
    ]


async def test_K03_a_halt_armed_by_another_replica_stops_the_claims_of_this_one(
    peopled_db: Database, db_url: str, clock: Clock, latch: Latch
) -> None:
    other = make_database(db_url, clock)
    await other.start()
    claims = ClaimLike(clock, "acc1", "usr1")
    stop = asyncio.Event()

    async def trade() -> None:
        while not stop.is_set():
            # A claim that finds no turn in time is a 503, and nothing is sent (E17).
            with suppress(DatabaseUnavailable):
                await peopled_db.commit_with(claims.batch, 1)
            await asyncio.sleep(random.random() / 100)

    traders = [asyncio.create_task(trade()) for _ in range(16)]
    service = HaltService(other, clock, latch, None, cap_s=0.05)
    try:
        async with asyncio.timeout(30):
            while not await order_states(peopled_db):
                await asyncio.sleep(0.01)
        async with asyncio.timeout(30):
            # The traders never rest: who finds no turn in time is told so, and asks again.
            while True:
                try:
                    await service.arm(arm("account:acc1"))
                    break
                except Problem as problem:
                    if problem.code is not Code.DATABASE_UNAVAILABLE:
                        raise
        at_answer = set(await order_states(peopled_db))
        await asyncio.sleep(0.1)
        assert set(await order_states(peopled_db)) == at_answer
    finally:
        stop.set()
        await asyncio.gather(*traders)
        await service.stop()
        await other.stop()
