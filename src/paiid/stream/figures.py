"""What the streams count of themselves for whoever operates the service."""

from paiid.core.figures import Tally

__all__ = ["StreamFigures"]


class StreamFigures:
    """Of all clients of this process."""

    def __init__(self) -> None:
        self.opened = Tally("transport")
        self.events = Tally("style")
        """Messages written to clients; `style` is how: `frames`, `batches` (WebSocket), `sse`."""
        self.bytes = Tally("style")
        self.merged = Tally()
        """Values that a client did not get because a newer one took their place."""
        self.resets = Tally("channel")
        self.closed = Tally("code").expect("4408")
        """Streams that were ended from our side, by the close code; 4408 is a client that did not read."""
