"""How far this process's clock is from the database's: with a clock that is off, orders would be refused for good for a
reason that is ours, so no claim is taken."""

from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.system.checks import Told

_TOLD_US = 2_000_000
_OFF_US = 30_000_000


class Skew:
    """Measured now and then. A database in a file has no other clock than ours."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._doubt_us = 0
        self._measured: tuple[int, int] | None = None
        """Our clock minus the database's, and `_origin_us` at that moment."""

    @property
    def us(self) -> int | None:
        """Our clock minus the database's, None before the first measurement. A clock that has been set since then shows against the one
        that cannot be. After the machine has slept that is wrong until the next measurement; and what was not taken meanwhile may try again."""
        if self._db.dialect == "sqlite":
            return 0
        if self._measured is None:
            return None
        us, origin_us = self._measured
        return us + self._origin_us() - origin_us

    def _origin_us(self) -> int:
        """When the monotonic clock began, by the other one."""
        return self._clock.now_us() - round(self._clock.monotonic_s() * 1_000_000)

    async def measure(self) -> None:
        """Ask the database once; half of the way there and back is how wrong that can be. Raises DatabaseUnavailable."""
        if self._db.dialect == "sqlite":
            return
        async with self._db.read() as tx:
            before_us, before_s = self._clock.now_us(), self._clock.monotonic_s()
            theirs_us = await tx.now_us()
            half_us = round((self._clock.monotonic_s() - before_s) * 500_000)
            origin_us = before_us - round(before_s * 1_000_000)
        self._measured, self._doubt_us = (before_us + half_us - theirs_us, origin_us), half_us

    def is_off(self, skew_us: int) -> bool:
        """Whether a clock that is so far from the database's must take no orders."""
        return abs(skew_us) > _OFF_US

    def reason(self) -> str | None:
        """Why no claim may be taken, in words for anybody, or None: from memory."""
        us = self.us
        if us is None or abs(us) - self._doubt_us <= _OFF_US:
            return None
        return f"its clock is {abs(us) / 1_000_000:.0f} s off the database's"

    async def check(self) -> Told:
        """Measure, and judge. Raises DatabaseUnavailable."""
        await self.measure()
        us = self.us
        if us is None:
            return Told("not measured yet")
        figures = {"clock_skew_seconds": us / 1_000_000}
        why = self.reason()
        if why is not None:
            return Told(why, "down", unready=why, figures=figures)
        if abs(us) - self._doubt_us > _TOLD_US:
            ahead = "ahead of" if us > 0 else "behind"
            detail = f"{abs(us) / 1_000_000:.1f} s {ahead} the database's"
            return Told(detail, "degraded", figures=figures)
        return Told("as the database's", figures=figures)
