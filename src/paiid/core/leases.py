"""A lease: one replica at a time does a job; when it dies another takes over after the lease runs out."""

from dataclasses import dataclass

from sqlalchemy import bindparam, insert, select, update

from paiid.core.db import Database, Tx, UniqueViolation, statement
from paiid.core.tables import leases

_FIND = statement(select(leases).where(leases.c.name == bindparam("b_name")).with_for_update())
_INSERT = statement(insert(leases))
_TAKE = statement(
    update(leases).where(leases.c.name == bindparam("b_name"), leases.c.token == bindparam("b_token")),
    columns=["holder", "token", "expires_at"],
)
# The row stays, so that the token never starts again.
_DROP = statement(
    update(leases)
    .where(leases.c.name == bindparam("b_name"), leases.c.holder == bindparam("b_holder"))
    .values(expires_at=0)
)
_HELD = statement(
    select(leases.c.token)
    .where(leases.c.name == bindparam("b_name"), leases.c.token == bindparam("b_token"))
    .with_for_update(read=True)
)


@dataclass(frozen=True, slots=True)
class Held:
    """A lease in hand. `token` grows with every change of holder: a fence against a holder that slept."""

    name: str
    token: int
    expires_at_us: int


class Leases:
    """Takes and keeps leases for one process, in database time."""

    def __init__(self, db: Database, holder: str) -> None:
        self._db = db
        self._holder = holder

    async def take(self, name: str, ttl_s: float) -> Held | None:
        """Take or renew; None while another process holds it. Raises DatabaseUnavailable."""
        try:
            async with self._db.begin() as tx:
                now = await tx.now_us()
                expires = now + int(ttl_s * 1_000_000)
                row = await tx.fetch_one(_FIND, {"b_name": name})
                if row is None:
                    await tx.execute(
                        _INSERT, {"name": name, "holder": self._holder, "token": 1, "expires_at": expires}
                    )
                    return Held(name, 1, expires)
                mine = row["holder"] == self._holder
                if not mine and row["expires_at"] > now:
                    return None
                token = row["token"] if mine else row["token"] + 1
                await tx.execute(
                    _TAKE,
                    {
                        "b_name": name,
                        "b_token": row["token"],
                        "holder": self._holder,
                        "token": token,
                        "expires_at": expires,
                    },
                )
                return Held(name, token, expires)
        except UniqueViolation:
            return None

    async def release(self, name: str) -> None:
        """Give it up, so that the next holder need not wait. Raises DatabaseUnavailable."""
        async with self._db.begin() as tx:
            await tx.execute(_DROP, {"b_name": name, "b_holder": self._holder})


async def still_held(tx: Tx, held: Held) -> bool:
    """Inside a transaction: whether this lease's token still stands; keeps others from taking it meanwhile."""
    return await tx.fetch_one(_HELD, {"b_name": held.name, "b_token": held.token}) is not None
