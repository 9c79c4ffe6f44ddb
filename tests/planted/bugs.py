"""Each bug as the mistake somebody might make: a subclass of the product's own part, put in its place by `plant`.

The switch lives here alone; the product has none. Replacing product code is what this directory is for, and the
only place where tests may do it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from paiid.brokers import Broker
from paiid.core.db import Tx
from paiid.domain.halts import Level
from paiid.domain.orders import Reason
from paiid.trading import desk, halt, halt_change, halt_store, service
from paiid.trading.claim import Claims
from paiid.trading.commands import Claim, Claimed
from paiid.trading.halt_errand import Errand
from paiid.trading.record import Outcome, Recorder
from paiid.trading.send import Sender
from paiid.trading.service import TradingService

_HALTS = halt_store.ACTIVE
"""The statement with which a claim reads the halts."""


# -- sent before the commit -------------------------------------------------------------------------


class _ClaimsThatSend:
    """Puts the first order on the wire at the end of the transaction that claims it, to save a little time."""

    def __init__(self, claims: Claims, brokers: Mapping[str, Broker], sender: Sender) -> None:
        self._claims = claims
        self._brokers = brokers
        self._sender = sender
        self._sent: dict[str, Outcome] = {}

    async def batch(self, tx: Tx, items: Sequence[Claim]) -> Sequence[Any]:
        results = await self._claims.batch(tx, items)
        for one in results:
            if isinstance(one, Claimed):
                order = next(o for o in one.orders if o.dispatch_deadline_at is not None)
                broker = self._brokers[one.account.broker]
                self._sent[order.id] = await self._sender.send(
                    broker, one.account.number, order, [], one.stamp_s, one.replacing
                )
        return results

    async def send(self, broker: Broker, account_number: str, order: Any, *more: Any) -> Outcome:
        done = self._sent.pop(order.id, None)
        return done or await self._sender.send(broker, account_number, order, *more)


class SendsBeforeCommit(TradingService):
    """E9 broken: a claim that is undone has been sent all the same."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        eager: Any = _ClaimsThatSend(self._claims, self._brokers, self._sender)
        self._claims = self._sender = eager


# -- unknown taken for a no -------------------------------------------------------------------------


class TakesSilenceForNo(Sender):
    """E11 broken: no answer is taken for a refusal, and the caller buys a second time elsewhere."""

    async def send(self, broker: Broker, account_number: str, order: Any, *more: Any) -> Outcome:
        outcome = await super().send(broker, account_number, order, *more)
        if outcome.unknown is not None:
            return Outcome(rejected=Reason("send_failed", outcome.unknown))
        return outcome


# -- halts read outside the gate --------------------------------------------------------------------


class _HaltsReadEarlier:
    """A transaction that answers the question for the halts with what was read before."""

    def __init__(self, tx: Tx, halts: Sequence[Any] | None = None) -> None:
        self._tx = tx
        self._halts = halts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    async def enter(self, reads: Any, *, gate: bool = False) -> tuple[int, list[Sequence[Any]]]:
        if self._halts is None:
            self._halts = await self._tx.fetch(_HALTS)
        now_us, found = await self._tx.enter(reads, gate=gate)
        for at, (stmt, _) in enumerate(reads):
            if stmt is _HALTS:
                found[at] = self._halts
        return now_us, found


class ReadsHaltsBeforeTheGate(Claims):
    """K3 broken inside the transaction: the halts first, then the gate. SQLite's one writer is the gate, so
    there it makes no difference."""

    async def batch(self, tx: Tx, items: Sequence[Claim]) -> Sequence[Any]:
        early: Any = _HaltsReadEarlier(tx)
        return await super().batch(early, items)


class _ClaimsWithOldHalts:
    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self.seen: dict[str, Sequence[Any]] = {}

    async def batch(self, tx: Tx, items: Sequence[Claim]) -> Sequence[Any]:
        early: Any = _HaltsReadEarlier(tx, self.seen[items[0].intent_id])
        return await self._claims.batch(early, items)


class ReadsHaltsBeforeTheClaim(TradingService):
    """K3 broken outside the transaction: the halts are looked up while the request is prepared."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._old = _ClaimsWithOldHalts(self._claims)
        trusting: Any = self._old
        self._claims = trusting

    async def _claim(self, claim: Claim) -> Any:
        async with self._db.read() as tx:
            self._old.seen[claim.intent_id] = await tx.fetch(_HALTS)
        return await super()._claim(claim)


class MarksTheNextWithoutAsking(Recorder):
    """K3 broken between two orders of a call: whoever passed the gate once is let through to the end."""

    async def batch(self, tx: Tx, items: Sequence[Any]) -> Sequence[Any]:
        early: Any = _HaltsReadEarlier(tx, [])
        return await super().batch(early, items)


# -- acknowledged without draining ------------------------------------------------------------------


async def _record_arm_as_drained(*parts: Any) -> Any:
    """K4 broken at the arming: the halt is in force, so it is told as drained, whatever is on the wire."""
    receipt, changed = await _record_arm(*parts)
    pending = tuple(step for step in receipt.pending if step != "drain")
    receipt = replace(receipt, level=Level.DRAINED, pending=pending, on_wire=())
    await halt_store.update_receipt(parts[0], receipt)
    return receipt, changed


_record_arm = halt_change.record_arm


class DrainsWithoutWaiting(Errand):
    """K4 broken at the drain: the step is ticked off without a look at the wire."""

    async def _drain(self) -> None:
        await self._save(replace(self._receipt, level=Level.DRAINED, pending=self._without("drain")))


# -- no fingerprint ---------------------------------------------------------------------------------


class ClaimOfKeyAndRequest(Claim):
    """E2 and E3 broken: the key is one together with the request, so that another request executes."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.key = f"{self.key}-{self.fingerprint[:8]}"


BUGS: dict[str, Callable[[], None]] = {
    "send-before-commit": lambda: setattr(desk, "TradingService", SendsBeforeCommit),
    "unknown-is-rejected": lambda: setattr(desk, "Sender", TakesSilenceForNo),
    "halts-read-before-the-claim": lambda: setattr(desk, "TradingService", ReadsHaltsBeforeTheClaim),
    "halts-read-before-the-gate": lambda: setattr(desk, "Claims", ReadsHaltsBeforeTheGate),
    "halts-not-read-for-the-next-order": lambda: setattr(desk, "Recorder", MarksTheNextWithoutAsking),
    "armed-is-told-as-drained": lambda: setattr(halt_change, "record_arm", _record_arm_as_drained),
    "drained-without-waiting": lambda: setattr(halt, "Errand", DrainsWithoutWaiting),
    "no-fingerprint-replays": lambda: setattr(service, "fingerprint", lambda asked: "0" * 64),
    "no-fingerprint-executes": lambda: setattr(service, "Claim", ClaimOfKeyAndRequest),
}


def plant(name: str) -> None:
    """Put the bug of this name into the product of this process. Raises KeyError where there is none."""
    BUGS[name]()
