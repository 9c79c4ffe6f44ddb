"""Append-only audit rows, written in the transaction of what they tell (contract K11)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paiid.core.clock import Clock, new_id
from paiid.core.db import Statement, Tx, insert_of_rows
from paiid.core.tables import audit
from paiid.domain.identity import Actor

_INSERT = insert_of_rows(audit)
_DETAIL = json.JSONEncoder(separators=(",", ":"), default=str)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what to what. `action` is a dotted verb (`halt.arm`, `order.claim`); `detail` holds no secret."""

    actor: Actor
    action: str
    subject: str
    detail: Mapping[str, Any]
    request_id: str | None = None


def audit_rows(
    clock: Clock, at_us: int, entries: Sequence[AuditEntry]
) -> tuple[Statement, list[dict[str, Any]]]:
    """The rows and their statement, for a `Tx.write` with others; `at_us` is the transaction's time."""
    rows = [
        {
            "id": new_id(clock, "aud"),
            "at": at_us,
            "actor_kind": entry.actor.kind,
            "actor_id": entry.actor.id,
            "action": entry.action,
            "subject": entry.subject,
            "request_id": entry.request_id,
            "detail": _DETAIL.encode(entry.detail),
        }
        for entry in entries
    ]
    return _INSERT, rows


async def write_audit(tx: Tx, clock: Clock, at_us: int, entries: Sequence[AuditEntry]) -> None:
    """Add the rows; `at_us` is the transaction's time."""
    if entries:
        await tx.execute_many(*audit_rows(clock, at_us, entries))
