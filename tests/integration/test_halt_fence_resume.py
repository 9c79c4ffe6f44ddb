"""Resuming lifts at the brokers what our halts have set there and nothing else, and never half of it (K4, K7, K8)."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from paiid.brokers import OutcomeUnknown
from paiid.cli.halt import resume_at_brokers
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable
from paiid.domain.errors import Code, Problem
from paiid.domain.halts import Fence, Level, Mode, Receipt
from paiid.trading import halt_store
from paiid.trading.halt_change import arm_in, resume_in
from paiid.trading.halt_resume import Resumes
from tests.fence_world import Replica, Replicas, StoppingBroker, outcomes, replicas_over
from tests.halt_world import Switched, add_order, arm, audit_actions, halt_rows, person, resume


@pytest.fixture
async def replicas(peopled_db: Database, clock: Clock, tmp_path: Path) -> AsyncIterator[Replicas]:
    async with replicas_over(peopled_db, clock, tmp_path / "data", StoppingBroker()) as made:
        yield made


async def _epoch(server: Replica, scope: str) -> int:
    return (await server.receipt(scope)).epoch


async def test_K04_a_resume_lifts_the_stop_first_and_then_the_halt(replicas: Replicas) -> None:
    server = replicas.make()
    view = await server.halts.arm(arm("global"))
    assert view.halt is not None
    modes: list[str] = []

    async def before(number: str, stopped: bool) -> None:
        modes.append((await halt_rows(replicas.db))["global"][0])

    replicas.broker.before = before
    resumed = await server.halts.resume(resume("global", view.halt.epoch))
    assert modes == ["halted", "halted"]
    assert resumed.mode is Mode.ACTIVE
    assert outcomes(resumed) == {"acc1": "lifted", "acc2": "lifted"}
    assert replicas.broker.suspended == set()


async def test_K04_a_resume_to_reduce_only_lifts_the_stop_too(replicas: Replicas) -> None:
    server = replicas.make()
    view = await server.halts.arm(arm("account:acc1"))
    assert view.halt is not None
    await server.halts.resume(resume("account:acc1", view.halt.epoch, mode=Mode.REDUCE_ONLY))
    assert replicas.broker.suspended == set()


async def test_K04_a_stop_that_somebody_else_has_set_stays(replicas: Replicas) -> None:
    replicas.broker.suspended.add("acc1")
    server = replicas.make()
    view = await server.halts.arm(arm("global"))
    assert view.halt is not None
    resumed = await server.halts.resume(resume("global", view.halt.epoch))
    assert outcomes(resumed) == {"acc1": "left", "acc2": "lifted"}
    assert replicas.broker.suspended == {"acc1"}


async def test_K04_a_stop_stays_as_long_as_any_halt_covers_the_account_and_then_goes(
    replicas: Replicas,
) -> None:
    server = replicas.make()
    await server.halts.arm(arm("global"))
    own = await server.halts.arm(arm("account:acc1"))
    assert outcomes(own) == {"acc1": "already"}
    resumed = await server.halts.resume(resume("global", await _epoch(server, "global")))
    assert outcomes(resumed) == {"acc1": "left", "acc2": "lifted"}
    assert replicas.broker.suspended == {"acc1"}
    last = await server.halts.resume(resume("account:acc1", await _epoch(server, "account:acc1")))
    assert outcomes(last) == {"acc1": "lifted"}
    assert replicas.broker.suspended == set()


async def test_K07_a_second_resume_of_the_same_epoch_asks_the_broker_for_nothing(replicas: Replicas) -> None:
    server = replicas.make()
    view = await server.halts.arm(arm("account:acc1"))
    assert view.halt is not None
    await server.halts.resume(resume("account:acc1", view.halt.epoch))
    calls = list(replicas.broker.calls)
    with pytest.raises(Problem) as refused:
        await server.halts.resume(resume("account:acc1", view.halt.epoch))
    assert refused.value.code is Code.HALT_EPOCH_MOVED
    await server.halts.resume(resume("account:acc1", await _epoch(server, "account:acc1")))
    assert replicas.broker.calls == calls


@pytest.mark.parametrize("why", ["epoch", "right", "unsettled"])
async def test_K08_a_resume_that_is_refused_lifts_nothing(replicas: Replicas, clock: Clock, why: str) -> None:
    server = replicas.make()
    view = await server.halts.arm(arm("account:acc1"))
    assert view.halt is not None
    if why == "unsettled":
        await add_order(replicas.db, clock, "acc1", "usr1", "UNKNOWN")
    wish = resume(
        "account:acc1",
        view.halt.epoch - (why == "epoch"),
        person("usr1", "trader") if why == "right" else None,
    )
    calls = list(replicas.broker.calls)
    with pytest.raises(Problem):
        await server.halts.resume(wish)
    assert replicas.broker.calls == calls
    assert replicas.broker.suspended == {"acc1"}


async def test_K04_a_broker_that_does_not_confirm_keeps_the_halt_and_gets_the_others_back(
    replicas: Replicas,
) -> None:
    server = await replicas.start()
    view = await server.halts.arm(arm("global"))
    assert view.halt is not None
    replicas.broker.fail_for("acc2", stopped=False)
    with pytest.raises(Problem) as refused:
        await server.halts.resume(resume("global", view.halt.epoch))
    assert refused.value.code.status == 503
    assert "acc2" in refused.value.detail
    assert "no answer in time" in refused.value.detail
    assert (await halt_rows(replicas.db))["global"] == ("halted", view.halt.epoch)
    receipt = await server.until("global", lambda one: one.level is Level.BROKER_FENCED)
    assert outcomes(receipt) == {"acc1": "fenced", "acc2": "fenced"}
    assert replicas.broker.suspended == {"acc1", "acc2"}
    assert ("halt.resume_refused", "global", "host") in await audit_actions(replicas.db)
    replicas.broker.before = None
    resumed = await server.halts.resume(resume("global", view.halt.epoch))
    assert resumed.mode is Mode.ACTIVE
    assert replicas.broker.suspended == set()


async def test_K04_what_could_not_be_set_again_is_not_claimed_any_more(replicas: Replicas) -> None:
    server = await replicas.start()
    view = await server.halts.arm(arm("global"))
    assert view.halt is not None

    async def before(number: str, stopped: bool) -> None:
        if (number, stopped) in (("acc2", False), ("acc1", True)):
            raise OutcomeUnknown("no answer in time")
        await asyncio.sleep(0)

    replicas.broker.before = before
    with pytest.raises(Problem):
        await server.halts.resume(resume("global", view.halt.epoch))
    receipt = await server.receipt("global")
    assert receipt.level is Level.DRAINED
    assert "fence" in receipt.pending
    assert outcomes(receipt)["acc1"] == "unknown"


async def test_K07_a_halt_that_comes_while_the_stop_is_being_lifted_gets_it_back(replicas: Replicas) -> None:
    server, other = await replicas.start(), await replicas.start()
    view = await server.halts.arm(arm("global"))
    assert view.halt is not None
    armed: list[Level] = []

    async def after(number: str, stopped: bool) -> None:
        if not stopped and number == "acc1" and not armed:
            receipt = (await other.halts.arm(arm("account:acc1"))).receipt
            assert receipt is not None
            armed.append(receipt.level)

    replicas.broker.after = after
    resumed = await server.halts.resume(resume("global", view.halt.epoch))
    assert resumed.receipt is not None
    assert outcomes(resumed) == {"acc1": "left", "acc2": "lifted"}
    await other.until("account:acc1", lambda one: one.level is Level.BROKER_FENCED and not one.pending)
    assert replicas.broker.suspended == {"acc1"}
    last = await other.halts.resume(resume("account:acc1", await _epoch(other, "account:acc1")))
    assert last.mode is Mode.ACTIVE
    assert replicas.broker.suspended == set()


async def test_K07_a_stop_that_is_set_again_while_the_resume_is_under_way_is_lifted_again(
    replicas: Replicas,
) -> None:
    server, other = replicas.make(), replicas.make()
    view = await server.halts.arm(arm("account:acc1"))
    assert view.halt is not None

    async def after(number: str, stopped: bool) -> None:
        replicas.broker.after = None
        await other.halts.arm(arm("account:acc1"))
        assert replicas.broker.suspended == {"acc1"}

    replicas.broker.after = after
    resumed = await server.halts.resume(resume("account:acc1", view.halt.epoch))
    assert resumed.mode is Mode.ACTIVE
    assert replicas.broker.suspended == set()


async def test_K07_a_stop_that_reaches_the_broker_after_the_resume_is_lifted_again(
    replicas: Replicas,
) -> None:
    late, sent = asyncio.Event(), asyncio.Event()

    async def before(number: str, stopped: bool) -> None:
        if stopped:
            sent.set()
            await late.wait()

    replicas.broker.before = before
    server, other = replicas.make(cap_s=0.1), replicas.make()
    await server.halts.arm(arm("account:acc1"))
    await sent.wait()
    resumed = await other.halts.resume(resume("account:acc1", await _epoch(other, "account:acc1")))
    assert resumed.mode is Mode.ACTIVE
    late.set()
    await _until_settled(replicas, server, 1)
    assert replicas.broker.suspended == set()


async def test_K07_a_stop_set_by_a_server_that_died_behind_a_resume_is_lifted_by_another(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paiid.trading.halt._ABANDONED_US", 50_000)
    sent, never = asyncio.Event(), asyncio.Event()

    async def before(number: str, stopped: bool) -> None:
        if stopped:
            sent.set()
            await never.wait()

    replicas.broker.before = before
    dead, other = replicas.make(cap_s=0.1), replicas.make()
    await dead.halts.arm(arm("account:acc1"))
    await sent.wait()
    await dead.halts.stop()
    await other.halts.resume(resume("account:acc1", await _epoch(other, "account:acc1")))
    # What the dead server had sent arrives only now.
    replicas.broker.suspended.add("acc1")
    heir = await replicas.start()
    await _until_settled(replicas, heir, 1)
    assert replicas.broker.suspended == set()


async def test_K07_two_resumes_of_one_epoch_leave_no_stop_behind(replicas: Replicas) -> None:
    servers = [await replicas.start(), await replicas.start()]
    view = await servers[0].halts.arm(arm("global"))
    assert view.halt is not None
    wish = resume("global", view.halt.epoch)
    results = await asyncio.gather(*(one.halts.resume(wish) for one in servers), return_exceptions=True)
    refused = [one for one in results if isinstance(one, BaseException)]
    assert [one.code for one in refused if isinstance(one, Problem)] == [Code.HALT_EPOCH_MOVED]
    assert (await halt_rows(replicas.db))["global"][0] == "active"
    assert replicas.broker.suspended == set()


@pytest.mark.parametrize("seed", [3, 4])
async def test_K07_resumes_and_arms_that_race_end_as_the_table_says(replicas: Replicas, seed: int) -> None:
    chance = random.Random(seed)
    servers = [await replicas.start(cap_s=0.3), await replicas.start(cap_s=0.3)]

    async def slow(number: str, stopped: bool) -> None:
        await asyncio.sleep(chance.choice([0, 0, 0.01, 0.05, 0.2]))

    replicas.broker.before = replicas.broker.after = slow

    async def meddle(server: Replica, scope: str) -> None:
        for _ in range(4):
            await server.halts.arm(arm(scope))
            try:
                await server.halts.resume(resume(scope, await _epoch(server, scope)))
            except Problem:
                await asyncio.sleep(0.01)

    await asyncio.gather(
        *(meddle(server, scope) for server in servers for scope in ("global", "account:acc1"))
    )
    rows = await halt_rows(replicas.db)
    halted = {scope for scope, (mode, _) in rows.items() if mode == "halted"}
    wanted = {"acc1", "acc2"} if "global" in halted else {"acc1"} if halted else set()

    async with asyncio.timeout(60):
        while replicas.broker.suspended != wanted:
            await asyncio.sleep(0.05)


async def test_K07_a_stop_that_is_set_once_more_behind_the_resume_goes_as_well(replicas: Replicas) -> None:
    """It was there when the second halt looked, and lifted by the time that this one set it to be sure."""
    server, other = await replicas.start(), await replicas.start()
    await server.halts.arm(arm("account:acc1"))
    await server.until("account:acc1", lambda one: one.level is Level.BROKER_FENCED)
    resumed = asyncio.Event()

    async def before(number: str, stopped: bool) -> None:
        # The first halt may still be making sure of its stop: this is about the second.
        if (number, stopped) == ("acc1", True) and not resumed.is_set() and await _is_halted("global"):
            resumed.set()
            for scope in ("global", "account:acc1"):
                await other.halts.resume(resume(scope, await _epoch(other, scope)))
            assert "acc1" not in replicas.broker.suspended

    async def _is_halted(scope: str) -> bool:
        return scope in await halt_rows(replicas.db)

    replicas.broker.before = before
    await server.halts.arm(arm("global"))
    assert resumed.is_set()
    async with asyncio.timeout(20):
        while replicas.broker.suspended:
            await asyncio.sleep(0.02)
    assert {mode for mode, _ in (await halt_rows(replicas.db)).values()} == {"active"}


async def test_K10_a_database_lost_between_the_lifting_and_the_resume_leaves_the_halt_and_its_fence(
    replicas: Replicas, clock: Clock, tmp_path: Path
) -> None:
    failing = Switched(replicas.db)
    server = Replica(failing, clock, tmp_path / "data", replicas.broker, 10.0)  # type: ignore[arg-type]
    view = await server.halts.arm(arm("account:acc1"))
    assert view.halt is not None

    async def after(number: str, stopped: bool) -> None:
        failing.down = True

    replicas.broker.after = after
    with pytest.raises(DatabaseUnavailable):
        await server.halts.resume(resume("account:acc1", view.halt.epoch))
    assert (await halt_rows(replicas.db))["account:acc1"][0] == "halted"
    assert replicas.broker.suspended == set()
    failing.down, replicas.broker.after = False, None
    await server.halts.start()
    try:
        async with asyncio.timeout(20):
            while replicas.broker.suspended != {"acc1"}:
                await asyncio.sleep(0.02)
        await server.until("account:acc1", lambda one: one.level is Level.BROKER_FENCED)
    finally:
        await server.halts.stop()


async def test_K07_a_resume_after_a_crash_behind_the_lifting_finds_the_stop_gone(replicas: Replicas) -> None:
    server = replicas.make()
    view = await server.halts.arm(arm("account:acc1"))
    assert view.halt is not None
    replicas.broker.suspended.clear()
    resumed = await server.halts.resume(resume("account:acc1", view.halt.epoch))
    assert resumed.mode is Mode.ACTIVE
    assert replicas.broker.suspended == set()


async def test_K09_the_command_line_lifts_the_stop_where_no_server_does(replicas: Replicas) -> None:
    view = await replicas.make().halts.arm(arm("account:acc1"))
    assert view.halt is not None
    wish = resume("account:acc1", view.halt.epoch)
    result = await resume_at_brokers(replicas.db, replicas.clock, {"fake": replicas.broker}, wish)
    assert isinstance(result, Receipt)
    assert outcomes(result) == {"acc1": "lifted"}
    assert replicas.broker.suspended == set()


async def test_K09_the_command_line_sets_again_what_it_has_lifted_in_vain(replicas: Replicas) -> None:
    server = replicas.make()
    view = await server.halts.arm(arm("global"))
    assert view.halt is not None
    replicas.broker.fail_for("acc2", stopped=False)
    wish = resume("global", view.halt.epoch)
    result = await resume_at_brokers(replicas.db, replicas.clock, {"fake": replicas.broker}, wish)
    assert isinstance(result, Problem)
    assert replicas.broker.suspended == {"acc1", "acc2"}
    assert (await server.receipt("global")).level is Level.BROKER_FENCED


async def test_K04_without_its_broker_a_stop_of_ours_keeps_the_halt(replicas: Replicas) -> None:
    view = await replicas.make().halts.arm(arm("account:acc1"))
    assert view.halt is not None
    bare = Resumes(replicas.db, replicas.clock, None)
    result = await bare.resume(resume("account:acc1", view.halt.epoch))
    assert isinstance(result, Problem)
    assert "not configured" in result.detail
    assert (await halt_rows(replicas.db))["account:acc1"][0] == "halted"


async def _until_settled(replicas: Replicas, server: Replica, epoch: int) -> None:
    """Until the receipt of this epoch has no step left."""
    async with asyncio.timeout(20):
        while True:
            view = await server.halts.view(arm("global").scope, epoch)
            if view.receipt is not None and not view.receipt.pending:
                return
            await asyncio.sleep(0.02)


async def test_K04_a_setting_that_comes_behind_the_lifting_is_lifted_too_though_another_round_has_confirmed_it(
    replicas: Replicas,
) -> None:
    broker = replicas.broker
    one, other = await replicas.start(cap_s=0.3), await replicas.start(cap_s=0.3)
    await one.halts.arm(arm("account:acc1"))
    await one.until("account:acc1", lambda receipt: receipt.level is Level.BROKER_FENCED)
    sent, lifted, made = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def before(number: str, stopped: bool) -> None:
        if stopped and not sent.is_set():
            sent.set()
            await lifted.wait()

    async def after(number: str, stopped: bool) -> None:
        if stopped and lifted.is_set():
            made.set()
        if not stopped and not lifted.is_set():
            # Only now does the late setting reach the broker; it is answered, and noted, before the resume commits.
            lifted.set()
            await made.wait()
            await asyncio.sleep(1.0)

    broker.before, broker.after = before, after
    # Armed again twice: the setting of the first round is on its way, the round of the second confirms.
    await other.halts.arm(arm("account:acc1"))
    await sent.wait()
    await one.halts.arm(arm("account:acc1"))
    receipt = await one.until("account:acc1", lambda receipt: receipt.level is Level.BROKER_FENCED)
    await one.halts.resume(resume("account:acc1", receipt.epoch))
    async with asyncio.timeout(30):
        while broker.suspended:
            await asyncio.sleep(0.05)


async def test_K04_a_stop_whose_halt_was_covered_at_the_first_look_alone_is_not_told_as_lifted(
    replicas: Replicas, clock: Clock
) -> None:
    one, broker, db = replicas.make(), replicas.broker, replicas.db
    armed = await one.halts.arm(arm("account:acc1"))
    assert armed.halt is not None
    await one.halts.resume(resume("account:acc1", armed.halt.epoch))
    # What a setting of that halt leaves which was made behind its resume.
    broker.suspended.add("acc1")
    stray = Fence("acc1", "fake", "unknown", "set behind its resume", 1)
    async with db.begin(urgent=True) as tx:
        receipt = await halt_store.lock_receipt(tx, armed.halt.epoch)
        assert receipt is not None
        doubtful = replace(receipt, fences=(stray,), pending=("fence",), updated_at_us=0)
        await halt_store.update_receipt(tx, doubtful)
    # Another halt covers the account at the first look; it is resumed before the second, and has set nothing.
    keeper = one.halts._keeper
    assert keeper is not None
    lift = keeper.lift
    async with db.begin(urgent=True) as tx:
        covering = await arm_in(tx, clock, arm("global"), None)

    async def meanwhile(fences: Iterable[Fence]) -> dict[str, str]:
        problems = await lift(fences)
        async with db.begin(urgent=True) as tx:
            await resume_in(tx, clock, resume("global", covering.epoch), {})
        return problems

    keeper.lift = meanwhile  # type: ignore[method-assign]
    assert await keeper.give_up(doubtful) is False
    keeper.lift = lift  # type: ignore[method-assign]
    assert broker.suspended == {"acc1"}
    assert await keeper.give_up(doubtful) is True
    assert broker.suspended == set()
