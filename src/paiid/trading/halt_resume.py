"""Resuming what the brokers were told to stop, too: their stops go first, then one transaction decides (K4, K7, K8).

Until that transaction has committed the halt is in force. Whatever was lifted for a resume that did not come to pass is
set again by the halt that still covers it; a process that dies in between leaves our halt, and the next resume finds the
stop gone.
"""

from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable
from paiid.domain.errors import Code, Problem
from paiid.domain.halts import Fence, Receipt
from paiid.trading.halt_change import Resume, record_refusal, resume_in
from paiid.trading.halt_fence import FenceKeeper
from paiid.trading.halt_stops import ToLift, reopen

_TRIES = 5
_RETRY_AFTER_S = 5


class Resumes:
    """Resumes scopes. `keeper` None: a process without brokers, which cannot lift what a halt has set at one."""

    def __init__(self, db: Database, clock: Clock, keeper: FenceKeeper | None) -> None:
        self._db = db
        self._clock = clock
        self._keeper = keeper
        # Lifted, or maybe lifted, for a resume that did not come to pass; kept until a halt has them in its receipt.
        self._in_vain: dict[str, Fence] = {}

    async def resume(self, resume: Resume) -> Receipt | Problem | None:
        """The receipt of the resume, a refusal that is audited, or None: there was nothing to resume.

        Call `set_again` behind it in any case. Raises DatabaseUnavailable.
        """
        lifted: dict[str, Fence] = {}
        result: Receipt | Problem | None = None
        try:
            result = await self._resume(resume, lifted)
        finally:
            told = result.fences if isinstance(result, Receipt) else ()
            gone = {one.account_id for one in told if one.outcome == "lifted"}
            self._in_vain |= {key: one for key, one in lifted.items() if key not in gone}
        return result

    async def _resume(self, resume: Resume, lifted: dict[str, Fence]) -> Receipt | Problem | None:
        problems: dict[str, str] = {}
        for _ in range(_TRIES):
            async with self._db.begin(urgent=True) as tx:
                result = await resume_in(tx, self._clock, resume, lifted)
            if not isinstance(result, ToLift):
                return result
            lifted.update(result.fences)
            if self._keeper is None:
                problems = dict.fromkeys(result.fences, "its broker is not configured here")
            else:
                problems = await self._keeper.lift(result.fences.values())
            if problems:
                return await self._refuse(resume, problems)
        return await self._refuse(resume, dict.fromkeys(lifted, "it was set again and again meanwhile"))

    async def _refuse(self, resume: Resume, problems: dict[str, str]) -> Problem:
        shown = [f"account {key}: {why}" for key, why in sorted(problems.items())]
        why = "the broker's own stop could not be lifted: " + "; ".join(shown[:5])
        async with self._db.begin() as tx:
            await record_refusal(tx, self._clock, resume, why)
        advice = " Halt such accounts by account to resume the rest." if resume.scope.kind == "global" else ""
        return Problem(
            Code.BROKER_UNAVAILABLE,
            f"{resume.scope} stays halted: {why}. What was lifted already is being set again. "
            f"Resume it once the broker answers.{advice}",
            headers={"Retry-After": str(_RETRY_AFTER_S)},
            extra={"problems": shown[:50]},
        )

    async def set_again(self) -> list[Receipt]:
        """Give what was lifted in vain back to the halts that cover it: their receipts, which have the step `fence`
        once more and wait for somebody to carry them on. Raises DatabaseUnavailable; call it again then."""
        taken, self._in_vain = self._in_vain, {}
        if not taken:
            return []
        try:
            async with self._db.begin(urgent=True) as tx:
                return await reopen(tx, taken.values())
        except DatabaseUnavailable:
            self._in_vain = taken | self._in_vain
            raise
