"""Whose the broker's own stop is: read from the receipts, so that a resume lifts what our halts set and nothing else.

A stop that a person has set at the broker is not ours to lift, and one of ours stays while any halt still covers it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from paiid.core.db import Tx
from paiid.domain.halts import GLOBAL, Fence, HaltSet, Level, Mode, Receipt, Scope
from paiid.trading import halt_store

OwnStops = Callable[[str], bool]
"""Whether the broker of this name has, or for all that is known here may have, a stop of its own."""
_IN_DOUBT = "A resume tried to lift it while this halt was in force; it is being set again."


@dataclass(frozen=True, slots=True)
class ToLift:
    """What has to go at the brokers before a scope is resumed: account -> the record that makes it ours."""

    fences: Mapping[str, Fence]


def has_fence(scope: Scope, mode: Mode) -> bool:
    """Whether such a halt is set at the brokers, too (contract K4): they stop whole accounts, and everything."""
    return mode is Mode.HALTED and scope.kind in ("global", "account")


async def wants_fence(tx: Tx, scope: Scope, mode: Mode, own_stops: OwnStops | None) -> bool:
    """Whether there is a broker to fence. None: no broker of this process has a stop of its own."""
    if own_stops is None or not has_fence(scope, mode):
        return False
    return any(own_stops(name) for name in await halt_store.load_brokers_in(tx, scope))


def covers(halts: HaltSet, account_id: str, *, but: Scope | None = None) -> list[Scope]:
    """The scopes whose halts want this account fenced."""
    scopes = (GLOBAL, Scope("account", account_id))
    found = {scope: halts.halts.get(str(scope)) for scope in scopes if scope != but}
    return [scope for scope, halt in found.items() if halt is not None and halt.mode is Mode.HALTED]


def newest_fences(receipts: Iterable[Receipt]) -> dict[str, Fence]:
    """Account -> what the receipts (newest first) come to: ours since the last lift, else what was told last."""
    told: dict[str, Fence] = {}
    lifted: set[str] = set()
    for receipt in receipts:
        for one in receipt.fences:
            known = told.get(one.account_id)
            if one.account_id in lifted or (known is not None and known.is_ours):
                continue
            if one.outcome == "lifted":
                lifted.add(one.account_id)
            if known is None or one.is_ours:
                told[one.account_id] = one
    return told


async def plan_lift(
    tx: Tx, scope: Scope, lifted: Mapping[str, Fence]
) -> tuple[dict[str, Fence], tuple[Fence, ...]]:
    """For a resume of this scope: the stops that must go and have not, and what to tell of the others.

    `lifted` are records whose stops have just been lifted; a record made since means that it was set again. The caller
    holds the gate exclusively, so that nobody fences between this and the resume.
    """
    if scope.kind not in ("global", "account"):
        return {}, ()
    halts = await halt_store.load_active(tx)
    now_us = await tx.now_us()
    to_lift: dict[str, Fence] = {}
    told: list[Fence] = []
    for account_id, one in newest_fences(await halt_store.load_fence_receipts(tx, scope)).items():
        if scope.kind == "account" and account_id != scope.id:
            continue
        others = covers(halts, account_id, but=scope)
        if one.is_ours and not others:
            if lifted.get(account_id) == one:
                told.append(replace(one, outcome="lifted", message=None, at_us=now_us))
            else:
                to_lift[account_id] = one
        elif one.is_set:
            why = (
                f"{others[0]} is still halted."
                if others
                else "It was set before our halt, so it was left as it is; lift it at the broker if it should go."
            )
            told.append(replace(one, outcome="left", message=why, at_us=now_us))
    return to_lift, tuple(told)


async def reopen(tx: Tx, fences: Iterable[Fence]) -> list[Receipt]:
    """Have the halts that cover these accounts set the brokers' stops again: whatever was lifted, or may have been.

    The receipts are released, so that whichever server looks next carries them on. Passes the gate.
    """
    now_us = await tx.pass_gate()
    halts = await halt_store.load_active(tx)
    changed: dict[int, Receipt] = {}
    for one in sorted(fences, key=lambda fence: fence.account_id):
        doubt = replace(one, outcome="unknown", message=_IN_DOUBT, at_us=now_us)
        for scope in covers(halts, one.account_id):
            epoch = halts.halts[str(scope)].epoch
            receipt = changed.get(epoch) or await halt_store.lock_receipt(tx, epoch)
            if receipt is not None:
                changed[epoch] = replace(with_fences(receipt, [doubt]), updated_at_us=0)
    for receipt in changed.values():
        await halt_store.update_receipt(tx, receipt)
    return list(changed.values())


def with_fences(receipt: Receipt, found: Sequence[Fence]) -> Receipt:
    """The receipt with these records in it. As long as one is not confirmed, it claims no more than `drained`."""
    merged = {one.account_id: one for one in receipt.fences} | {one.account_id: one for one in found}
    level, pending = receipt.level, receipt.pending
    if any(one.outcome in ("failed", "unknown") for one in merged.values()):
        level = Level.DRAINED if level is Level.BROKER_FENCED else level
        pending = pending if "fence" in pending else (*pending, "fence")
    return replace(receipt, fences=tuple(merged.values()), level=level, pending=pending)
