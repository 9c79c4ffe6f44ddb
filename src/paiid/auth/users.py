"""Users and their rights: made, changed and removed by an owner or on the host, never by an API token."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from paiid.auth import session_store, store, token_store
from paiid.auth.callers import Callers
from paiid.auth.passwords import Passwords, check_password
from paiid.auth.records import User, normal_email
from paiid.core.audit import AuditEntry, write_audit
from paiid.core.clock import Clock, new_id
from paiid.core.db import Database, Tx, UniqueViolation
from paiid.core.shared import SharedThrottle
from paiid.domain.errors import Code, Problem, invalid_field, not_found
from paiid.domain.identity import Actor, Principal, Role

OnUser = Callable[[Tx, str, str, Role], Awaitable[None]]
"""(tx, user id, e-mail address, role): a user is new or has a new role, in the transaction that makes it so."""
PASSWORD_PER_USER = (5, 10)


class Users:
    """Every change of a user holds his row alone, so that a claim is before it or sees it (contract A3)."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        shared: SharedThrottle,
        passwords: Passwords,
        callers: Callers,
        on_user: OnUser,
    ) -> None:
        self._db = db
        self._clock = clock
        self._shared = shared
        self._passwords = passwords
        self._callers = callers
        self._on_user = on_user

    # -- looking ------------------------------------------------------------------------------------

    async def list_users(self, after: str = "", limit: int = 50) -> tuple[list[User], str | None]:
        """A page behind a cursor, oldest first, and the cursor of the next."""
        async with self._db.read() as tx:
            found = await store.list_users(tx, after, limit + 1)
        page = found[:limit]
        return page, page[-1].id if len(found) > limit else None

    async def load_user(self, user_id: str) -> User:
        """Raises Problem (404)."""
        async with self._db.read() as tx:
            return _known(await store.find_user(tx, user_id))

    async def find_by_email(self, email: str) -> User | None:
        """By address, in any case of letters."""
        async with self._db.read() as tx:
            return await store.find_user_by_email(tx, normal_email(email) or "malformed")

    # -- making and changing ------------------------------------------------------------------------

    async def make(
        self, actor: Actor, email: str, password: str, role: Role, request_id: str | None = None
    ) -> User:
        """A new user. Raises Problem: 422 for address or password, 409 when the address is taken."""
        address = normal_email(email)
        if address is None:
            raise invalid_field("email", "email", "This is not an e-mail address, such as name@example.com.")
        check_password(password)
        hashed = await self._passwords.hash(password)
        now_us = self._clock.now_us()
        user = User(new_id(self._clock, "usr"), address, hashed, role, now_us, now_us, None, None)
        try:
            async with self._db.begin() as tx:
                await self.add(tx, actor, user, request_id)
        except UniqueViolation:
            raise Problem(Code.CONFLICT, "There is a user with this e-mail address already.") from None
        return user

    async def add(self, tx: Tx, actor: Actor, user: User, request_id: str | None = None) -> None:
        """The same for a user who is put together already. Raises UniqueViolation."""
        await store.add_user(tx, user)
        await self._on_user(tx, user.id, user.email, user.role)
        detail = {"email": user.email, "role": user.role}
        await self._audit(tx, actor, "user.make", user.id, detail, request_id)

    async def set_role(self, actor: Actor, user_id: str, role: Role, request_id: str | None = None) -> User:
        """Raises Problem: 404, 409 for the last owner."""
        async with self._changing(user_id) as tx:
            user = _known(await store.lock_user(tx, user_id))
            if user.role == role:
                return user
            if role != "owner":
                await self._refuse_last_owner(tx, user)
            changed = replace(user, role=role, updated_at=self._clock.now_us())
            await store.update_user(tx, changed)
            await self._on_user(tx, user.id, user.email, role)
            detail = {"role": role, "before": user.role}
            await self._audit(tx, actor, "user.role", user_id, detail, request_id)
        return changed

    async def disable(self, actor: Actor, user_id: str, request_id: str | None = None) -> User:
        """He can no longer sign in, his sessions end and his tokens are revoked.

        Raises Problem: 404, 409 for the last owner.
        """
        async with self._changing(user_id) as tx:
            user = _known(await store.lock_user(tx, user_id))
            if user.disabled_at is not None:
                return user
            await self._refuse_last_owner(tx, user)
            now_us = self._clock.now_us()
            changed = replace(user, disabled_at=now_us, updated_at=now_us)
            await store.update_user(tx, changed)
            ended = await session_store.end_sessions(tx, user_id, now_us, "disabled")
            revoked = await token_store.revoke_tokens(tx, user_id, now_us)
            detail = {"sessions": ended, "tokens": revoked}
            await self._audit(tx, actor, "user.disable", user_id, detail, request_id)
        return changed

    async def enable(self, actor: Actor, user_id: str, request_id: str | None = None) -> User:
        """He may sign in again. Raises Problem (404)."""
        async with self._changing(user_id) as tx:
            user = _known(await store.lock_user(tx, user_id))
            if user.disabled_at is None:
                return user
            changed = replace(user, disabled_at=None, updated_at=self._clock.now_us())
            await store.update_user(tx, changed)
            await self._audit(tx, actor, "user.enable", user_id, {}, request_id)
        return changed

    async def delete(self, actor: Actor, user_id: str, request_id: str | None = None) -> None:
        """He is gone and his address is free; what he did stays in ledger and audit under his id.

        Raises Problem: 404, 409 for the last owner.
        """
        async with self._changing(user_id) as tx:
            user = _known(await store.lock_user(tx, user_id))
            await self._refuse_last_owner(tx, user)
            now_us = self._clock.now_us()
            gone = replace(
                user, email=f"deleted:{user.id}", password_hash="", updated_at=now_us, deleted_at=now_us
            )
            await store.update_user(tx, gone)
            ended = await session_store.end_sessions(tx, user_id, now_us, "deleted")
            revoked = await token_store.revoke_tokens(tx, user_id, now_us)
            detail = {"email": user.email, "role": user.role, "sessions": ended, "tokens": revoked}
            await self._audit(tx, actor, "user.delete", user_id, detail, request_id)

    async def _refuse_last_owner(self, tx: Tx, user: User) -> None:
        if user.role == "owner" and user.active and not await store.find_other_owner(tx, user.id):
            raise Problem(Code.CONFLICT, "This is the last owner; make another user an owner first.")

    # -- passwords ----------------------------------------------------------------------------------

    async def change_password(
        self, principal: Principal, current: str, new: str, request_id: str | None = None
    ) -> None:
        """The caller's own; his other sessions end. Raises Problem: 401 for the wrong one, 422, 429, 503."""
        await self._shared.take("password_user", principal.user_id, *PASSWORD_PER_USER)
        check_password(new, "new_password")
        user = await self.load_user(principal.user_id)
        actor = Actor(principal.credential, user.id)
        if not await self._passwords.verify(user.password_hash, current):
            async with self._db.begin() as tx:
                await self._audit(tx, actor, "user.password.refuse", user.id, {}, request_id)
            raise Problem(Code.INVALID_CREDENTIALS, "The current password is wrong.")
        hashed = await self._passwords.hash(new)
        await self._write_password(
            actor, user.id, hashed, request_id, but=principal.credential_id, expected=user.password_hash
        )

    async def set_password(
        self, actor: Actor, user_id: str, password: str, request_id: str | None = None
    ) -> None:
        """Somebody's, by an owner or on the host; all his sessions end. Raises Problem: 404, 422, 503."""
        check_password(password)
        hashed = await self._passwords.hash(password)
        await self._write_password(actor, user_id, hashed, request_id)

    async def _write_password(
        self,
        actor: Actor,
        user_id: str,
        hashed: str,
        request_id: str | None,
        but: str = "",
        expected: str | None = None,
    ) -> None:
        async with self._changing(user_id, managing=False) as tx:
            user = _known(await store.lock_user(tx, user_id))
            if expected is not None and user.password_hash != expected:
                raise Problem(
                    Code.CONFLICT, "The password was changed meanwhile; try again with the new one."
                )
            now_us = self._clock.now_us()
            await store.update_user(tx, replace(user, password_hash=hashed, updated_at=now_us))
            ended = await session_store.end_sessions(tx, user_id, now_us, "password", but)
            await self._audit(tx, actor, "user.password", user_id, {"sessions": ended}, request_id)

    # -- in common ----------------------------------------------------------------------------------

    @asynccontextmanager
    async def _changing(self, user_id: str, *, managing: bool = True) -> AsyncIterator[Tx]:
        """A transaction that changes one user; nothing remembered of him survives it, whatever it came to."""
        try:
            async with self._db.begin() as tx:
                if managing:
                    await store.lock_user_management(tx)
                yield tx
        finally:
            self._callers.drop_user(user_id)

    async def _audit(
        self,
        tx: Tx,
        actor: Actor,
        action: str,
        user_id: str,
        detail: Mapping[str, Any],
        request_id: str | None,
    ) -> None:
        entry = AuditEntry(actor, action, f"user:{user_id}", detail, request_id)
        await write_audit(tx, self._clock, await tx.now_us(), [entry])


def _known(user: User | None) -> User:
    if user is None:
        raise not_found("user")
    return user
