"""Changing a halt in one transaction: gate, table, epoch, receipt, audit and event together (K3, K4, K7, K8, K11).

Arming is allowed to whoever has the right; loosening has conditions too. A refusal is a result, not an exception,
so that its audit row is committed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from paiid.auth.store import lock_standing
from paiid.core.audit import AuditEntry, write_audit
from paiid.core.clock import Clock
from paiid.core.db import Tx
from paiid.domain.errors import Code, Problem, not_found
from paiid.domain.halts import Fence, Halt, Level, Mode, Receipt, Scope
from paiid.domain.identity import Actor, Principal
from paiid.trading import halt_store, store
from paiid.trading.book import Book
from paiid.trading.halt_stops import OwnStops, ToLift, plan_lift, wants_fence
from paiid.trading.restored_store import waiting_for_import

STEPS = ("drain", "cancel", "flatten", "fence")


@dataclass(frozen=True, slots=True)
class Arm:
    """A wish to halt. `principal` None: the host's own command line or the system, which may everything."""

    scope: Scope
    mode: Mode
    reason: str
    actor: Actor
    principal: Principal | None = None
    request_id: str | None = None
    cancel: bool = False
    flatten: bool = False


@dataclass(frozen=True, slots=True)
class Resume:
    """A wish to loosen a halt to `mode`. `epoch` is the one it was decided on (contract K7)."""

    scope: Scope
    mode: Mode
    reason: str
    epoch: int
    actor: Actor
    principal: Principal | None = None
    request_id: str | None = None


async def arm_in(tx: Tx, clock: Clock, arm: Arm, own_stops: OwnStops | None = None) -> Receipt | Problem:
    """Close the gate and arm; effective once the transaction commits. A Problem is a refusal, audited.

    `own_stops` tells which brokers have a stop of their own; where an account of the scope is at one, the receipt has
    the step `fence`.
    """
    now_us = await tx.close_gate()
    refusal = await _refuse_arming(tx, arm)
    if refusal is not None:
        await _audit(
            tx, clock, now_us, arm, "halt.arm_refused", {"mode": arm.mode.value, "why": refusal.code.slug}
        )
        return refusal
    receipt, changed = await record_arm(tx, clock, now_us, arm, own_stops)
    if changed:
        await _tell(tx, clock, now_us, receipt, arm.reason)
    return receipt


async def record_arm(
    tx: Tx, clock: Clock, now_us: int, arm: Arm, own_stops: OwnStops | None = None
) -> tuple[Receipt, bool]:
    """Write the halt, its receipt and the audit; the gate is closed already. Whether anything changed, too.

    Arming what is armed just so changes nothing and keeps its epoch, so that a repeated call cannot spoil the
    epoch another holds (K7); what it wishes beside the halt is done again, and so is the fence: the brokers' stops may
    have been lifted by hand since.
    """
    current = await halt_store.find_halt(tx, arm.scope)
    wanted = (("cancel", arm.cancel or arm.flatten), ("flatten", arm.flatten))
    wishes = frozenset(wish for wish, wished in wanted if wished)
    mode = Mode.REDUCE_ONLY if arm.flatten else arm.mode
    on_wire = tuple(order.id for order in await halt_store.load_on_wire(tx, arm.scope, now_us))
    fence = await wants_fence(tx, arm.scope, mode, own_stops)
    steps = wishes | {"fence"} if fence else wishes
    known = None
    if current is not None and current.mode is mode:
        known = await halt_store.lock_receipt(tx, current.epoch)
    if known is not None:
        receipt = replace(
            known,
            on_wire=tuple(sorted({*known.on_wire, *on_wire})) if "drain" in known.pending else known.on_wire,
            pending=tuple(step for step in STEPS if step in {*known.pending, *steps}),
            wishes=known.wishes | wishes,
            level=Level.DRAINED if fence and known.level is Level.BROKER_FENCED else known.level,
            fences=_to_confirm(known.fences) if fence else known.fences,
            updated_at_us=now_us,
        )
        await halt_store.update_receipt(tx, receipt)
    else:
        epoch = await halt_store.next_epoch(tx)
        await halt_store.save_halt(
            tx, Halt(arm.scope, mode, epoch, arm.reason, f"{arm.actor.kind}:{arm.actor.id}", now_us)
        )
        receipt = Receipt(
            epoch=epoch,
            scope=arm.scope,
            mode=mode,
            # With the gate closed nobody is marking an order: an empty wire stays empty.
            level=Level.EFFECTIVE if on_wire else Level.DRAINED,
            pending=tuple(step for step in STEPS if step in steps or (step == "drain" and on_wire)),
            on_wire=on_wire,
            wishes=wishes,
            cancels=(),
            closes=(),
            actor=actor_fields(arm),
            started_at_us=now_us,
            # A command line ends at once: whichever server looks next carries its wish on.
            updated_at_us=0 if arm.actor.kind == "cli" else now_us,
        )
        await halt_store.insert_receipt(tx, receipt)
    detail = {
        "mode": mode.value,
        "epoch": receipt.epoch,
        "reason": arm.reason,
        "changed": known is None,
        "was": None if current is None else current.mode.value,
        "wishes": sorted(wishes),
    }
    await _audit(tx, clock, now_us, arm, "halt.arm", detail)
    return receipt, known is None


async def resume_in(
    tx: Tx, clock: Clock, resume: Resume, lifted: Mapping[str, Fence] = MappingProxyType({})
) -> Receipt | Problem | ToLift | None:
    """Close the gate and loosen. None: there was nothing to resume. A Problem is a refusal, audited.

    ToLift: nothing stands in the way but the brokers' own stops, which go first; nothing was written. Lift them, and
    come again with all that were `lifted`.
    """
    now_us = await tx.close_gate()
    current = await halt_store.find_halt(tx, resume.scope)
    refusal = await _refuse_resume(tx, resume, current)
    if refusal is not None:
        await _audit(
            tx, clock, now_us, resume, "halt.resume_refused", {"epoch": resume.epoch, "why": refusal.detail}
        )
        return refusal
    if current is None or current.mode.severity <= resume.mode.severity:
        return None
    to_lift, fences = await plan_lift(tx, resume.scope, lifted)
    if to_lift:
        return ToLift(to_lift)
    epoch = await halt_store.next_epoch(tx)
    await halt_store.save_halt(
        tx,
        Halt(
            resume.scope, resume.mode, epoch, resume.reason, f"{resume.actor.kind}:{resume.actor.id}", now_us
        ),
    )
    receipt = Receipt(
        epoch=epoch,
        scope=resume.scope,
        mode=resume.mode,
        level=Level.EFFECTIVE,
        pending=(),
        on_wire=(),
        wishes=frozenset(),
        cancels=(),
        closes=(),
        actor=actor_fields(resume),
        started_at_us=now_us,
        updated_at_us=now_us,
        fences=fences,
    )
    await halt_store.insert_receipt(tx, receipt)
    await _audit(
        tx,
        clock,
        now_us,
        resume,
        "halt.resume",
        {
            "mode": resume.mode.value,
            "epoch": epoch,
            "resumed_epoch": current.epoch,
            "reason": resume.reason,
            "was": current.mode.value,
            "fences": {one.account_id: one.outcome for one in fences},
        },
    )
    await _tell(tx, clock, now_us, receipt, resume.reason)
    return receipt


async def record_refusal(tx: Tx, clock: Clock, resume: Resume, why: str) -> None:
    """The audit of a resume that a broker stood in the way of."""
    detail = {"epoch": resume.epoch, "why": why}
    await _audit(tx, clock, await tx.now_us(), resume, "halt.resume_refused", detail)


def _to_confirm(fences: tuple[Fence, ...]) -> tuple[Fence, ...]:
    """Records of stops that are to be looked at again: ours stays ours, of the others nothing is held to be known."""
    return tuple(replace(one, outcome="unknown", message=None) for one in fences if one.is_ours)


async def _refuse_arming(tx: Tx, arm: Arm) -> Problem | None:
    problem = await refuse_scope(tx, arm.principal, arm.scope)
    if problem is not None:
        return problem
    current = await halt_store.find_halt(tx, arm.scope)
    mode = Mode.REDUCE_ONLY if arm.flatten else arm.mode
    if current is not None and current.mode.severity > mode.severity:
        words = (
            "its positions can be closed only after it is loosened to reduce_only"
            if arm.flatten
            else "to loosen it, resume it"
        )
        return Problem(
            Code.CONFLICT,
            f"{arm.scope} is {current.mode.value} already, which is more; {words}.",
            extra={"epoch": current.epoch, "mode": current.mode.value},
        )
    return None


async def refuse_scope(tx: Tx, principal: Principal | None, scope: Scope) -> Problem | None:
    """Why this caller may not arm this scope, or None: the owner everywhere, a trader in his own (K8)."""
    if not await halt_store.exists(tx, scope):
        return not_found(scope.kind)
    if principal is None or principal.role == "owner":
        return None
    viewer = Problem(Code.FORBIDDEN, "A viewer cannot halt trading; ask the owner for another role.")
    if scope.kind == "user":
        if scope.id != principal.user_id:
            return not_found("user")
        return None if principal.role == "trader" else viewer
    if scope.kind == "account":
        grants = await store.lock_grants(tx, [principal.user_id])
        access = grants.get((principal.user_id, scope.id))
        if access == "trade":
            return None if principal.role == "trader" else viewer
        return (
            not_found("account")
            if access is None
            else Problem(Code.FORBIDDEN, "You may look at this account but not halt it; ask the owner.")
        )
    if principal.role != "trader":
        return viewer
    return Problem(
        Code.FORBIDDEN,
        f"Only the owner may halt {scope}; you may halt user:{principal.user_id} and the accounts you trade.",
    )


async def _refuse_resume(tx: Tx, resume: Resume, current: Halt | None) -> Problem | None:
    """Rights first, then the epoch, then what is not settled (contracts K7, K8)."""
    problem = (
        await _refuse_ended(tx, resume.principal)
        or await refuse_scope(tx, resume.principal, resume.scope)
        or _refuse_resumer(resume, current)
    )
    if problem is not None:
        return problem
    epoch = 0 if current is None else current.epoch
    if epoch != resume.epoch:
        return Problem(
            Code.HALT_EPOCH_MOVED,
            f"{resume.scope} is at epoch {epoch} now, you named {resume.epoch}; look at it again before you resume.",
            extra={"epoch": epoch, "mode": Mode.ACTIVE.value if current is None else current.mode.value},
        )
    if current is None or current.mode.severity <= resume.mode.severity:
        return None
    return await _refuse_unsettled(tx, resume.scope)


async def _refuse_ended(tx: Tx, person: Principal | None) -> Problem | None:
    """A session that has ended, or a role that was lost, resumes nothing, not even within a cache's lag (A3)."""
    if person is None:
        return None
    standing = await lock_standing(tx, [person], await tx.now_us())
    role = standing.get((person.credential, person.credential_id))
    if role == person.role:
        return None
    return Problem(Code.INVALID_TOKEN, "This session has ended or its role has changed; sign in again.")


def _refuse_resumer(resume: Resume, current: Halt | None) -> Problem | None:
    person = resume.principal
    if person is None:
        return None
    if not person.signed_in:
        return Problem(Code.FORBIDDEN, "An API token cannot resume trading; sign in, or use `paiid resume`.")
    if person.role == "owner":
        return None
    if resume.scope.kind != "user":
        return Problem(Code.FORBIDDEN, f"Only the owner, signed in, may resume {resume.scope}.")
    if current is not None and not current.set_by.endswith(f":{person.user_id}"):
        return Problem(Code.FORBIDDEN, "Somebody else has halted you; only the owner may resume it.")
    return None


async def _refuse_unsettled(tx: Tx, scope: Scope) -> Problem | None:
    problems: list[str] = []
    if scope.kind in ("user", "symbol"):
        doubted = [*await halt_store.load_in_doubt(tx, scope), *await halt_store.load_dispatching(tx, scope)]
        problems = [f"the outcome of order {order.id} is not known yet" for order in doubted]
    else:
        halts = (await halt_store.load_active(tx)).halts
        unsettled = {**await halt_store.load_unsettled_accounts(tx), **await waiting_for_import(tx)}
        for account_id, why in sorted(unsettled.items()):
            own = halts.get(f"account:{account_id}")
            stays = scope.kind == "global" and own is not None and own.mode is Mode.HALTED
            if not stays and (scope.kind == "global" or scope.id == account_id):
                problems.append(f"account {account_id}: {why}")
    if not problems:
        return None
    advice = " Halt such accounts by account to resume the rest." if scope.kind == "global" else ""
    shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
    return Problem(
        Code.RESUME_REFUSED,
        f"{scope} cannot be resumed yet: {shown}.{advice}",
        extra={"problems": problems[:50]},
    )


def actor_fields(wish: Arm | Resume) -> dict[str, object]:
    """Who wished it, complete enough to close positions in his name after a restart; no secret."""
    fields: dict[str, object] = {"kind": wish.actor.kind, "id": wish.actor.id, "reason": wish.reason}
    person = wish.principal
    if person is not None:
        fields["principal"] = {
            "user_id": person.user_id,
            "email": person.email,
            "role": person.role,
            "credential": person.credential,
            "credential_id": person.credential_id,
            "scopes": sorted(person.scopes),
        }
    return fields


async def _audit(
    tx: Tx, clock: Clock, now_us: int, wish: Arm | Resume, action: str, detail: Mapping[str, object]
) -> None:
    entry = AuditEntry(wish.actor, action, str(wish.scope), detail, wish.request_id)
    await write_audit(tx, clock, now_us, [entry])


async def _tell(tx: Tx, clock: Clock, now_us: int, receipt: Receipt, reason: str) -> None:
    """The event of an account's channel (contract S1)."""
    if receipt.scope.kind != "account":
        return
    book = Book(tx, clock, now_us)
    await book.open([receipt.scope.id])
    book.tell(
        receipt.scope.id,
        "halt",
        "ledger",
        {
            "account": receipt.scope.id,
            "scope": str(receipt.scope),
            "mode": receipt.mode.value,
            "epoch": receipt.epoch,
            "reason": reason,
        },
    )
    await book.flush()
