"""API tokens: scoped, stored as a hash, shown once (contract A4)."""

from paiid.auth import store, token_store
from paiid.auth.callers import Callers
from paiid.auth.records import ApiToken, scopes_to
from paiid.auth.tokens import digest, invalid_token, make_api_token
from paiid.core.audit import AuditEntry, write_audit
from paiid.core.clock import Clock, new_id
from paiid.core.db import Database
from paiid.domain.errors import Code, Problem, invalid_field, not_found
from paiid.domain.identity import Actor, Scope

MOST_TOKENS = 50
_DAY_US = 86_400 * 1_000_000


class ApiTokens:
    """Makes, lists and revokes the tokens of a user."""

    def __init__(self, db: Database, clock: Clock, callers: Callers) -> None:
        self._db = db
        self._clock = clock
        self._callers = callers

    async def make(
        self,
        actor: Actor,
        user_id: str,
        name: str,
        scopes: frozenset[Scope],
        expires_in_days: int | None,
        request_id: str | None = None,
    ) -> tuple[ApiToken, str]:
        """A new token and its text, which cannot be had again. Raises Problem: 422, 404, 409 at 50 tokens."""
        if not scopes:
            raise invalid_field("scopes", "missing", "Give at least one of read, trade, halt.")
        now_us = self._clock.now_us()
        token_id = new_id(self._clock, "tok")
        text = make_api_token(token_id, self._clock.random_bytes(32))
        expires_at = None if expires_in_days is None else now_us + expires_in_days * _DAY_US
        token = ApiToken(token_id, user_id, name, digest(text), scopes, now_us, expires_at, None, None)
        async with self._db.begin() as tx:
            user = await store.lock_user(tx, user_id)
            if user is None or not user.active:
                raise invalid_token("This user may no longer act.")
            if len(await token_store.list_tokens(tx, user_id, now_us)) >= MOST_TOKENS:
                raise Problem(Code.CONFLICT, f"A user has at most {MOST_TOKENS} tokens; revoke one first.")
            await token_store.add_token(tx, token)
            detail = {"token": token_id, "name": name, "scopes": scopes_to(scopes), "expires_at": expires_at}
            entry = AuditEntry(actor, "token.make", f"user:{user_id}", detail, request_id)
            await write_audit(tx, self._clock, await tx.now_us(), [entry])
        return token, text

    async def list_tokens(self, user_id: str) -> list[ApiToken]:
        """Those that stand, oldest first; at most 50."""
        async with self._db.read() as tx:
            return await token_store.list_tokens(tx, user_id, self._clock.now_us())

    async def revoke(self, actor: Actor, user_id: str, token_id: str, request_id: str | None = None) -> None:
        """Acknowledged means no order of it can be claimed. Raises Problem (404) if it is not his or is gone."""
        try:
            async with self._db.begin() as tx:
                await store.lock_user(tx, user_id)
                if not await token_store.revoke_token(tx, user_id, token_id, self._clock.now_us()):
                    raise not_found("token")
                entry = AuditEntry(actor, "token.revoke", f"user:{user_id}", {"token": token_id}, request_id)
                await write_audit(tx, self._clock, await tx.now_us(), [entry])
        finally:
            self._callers.drop_user(user_id)
