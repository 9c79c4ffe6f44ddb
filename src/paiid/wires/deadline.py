"""One time limit over everything that a call does."""

from paiid.core.clock import Clock


class Deadline:
    """One time limit over everything a call does."""

    def __init__(self, clock: Clock, timeout_s: float) -> None:
        self._clock = clock
        self._ends_s = clock.monotonic_s() + timeout_s

    @property
    def left_s(self) -> float:
        """Seconds left; negative once it has passed."""
        return self._ends_s - self._clock.monotonic_s()
