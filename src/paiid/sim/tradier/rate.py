"""Tradier's limits: a bucket of requests for each token, over a minute that begins with its first request
(tradier.md, section 2)."""

from dataclasses import dataclass
from typing import Literal

from paiid.core.clock import Clock

__all__ = ["Bucket", "Quota", "RateLimits", "Rates"]

Bucket = Literal["standard", "market", "trading"]
_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Requests in a minute; 0 for no limit. `window_s` may make that minute shorter, for who cannot wait for its end."""

    standard: int = 120
    market: int = 120
    trading: int = 60
    window_s: float = _MINUTE_S

    @classmethod
    def of(cls, per_minute: int) -> "RateLimits":
        """The same number for every bucket."""
        return cls(per_minute, per_minute, per_minute)

    @property
    def window_us(self) -> int:
        """How long a window lasts."""
        return int(self.window_s * 1_000_000)

    def limit(self, bucket: Bucket) -> int:
        """The limit of a bucket."""
        limits: dict[Bucket, int] = {
            "standard": self.standard,
            "market": self.market,
            "trading": self.trading,
        }
        return limits[bucket]


SANDBOX_LIMITS = RateLimits.of(60)


@dataclass(frozen=True, slots=True)
class Quota:
    """A bucket after one more request. `expires_at_ms` is the epoch millisecond at which the window ends."""

    allowed: int
    used: int
    expires_at_ms: int
    exceeded: bool

    @property
    def headers(self) -> dict[str, str]:
        """The four headers that tell it."""
        return {
            "X-Ratelimit-Allowed": str(self.allowed),
            "X-Ratelimit-Used": str(self.used),
            "X-Ratelimit-Available": str(self.allowed - self.used),
            "X-Ratelimit-Expiry": str(self.expires_at_ms),
        }


class Rates:
    """Counts the requests of each token and bucket."""

    def __init__(self, clock: Clock, limits: RateLimits) -> None:
        self._clock = clock
        self._limits = limits
        self._windows: dict[tuple[str, Bucket], tuple[int, int]] = {}
        """Start of the window and the requests in it, those beyond the limit not counted."""

    def count(self, token: str, bucket: Bucket) -> Quota | None:
        """Count one request; None where there is no limit."""
        limit = self._limits.limit(bucket)
        if limit <= 0:
            return None
        now_us = self._clock.now_us()
        begun_us, used = self._windows.get((token, bucket), (now_us, 0))
        if not begun_us <= now_us < begun_us + self._limits.window_us:
            begun_us, used = now_us, 0
        exceeded = used >= limit
        used = min(limit, used + 1)
        self._windows[token, bucket] = (begun_us, used)
        # The millisecond in which it ends, or the next one: who waits for it must not come too early.
        expires_at_ms = -(-(begun_us + self._limits.window_us) // 1000)
        return Quota(limit, used, expires_at_ms, exceeded)
