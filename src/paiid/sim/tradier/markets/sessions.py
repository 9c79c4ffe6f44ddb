"""Sessions of the market stream: ids that must be used within five minutes (tradier.md, section 9.1)."""

import uuid
from dataclasses import dataclass

from paiid.core.clock import Clock

__all__ = ["Sessions"]

_MOST = 1_000
"""Ids that are remembered; the oldest goes first."""


@dataclass(frozen=True, slots=True)
class _Session:
    account: str
    until_s: float


class Sessions:
    """The ids that were given out. `account` is the first one of the user to whom it belongs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, _Session] = {}

    def create(self, account: str, session_s: float) -> str:
        """A new id, good for so long."""
        session = str(uuid.UUID(bytes=self._clock.random_bytes(16), version=4))
        self._known[session] = _Session(account, self._clock.monotonic_s() + session_s)
        while len(self._known) > _MOST:
            del self._known[next(iter(self._known))]
        return session

    def find(self, session: str) -> str | None:
        """Whose id this is; None for one that is not known, or too old."""
        known = self._known.get(session)
        if known is None or self._clock.monotonic_s() >= known.until_s:
            return None
        return known.account

    def forget(self, account: str) -> None:
        """No id of this account is good any more."""
        self._known = {one: known for one, known in self._known.items() if known.account != account}
