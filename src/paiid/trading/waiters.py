"""Calls that wait for their intent to become final in this process."""

import asyncio
from collections.abc import Mapping


class Waiters:
    """Wakes calls that wait for their intent to become final in this process."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[tuple[int, str]]] = {}

    def expect(self, intent_id: str) -> "asyncio.Future[tuple[int, str]]":
        """A future of the final (status, body)."""
        future: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self._waiting[intent_id] = future
        return future

    def forget(self, intent_id: str) -> None:
        """Nobody waits any more."""
        self._waiting.pop(intent_id, None)

    def tell(self, final: Mapping[str, tuple[int, str]]) -> None:
        """Intents that a committed transaction made final."""
        for intent_id, answer in final.items():
            future = self._waiting.get(intent_id)
            if future is not None and not future.done():
                future.set_result(answer)
