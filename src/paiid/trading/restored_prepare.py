"""What a restore changes in a database that has gone back in time, in the transaction that makes it visible (ADR 0032).

Trading comes up halted. Nothing that a client, a replica or a person may still hold of the time since then fits any more:
epochs have moved on, sessions have ended, tokens are revoked. Accounts of outside brokers wait for their orders.
"""

from dataclasses import dataclass, replace

from paiid.accounts.store import BUILT_IN
from paiid.core.audit import AuditEntry, write_audit
from paiid.core.clock import Clock, new_id
from paiid.core.db import Tx
from paiid.domain.halts import GLOBAL, MAX_REASON, Mode
from paiid.domain.identity import Actor
from paiid.trading import halt_store, restored_store
from paiid.trading.halt_change import Arm, record_arm

_FAR = 1_000_000
"""The least by which epochs move; a later restore must move them elsewhere, so it is the time in seconds."""
_CLOCKS_US = 900_000_000
"""A backup of a later time than this from now was made by a clock that was wrong: of when it is nobody knows."""
_OVER = "The database was restored from a backup before this was done; nothing more is done."


@dataclass(frozen=True, slots=True)
class Backup:
    """Where the rows come from."""

    taken_at_us: int
    taken_at: str
    build: str
    schema: str


@dataclass(frozen=True, slots=True)
class Restored:
    """What has come of it. `waiting`: accounts of outside brokers, id -> broker."""

    epoch: int
    waiting: dict[str, str]
    sessions: int
    tokens: int
    doubted: int


async def prepare_restored(
    tx: Tx, clock: Clock, backup: Backup, actor: Actor, *, keep_tokens: bool
) -> Restored:
    """Everything, in the transaction that has just written the rows. Nobody else is connected."""
    now_us = await tx.close_gate()
    restore_id = new_id(clock, "rst")
    await restored_store.move_epochs(tx, max(_FAR, now_us // 1_000_000))
    await restored_store.drop_what_was_of_processes(tx)
    # The database of which the backup was taken may run on, and a rehearsal have the same Redis.
    await restored_store.say_restored(tx, restore_id, actor.id, now_us)
    sessions = await restored_store.end_sessions(tx, now_us)
    tokens = 0 if keep_tokens else await restored_store.revoke_tokens(tx, now_us)
    outside = await restored_store.load_outside_accounts(tx, BUILT_IN)
    waiting = sorted(outside)
    doubted = await restored_store.doubt_waiting_orders(tx, waiting, now_us)
    # Of a time that is not known all orders there ever were are asked for.
    backup_at_us = backup.taken_at_us if backup.taken_at_us <= now_us + _CLOCKS_US else 0
    await restored_store.replace_restored(tx, waiting, restore_id, backup_at_us, now_us)
    await restored_store.mark_waiting(tx, waiting)
    epoch = await _halt(tx, clock, now_us, backup, actor)
    detail = {
        "backup_at": backup.taken_at,
        "build": backup.build,
        "schema": backup.schema,
        "epoch": epoch,
        "accounts": waiting,
        "sessions_ended": sessions,
        "tokens_revoked": tokens,
        "tokens_kept": keep_tokens,
        "orders_in_doubt": doubted,
    }
    await write_audit(tx, clock, now_us, [AuditEntry(actor, "database.restore", restore_id, detail)])
    return Restored(epoch, outside, sessions, tokens, doubted)


async def _halt(tx: Tx, clock: Clock, now_us: int, backup: Backup, actor: Actor) -> int:
    """Arm the global scope, whatever it was; its epoch. What halts had still to do is of the past."""
    for receipt in await halt_store.load_abandoned_receipts(tx, now_us + 1):
        await halt_store.update_receipt(tx, replace(receipt, pending=(), problem=_OVER))
    before = await halt_store.find_halt(tx, GLOBAL)
    reason = f"restored from the backup of {backup.taken_at}"
    if before is not None and before.mode is not Mode.ACTIVE:
        reason = f"{reason}; it was {before.mode.value} then: {before.reason}"[:MAX_REASON]
    await restored_store.drop_global_halt(tx)
    arm = Arm(GLOBAL, Mode.HALTED, reason, actor)
    # A server with the brokers at hand sets their own stops as well.
    receipt, _ = await record_arm(tx, clock, now_us, arm, lambda broker: broker != BUILT_IN)
    return receipt.epoch
