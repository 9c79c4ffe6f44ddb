"""Leaves a model alone that has failed again and again, and remembers what was the matter."""

from paiid.ai.limits import AiTimings
from paiid.ai.model import WORDS, Why
from paiid.core.clock import Clock


class Breaker:
    """Of this process. One request may try again when the rest is over; if that fails too, the rest begins anew."""

    def __init__(self, clock: Clock, timings: AiTimings) -> None:
        self._clock = clock
        self._timings = timings
        self._failures = 0
        self._rests_until_s = 0.0
        self.last_why: Why | None = None

    @property
    def rests(self) -> bool:
        """Whether the model is left alone now."""
        return self._clock.monotonic_s() < self._rests_until_s

    @property
    def problem(self) -> str | None:
        """What was the matter with it last, in words for anybody; None once it answers."""
        return None if self.last_why is None else WORDS[self.last_why]

    def answered(self) -> None:
        """It works."""
        self._failures, self._rests_until_s, self.last_why = 0, 0.0, None

    def failed(self, why: Why, *, of_question: bool = False) -> None:
        """It does not. `of_question`: it may be the question that it has no answer to; then others may go on asking it."""
        self.last_why = why
        if of_question:
            return
        self._failures += 1
        if self._failures >= self._timings.failures:
            self._rests_until_s = self._clock.monotonic_s() + self._timings.resting_s
