"""Traces of ticks, a few a second: from the quote that is shown to the flush that wrote it to its clients."""

from paiid.core.clock import Clock
from paiid.core.tracing import Tracer
from paiid.market.board import Board, Shown
from paiid.stream.hub import Hub

__all__ = ["TickTraces"]

_EVERY_US = 250_000


class TickTraces:
    """Registers itself. To be made before whoever else watches the board, so that their work is measured too; only where
    the tracer is on."""

    def __init__(self, tracer: Tracer, clock: Clock, board: Board, hub: Hub) -> None:
        self._tracer = tracer
        self._clock = clock
        self._next_us = 0
        self._pending: tuple[Shown, int] | None = None
        board.watch(self._shown)
        hub.on_flush(self._flushed)

    def _shown(self, shown: Shown) -> None:
        now_us = self._clock.now_us()
        if self._pending is None and now_us >= self._next_us:
            self._pending = (shown, now_us)
            self._next_us = now_us + _EVERY_US

    def _flushed(self, began_us: int, ended_us: int) -> None:
        """Of whatever was shown before it, the first is told."""
        if self._pending is None:
            return
        (shown, at_us), self._pending = self._pending, None
        quote = shown.quote
        self._tracer.record(
            "tick",
            (("tick.show", at_us, began_us), ("tick.flush", began_us, ended_us)),
            symbol=quote.symbol,
            source=quote.source,
            age_ms=max(0, at_us - quote.as_of_us) // 1000,
        )
