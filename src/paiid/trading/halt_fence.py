"""Setting and lifting the brokers' own stops for a halt: the level `broker_fenced` (contract K4).

What is about to be set is written down first, so that an answer that was lost, or a process that died, leaves no stop
that nobody knows to be ours.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import TypeVar

import structlog

from paiid.brokers import Broker, BrokerError, OutcomeUnknown
from paiid.core.audit import AuditEntry, write_audit
from paiid.core.clock import Clock
from paiid.core.db import Database, Tx
from paiid.domain.halts import Fence, FenceOutcome, Level, Receipt, Scope
from paiid.domain.identity import Actor
from paiid.trading import halt_store, store
from paiid.trading.halt_stops import OwnStops, covers, has_fence, newest_fences, reopen, with_fences
from paiid.trading.records import AccountRow

_log = structlog.get_logger("paiid.trading.halt")
T = TypeVar("T")
_AT_ONCE = 8
_STOP_S = 1.0
_BEING_SET = "It is being set."
_BEHIND = "It was set behind the resume; it is being lifted."
_OURS = "Another halt of ours has set it."
_NOT_OURS = "It was set before, and not by us: a resume leaves it set."


class FenceKeeper:
    """The stops of all brokers that have one; accounts at brokers that are not configured here are not its business."""

    def __init__(self, db: Database, clock: Clock, brokers: Mapping[str, Broker], timeout_s: float) -> None:
        self._db = db
        self._clock = clock
        self._brokers = {name: one for name, one in brokers.items() if one.capabilities.own_stop}
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._rounds: set[asyncio.Task[bool]] = set()

    async def stop(self) -> None:
        """End what is under way; rounds whose errand is over have a second to tell what they have set."""
        if self._rounds:
            await asyncio.wait(set(self._rounds), timeout=_STOP_S)
        for task in self._rounds:
            task.cancel()
        if self._rounds:
            await asyncio.wait(set(self._rounds), timeout=_STOP_S)

    @property
    def own_stops(self) -> OwnStops | None:
        """Which brokers have a stop of their own; None where none has."""
        return self._brokers.__contains__ if self._brokers else None

    async def accounts(self, scope: Scope) -> list[AccountRow]:
        """The accounts of a global or account scope that can be fenced. Raises DatabaseUnavailable."""
        async with self._db.read() as tx:
            rows = await store.load_all_accounts(tx)
        return [
            row
            for row in rows
            if row.broker in self._brokers and (scope.kind == "global" or row.id == scope.id)
        ]

    # -- setting ------------------------------------------------------------------------------------

    async def fence(self, epoch: int) -> bool:
        """Set the stop in every account of this halt that is not confirmed yet; whether nothing is left to do.

        Everything it finds is in the receipt when it returns. False also where the halt is not in force any more: then
        it has set nothing that the receipt does not tell. Raises DatabaseUnavailable.

        A caller that is cancelled leaves the round to end by itself: a setting that has been sent takes effect all the
        same, and has to be told.
        """
        task = asyncio.create_task(self._round(epoch), name="paiid-halt-fence-round")
        self._rounds.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: "asyncio.Task[bool]") -> None:
        self._rounds.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.info("halt_fence_round_failed", error=type(error).__name__)

    async def _round(self, epoch: int) -> bool:
        async with self._db.read() as tx:
            receipt = await halt_store.find_receipt(tx, epoch)
        if receipt is None:
            return True
        rows = await self.accounts(receipt.scope)
        before = {row.id: receipt.fence_of(row.id) for row in rows}
        todo = [row for row in rows if (known := before[row.id]) is None or not known.is_set]
        seen = dict(zip([row.id for row in todo], await self._at_once(self._look, todo), strict=True))
        first = [
            self._fence(row, *_before_setting(before[row.id], look))
            for row in todo
            if (look := seen[row.id]) is not True
        ]
        noted = await self._note(epoch, first, before, rows)
        if noted is None:
            return False
        receipt, written = noted
        # A mark that is not ours is another server's, which sets it; the next round looks again. What is told as set
        # is asked for all the same: only the setting itself is believed.
        setting = [row for row in todo if seen[row.id] is True or (not seen[row.id] and row.id in written)]
        if not setting:
            return "fence" not in receipt.pending
        results = await self._at_once(self._set, setting)
        done = [
            self._fence(row, *_after_setting(before[row.id], seen[row.id] is True, result))
            for row, result in zip(setting, results, strict=True)
        ]
        marked = {
            row.id: receipt.fence_of(row.id) if row.id in written else before[row.id] for row in setting
        }
        anew = [row for row, result in zip(setting, results, strict=True) if result is False]
        noted = await self._note(epoch, done, marked, rows, {row.id for row in anew})
        if noted is None:
            await self._own_up(epoch, anew)
        return noted is not None and "fence" not in noted[0].pending

    async def _own_up(self, epoch: int, rows: Sequence[AccountRow]) -> None:
        """Of a halt that is gone: stops that we have set anew behind a resume which had lifted them. Written down as ours
        in doubt, for `give_up`: no mark was made of what was there when we looked, and another server that carries the
        same receipt on may have confirmed over our mark."""
        if not rows:
            return
        async with self._db.begin(urgent=True) as tx:
            now_us = await tx.now_us()
            receipt = await halt_store.lock_receipt(tx, epoch)
            if receipt is not None:
                strays = [replace(self._fence(row, "unknown", _BEHIND), at_us=now_us) for row in rows]
                # Released: whichever server looks next clears up.
                await halt_store.update_receipt(tx, replace(with_fences(receipt, strays), updated_at_us=0))

    @staticmethod
    def _fence(row: AccountRow, outcome: FenceOutcome, message: str | None) -> Fence:
        return Fence(row.id, row.broker, outcome, message)

    async def _look(self, row: AccountRow) -> bool | BrokerError:
        try:
            told = await self._brokers[row.broker].fetch_account(row.number, self._timeout_s)
        except BrokerError as problem:
            return problem
        return told.suspended

    async def _set(self, row: AccountRow) -> bool | BrokerError:
        try:
            return await self._brokers[row.broker].set_own_stop(row.number, True, self._timeout_s)
        except BrokerError as problem:
            return problem

    async def _note(
        self,
        epoch: int,
        found: Sequence[Fence],
        before: Mapping[str, Fence | None],
        rows: Sequence[AccountRow],
        anew: Set[str] = frozenset(),
    ) -> tuple[Receipt, set[str]] | None:
        """Write it into the receipt while the halt is in force; else write nothing, None. The receipt as it is then,
        and the accounts of which something was written.

        Behind the gate: a resume sees what was written before it, and what comes after it is not written. What is not
        as it was `before` has been written by somebody who knows more by now: another server that carries the same
        receipt on, or a resume that has tried to lift it. But what was set `anew`, in these accounts, is written all the same: another's
        confirmation may be older than a lifting that came between the two, and a resume must not take that lifting for the last word.
        """
        async with self._db.begin(urgent=True) as tx:
            now_us = await tx.pass_gate()
            receipt = await halt_store.lock_receipt(tx, epoch)
            if receipt is None or not await in_force(tx, receipt):
                return None
            kept = [
                replace(one, at_us=now_us)
                for one in found
                if (known := receipt.fence_of(one.account_id)) == before[one.account_id]
                or (known is not None and known.outcome == "failed")
                or one.account_id in anew
            ]
            kept = await self._with_owner(tx, receipt, kept)
            receipt = replace(with_fences(receipt, kept), updated_at_us=now_us)
            if all((known := receipt.fence_of(row.id)) and known.is_set for row in rows):
                pending = tuple(step for step in receipt.pending if step != "fence")
                reached = Level.BROKER_FENCED if rows and receipt.level is Level.DRAINED else receipt.level
                receipt = replace(receipt, pending=pending, level=reached)
            await halt_store.update_receipt(tx, receipt)
            confirmed = [one for one in kept if one.is_set]
            await self._audit(tx, now_us, receipt, "halt.fenced", confirmed)
        for one in kept:
            _log.info("halt_fence", account=one.account_id, epoch=epoch, outcome=one.outcome)
        return receipt, {one.account_id for one in kept}

    @staticmethod
    async def _with_owner(tx: Tx, receipt: Receipt, found: Sequence[Fence]) -> list[Fence]:
        """Those that were set before, with whose they are: a person's, or another halt's of ours."""
        if not any(one.outcome == "already" for one in found):
            return list(found)
        receipts = await halt_store.load_fence_receipts(tx, receipt.scope)
        ours = newest_fences(one for one in receipts if one.epoch != receipt.epoch)

        def words(account_id: str) -> str:
            known = ours.get(account_id)
            return _OURS if known is not None and known.is_ours else _NOT_OURS

        return [
            replace(one, message=words(one.account_id)) if one.outcome == "already" else one for one in found
        ]

    # -- lifting ------------------------------------------------------------------------------------

    async def lift(self, fences: Iterable[Fence]) -> dict[str, str]:
        """Lift these stops; account -> why it is not confirmed, empty where all are. Raises DatabaseUnavailable."""
        wanted = {one.account_id: one for one in fences}
        async with self._db.read() as tx:
            rows = await store.load_accounts(tx, sorted(wanted)) if wanted else {}
        problems = {
            account_id: f"the broker {one.broker} is not configured here"
            for account_id, one in wanted.items()
            if one.broker not in self._brokers or account_id not in rows
        }
        present = [rows[account_id] for account_id in wanted if account_id not in problems]
        for row, problem in zip(present, await self._at_once(self._lift, present), strict=True):
            if problem is not None:
                problems[row.id] = f"{row.broker} does not confirm it ({problem})"
        return problems

    async def _lift(self, row: AccountRow) -> BrokerError | None:
        try:
            await self._brokers[row.broker].set_own_stop(row.number, False, self._timeout_s)
        except BrokerError as problem:
            return problem
        return None

    async def give_up(self, receipt: Receipt) -> bool:
        """Clear up behind a halt that is no longer in force: a stop that it may have set after it was resumed goes, or
        is handed to the halt that covers the account now. Whether nothing is left. Raises DatabaseUnavailable."""
        async with self._db.read() as tx:
            now = await halt_store.find_receipt(tx, receipt.epoch)
            halts = await halt_store.load_active(tx)
        told = (now or receipt).fences
        doubtful = [one for one in told if one.outcome == "unknown" and one.broker in self._brokers]
        if not doubtful:
            return True
        free = [one for one in doubtful if not covers(halts, one.account_id)]
        problems = await self.lift(free)
        # One that was covered then and is free now has not been lifted: it is left for the next time.
        tried = {one.account_id for one in free}
        async with self._db.begin(urgent=True) as tx:
            # Again: a halt that came while it was being lifted wants it back.
            await reopen(tx, doubtful)
            now_us = await tx.now_us()
            now = await halt_store.lock_receipt(tx, receipt.epoch)
            halts = await halt_store.load_active(tx)
            settled = [
                replace(one, outcome="left", message="Another halt has taken it over.", at_us=now_us)
                if covers(halts, one.account_id)
                else replace(one, outcome="lifted", message=None, at_us=now_us)
                for one in doubtful
                if one.account_id not in problems
                and (one.account_id in tried or covers(halts, one.account_id))
            ]
            clear = len(settled) == len(doubtful)
            if now is not None:
                now = with_fences(now, settled)
                if clear:
                    now = replace(now, pending=tuple(step for step in now.pending if step != "fence"))
                await halt_store.update_receipt(tx, now)
                lifted = [one for one in settled if one.outcome == "lifted"]
                await self._audit(tx, now_us, now, "halt.fence_lifted", lifted)
        return clear

    async def _audit(
        self, tx: Tx, now_us: int, receipt: Receipt, action: str, fences: Sequence[Fence]
    ) -> None:
        """The broker's setting is configuration, and a change of it an audit row (contract K11)."""
        actor = Actor(str(receipt.actor["kind"]), str(receipt.actor["id"]))
        entries = [
            AuditEntry(
                actor,
                action,
                f"account:{one.account_id}",
                {"epoch": receipt.epoch, "broker": one.broker, "outcome": one.outcome},
            )
            for one in fences
        ]
        if entries:
            await write_audit(tx, self._clock, now_us, entries)

    async def _at_once(
        self, call: Callable[[AccountRow], Awaitable[T]], rows: Sequence[AccountRow]
    ) -> list[T]:
        async def one(row: AccountRow) -> T:
            async with self._slots:
                return await call(row)

        return list(await asyncio.gather(*(one(row) for row in rows)))


async def in_force(tx: Tx, receipt: Receipt) -> bool:
    """Whether this receipt's halt is the one that holds its scope, and one that fences."""
    halt = await halt_store.find_halt(tx, receipt.scope)
    return halt is not None and halt.epoch == receipt.epoch and has_fence(halt.scope, halt.mode)


def _before_setting(known: Fence | None, look: bool | BrokerError) -> tuple[FenceOutcome, str | None]:
    """What is written down first: that it cannot even be looked at, or that it was not set before we set it."""
    if not isinstance(look, BrokerError):
        return "unknown", _BEING_SET
    doubtful = known is not None and known.outcome == "unknown"
    return ("unknown" if doubtful else "failed"), f"still trying: {look}"


def _after_setting(
    known: Fence | None, seen: bool, result: bool | BrokerError
) -> tuple[FenceOutcome, str | None]:
    """What setting it has come to; True is that it was set before. In doubt: a try of ours whose answer was lost."""
    doubtful = known is not None and known.outcome == "unknown"
    if isinstance(result, BrokerError):
        maybe = doubtful or (isinstance(result, OutcomeUnknown) and not seen)
        return ("unknown" if maybe else "failed"), f"still trying: {result}"
    return ("already" if result and not doubtful else "fenced"), None
