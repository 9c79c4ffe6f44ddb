"""The SQL of the halt: the table that is the authority, its growing epoch, receipts, and what is in flight (K2-K4)."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import bindparam, insert, or_, select, update

from paiid.core.db import Row, Tx, any_of, statement
from paiid.core.tables import accounts, grants, halt_epoch, halt_receipts, halts, orders, users
from paiid.domain.halts import Fence, Halt, HaltSet, InFlight, Level, Mode, Receipt, Scope, SweptOrder
from paiid.domain.instruments import underlying_of
from paiid.domain.orders import Submission

ACTIVE = statement(select(halts).where(halts.c.mode != Mode.ACTIVE.value))
_ONE = statement(select(halts).where(halts.c.scope == bindparam("b_scope")))
_INSERT = statement(insert(halts))
_UPDATE = statement(
    update(halts).where(halts.c.scope == bindparam("b_scope")),
    columns=["mode", "epoch", "reason", "set_by", "set_at"],
)
_EPOCH = statement(select(halt_epoch.c.epoch).where(halt_epoch.c.id == 1).with_for_update())
_SET_EPOCH = statement(update(halt_epoch).where(halt_epoch.c.id == 1), columns=["epoch"])
_INSERT_RECEIPT = statement(insert(halt_receipts))
_UPDATE_RECEIPT = statement(
    update(halt_receipts).where(halt_receipts.c.epoch == bindparam("b_epoch")),
    columns=["mode", "level", "detail", "updated_at"],
)
_RECEIPT = statement(select(halt_receipts).where(halt_receipts.c.epoch == bindparam("b_epoch")))
_LOCK_RECEIPT = statement(
    select(halt_receipts).where(halt_receipts.c.epoch == bindparam("b_epoch")).with_for_update()
)
_LATEST_RECEIPT = statement(
    select(halt_receipts)
    .where(halt_receipts.c.scope == bindparam("b_scope"))
    .order_by(halt_receipts.c.epoch.desc())
    .limit(1)
)
_RECENT_RECEIPTS = statement(
    select(halt_receipts)
    .where(halt_receipts.c.updated_at < bindparam("b_before"))
    .order_by(halt_receipts.c.epoch.desc())
    .limit(50)
)
_TAKE_RECEIPT = statement(
    update(halt_receipts).where(
        halt_receipts.c.epoch == bindparam("b_epoch"), halt_receipts.c.updated_at == bindparam("b_updated")
    ),
    columns=["updated_at"],
)

# Which halts have touched a broker's own stop is read in their receipts; most of them have not.
_FENCES_NAMED = halt_receipts.c.detail.like('%"fences":[{%')
_FENCES = {
    "global": statement(
        select(halt_receipts).where(_FENCES_NAMED).order_by(halt_receipts.c.epoch.desc()).limit(200)
    ),
    "account": statement(
        select(halt_receipts)
        .where(
            _FENCES_NAMED,
            or_(halt_receipts.c.scope == "global", halt_receipts.c.scope == bindparam("b_scope")),
        )
        .order_by(halt_receipts.c.epoch.desc())
        .limit(200)
    ),
}
_BROKERS = {
    "global": statement(select(accounts.c.broker).distinct()),
    "account": statement(select(accounts.c.broker).where(accounts.c.id == bindparam("b_id"))),
}

_FLYING = (orders.c.id, orders.c.account_id, orders.c.symbol, orders.c.side, orders.c.state)
_IN_SCOPE = {
    "global": (),
    "account": (orders.c.account_id == bindparam("b_id"),),
    "user": (orders.c.user_id == bindparam("b_id"),),
    # Options go by their underlying, which no column has: what is on the wire or in doubt is few, and sifted here.
    "symbol": (),
}
# Exits and legs go with the order they hang on; only a replacement of an exit is sent by itself.
_SENT = or_(orders.c.parent_id.is_(None), orders.c.replaces.is_not(None))
_ON_WIRE = {
    kind: statement(
        select(*_FLYING).where(
            orders.c.state == Submission.DISPATCHING.value,
            or_(orders.c.dispatch_deadline_at >= bindparam("b_now"), orders.c.dispatch_deadline_at.is_(None)),
            _SENT,
            *where,
        )
    )
    for kind, where in _IN_SCOPE.items()
}
_IN_DOUBT = {
    kind: statement(select(*_FLYING).where(orders.c.state == Submission.UNKNOWN.value, _SENT, *where))
    for kind, where in _IN_SCOPE.items()
}
_STILL_ON_WIRE = statement(
    select(orders.c.id).where(
        orders.c.state == Submission.DISPATCHING.value,
        any_of(orders.c.id, "b_ids"),
        or_(orders.c.dispatch_deadline_at >= bindparam("b_now"), orders.c.dispatch_deadline_at.is_(None)),
    )
)
_DOUBTED_ACCOUNTS = statement(
    select(orders.c.account_id)
    .where(or_(orders.c.state == Submission.UNKNOWN.value, orders.c.state == Submission.DISPATCHING.value))
    .distinct()
)
_UNRECONCILED = statement(
    select(accounts.c.id, accounts.c.reconcile_problem).where(accounts.c.reconcile_problem.is_not(None))
)

_GRANTED = statement(select(grants.c.account_id).where(grants.c.user_id == bindparam("b_user")))
_SUBJECT = {
    "account": statement(select(accounts.c.id).where(accounts.c.id == bindparam("b_id"))),
    "user": statement(select(users.c.id).where(users.c.id == bindparam("b_id"))),
}


async def load_active(tx: Tx) -> HaltSet:
    """All halts in force. A claim reads them in a statement after the gate, never in the same (contract K3)."""
    return halts_of(await tx.fetch(ACTIVE))


def halts_of(rows: Iterable[Row]) -> HaltSet:
    """Rows of `ACTIVE` as the set that they are."""
    return HaltSet.of(_halt(row) for row in rows)


async def find_halt(tx: Tx, scope: Scope) -> Halt | None:
    """The scope's row, also when it is active again; None where the scope never had one."""
    row = await tx.fetch_one(_ONE, {"b_scope": str(scope)})
    return None if row is None else _halt(row)


async def exists(tx: Tx, scope: Scope) -> bool:
    """Whether there is such an account or user: a halt of a mistyped id would be false comfort."""
    subject = _SUBJECT.get(scope.kind)
    return subject is None or await tx.fetch_one(subject, {"b_id": scope.id}) is not None


async def load_granted_accounts(tx: Tx, user_id: str) -> set[str]:
    """Accounts in which the user may have orders."""
    return {row["account_id"] for row in await tx.fetch(_GRANTED, {"b_user": user_id})}


async def next_epoch(tx: Tx) -> int:
    """The number of this change; the caller holds the gate exclusively."""
    row = await tx.fetch_one(_EPOCH)
    if row is None:
        raise LookupError("the database has no halt epoch; it was not made by the migrations")
    epoch: int = row["epoch"] + 1
    await tx.execute(_SET_EPOCH, {"epoch": epoch})
    return epoch


async def save_halt(tx: Tx, halt: Halt) -> None:
    """Write the scope's row; the caller holds the gate exclusively."""
    values = {
        "mode": halt.mode.value,
        "epoch": halt.epoch,
        "reason": halt.reason,
        "set_by": halt.set_by,
        "set_at": halt.set_at_us,
    }
    if await tx.execute(_UPDATE, {"b_scope": str(halt.scope), **values}) == 0:
        await tx.execute(_INSERT, {"scope": str(halt.scope), **values})


async def load_on_wire(tx: Tx, scope: Scope, now_us: int) -> list[InFlight]:
    """Orders of the scope that are being sent and whose deadline has not passed in database time."""
    return _flying(scope, await tx.fetch(_ON_WIRE[scope.kind], _scoped(scope, {"b_now": now_us})))


async def load_in_doubt(tx: Tx, scope: Scope) -> list[InFlight]:
    """Orders of the scope whose outcome is being looked up: not on the wire, but not settled either."""
    return _flying(scope, await tx.fetch(_IN_DOUBT[scope.kind], _scoped(scope, {})))


async def load_dispatching(tx: Tx, scope: Scope) -> list[InFlight]:
    """Orders of the scope marked for sending and not recorded yet, whether or not their deadline has passed."""
    return _flying(scope, await tx.fetch(_ON_WIRE[scope.kind], _scoped(scope, {"b_now": 0})))


async def load_still_on_wire(tx: Tx, order_ids: Sequence[str], now_us: int) -> set[str]:
    """Those of the orders that may still be on the wire."""
    rows = await tx.fetch(_STILL_ON_WIRE, {"b_ids": list(order_ids), "b_now": now_us})
    return {row["id"] for row in rows}


async def load_unsettled_accounts(tx: Tx) -> dict[str, str]:
    """Accounts that cannot be resumed yet, with why: orders in doubt, or books that do not reconcile (K8)."""
    found = {
        row["account_id"]: "it has orders whose outcome is not known yet"
        for row in await tx.fetch(_DOUBTED_ACCOUNTS)
    }
    for row in await tx.fetch(_UNRECONCILED):
        found[row["id"]] = f"it does not reconcile with the broker ({row['reconcile_problem']})"
    return found


async def insert_receipt(tx: Tx, receipt: Receipt) -> None:
    """The receipt of a new epoch."""
    await tx.execute(
        _INSERT_RECEIPT,
        {
            "epoch": receipt.epoch,
            "scope": str(receipt.scope),
            "started_at": receipt.started_at_us,
            **_receipt_values(receipt),
        },
    )


async def update_receipt(tx: Tx, receipt: Receipt) -> None:
    """How far it has come."""
    await tx.execute(_UPDATE_RECEIPT, {"b_epoch": receipt.epoch, **_receipt_values(receipt)})


async def find_receipt(tx: Tx, epoch: int) -> Receipt | None:
    """The receipt of this change."""
    row = await tx.fetch_one(_RECEIPT, {"b_epoch": epoch})
    return None if row is None else _receipt(row)


async def lock_receipt(tx: Tx, epoch: int) -> Receipt | None:
    """The same, held until the end of the transaction: its errand, the fence beside it, and whoever arms or resumes
    write to it. The gate is taken first; of several receipts those in force by account, then one that is not."""
    row = await tx.fetch_one(_LOCK_RECEIPT, {"b_epoch": epoch})
    return None if row is None else _receipt(row)


async def find_latest_receipt(tx: Tx, scope: Scope) -> Receipt | None:
    """The receipt of the scope's latest change."""
    row = await tx.fetch_one(_LATEST_RECEIPT, {"b_scope": str(scope)})
    return None if row is None else _receipt(row)


async def load_abandoned_receipts(tx: Tx, before_us: int) -> list[Receipt]:
    """Recent receipts with steps to do that nobody has moved since `before_us`."""
    receipts = [_receipt(row) for row in await tx.fetch(_RECENT_RECEIPTS, {"b_before": before_us})]
    return [receipt for receipt in receipts if receipt.pending]


async def load_fence_receipts(tx: Tx, scope: Scope) -> list[Receipt]:
    """Receipts that tell of a broker's own stop in the accounts of a global or account scope, newest first."""
    params = {"b_scope": str(scope)} if scope.kind == "account" else {}
    return [_receipt(row) for row in await tx.fetch(_FENCES[scope.kind], params)]


async def load_brokers_in(tx: Tx, scope: Scope) -> set[str]:
    """Names of the brokers at which a global or account scope has accounts."""
    params = {"b_id": scope.id} if scope.kind == "account" else {}
    return {row["broker"] for row in await tx.fetch(_BROKERS[scope.kind], params)}


async def take_receipt(tx: Tx, receipt: Receipt, now_us: int) -> bool:
    """Whether this process is the one to carry an abandoned receipt on."""
    params = {"b_epoch": receipt.epoch, "b_updated": receipt.updated_at_us, "updated_at": now_us}
    return await tx.execute(_TAKE_RECEIPT, params) == 1


def _scoped(scope: Scope, params: dict[str, Any]) -> dict[str, Any]:
    return params if scope.kind in ("global", "symbol") else {**params, "b_id": scope.id}


def _halt(row: Row) -> Halt:
    return Halt(
        Scope.parse(row["scope"]),
        Mode(row["mode"]),
        row["epoch"],
        row["reason"],
        row["set_by"],
        row["set_at"],
    )


def _flying(scope: Scope, rows: Sequence[Row]) -> list[InFlight]:
    return [
        InFlight(r["id"], r["account_id"], r["symbol"], r["side"], r["state"])
        for r in rows
        if scope.kind != "symbol" or underlying_of(r["symbol"]) == scope.id
    ]


def _receipt_values(receipt: Receipt) -> dict[str, Any]:
    detail = {
        "pending": list(receipt.pending),
        "on_wire": list(receipt.on_wire),
        "wishes": sorted(receipt.wishes),
        "cancels": [asdict(one) for one in receipt.cancels],
        "closes": [asdict(one) for one in receipt.closes],
        "actor": dict(receipt.actor),
        "problem": receipt.problem,
        "fences": [asdict(one) for one in receipt.fences],
    }
    return {
        "mode": receipt.mode.value,
        "level": receipt.level.value,
        "detail": json.dumps(detail, separators=(",", ":")),
        "updated_at": receipt.updated_at_us,
    }


def _receipt(row: Row) -> Receipt:
    detail = json.loads(row["detail"])
    return Receipt(
        epoch=row["epoch"],
        scope=Scope.parse(row["scope"]),
        mode=Mode(row["mode"]),
        level=Level(row["level"]),
        pending=tuple(detail["pending"]),
        on_wire=tuple(detail["on_wire"]),
        wishes=frozenset(detail["wishes"]),
        cancels=tuple(SweptOrder(**one) for one in detail["cancels"]),
        closes=tuple(SweptOrder(**one) for one in detail["closes"]),
        actor=detail["actor"],
        started_at_us=row["started_at"],
        updated_at_us=row["updated_at"],
        problem=detail["problem"],
        # Receipts of the first release have none.
        fences=tuple(Fence(**one) for one in detail.get("fences", ())),
    )
