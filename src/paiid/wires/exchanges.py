"""What became of the exchanges with somebody else's server, and how long each took: counted and traced where the budget is kept."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from paiid.core.clock import Clock
from paiid.core.figures import Histogram, Tally
from paiid.core.tracing import NO_TRACES, Tracer

if TYPE_CHECKING:
    # Whoever has no keys need not wait for the HTTP client at the start.
    from paiid.wires.outbound import Reply

__all__ = ["Exchanges"]


class Exchanges:
    """Those of all budgets of a process, by the name of the budget."""

    def __init__(self, clock: Clock, tracer: Tracer = NO_TRACES) -> None:
        self._clock = clock
        self._tracer = tracer
        self.outcomes = Tally("budget", "outcome")
        """`2xx` … `5xx` as was answered, `not_begun` (nothing was sent), `broken` (nobody knows), `cut_short` (nobody waited)."""
        self.seconds = Histogram("budget")

    async def measured(self, budget: str, exchange: "Awaitable[Reply]") -> "Reply":
        """The exchange, counted, and a span `exchange` in the trace of an order or a request. Raises whatever it raises."""
        began_s = self._clock.monotonic_s()
        outcome = "cut_short"
        with self._tracer.inside("exchange", budget=budget) as span:
            try:
                reply = await exchange
                outcome = f"{reply.status // 100}xx"
                return reply
            except Exception as error:
                outcome = getattr(error, "outcome", "broken")
                raise
            finally:
                span.set("outcome", outcome)
                self.outcomes.add(budget, outcome)
                self.seconds.observe(self._clock.monotonic_s() - began_s, budget)
