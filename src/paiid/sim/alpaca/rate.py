"""The limit on requests of one account in a minute, as Alpaca counts and tells it."""

from dataclasses import dataclass

from paiid.core.clock import Clock

_MINUTE_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Quota:
    """What is left after this request. `reset_at_s` is the epoch second at which the count begins anew."""

    limit: int
    remaining: int
    reset_at_s: int
    exceeded: bool

    @property
    def headers(self) -> dict[str, str]:
        """The three headers that tell it."""
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset_at_s),
        }


class RateLimit:
    """Counts each account's requests in the running minute; a limit of 0 counts nothing."""

    def __init__(self, clock: Clock, per_minute: int) -> None:
        self._clock = clock
        self._limit = per_minute
        self._minute = -1
        self._counts: dict[str, int] = {}

    def count(self, account_number: str) -> Quota | None:
        """Count one request; None where there is no limit."""
        if self._limit <= 0:
            return None
        minute = self._clock.now_us() // _MINUTE_US
        if minute != self._minute:
            self._minute = minute
            self._counts.clear()
        count = self._counts.get(account_number, 0) + 1
        exceeded = count > self._limit
        self._counts[account_number] = min(count, self._limit)
        return Quota(self._limit, max(0, self._limit - count), (minute + 1) * 60, exceeded)
