"""The SQL of the halts' channel: the halts in force, the number of the newest change, and who may see what."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select

from paiid.core.db import Row, Tx, any_of, statement
from paiid.core.tables import grants, halt_epoch, halts, users
from paiid.domain.halts import Halt, Mode, Scope

_EPOCH = statement(select(halt_epoch.c.epoch).where(halt_epoch.c.id == 1))
# The newest change as well where it was a resume: it is the instant of the event.
_SHOWN = statement(
    select(halts).where(
        or_(
            halts.c.mode != Mode.ACTIVE.value,
            halts.c.epoch == select(halt_epoch.c.epoch).where(halt_epoch.c.id == 1).scalar_subquery(),
        )
    )
)
_ROLES = statement(select(users.c.id, users.c.role).where(any_of(users.c.id, "b_ids")))
_GRANTED = statement(select(grants.c.user_id, grants.c.account_id).where(any_of(grants.c.user_id, "b_ids")))


@dataclass(frozen=True, slots=True)
class HaltState:
    """The halts in force at `epoch`, by scope; when the newest change was made (0: there was none); the owners among the users asked
    for, and the accounts each of them has a grant on."""

    epoch: int
    changed_us: int
    halts: tuple[Halt, ...]
    owners: frozenset[str]
    granted: frozenset[tuple[str, str]]

    def seen_by(self, user_id: str) -> list[Halt]:
        """What a user may see: the owner everything, others what concerns everybody, themselves or their accounts."""
        return [halt for halt in self.halts if self._sees(user_id, halt.scope)]

    def _sees(self, user_id: str, scope: Scope) -> bool:
        if user_id in self.owners or scope.kind in ("global", "symbol"):
            return True
        if scope.kind == "user":
            return scope.id == user_id
        return (user_id, scope.id) in self.granted


async def load_epoch(tx: Tx) -> int:
    """The number of the newest change of any halt."""
    row = await tx.fetch_one(_EPOCH)
    return 0 if row is None else int(row["epoch"])


async def load_state(tx: Tx, user_ids: Sequence[str]) -> HaltState:
    """Everything at one moment, and what of it these users may see."""
    ids = {"b_ids": list(user_ids)}
    epochs, shown, roles, granted = await tx.fetch_together(
        [(_EPOCH, {}), (_SHOWN, {}), (_ROLES, ids), (_GRANTED, ids)]
    )
    found = [_halt(row) for row in shown]
    epoch = max((int(row["epoch"]) for row in epochs), default=0)
    return HaltState(
        epoch=epoch,
        changed_us=max((halt.set_at_us for halt in found if halt.epoch == epoch), default=0),
        halts=tuple(
            sorted((halt for halt in found if halt.mode is not Mode.ACTIVE), key=lambda halt: str(halt.scope))
        ),
        owners=frozenset(row["id"] for row in roles if row["role"] == "owner"),
        granted=frozenset((row["user_id"], row["account_id"]) for row in granted),
    )


def _halt(row: Row) -> Halt:
    return Halt(
        Scope.parse(row["scope"]),
        Mode(row["mode"]),
        row["epoch"],
        row["reason"],
        row["set_by"],
        row["set_at"],
    )
