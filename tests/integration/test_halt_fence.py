"""The third step of a halt: the broker's own stop is set too, and never told before the broker shows it (K4, K6)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from paiid.brokers import BrokerRejected, NotSent, OutcomeUnknown
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.domain.halts import Level, Mode, Receipt, Scope
from paiid.trading.book import Book
from paiid.trading.correction import halt_corrected
from paiid.trading.halt_change import Arm, arm_in
from paiid.trading.store import load_orders
from tests.conftest import MakeApp
from tests.fakes import FakeBroker
from tests.fence_world import Replicas, StoppingBroker, outcomes, replicas_over
from tests.halt_world import HOST, add_order, arm, audit_actions
from tests.orders_world import QUICK, Trading, until


@pytest.fixture
async def replicas(peopled_db: Database, clock: Clock, tmp_path: Path) -> AsyncIterator[Replicas]:
    async with replicas_over(peopled_db, clock, tmp_path / "data", StoppingBroker()) as made:
        yield made


@pytest.mark.parametrize(("scope", "numbers"), [("account:acc1", {"acc1"}), ("global", {"acc1", "acc2"})])
async def test_K04_a_halt_of_whole_accounts_is_set_at_the_broker_too_and_only_then_told_as_fenced(
    replicas: Replicas, scope: str, numbers: set[str]
) -> None:
    view = await replicas.make().halts.arm(arm(scope))
    assert view.receipt is not None
    assert view.receipt.level is Level.BROKER_FENCED
    assert view.receipt.pending == ()
    assert outcomes(view) == dict.fromkeys(numbers, "fenced")
    assert replicas.broker.suspended == numbers
    told = [subject for action, subject, _ in await audit_actions(replicas.db) if action == "halt.fenced"]
    assert sorted(told) == [f"account:{number}" for number in sorted(numbers)]


@pytest.mark.parametrize(
    ("scope", "mode"),
    [("user:usr1", Mode.HALTED), ("symbol:AAPL", Mode.HALTED), ("global", Mode.REDUCE_ONLY)],
)
async def test_K04_what_is_less_than_a_whole_account_halted_is_not_set_at_the_broker(
    replicas: Replicas, scope: str, mode: Mode
) -> None:
    view = await replicas.make().halts.arm(arm(scope, mode))
    assert view.receipt is not None
    assert (view.receipt.level, view.receipt.pending) == (Level.DRAINED, ())
    assert replicas.broker.calls == []


async def test_K04_a_broker_without_a_stop_of_its_own_has_no_such_step(replicas: Replicas) -> None:
    view = await replicas.make(broker=FakeBroker("fake")).halts.arm(arm("global"))
    assert view.receipt is not None
    assert (view.receipt.level, view.receipt.pending, view.receipt.fences) == (Level.DRAINED, (), ())


async def test_K04_the_broker_is_asked_only_once_nothing_is_on_the_wire(
    replicas: Replicas, clock: Clock
) -> None:
    wire = await add_order(replicas.db, clock, "acc1", "usr1", "DISPATCHING")
    view = await replicas.make(cap_s=0.3).halts.arm(arm("account:acc1"))
    assert view.receipt is not None
    assert view.receipt.pending == ("drain", "fence")
    assert view.receipt.level is Level.EFFECTIVE
    assert replicas.broker.calls == []
    assert view.receipt.on_wire == (wire,)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NotSent("connection refused"), "failed"),
        (OutcomeUnknown("no answer in time"), "unknown"),
        (BrokerRejected("forbidden", "not today"), "failed"),
    ],
)
async def test_K04_a_broker_that_does_not_confirm_leaves_the_level_at_drained_and_is_asked_again(
    replicas: Replicas, error: Exception, outcome: str
) -> None:
    async def before(number: str, stopped: bool) -> None:
        raise error

    replicas.broker.before = before
    server = replicas.make(cap_s=0.5)
    began_s = asyncio.get_running_loop().time()
    await server.halts.arm(arm("account:acc1"))
    # On a slow machine the answer may come before the first round has ended.
    told = await server.until("account:acc1", lambda one: str(error) in _words(one))
    assert (told.level, told.pending) == (Level.DRAINED, ("fence",))
    assert outcomes(told) == {"acc1": outcome}
    # Once, and again after a second at the earliest.
    assert len(replicas.broker.calls) <= 1 + int(asyncio.get_running_loop().time() - began_s)
    replicas.broker.before = None
    receipt = await server.until("account:acc1", lambda one: one.level is Level.BROKER_FENCED)
    assert receipt.pending == ()
    assert outcomes(receipt) == {"acc1": "fenced"}


async def test_K04_a_broker_that_cannot_even_be_looked_at_is_told_as_failed(replicas: Replicas) -> None:
    replicas.broker.stop_error = NotSent("connection refused")
    server = replicas.make(cap_s=0.4)
    await server.halts.arm(arm("account:acc1"))
    told = await server.until("account:acc1", lambda one: outcomes(one) == {"acc1": "failed"})
    assert told.level is Level.DRAINED
    assert replicas.broker.calls == []


async def test_K04_one_account_that_is_not_confirmed_keeps_the_whole_scope_from_being_fenced(
    replicas: Replicas,
) -> None:
    replicas.broker.fail_for("acc2", stopped=True)
    server = replicas.make(cap_s=0.4)
    await server.halts.arm(arm("global"))
    told = await server.until("global", lambda one: "no answer in time" in _words(one))
    assert (told.level, told.pending) == (Level.DRAINED, ("fence",))
    assert outcomes(told) == {"acc1": "fenced", "acc2": "unknown"}


async def test_K04_an_answer_that_was_lost_does_not_make_the_stop_somebody_elses(replicas: Replicas) -> None:
    seen = asyncio.Event()

    async def before(number: str, stopped: bool) -> None:
        await seen.wait()

    async def after(number: str, stopped: bool) -> None:
        # The next setting waits until the test has seen what became of this one.
        replicas.broker.after, replicas.broker.before = None, before
        raise OutcomeUnknown("no answer in time")

    replicas.broker.after = after
    server = replicas.make(cap_s=0.3)
    await server.halts.arm(arm("account:acc1"))
    told = await server.until("account:acc1", lambda one: "no answer in time" in _words(one))
    assert outcomes(told) == {"acc1": "unknown"}
    seen.set()
    receipt = await server.until("account:acc1", lambda one: one.level is Level.BROKER_FENCED)
    assert outcomes(receipt) == {"acc1": "fenced"}


async def test_K04_a_stop_that_was_set_before_is_told_as_such(replicas: Replicas) -> None:
    replicas.broker.suspended.add("acc1")
    view = await replicas.make().halts.arm(arm("account:acc1"))
    assert view.receipt is not None
    assert view.receipt.level is Level.BROKER_FENCED
    assert outcomes(view) == {"acc1": "already"}
    assert "not by us" in (view.receipt.fences[0].message or "")


async def test_K04_an_account_that_still_shows_a_stop_that_is_gone_is_not_believed(
    replicas: Replicas,
) -> None:
    replicas.broker.shown_late.add("acc1")
    view = await replicas.make().halts.arm(arm("account:acc1"))
    assert outcomes(view) == {"acc1": "fenced"}
    assert replicas.broker.suspended == {"acc1"}


async def test_K04_cancels_do_not_wait_for_a_broker_that_is_slow_to_set_its_stop(replicas: Replicas) -> None:
    hanging = asyncio.Event()

    async def before(number: str, stopped: bool) -> None:
        await hanging.wait()

    replicas.broker.before = before
    server = replicas.make(cap_s=0.8)
    await server.halts.arm(replace(arm("account:acc1"), cancel=True))
    told = await server.until("account:acc1", lambda one: one.pending == ("fence",))
    assert told.level is Level.DRAINED
    hanging.set()
    receipt = await server.until("account:acc1", lambda one: not one.pending)
    assert receipt.level is Level.BROKER_FENCED


async def test_K04_a_server_that_dies_on_the_way_leaves_the_fence_to_another(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paiid.trading.halt._ABANDONED_US", 50_000)
    replicas.broker.stop_error = NotSent("connection refused")
    dead = replicas.make(cap_s=0.2)
    await dead.halts.arm(arm("global"))
    await dead.halts.stop()
    replicas.broker.stop_error = None
    heir = await replicas.start()
    receipt = await heir.until("global", lambda one: one.level is Level.BROKER_FENCED)
    assert outcomes(receipt) == {"acc1": "fenced", "acc2": "fenced"}


async def test_K07_arming_again_sets_a_stop_that_was_lifted_by_hand_and_keeps_the_epoch(
    replicas: Replicas,
) -> None:
    server = replicas.make()
    first = await server.halts.arm(arm("account:acc1"))
    replicas.broker.suspended.clear()
    again = await server.halts.arm(arm("account:acc1"))
    assert first.halt == again.halt
    assert again.receipt is not None
    assert again.receipt.level is Level.BROKER_FENCED
    assert replicas.broker.suspended == {"acc1"}


async def test_K04_arming_again_does_not_go_on_claiming_a_fence_that_cannot_be_seen(
    replicas: Replicas,
) -> None:
    server = replicas.make(cap_s=0.4)
    await server.halts.arm(arm("account:acc1"))
    await server.until("account:acc1", lambda one: one.level is Level.BROKER_FENCED)
    replicas.broker.stop_error = NotSent("connection refused")
    again = await server.halts.arm(arm("account:acc1"))
    assert again.receipt is not None
    assert (again.receipt.level, again.receipt.pending) == (Level.DRAINED, ("fence",))


async def test_K04_arming_again_claims_the_fence_only_once_it_is_confirmed_again(replicas: Replicas) -> None:
    await replicas.make().halts.arm(arm("account:acc1"))
    async with replicas.db.begin() as tx:
        again = await arm_in(tx, replicas.clock, arm("account:acc1"), lambda _: True)
    assert not isinstance(again, Exception)
    assert (again.level, again.pending) == (Level.DRAINED, ("fence",))


async def test_K02_a_restart_while_halted_touches_nothing_at_the_broker(replicas: Replicas) -> None:
    first = await replicas.start()
    await first.halts.arm(arm("global"))
    await first.halts.stop()
    calls = list(replicas.broker.calls)
    second = await replicas.start()
    await asyncio.sleep(0.2)
    assert (await second.receipt("global")).level is Level.BROKER_FENCED
    assert replicas.broker.calls == calls


async def test_K09_a_halt_from_the_command_line_is_fenced_by_the_server_that_looks_next(
    replicas: Replicas,
) -> None:
    wish = Arm(Scope("account", "acc1"), Mode.HALTED, "from the host", HOST)
    async with replicas.db.begin() as tx:
        armed = await arm_in(tx, replicas.clock, wish, lambda name: name != "paper")
    assert not isinstance(armed, Exception)
    assert armed.pending == ("fence",)
    server = await replicas.start()
    receipt = await server.until("account:acc1", lambda one: not one.pending)
    assert receipt.level is Level.BROKER_FENCED


async def test_K04_a_halt_that_the_ledger_arms_by_itself_is_fenced_too(
    replicas: Replicas, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paiid.trading.halt._ABANDONED_US", 50_000)
    order_id = await add_order(replicas.db, clock, "acc1", "usr1", "ACCEPTED", status="NEW")
    async with replicas.db.begin() as tx:
        now_us = await tx.close_gate()
        book = Book(tx, clock, now_us)
        (order,) = await load_orders(tx, [order_id])
        await halt_corrected(book.tx, clock, now_us, order)
    server = await replicas.start()
    receipt = await server.until("account:acc1", lambda one: one.level is Level.BROKER_FENCED)
    assert receipt.pending == ()
    assert replicas.broker.suspended == {"acc1"}


async def test_K06_flatten_closes_first_and_fences_last(make_app: MakeApp) -> None:
    broker = StoppingBroker("paper")
    app = await make_app(broker=broker, timings=QUICK)
    trading = Trading(app, broker, await app.owner())
    await trading.hold("AAPL", 5)
    seen: list[str] = []

    async def before(number: str, stopped: bool) -> None:
        seen.extend(one.side for one in broker.submitted)

    broker.before = before

    async def halted() -> dict[str, object]:
        wish = {"halt": True, "reason": "out", "scope": "global", "flatten": True}
        return dict((await trading.owner.post("/api/admin/kill", json=wish)).json())

    async def fill_the_close() -> None:
        await until(lambda: _submitted(broker, 2))
        (closing,) = [one for one in broker.orders.values() if one.side == "sell"]
        broker.fill(closing.broker_order_id, 5, "100")

    answer, _ = await asyncio.gather(halted(), fill_the_close())
    assert answer["mode"] == "halted"
    assert answer["level"] == "broker_fenced"
    assert [one["outcome"] for one in answer["closes"]] == ["closed"]  # type: ignore[attr-defined]
    fences = {one["account"]: one["outcome"] for one in answer["fences"]}  # type: ignore[attr-defined]
    assert set(fences.values()) == {"fenced"}
    assert seen[:2] == ["buy", "sell"]
    first = (await trading.owner.get(f"/api/admin/kill?epoch={int(str(answer['epoch'])) - 1}")).json()
    assert first["receipt"]["mode"] == "reduce_only"
    assert first["fences"] == []


def _words(receipt: Receipt) -> str:
    """What is told of the stops, beside their outcomes."""
    return "; ".join(one.message or "" for one in receipt.fences)


async def _submitted(broker: FakeBroker, count: int) -> bool:
    return len(broker.orders) >= count
