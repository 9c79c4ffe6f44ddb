"""The bus between replicas: it speeds news up, may lose any of it, and is never an authority (contract K2)."""

from collections.abc import Callable
from typing import Protocol

Hear = Callable[[bytes], None]


class Bus(Protocol):
    """Messages between the processes of one installation. A process never hears its own."""

    shared: bool
    """Whether there can be other processes on it."""

    @property
    def up(self) -> bool:
        """Whether what is published reaches the others, as far as is known; a dead or frozen server is noticed within 3 s."""
        ...

    def publish(self, channel: str, body: bytes) -> None:
        """Send soon. Never waits, never raises; what cannot be sent is dropped, the oldest first, and counted."""
        ...

    def subscribe(self, channel: str, hear: Hear) -> None:
        """Call `hear` with each message from others, in the order of their sender, on the event loop; it must not raise or wait."""
        ...

    def on_change(self, tell: Callable[[bool], None]) -> None:
        """Call `tell` whenever `up` has changed; after a loss what was missed is not made good."""
        ...

    async def start(self) -> None:
        """Connect in the background; returns at once, whether there is a server or not."""
        ...

    async def stop(self) -> None:
        """Disconnect, within a second."""
        ...


class NoBus:
    """The bus of a process that is alone: always up, and nobody hears."""

    shared = False
    up = True

    def publish(self, channel: str, body: bytes) -> None:
        """Nobody is there."""

    def subscribe(self, channel: str, hear: Hear) -> None:
        """Nobody ever speaks."""

    def on_change(self, tell: Callable[[bool], None]) -> None:
        """It never changes."""

    async def start(self) -> None:
        """Nothing to connect to."""

    async def stop(self) -> None:
        """Nothing to end."""
