"""Append-only audit rows, written in the transaction of what they tell (contract K11)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert

from paiid.core.clock import Clock, new_id
from paiid.core.db import Tx, statement
from paiid.core.tables import audit
from paiid.domain.identity import Actor

_INSERT = statement(insert(audit))


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what to what. `action` is a dotted verb (`halt.arm`, `order.claim`); `detail` holds no secret."""

    actor: Actor
    action: str
    subject: str
    detail: Mapping[str, Any]
    request_id: str | None = None


async def write_audit(tx: Tx, clock: Clock, at_us: int, entries: Sequence[AuditEntry]) -> None:
    """Add the rows; `at_us` is the transaction's time."""
    if not entries:
        return
    await tx.execute_many(
        _INSERT,
        [
            {
                "id": new_id(clock, "aud"),
                "at": at_us,
                "actor_kind": entry.actor.kind,
                "actor_id": entry.actor.id,
                "action": entry.action,
                "subject": entry.subject,
                "request_id": entry.request_id,
                "detail": json.dumps(entry.detail, separators=(",", ":"), default=str),
            }
            for entry in entries
        ],
    )
