"""What a user may spend on the model in a day: reserved before it is asked, settled after, the same on every replica."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from paiid.ai import usage_store
from paiid.ai.limits import RESERVED_S
from paiid.ai.prices import Price, price_of
from paiid.core.clock import Clock, new_id
from paiid.core.db import Database
from paiid.core.settings import Settings

_MICRO = 1_000_000


class BudgetSpent(Exception):
    """What this request could come to is more than is left of the day."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """A place in the budget of a day; `input_tokens` is our estimate."""

    id: str
    user_id: str
    day: str
    input_tokens: int


class Budget:
    """Of all users, in tokens and in millionths of a dollar. Raises DatabaseUnavailable."""

    def __init__(self, db: Database, clock: Clock, settings: Settings) -> None:
        self._db = db
        self._clock = clock
        self._most_tokens = settings.ai_daily_tokens
        self._most_cost = round(settings.ai_daily_usd * _MICRO)
        self.price: Price = price_of(settings.ai_model)

    async def reserve(self, user_id: str, input_tokens: int, output_tokens: int) -> Reservation:
        """A place for at most so many tokens. Raises BudgetSpent."""
        tokens, cost = input_tokens + output_tokens, self.price.cost(input_tokens, output_tokens)
        reservation_id = new_id(self._clock, "air")
        async with self._db.begin() as tx:
            now_us = await tx.now_us()
            day = _day(now_us)
            used = await usage_store.lock_usage(tx, user_id, day, now_us)
            held_tokens, held_cost = await usage_store.load_reserved(tx, user_id, now_us)
            spent = (
                used.tokens + held_tokens + tokens > self._most_tokens
                or used.cost + held_cost + cost > self._most_cost
            )
            if not spent:
                expires_at = now_us + int(RESERVED_S * _MICRO)
                await usage_store.reserve(tx, reservation_id, user_id, day, tokens, cost, now_us, expires_at)
        if spent:
            raise BudgetSpent
        return Reservation(reservation_id, user_id, day, input_tokens)

    async def settle(self, reservation: Reservation, input_tokens: int, output_tokens: int) -> int:
        """Book what it came to, on the day on which it was reserved; its cost."""
        cost = self.price.cost(input_tokens, output_tokens)
        async with self._db.begin() as tx:
            now_us = await tx.now_us()
            await usage_store.settle(
                tx,
                reservation.id,
                reservation.user_id,
                reservation.day,
                input_tokens,
                output_tokens,
                cost,
                now_us,
            )
        return cost

    async def view(self, user_id: str) -> dict[str, Any]:
        """What is used and left of today, as answers tell it."""
        async with self._db.read() as tx:
            now_us = await tx.now_us()
            day = _day(now_us)
            used = await usage_store.load_usage(tx, user_id, day)
            held_tokens, held_cost = await usage_store.load_reserved(tx, user_id, now_us)
        tomorrow = datetime.fromisoformat(day).date() + timedelta(days=1)
        return {
            "day": day,
            "requests": used.requests,
            "tokens": {
                "used": used.tokens,
                "reserved": held_tokens,
                "limit": self._most_tokens,
                "left": max(0, self._most_tokens - used.tokens - held_tokens),
            },
            "usd": {
                "used": used.cost / _MICRO,
                "reserved": held_cost / _MICRO,
                "limit": self._most_cost / _MICRO,
                "left": max(0, self._most_cost - used.cost - held_cost) / _MICRO,
            },
            "resets_at": f"{tomorrow.isoformat()}T00:00:00Z",
        }


def _day(now_us: int) -> str:
    return datetime.fromtimestamp(now_us // _MICRO, UTC).date().isoformat()
