"""The SQL of what a user has used of the model, and of what is reserved for requests under way."""

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from paiid.core.db import Tx, insert_of_rows, statement
from paiid.core.tables import ai_reservations, ai_usage

_KEY = ai_usage.c.user_id == bindparam("b_user"), ai_usage.c.day == bindparam("b_day")
_OPEN = statement(insert(ai_usage).on_conflict_do_nothing())
_FIND = statement(select(ai_usage).where(*_KEY))
_LOCK = statement(select(ai_usage).where(*_KEY).with_for_update())
_ADD = statement(
    update(ai_usage)
    .where(*_KEY)
    .values(
        requests=ai_usage.c.requests + 1,
        input_tokens=ai_usage.c.input_tokens + bindparam("b_input"),
        output_tokens=ai_usage.c.output_tokens + bindparam("b_output"),
        cost=ai_usage.c.cost + bindparam("b_cost"),
        updated_at=bindparam("b_now"),
    )
)
_RESERVED = statement(
    select(
        func.coalesce(func.sum(ai_reservations.c.tokens), 0).label("tokens"),
        func.coalesce(func.sum(ai_reservations.c.cost), 0).label("cost"),
    ).where(
        ai_reservations.c.user_id == bindparam("b_user"), ai_reservations.c.expires_at > bindparam("b_now")
    )
)
_RESERVE = insert_of_rows(ai_reservations)
_RELEASE = statement(delete(ai_reservations).where(ai_reservations.c.id == bindparam("b_id")))
_EXPIRE = statement(
    delete(ai_reservations).where(
        ai_reservations.c.user_id == bindparam("b_user"), ai_reservations.c.expires_at <= bindparam("b_now")
    )
)


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one user and day: tokens, and millionths of a dollar."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0

    @property
    def tokens(self) -> int:
        """In and out."""
        return self.input_tokens + self.output_tokens


async def load_usage(tx: Tx, user_id: str, day: str) -> Usage:
    """What has been used."""
    row = await tx.fetch_one(_FIND, {"b_user": user_id, "b_day": day})
    return (
        Usage()
        if row is None
        else Usage(row["requests"], row["input_tokens"], row["output_tokens"], row["cost"])
    )


async def lock_usage(tx: Tx, user_id: str, day: str, now_us: int) -> Usage:
    """The same, held alone to the end of the transaction; the row is made where there is none."""
    fresh = {
        "user_id": user_id, "day": day, "requests": 0, "input_tokens": 0, "output_tokens": 0, "cost": 0, "updated_at": now_us,
    }  # fmt: skip
    await tx.execute(_OPEN, fresh)
    row = await tx.fetch_one(_LOCK, {"b_user": user_id, "b_day": day})
    assert row is not None
    return Usage(row["requests"], row["input_tokens"], row["output_tokens"], row["cost"])


async def load_reserved(tx: Tx, user_id: str, now_us: int) -> tuple[int, int]:
    """Tokens and cost of what is under way; what has expired is of a process that died."""
    row = await tx.fetch_one(_RESERVED, {"b_user": user_id, "b_now": now_us})
    return (0, 0) if row is None else (int(row["tokens"]), int(row["cost"]))


async def reserve(
    tx: Tx, reservation_id: str, user_id: str, day: str, tokens: int, cost: int, now_us: int, expires_at: int
) -> None:
    """Add a reservation, and drop the user's expired ones. Hold the usage row before."""
    await tx.execute(_EXPIRE, {"b_user": user_id, "b_now": now_us})
    row = {
        "id": reservation_id,
        "user_id": user_id,
        "day": day,
        "tokens": tokens,
        "cost": cost,
        "expires_at": expires_at,
    }
    await tx.execute_many(_RESERVE, [row])


async def settle(
    tx: Tx,
    reservation_id: str,
    user_id: str,
    day: str,
    input_tokens: int,
    output_tokens: int,
    cost: int,
    now_us: int,
) -> None:
    """Book what it came to in the place of the reservation, also where that has expired."""
    await tx.execute(_RELEASE, {"b_id": reservation_id})
    await tx.execute(
        _ADD,
        {"b_user": user_id, "b_day": day, "b_input": input_tokens, "b_output": output_tokens, "b_cost": cost, "b_now": now_us},
    )  # fmt: skip
