"""The halt that comes with the loud correction: an order declared not placed was alive after all (contract E7)."""

from paiid.core.audit import AuditEntry, write_audit
from paiid.core.clock import Clock
from paiid.core.db import Tx
from paiid.domain.halts import Halt, Level, Mode, Receipt, Scope
from paiid.domain.identity import SYSTEM
from paiid.trading import halt_store
from paiid.trading.records import OrderRow


async def halt_corrected(tx: Tx, clock: Clock, now_us: int, order: OrderRow) -> None:
    """Halt the order's account in this transaction, which must hold the gate exclusively."""
    scope = Scope("account", order.account_id)
    current = await halt_store.find_halt(tx, scope)
    if current is not None and current.mode is Mode.HALTED:
        return
    reason = (
        f"order {order.id} was declared not placed and is alive at the broker; look at it before resuming"
    )
    epoch = await halt_store.next_epoch(tx)
    await halt_store.save_halt(tx, Halt(scope, Mode.HALTED, epoch, reason, "system", now_us))
    on_wire = await halt_store.load_on_wire(tx, scope, now_us)
    await halt_store.insert_receipt(
        tx,
        Receipt(
            epoch=epoch,
            scope=scope,
            mode=Mode.HALTED,
            level=Level.EFFECTIVE,
            pending=("drain",),
            on_wire=tuple(one.id for one in on_wire),
            wishes=frozenset(),
            cancels=(),
            closes=(),
            actor={"kind": SYSTEM.kind, "id": SYSTEM.id},
            started_at_us=now_us,
            updated_at_us=now_us,
        ),
    )
    await write_audit(
        tx,
        clock,
        now_us,
        [
            AuditEntry(
                SYSTEM, "halt.arm", str(scope), {"mode": Mode.HALTED.value, "epoch": epoch, "reason": reason}
            )
        ],
    )
