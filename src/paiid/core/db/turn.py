"""Whose turn it is to write, where there is one writer."""

import asyncio
from collections import deque

from paiid.core.db.api import DatabaseUnavailable

__all__ = ["Turn"]


class Turn:
    """A lock whose urgent waiters go before all others: an arming halt must not queue behind orders."""

    def __init__(self) -> None:
        self.held = False
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._normal: deque[asyncio.Future[None]] = deque()

    async def acquire(self, urgent: bool, timeout_s: float) -> None:
        """Wait for the turn. Raises DatabaseUnavailable when the time is over."""
        if not self.held:
            self.held = True
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._urgent if urgent else self._normal).append(future)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except BaseException as error:
            if future.done() and not future.cancelled():
                self.release()
            if isinstance(error, TimeoutError):
                raise DatabaseUnavailable("the writer did not come free in time") from error
            raise

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._urgent) + len(self._normal)

    def release(self) -> None:
        """Give it to the next."""
        for queue in (self._urgent, self._normal):
            while queue:
                future = queue.popleft()
                if not future.done():
                    future.set_result(None)
                    return
        self.held = False
