"""Traces as the parts see them: a span around a piece of work, which costs nothing while tracing is off.

Parts get a `Tracer` by their constructor, and `NO_TRACES` by default; `system/otel` makes the real one, so that
OpenTelemetry is imported only where it is asked for.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from paiid.core.figures import Tally

__all__ = ["NO_TRACES", "NoTraces", "Part", "Span", "Tracer", "Value"]

Value = str | int | float | bool
Part = tuple[str, int, int]
"""Name, beginning and end in microseconds since the epoch."""


class Span(Protocol):
    """A piece of work that is being traced."""

    trace_id: str | None
    """32 hexadecimal digits; None where this trace is not kept."""

    def set(self, name: str, value: Value) -> None:
        """An attribute; never a secret, a key or a caller's text."""
        ...


class Tracer(Protocol):
    """Makes spans. One that is opened inside another is its child, also in a task that was begun there."""

    on: bool
    """False: nobody listens, and attributes need not be worked out."""
    sent: Tally | None
    """Spans by `result`: `sent`, `lost`, `dropped`; None where there are none."""

    def span(self, name: str, /, **attributes: Value) -> AbstractContextManager[Span]:
        """A span as long as the block; an exception that leaves it is noted by its type alone."""
        ...

    def inside(self, name: str, /, **attributes: Value) -> AbstractContextManager[Span]:
        """The same, and nothing where no span is open: what happens all the time is told only as a part of something."""
        ...

    def resumed(
        self, traceparent: str | None, name: str, /, **attributes: Value
    ) -> AbstractContextManager[Span]:
        """The same for what a caller has begun (W3C `traceparent`); what cannot be read begins a trace of its own."""
        ...

    def record(self, name: str, parts: Sequence[Part], /, **attributes: Value) -> None:
        """A trace of what is over and went through several hands: one span over all parts, and one for each."""
        ...

    def close(self) -> None:
        """Send what waits, for a second at most."""
        ...


class _Nothing:
    trace_id: str | None = None

    def set(self, name: str, value: Value) -> None:
        """Nobody listens."""


class NoTraces:
    """Tracing that is off."""

    on = False
    sent: Tally | None = None

    def __init__(self) -> None:
        self._nothing: AbstractContextManager[Span] = nullcontext(_Nothing())

    def span(self, name: str, /, **attributes: Value) -> AbstractContextManager[Span]:
        """Nothing."""
        return self._nothing

    def inside(self, name: str, /, **attributes: Value) -> AbstractContextManager[Span]:
        """Nothing."""
        return self._nothing

    def resumed(
        self, traceparent: str | None, name: str, /, **attributes: Value
    ) -> AbstractContextManager[Span]:
        """Nothing."""
        return self._nothing

    def record(self, name: str, parts: Sequence[Part], /, **attributes: Value) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


NO_TRACES = NoTraces()
