"""An armed halt carried to its end: drain, cancel sweep, flatten, fence; each step is written down before it is told.

Any process may carry a receipt on: what is to do stands in its row, and every step may be done twice.
"""

from dataclasses import replace

from paiid.brokers import BrokerError
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable
from paiid.domain.errors import Problem
from paiid.domain.halts import Level, Mode, Receipt
from paiid.domain.identity import Actor, Principal
from paiid.trading import halt_store
from paiid.trading.halt_change import Arm, arm_in
from paiid.trading.halt_sweep import Sweeper, Swept

_POLL_S = 0.02
_SLOW_POLL_S = 0.25
_RETRY_S = 1.0
_HEARTBEAT_S = 5.0


class Errand:
    """One receipt on its way. `sweeper` None: a process without brokers, which only drains."""

    def __init__(self, db: Database, clock: Clock, sweeper: Sweeper | None, receipt: Receipt) -> None:
        self._db = db
        self._clock = clock
        self._sweeper = sweeper
        self._receipt = receipt
        self._swept: Swept = {
            (c.account_id, c.broker_order_id or c.order_id or ""): c for c in receipt.cancels
        }
        self._asked: dict[str, float] = {}
        self._empty = 0
        self._doubtful_asked = False
        self._saved_s = self._clock.monotonic_s()
        self._pause_s = _POLL_S

    async def run(self) -> int:
        """The epoch that the wish ended in: flatten ends in a second one, its fence."""
        while self._receipt.pending:
            if self._sweeper is None and "drain" not in self._receipt.pending:
                # Released at once, so that a process with brokers need not wait for it to look abandoned.
                async with self._db.begin() as tx:
                    await halt_store.update_receipt(tx, replace(self._receipt, updated_at_us=0))
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

    async def _turn(self) -> None:
        if "drain" in self._receipt.pending:
            await self._drain()
        if self._sweeper is not None and {"cancel", "flatten"} & set(self._receipt.pending):
            if await self._superseded():
                await self._save(
                    replace(
                        self._receipt,
                        pending=tuple(s for s in self._receipt.pending if s == "drain"),
                        problem="the halt was changed before this was done",
                    )
                )
                return
            if "cancel" in self._receipt.pending:
                await self._cancel(self._sweeper)
            elif "drain" not in self._receipt.pending:
                await self._flatten(self._sweeper)
        if self._clock.monotonic_s() - self._saved_s > _HEARTBEAT_S:
            await self._save(self._receipt)

    async def _drain(self) -> None:
        async with self._db.read() as tx:
            left = await halt_store.load_still_on_wire(tx, self._receipt.on_wire, await tx.now_us())
        if not left:
            level = Level.DRAINED if self._receipt.level is Level.EFFECTIVE else self._receipt.level
            await self._save(replace(self._receipt, level=level, pending=self._without("drain")))

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
        closes = await sweeper.close_all(accounts, self._receipt, principal)
        await self._save(replace(self._receipt, closes=tuple(closes)))
        fence = Arm(
            self._receipt.scope,
            Mode.HALTED,
            str(self._receipt.actor.get("reason", "flatten")),
            self._actor(),
            principal,
        )
        async with self._db.begin(urgent=True) as tx:
            result = await arm_in(tx, self._clock, fence)
            if isinstance(result, Receipt):
                done = replace(
                    result, wishes=self._receipt.wishes, cancels=self._receipt.cancels, closes=tuple(closes)
                )
                await halt_store.update_receipt(tx, done)
                await halt_store.update_receipt(tx, replace(self._receipt, pending=self._without("flatten")))
        if isinstance(result, Problem):
            await self._save(replace(self._receipt, pending=self._without("flatten"), problem=result.detail))
            return
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

    async def _save(self, receipt: Receipt) -> None:
        async with self._db.begin(urgent=True) as tx:
            receipt = replace(receipt, updated_at_us=await tx.now_us())
            await halt_store.update_receipt(tx, receipt)
        self._receipt = receipt
        self._saved_s = self._clock.monotonic_s()

    async def _try_save(self, receipt: Receipt) -> None:
        try:
            await self._save(receipt)
        except DatabaseUnavailable:
            self._receipt = receipt
