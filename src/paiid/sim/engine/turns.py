"""Orders of one account in one symbol take turns, so that what was read of the position still holds at the venue."""

import asyncio
from weakref import WeakValueDictionary


class Turns:
    """A lock for each account and symbol; it is gone when nobody waits for it any more."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def of(self, account_number: str, symbol: str) -> asyncio.Lock:
        """The lock to hold from reading the position to the venue's answer."""
        lock = self._locks.get((account_number, symbol))
        if lock is None:
            lock = self._locks[(account_number, symbol)] = asyncio.Lock()
        return lock
