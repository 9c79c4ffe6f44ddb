"""A lease: one replica at a time does a job; when it dies another takes over after the lease runs out."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import bindparam, insert, select, update

from paiid.core.db import Database, Read, Tx, UniqueViolation, statement
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


class LeaseLost(Exception):
    """Another process does this now."""


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
        self._until_s: dict[str, float] = {}
        self._better: Callable[[str], bool] = _nobody_is_better

    @property
    def holder(self) -> str:
        """The id of this process, as the rows name it."""
        return self._holder

    def yield_while(self, better: Callable[[str], bool]) -> None:
        """While this is true of a lease's name another process would do better: it is not taken or renewed here, so that
        the other can take it over."""
        self._better = better

    def held(self) -> list[str]:
        """The names of those that this process holds, as far as it knows without asking."""
        now_s = asyncio.get_running_loop().time()
        return sorted(name for name, until_s in self._until_s.items() if until_s > now_s)

    async def take(self, name: str, ttl_s: float) -> Held | None:
        """Take or renew; None while another process holds it, or should. Raises DatabaseUnavailable."""
        began_s = asyncio.get_running_loop().time()
        held = None if self._better(name) else await self._take(name, ttl_s)
        self._until_s[name] = 0.0 if held is None else began_s + ttl_s
        return held

    async def _take(self, name: str, ttl_s: float) -> Held | None:
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
        self._until_s.pop(name, None)
        async with self._db.begin() as tx:
            await tx.execute(_DROP, {"b_name": name, "b_holder": self._holder})


def _nobody_is_better(name: str) -> bool:
    """What holds unless somebody knows more."""
    return False


def held_read(held: Held) -> Read:
    """For `Tx.enter`: a row if this lease's token still stands, kept from others to the end of the transaction."""
    return _HELD, {"b_name": held.name, "b_token": held.token}


async def still_held(tx: Tx, held: Held) -> bool:
    """Inside a transaction: whether this lease's token still stands; keeps others from taking it meanwhile."""
    return await tx.fetch_one(*held_read(held)) is not None
