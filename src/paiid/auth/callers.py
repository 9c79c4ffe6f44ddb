"""From a bearer text to the principal it stands for, remembered for 1.5 s (contracts A1, A3, A4).

The database is asked again after that, so a right that was taken away on another replica is gone from reads
within 2 s; on this one at once. Orders do not rely on it: the claim checks in its own transaction.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from paiid.auth import session_store, token_store
from paiid.auth.fresh import FreshCache
from paiid.auth.store import find_owner
from paiid.auth.tokens import TokenMaker, api_token_id, digest, invalid_token, same
from paiid.core.clock import Clock
from paiid.core.db import Database, DatabaseUnavailable
from paiid.domain.errors import Problem
from paiid.domain.identity import ALL_SCOPES, Principal

FRESH_S = 1.5
MOST_CALLERS = 10_000
_TOUCH_EVERY_US = 60_000_000
_MOST_CHARACTERS = 2048


@dataclass(frozen=True, slots=True)
class Known:
    """Whom a bearer text stands for, and until when by itself; None: until it is revoked."""

    principal: Principal
    expires_at_us: int | None


class Callers:
    """Verifies bearer texts."""

    def __init__(self, db: Database, clock: Clock, tokens: TokenMaker, static_token: str | None) -> None:
        self._db = db
        self._clock = clock
        self._tokens = tokens
        self._static_token = static_token
        self._known: FreshCache[str, Known] = FreshCache(clock, FRESH_S, MOST_CALLERS)
        self._touching: set[asyncio.Task[None]] = set()
        self._changed: list[Callable[[str], None]] = []

    def on_change(self, tell: Callable[[str], None]) -> None:
        """Be told, on the event loop, of each user whose rights have changed on this replica."""
        self._changed.append(tell)

    async def authenticate(self, token: str, *, to_halt: bool = False) -> Principal:
        """Whom the text stands for.

        Raises Problem (401), DatabaseUnavailable. With `to_halt`, a caller who was verified before is believed
        while the database cannot be reached, for stopping must work then (contract K10).
        """
        return (await self.identify(token, to_halt=to_halt)).principal

    async def identify(self, token: str, *, to_halt: bool = False) -> Known:
        """The same, and until when: for what stays open longer than a request."""
        known = self._known.find(token)
        if known is None:
            known = await self._verify(token, to_halt)
        if known.expires_at_us is not None and self._clock.now_us() >= known.expires_at_us:
            self._known.drop(token)
            raise invalid_token()
        return known

    async def _verify(self, token: str, to_halt: bool) -> Known:
        if len(token) > _MOST_CHARACTERS:
            raise invalid_token()
        try:
            return await self._known.load(token, lambda: self._read(token))
        except Problem:
            self._known.drop(token)
            raise
        except DatabaseUnavailable:
            known = self._known.find_last(token) if to_halt else None
            if known is None:
                raise
            return known

    async def _read(self, token: str) -> Known:
        if self._static_token is not None and same(token, self._static_token):
            return await self._read_static()
        token_id = api_token_id(token)
        if token_id is not None:
            return await self._read_api_token(token, token_id)
        return await self._read_session(token)

    async def _read_static(self) -> Known:
        async with self._db.read() as tx:
            owner = await find_owner(tx)
        if owner is None:
            raise invalid_token("There is no owner this token could act for.")
        return Known(Principal(owner.id, owner.email, owner.role, "static", owner.id, ALL_SCOPES), None)

    async def _read_api_token(self, token: str, token_id: str) -> Known:
        now_us = self._clock.now_us()
        async with self._db.read() as tx:
            found = await token_store.find_token_caller(tx, token_id, now_us)
        if found is None or not same(digest(token), found.token_hash):
            raise invalid_token("The token is not valid, has expired or was revoked.")
        if found.last_used_at is None or found.last_used_at < now_us - _TOUCH_EVERY_US:
            task = asyncio.create_task(self._touch(token_id, now_us), name="paiid-token-used")
            self._touching.add(task)
            task.add_done_callback(self._touching.discard)
        principal = Principal(found.user_id, found.email, found.role, "token", token_id, found.scopes)
        return Known(principal, found.expires_at)

    async def _read_session(self, token: str) -> Known:
        now_us = self._clock.now_us()
        access = self._tokens.read_access(token, now_us // 1_000_000)
        async with self._db.read() as tx:
            found = await session_store.find_caller(tx, access.session_id, access.user_id, now_us)
        if found is None:
            raise invalid_token("This session has ended; sign in again.")
        principal = Principal(
            found.user_id, found.email, found.role, "session", access.session_id, ALL_SCOPES
        )
        return Known(principal, access.expires_at_s * 1_000_000)

    async def _touch(self, token_id: str, at_us: int) -> None:
        # Not worth failing a request for: the next use tries again.
        with suppress(DatabaseUnavailable):
            async with self._db.begin() as tx:
                await token_store.touch_token(tx, token_id, at_us)

    def drop_user(self, user_id: str) -> None:
        """Forget what is known of a user's credentials: call it after each change of his rights."""
        self._known.drop_where(lambda known: known.principal.user_id == user_id)
        for tell in self._changed:
            tell(user_id)

    async def stop(self) -> None:
        """Finish noting what was used."""
        if self._touching:
            await asyncio.wait(set(self._touching))
