"""An armed halt carried to its end: drain, cancel sweep, flatten, fence; each step is written down before it is told.

Any process may carry a receipt on: what is to do stands in its row, and every step may be done twice.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from paiid.brokers import BrokerError
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable
from paiid.domain.errors import Problem
from paiid.domain.halts import Level, Mode, Receipt, Scope
from paiid.domain.identity import Actor, Principal
from paiid.trading import halt_store
from paiid.trading.halt_change import Arm, arm_in
from paiid.trading.halt_fence import FenceKeeper
from paiid.trading.halt_figures import HaltFigures
from paiid.trading.halt_stops import has_fence
from paiid.trading.halt_sweep import PUT_OFF, Asks, Sweeper, Swept

_POLL_S = 0.02
_SLOW_POLL_S = 0.25
_RETRY_S = 1.0
_HEARTBEAT_S = 5.0
_FENCE_WAIT_S = 1.0
_LONGEST_FENCE_PAUSE_S = 30.0
"""A broker that does not answer is asked after 1, 2, 4 … s: it counts our requests, and orders need them too."""


class Errand:
    """One receipt on its way. `sweeper` None: a process that cannot cancel or close; `keeper` None: nor fence."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        sweeper: Sweeper | None,
        receipt: Receipt,
        keeper: FenceKeeper | None = None,
        changed: Callable[[Scope], None] = lambda _: None,
        figures: HaltFigures | None = None,
    ) -> None:
        self._figures = figures or HaltFigures()
        self._changed = changed
        self._db = db
        self._clock = clock
        self._sweeper = sweeper
        self._keeper = keeper
        self._receipt = receipt
        self._can = {"drain"}
        if sweeper is not None:
            self._can |= {"cancel", "flatten"}
        if keeper is not None:
            self._can.add("fence")
        self._swept: Swept = {
            (c.account_id, c.broker_order_id or c.order_id or ""): c for c in receipt.cancels
        }
        self._asked = Asks()
        self._empty = 0
        self._doubtful_asked = False
        self._saved_s = self._clock.monotonic_s()
        self._pause_s = _POLL_S
        self._fencing: asyncio.Task[bool] | None = None
        self._fence_at_s = 0.0
        self._fence_pause_s = 1.0

    async def run(self) -> int:
        """The epoch that the wish ended in: flatten ends in a second one, its fence."""
        try:
            return await self._run()
        finally:
            if self._fencing is not None:
                self._fencing.cancel()
                await asyncio.wait({self._fencing})

    async def _run(self) -> int:
        while self._receipt.pending:
            if not self._can_now & set(self._receipt.pending):
                # Released at once, so that a process with brokers need not wait for it to look abandoned.
                await self._save(self._receipt, released=True)
                break
            self._pause_s = _POLL_S if "drain" in self._receipt.pending else _SLOW_POLL_S
            try:
                await self._turn()
            except (DatabaseUnavailable, BrokerError) as problem:
                self._pause_s = _RETRY_S
                await self._try_save(replace(self._receipt, problem=f"still trying: {problem}"))
            if self._receipt.pending:
                await self._clock.sleep(self._pause_s)
        return self._receipt.epoch

    @property
    def _can_now(self) -> set[str]:
        """Where this replica takes no orders it closes nothing either, and leaves that to another."""
        if "flatten" in self._receipt.pending and self._sweeper is not None and not self._sweeper.may_close:
            return self._can - {"flatten"}
        return self._can

    async def _turn(self) -> None:
        if "drain" in self._receipt.pending:
            await self._drain()
        if self._can_now & set(self._receipt.pending) - {"drain"}:
            if await self._superseded():
                await self._give_up()
            else:
                await self._go_on()
        if self._clock.monotonic_s() - self._saved_s > _HEARTBEAT_S:
            await self._save(self._receipt)

    async def _go_on(self) -> None:
        """The steps behind the drain; only asking to cancel does not wait for it."""
        drained = "drain" not in self._receipt.pending
        if self._keeper is not None and "fence" in self._receipt.pending and drained:
            await self._fence(self._keeper)
        if self._sweeper is not None and "cancel" in self._receipt.pending:
            await self._cancel(self._sweeper)
        elif (
            self._sweeper is not None and "flatten" in self._can_now & set(self._receipt.pending) and drained
        ):
            await self._flatten(self._sweeper)

    async def _give_up(self) -> None:
        """The halt was changed: what it has not done is not wished any more, and no stop of it may stay behind."""
        if self._fencing is not None:
            # Whatever it does from here, it finds the halt changed and writes nothing down.
            await asyncio.wait({self._fencing})
            ended, self._fencing = self._fencing, None
            ended.result()
        cleared = "fence" not in self._receipt.pending
        if not cleared and self._keeper is not None:
            if self._clock.monotonic_s() < self._fence_at_s:
                self._pause_s = _RETRY_S
                return
            self._fence_later()
            cleared = await self._keeper.give_up(self._receipt)
        left = {"drain"} if cleared else {"drain", "fence"}
        await self._save(
            replace(
                self._receipt,
                pending=tuple(step for step in self._receipt.pending if step in left),
                problem="the halt was changed before this was done",
            ),
            fenced=cleared,
        )

    async def _fence(self, keeper: FenceKeeper) -> None:
        """Begin a round at the brokers, or look what has become of it: it runs beside the other steps."""
        if self._fencing is None and self._clock.monotonic_s() >= self._fence_at_s:
            self._fencing = asyncio.create_task(keeper.fence(self._receipt.epoch), name="paiid-halt-fence")
            self._fence_later()
        if self._fencing is None:
            self._pause_s = _RETRY_S
            return
        if self._receipt.pending == ("fence",):
            await asyncio.wait({self._fencing}, timeout=_FENCE_WAIT_S)
            self._pause_s = _POLL_S
        if self._fencing.done():
            ended, self._fencing = self._fencing, None
            done = ended.result()
            await self._save(self._receipt)
            if done:
                self._fence_at_s, self._fence_pause_s = 0.0, 1.0

    def _fence_later(self) -> None:
        """The earliest instant of the next round."""
        self._fence_at_s = self._clock.monotonic_s() + self._fence_pause_s
        self._fence_pause_s = min(2 * self._fence_pause_s, _LONGEST_FENCE_PAUSE_S)

    async def _drain(self) -> None:
        async with self._db.read() as tx:
            now_us = await tx.now_us()
            left = await halt_store.load_still_on_wire(tx, self._receipt.on_wire, now_us)
        if not left:
            took_s = max(0, now_us - self._receipt.started_at_us) / 1_000_000
            self._figures.seconds.observe(took_s, "drained")
            level = Level.DRAINED if self._receipt.level is Level.EFFECTIVE else self._receipt.level
            await self._save(replace(self._receipt, level=level, pending=self._without("drain")))
            await self._want_fence()

    async def _want_fence(self) -> None:
        """A halt that the ledger has armed by itself knows no brokers: it is fenced like any other."""
        receipt = self._receipt
        if self._keeper is None or receipt.fences or "fence" in receipt.pending:
            return
        if has_fence(receipt.scope, receipt.mode) and await self._keeper.accounts(receipt.scope):
            await self._save(replace(receipt, pending=(*receipt.pending, "fence")), fenced=True)

    async def _superseded(self) -> bool:
        async with self._db.read() as tx:
            halt = await halt_store.find_halt(tx, self._receipt.scope)
        return halt is None or halt.epoch != self._receipt.epoch

    async def _cancel(self, sweeper: Sweeper) -> None:
        scope, actor = self._receipt.scope, self._actor()
        accounts = await sweeper.accounts(scope)
        if not self._doubtful_asked:
            self._swept.update(await sweeper.request_doubtful(scope, actor))
            self._doubtful_asked = True
        swept, listed = await sweeper.sweep(accounts, scope, actor, self._asked)
        self._swept.update(swept)
        # An order still on the wire may show up after an empty list: lists count once it is drained.
        self._empty = self._empty + 1 if listed == 0 and "drain" not in self._receipt.pending else 0
        if self._empty >= 2:
            self._swept = await sweeper.settle(accounts, self._swept)
            await self._save(
                replace(
                    self._receipt,
                    cancels=tuple(self._swept.values()),
                    pending=self._without("cancel"),
                    problem=None,
                )
            )
            return
        if swept:
            await self._save(replace(self._receipt, cancels=tuple(self._swept.values()), problem=None))
        self._pause_s = max(_POLL_S, sweeper.lag_s(accounts)) if listed == 0 else _SLOW_POLL_S

    async def _flatten(self, sweeper: Sweeper) -> None:
        """Close, then fence: only now does the scope become halted (contract K6)."""
        principal = self._principal()
        if principal is None:
            why = "positions are closed in the name of a signed-in caller; there is none"
            await self._save(replace(self._receipt, pending=self._without("flatten"), problem=why))
            return
        accounts = await sweeper.accounts(self._receipt.scope)
        found = {(one.account_id, one.symbol): one for one in self._receipt.closes}
        told = await sweeper.close_all(accounts, self._receipt, principal)
        # What an earlier turn has closed is not held any more, and is told all the same.
        closes = (found | {(one.account_id, one.symbol): one for one in told}).values()
        await self._save(replace(self._receipt, closes=tuple(closes)))
        if any(one.outcome == PUT_OFF for one in told):
            self._pause_s = _RETRY_S
            return
        fence = Arm(
            self._receipt.scope,
            Mode.HALTED,
            str(self._receipt.actor.get("reason", "flatten")),
            self._actor(),
            principal,
        )
        own_stops = None if self._keeper is None else self._keeper.own_stops
        async with self._db.begin(urgent=True) as tx:
            result = await arm_in(tx, self._clock, fence, own_stops)
            if isinstance(result, Receipt):
                done = replace(
                    result, wishes=self._receipt.wishes, cancels=self._receipt.cancels, closes=tuple(closes)
                )
                await halt_store.update_receipt(tx, done)
                await halt_store.update_receipt(tx, replace(self._receipt, pending=self._without("flatten")))
        if isinstance(result, Problem):
            await self._save(replace(self._receipt, pending=self._without("flatten"), problem=result.detail))
            return
        self._changed(done.scope)
        self._receipt = done

    def _without(self, step: str) -> tuple[str, ...]:
        return tuple(one for one in self._receipt.pending if one != step)

    def _actor(self) -> Actor:
        return Actor(str(self._receipt.actor["kind"]), str(self._receipt.actor["id"]))

    def _principal(self) -> Principal | None:
        found = self._receipt.actor.get("principal")
        if not isinstance(found, dict):
            return None
        return Principal(**{**found, "scopes": frozenset(found["scopes"])})

    async def _save(self, receipt: Receipt, *, fenced: bool = False, released: bool = False) -> None:
        """Write it down. Of the fence the row knows best: it is written by the keeper, and by resumes that fail;
        `fenced` says that this step, too, is told by the receipt in hand."""
        async with self._db.begin(urgent=True) as tx:
            row = await halt_store.lock_receipt(tx, receipt.epoch)
            if row is not None:
                receipt = _with_fence_of(row, receipt, keep_step=fenced)
            receipt = replace(receipt, updated_at_us=0 if released else await tx.now_us())
            await halt_store.update_receipt(tx, receipt)
        self._receipt = receipt
        self._saved_s = self._clock.monotonic_s()

    async def _try_save(self, receipt: Receipt) -> None:
        try:
            await self._save(receipt)
        except DatabaseUnavailable:
            self._receipt = receipt


def _with_fence_of(row: Receipt, ours: Receipt, *, keep_step: bool) -> Receipt:
    level = ours.level
    if Level.BROKER_FENCED in (row.level, ours.level) and level is not Level.EFFECTIVE:
        level = row.level
    pending = ours.pending
    if not keep_step:
        pending = tuple(step for step in ours.pending if step != "fence")
        pending += ("fence",) if "fence" in row.pending else ()
    return replace(ours, level=level, pending=pending, fences=row.fences)
