"""How long each stage of an order takes and what became of it: one seam for metrics and traces in the order path."""

from types import TracebackType

from paiid.core.clock import Clock
from paiid.core.figures import Histogram, Tally
from paiid.core.tracing import NO_TRACES, Span, Tracer, Value

__all__ = ["Stages"]

_ALARMS = (
    "order.mismatch",
    "order.alive_after_refusal",
    "order.corrected",
    "order.refused_after_acceptance",
    "order.overfilled",
)
"""Those that are told as 0 from the start."""


class Stages:
    """Figures of the order path. `with stages.timed("claim"):` around a stage; also opens a span `order.claim`."""

    def __init__(self, clock: Clock, tracer: Tracer = NO_TRACES) -> None:
        self._clock = clock
        self.tracer = tracer
        self.seconds = Histogram("stage")
        """`prepare`, `claim` (its wait for the shared commit included), `send` (the broker's time), `record`, `total`."""
        self.intents = Tally("result")
        """Calls by how they ended: `claimed`, `replayed`, `refused`, `problem`, `unavailable` (the database was)."""
        self.orders = Tally("broker", "state")
        """Outcomes of submissions: ACCEPTED, REJECTED, UNKNOWN."""
        self.lookups = Tally("broker", "result")
        """Look-ups of orders in doubt, and of those watched after NOT_PLACED: `found`, `absent`, `unanswered`."""
        self.settled = Tally("broker", "state")
        """What look-ups have made of orders in doubt: ACCEPTED, REJECTED, NOT_PLACED."""
        self.cancels = Tally("broker", "outcome")
        """Cancels that were put to a broker: ACCEPTED, REFUSED, UNKNOWN."""
        self.alarms = Tally("what")
        """What a person has to look at."""
        for what in _ALARMS:
            self.alarms.expect(what)

    def timed(self, stage: str, **attributes: Value) -> "_Timed":
        """Measure a block, also one that raises."""
        return _Timed(self, stage, attributes)


class _Timed:
    __slots__ = ("_attributes", "_began_s", "_span", "_stage", "_stages")

    def __init__(self, stages: Stages, stage: str, attributes: dict[str, Value]) -> None:
        self._stages = stages
        self._stage = stage
        self._attributes = attributes

    def __enter__(self) -> Span | None:
        stages = self._stages
        self._began_s = stages._clock.monotonic_s()
        if not stages.tracer.on:
            self._span = None
            return None
        self._span = stages.tracer.span(f"order.{self._stage}", **self._attributes)
        return self._span.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stages = self._stages
        stages.seconds.observe(stages._clock.monotonic_s() - self._began_s, self._stage)
        if self._span is not None:
            self._span.__exit__(kind, error, trace)
