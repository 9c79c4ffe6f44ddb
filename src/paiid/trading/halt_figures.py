"""How fast halts take hold, counted for whoever operates the service."""

from paiid.core.figures import SLOW_S, Histogram, Tally

__all__ = ["HaltFigures"]

_BOUNDS_S = (0.005, 0.01, 0.025, *SLOW_S)


class HaltFigures:
    """Of the halts that this process has armed and loosened."""

    def __init__(self) -> None:
        self.seconds = Histogram("reached", bounds=_BOUNDS_S)
        """From the wish to `effective` (committed) and to `drained` (no order claimed before it can be on the wire)."""
        self.changes = Tally("change")
        """`armed`, `resumed`, and what became of a wish else: `arm_refused`, `resume_refused`, `latched`."""
