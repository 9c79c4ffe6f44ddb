"""How many requests may be under way at once: of a user, and of all who ask the model."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from paiid.ai.limits import AT_ONCE, AT_ONCE_A_USER
from paiid.domain.errors import Code, Problem


class Places:
    """Of one process."""

    def __init__(self) -> None:
        self._of_user: Counter[str] = Counter()
        self._asking = 0

    @contextmanager
    def of_user(self, user_id: str) -> Iterator[None]:
        """A place of his. Raises Problem (429)."""
        if self._of_user[user_id] >= AT_ONCE_A_USER:
            raise Problem(
                Code.RATE_LIMITED,
                f"You have {AT_ONCE_A_USER} questions under way; wait for an answer.",
                headers={
                    "Retry-After": "1",
                    "RateLimit-Limit": str(AT_ONCE_A_USER),
                    "RateLimit-Remaining": "0",
                    "RateLimit-Reset": "1",
                },
            )
        self._of_user[user_id] += 1
        try:
            yield
        finally:
            self._of_user[user_id] -= 1
            if not self._of_user[user_id]:
                del self._of_user[user_id]

    @property
    def full(self) -> bool:
        """Whether no more may ask the model."""
        return self._asking >= AT_ONCE

    @contextmanager
    def asking(self) -> Iterator[None]:
        """A place among those who ask it; look at `full` before."""
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1
