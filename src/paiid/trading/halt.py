"""The halt: arms at once, tells honestly how far it has come, and carries on in the background (part K).

arm       one transaction; its commit is `effective`, its receipt says what is still to do
carry on  drain, cancel sweep, flatten, fence; 10 s in the call, then in the background, after a crash on any replica
resume    lifts what our halts set at the brokers, then one transaction; what stays halted is fenced again
latch     what could not be written: holds this process, is tried again every second
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import structlog

from paiid.core.clock import Clock, new_id
from paiid.core.db import Database, DatabaseUnavailable
from paiid.domain.errors import Code, Problem
from paiid.domain.halts import Halt, InFlight, Mode, Receipt, Scope
from paiid.domain.identity import Actor, Principal
from paiid.stream.journal import Told, nobody
from paiid.trading import halt_store
from paiid.trading.halt_change import Arm, Resume, arm_in, refuse_scope
from paiid.trading.halt_channel import nothing
from paiid.trading.halt_errand import Errand
from paiid.trading.halt_fence import FenceKeeper
from paiid.trading.halt_figures import HaltFigures
from paiid.trading.halt_resume import Resumes
from paiid.trading.halt_stops import OwnStops
from paiid.trading.halt_sweep import Sweeper
from paiid.trading.latch import Latch, PendingArm

_log = structlog.get_logger("paiid.trading.halt")
CAP_S = 10.0
_EVERY_S = 1.0
_ABANDONED_US = 15_000_000


@dataclass(frozen=True, slots=True)
class HaltView:
    """One scope at this moment: its row, how far its latest change has come, and what is not settled in it.

    `mode` is the severest of the scope's own halt and the global one; `latch` is why this process is halted.
    """

    scope: Scope
    mode: Mode
    halt: Halt | None
    receipt: Receipt | None
    in_flight: tuple[InFlight, ...]
    latch: str | None


class HaltService:
    """Arms, resumes and reports. `arm` and `resume` raise Problem; 503 after setting the latch (K10)."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        latch: Latch,
        sweeper: Sweeper | None,
        *,
        cap_s: float = CAP_S,
        keeper: FenceKeeper | None = None,
        told: Told = nobody,
        changed: Callable[[], None] = nothing,
    ) -> None:
        """`sweeper` None: a process that cannot cancel; `keeper` is made of the sweeper's brokers if left out. `changed` hears of
        every change of a halt once it is committed, `told` of the events that it wrote for an account."""
        self.figures = HaltFigures()
        self._told = told
        self._changed = changed
        self._db = db
        self._clock = clock
        self._latch = latch
        self._sweeper = sweeper
        self._cap_s = cap_s
        if keeper is None and sweeper is not None:
            keeper = FenceKeeper(db, clock, sweeper.brokers, sweeper.timeout_s)
        self._keeper = keeper
        self._resumes = Resumes(db, clock, keeper)
        self._carrying: dict[int, asyncio.Task[int]] = {}
        # Pending halts that the table has taken; a latch file that cannot be removed must not arm them again.
        self._settled: set[str] = set()
        self._running: asyncio.Task[None] | None = None

    # -- the calls ----------------------------------------------------------------------------------

    async def arm(self, arm: Arm) -> HaltView:
        """Halt a scope; returns once drained and swept, or after 10 s with what was reached by then.

        Raises Problem: 403, 404, 409 where the scope is halted harder already; 503 where the database did not
        take it, with this process halted by its latch until it does.
        """
        if arm.flatten and arm.scope.kind == "user":
            raise Problem(
                Code.INVALID_REQUEST, "Positions belong to accounts; flatten an account, a symbol or all."
            )
        began_s = self._clock.monotonic_s()
        try:
            async with self._db.begin(urgent=True) as tx:
                result = await arm_in(tx, self._clock, arm, self._own_stops)
        except DatabaseUnavailable as problem:
            self.figures.changes.add("latched")
            raise await self._set_latch(arm) from problem
        if isinstance(result, Problem):
            self.figures.changes.add("arm_refused")
            raise result
        took_s = self._clock.monotonic_s() - began_s
        self.figures.changes.add("armed")
        self.figures.seconds.observe(took_s, "effective")
        if "drain" not in result.pending:
            self.figures.seconds.observe(took_s, "drained")
        self._publish(arm.scope)
        epoch = result.epoch
        if result.pending:
            task = self._carry_on(result)
            await asyncio.wait({task}, timeout=self._cap_s)
            if task.done() and not task.cancelled() and task.exception() is None:
                epoch = task.result()
        return await self._after(arm.scope, result, epoch)

    async def resume(self, resume: Resume) -> HaltView:
        """Loosen a scope, after the brokers' own stops that our halts have set in it. Raises Problem: 403, 404, 409
        (the epoch moved on; something is not settled), 503 where a broker does not confirm; DatabaseUnavailable."""
        try:
            result = await self._resumes.resume(resume)
        finally:
            await self._set_again()
        if isinstance(result, Problem):
            self.figures.changes.add("resume_refused")
            raise result
        self.figures.changes.add("resumed")
        self._publish(resume.scope)
        return await self.view(resume.scope)

    def _publish(self, scope: Scope) -> None:
        """Committed: the streams may tell it."""
        self._changed()
        if scope.kind == "account":
            self._told([scope.id])

    async def _set_again(self) -> None:
        """What a resume has lifted in vain is set again by the halts that cover it, at once."""
        try:
            if await self._resumes.set_again():
                await self._adopt_abandoned()
        except DatabaseUnavailable as problem:
            # The background work comes back to it every second.
            _log.warning("halt_fence_waits", reason=str(problem))

    async def view(self, scope: Scope, epoch: int | None = None) -> HaltView:
        """The scope as it is, with the receipt of its latest change or of the one named.

        Raises Problem (404) for an epoch of no receipt, DatabaseUnavailable.
        """
        async with self._db.read() as tx:
            now_us = await tx.now_us()
            receipt = (
                await halt_store.find_latest_receipt(tx, scope)
                if epoch is None
                else await halt_store.find_receipt(tx, epoch)
            )
            if receipt is None and epoch is not None:
                raise Problem(Code.NOT_FOUND, f"There is no change of a halt with epoch {epoch}.")
            if receipt is not None:
                scope = receipt.scope
            halt = await halt_store.find_halt(tx, scope)
            everything = (await halt_store.load_active(tx)).halts.get("global")
            waited_for = set(receipt.on_wire) if receipt is not None and "drain" in receipt.pending else set()
            flying = [o for o in await halt_store.load_on_wire(tx, scope, now_us) if o.id in waited_for]
            doubted = await halt_store.load_in_doubt(tx, scope)
        modes = [found.mode for found in (halt, everything) if found is not None]
        mode = max(modes, key=lambda one: one.severity, default=Mode.ACTIVE)
        return HaltView(scope, mode, halt, receipt, (*flying, *doubted), self._latch.holds())

    async def of_symbols(self) -> list[Halt]:
        """The halts of single symbols in force, by symbol. Raises DatabaseUnavailable."""
        async with self._db.read() as tx:
            active = (await halt_store.load_active(tx)).halts.values()
        return sorted((one for one in active if one.scope.kind == "symbol"), key=lambda one: one.scope.id)

    async def refuse(self, principal: Principal, scope: Scope) -> Problem | None:
        """Why this caller may not arm this scope, and so may not see what is in it. Raises DatabaseUnavailable."""
        async with self._db.begin() as tx:
            return await refuse_scope(tx, principal, scope)

    async def _after(self, scope: Scope, armed: Receipt, epoch: int) -> HaltView:
        """The answer to an arming that has been committed: a database that has gone since takes nothing back."""
        try:
            return await self.view(scope, epoch)
        except DatabaseUnavailable:
            halt = Halt(
                scope, armed.mode, armed.epoch, str(armed.actor.get("reason", "")), "", armed.started_at_us
            )
            unseen = tuple(InFlight(order_id, "", "", "", "DISPATCHING") for order_id in armed.on_wire)
            return HaltView(scope, armed.mode, halt, armed, unseen, self._latch.holds())

    @property
    def latched(self) -> bool:
        """Whether this process is halted by its latch file."""
        return self._latch.holds() is not None

    @property
    def _own_stops(self) -> OwnStops | None:
        return None if self._keeper is None else self._keeper.own_stops

    # -- the latch ----------------------------------------------------------------------------------

    async def _set_latch(self, arm: Arm) -> Problem:
        """This process stops now, and the wish is kept until the table holds it (contract K10)."""
        role = "host" if arm.principal is None else arm.principal.role
        if role == "viewer":
            return Problem(Code.FORBIDDEN, "A viewer cannot halt trading; ask the owner for another role.")
        pending = PendingArm(
            id=new_id(self._clock, "arm"),
            scope=str(arm.scope),
            mode=(Mode.REDUCE_ONLY if arm.flatten else arm.mode).value,
            reason=arm.reason,
            by_kind=arm.actor.kind,
            by_id=arm.actor.id,
            by_role=role,
            at_us=self._clock.now_us(),
            cancel=arm.cancel or arm.flatten,
        )
        words = "This process sends nothing until the database holds the halt; it keeps trying."
        try:
            await asyncio.to_thread(self._latch.add, pending)
        except OSError as error:
            _log.error("latch_not_written", error=type(error).__name__)
            words = "This process sends nothing until then, but the latch file could not be written: do not restart it."
        _log.warning("latch_set", scope=pending.scope, mode=pending.mode, by=pending.by_id)
        return Problem(
            Code.DATABASE_UNAVAILABLE,
            f"The database cannot be reached, so the halt of {arm.scope} is not in force everywhere yet. {words}",
            headers={"Retry-After": "1"},
            extra={"latched": True, "scope": pending.scope, "mode": pending.mode},
        )

    async def settle_latch(self) -> int:
        """Bring what the latch stands for to the table; how many are held by it now. Raises DatabaseUnavailable."""
        waiting = self._latch.to_settle()
        if not waiting:
            return 0
        with self._latch.settling() as mine:
            # Read again: another process may have settled them while this one looked.
            waiting = self._latch.to_settle() if mine else []
            for one in waiting:
                if one.id not in self._settled:
                    await self._settle(one)
                    self._settled.add(one.id)
                await asyncio.to_thread(self._latch.remove, {one.id})
                _log.info("latch_settled", scope=one.scope)
        return len(waiting)

    async def _settle(self, one: PendingArm) -> None:
        actor = Actor(one.by_kind, one.by_id)
        person = None
        if one.by_role in ("trader", "viewer"):
            person = Principal(one.by_id, "", "trader", "session", "", frozenset())
        arm = Arm(Scope.parse(one.scope), Mode(one.mode), one.reason, actor, person, cancel=one.cancel)
        async with self._db.begin(urgent=True) as tx:
            result = await arm_in(tx, self._clock, arm, self._own_stops)
        # A refusal is an answer too: halted harder already, or a scope that is not there or not his to halt.
        if isinstance(result, Problem):
            _log.warning("latched_halt_refused", scope=one.scope, by=one.by_id, reason=result.detail)
            return
        self._publish(arm.scope)
        if result.pending:
            self._carry_on(result)

    # -- in the background --------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin the background work."""
        self._running = asyncio.create_task(self.run(), name="paiid-halt")

    async def run(self) -> None:
        """Settle the latch and carry abandoned receipts on, every second, until cancelled."""
        while True:
            try:
                await self.settle_latch()
                await self._resumes.set_again()
                await self._adopt_abandoned()
            except (DatabaseUnavailable, OSError) as problem:
                _log.info("halt_waits", reason=str(problem))
            await self._clock.sleep(_EVERY_S)

    async def stop(self) -> None:
        """End the work of this process; another, or the next start, carries the receipts on."""
        tasks: set[asyncio.Task[Any]] = set(self._carrying.values())
        if self._running is not None:
            tasks.add(self._running)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        if self._keeper is not None:
            await self._keeper.stop()

    async def _adopt_abandoned(self) -> None:
        async with self._db.read() as tx:
            now_us = await tx.now_us()
            found = await halt_store.load_abandoned_receipts(tx, now_us - _ABANDONED_US)
        for receipt in found:
            if receipt.epoch in self._carrying:
                continue
            async with self._db.begin() as tx:
                now_us = await tx.now_us()
                mine = await halt_store.take_receipt(tx, receipt, now_us)
            if mine:
                self._carry_on(replace(receipt, updated_at_us=now_us))

    def _carry_on(self, receipt: Receipt) -> "asyncio.Task[int]":
        running = self._carrying.get(receipt.epoch)
        if running is not None:
            running.cancel()
        task = asyncio.create_task(
            Errand(
                self._db, self._clock, self._sweeper, receipt, self._keeper, self._publish, self.figures
            ).run(),
            name=f"paiid-halt-{receipt.epoch}",
        )
        self._carrying[receipt.epoch] = task
        task.add_done_callback(lambda done: self._ended(receipt.epoch, done))
        return task

    def _ended(self, epoch: int, task: "asyncio.Task[int]") -> None:
        if self._carrying.get(epoch) is task:
            del self._carrying[epoch]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("halt_errand_failed", epoch=epoch, error=type(error).__name__)
