"""Signing in, staying signed in, signing out: sessions are refresh families (contracts A2, A3, A5)."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from paiid.auth import session_store, store
from paiid.auth.callers import Callers
from paiid.auth.passwords import Passwords
from paiid.auth.records import Session, User, normal_email
from paiid.auth.throttle import Client, Throttle
from paiid.auth.tokens import RefreshClaim, TokenMaker, digest, invalid_token, read_refresh, same
from paiid.core.audit import AuditEntry, write_audit
from paiid.core.clock import Clock, new_id
from paiid.core.db import Database, Tx
from paiid.core.figures import Tally
from paiid.domain.errors import Code, Problem, not_found
from paiid.domain.identity import Actor, Principal

GRACE_US = 10_000_000
"""How long a lost refresh answer can be asked for again (contract A2), while the successor has not been refreshed.

Only a refresh uses the successor up. Using the access token issued with it does not: of two requests that refresh
at once the first may be at work with its pair while the second is still being answered.
"""
MOST_SESSIONS = 50


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a client gets; `expires_in_s` counts for the access token."""

    access_token: str
    refresh_token: str
    expires_in_s: int


class Sessions:
    """Makes, renews and ends sessions."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        throttle: Throttle,
        passwords: Passwords,
        tokens: TokenMaker,
        callers: Callers,
        access_minutes: int,
        refresh_days: int,
    ) -> None:
        self._db = db
        self._clock = clock
        self._throttle = throttle
        self._passwords = passwords
        self._tokens = tokens
        self._callers = callers
        self.sign_ins = Tally("what", "result")
        """`login` and `refresh` by how they ended: `ok`, or the slug of the problem."""
        self._access_s = access_minutes * 60
        self._refresh_us = refresh_days * 86_400 * 1_000_000

    # -- signing in ---------------------------------------------------------------------------------

    async def login(self, email: str, password: str, client: Client) -> TokenPair:
        """Raises Problem: 401 (the same for all reasons), 429, 503."""
        return await self._counted("login", self._login(email, password, client))

    async def _counted(self, what: str, work: Awaitable[TokenPair]) -> TokenPair:
        try:
            pair = await work
        except Problem as problem:
            self.sign_ins.add(what, problem.code.slug)
            raise
        self.sign_ins.add(what, "ok")
        return pair

    async def _login(self, email: str, password: str, client: Client) -> TokenPair:
        email = normal_email(email) or "malformed"
        taken = await self._throttle.take_login(email, client)
        async with self._db.read() as tx:
            user = await store.find_user_by_email(tx, email)
        usable = user if user is not None and user.active else None
        right = await self._passwords.verify(usable.password_hash if usable else None, password)
        pair = await self._open(usable, password, client) if usable is not None and right else None
        if pair is None:
            await self._refuse_login(user, client)
            raise Problem(Code.INVALID_CREDENTIALS, "The e-mail address or the password is wrong.")
        await self._throttle.give_back(taken)
        return pair

    async def _refuse_login(self, user: User | None, client: Client) -> None:
        # The address typed is not kept: people type passwords into that field.
        subject = "user:unknown" if user is None else f"user:{user.id}"
        async with self._db.begin() as tx:
            actor = Actor("anonymous", client.address)
            await self._audit(tx, actor, "auth.login.refuse", subject, {}, client.request_id)

    async def _open(self, user: User, password: str, client: Client) -> TokenPair | None:
        """A new session; None when the user changed since his password was compared."""
        renewed = None
        if self._passwords.is_outdated(user.password_hash):
            renewed = await self._passwords.hash(password)
        session = self._new_session(user.id, client)
        try:
            async with self._db.begin() as tx:
                now = await store.lock_user(tx, user.id)
                if now is None or not now.active or now.password_hash != user.password_hash:
                    return None
                if renewed is not None:
                    await store.update_user(tx, replace(now, password_hash=renewed))
                await self._make_room(tx, user.id)
                session = replace(session, rotated_at=await tx.now_us())
                await session_store.add_session(tx, session)
                detail = {"session": session.id, "address": client.address}
                await self._audit(
                    tx,
                    Actor("session", user.id),
                    "auth.login",
                    f"user:{user.id}",
                    detail,
                    client.request_id,
                )
        finally:
            self._callers.drop_user(user.id)
        return self._pair(session, self._tokens.refresh(session.id, session.generation))

    def _new_session(self, user_id: str, client: Client) -> Session:
        now_us = self._clock.now_us()
        session_id = new_id(self._clock, "ses")
        agent = client.user_agent
        return Session(
            id=session_id,
            user_id=user_id,
            generation=1,
            refresh_hash=digest(self._tokens.refresh(session_id, 1)),
            previous_hash=None,
            rotated_at=now_us,
            access_jti=self._clock.random_bytes(16).hex(),
            access_iat=now_us // 1_000_000,
            created_at=now_us,
            last_used_at=now_us,
            expires_at=now_us + self._refresh_us,
            ended_at=None,
            user_agent=None if agent is None else "".join(c for c in agent if c.isprintable())[:256],
            address=client.address[:64],
        )

    async def _make_room(self, tx: Tx, user_id: str) -> None:
        """A user's oldest sessions end when he has too many."""
        now_us = self._clock.now_us()
        open_ones = await session_store.list_sessions(tx, user_id, now_us)
        for session in open_ones[: max(0, len(open_ones) - MOST_SESSIONS + 1)]:
            await session_store.end_session(tx, user_id, session.id, now_us, "too-many")
            detail = {"session": session.id, "reason": "too-many"}
            await self._audit(
                tx, Actor("session", user_id), "auth.session.end", f"user:{user_id}", detail, None
            )

    def _pair(self, session: Session, refresh_token: str) -> TokenPair:
        expires_at_s = min(session.access_iat + self._access_s, session.expires_at // 1_000_000)
        access = self._tokens.access(
            session.user_id, session.id, session.access_iat, expires_at_s, session.access_jti
        )
        left_s = max(0, expires_at_s - self._clock.now_us() // 1_000_000)
        return TokenPair(access, refresh_token, left_s)

    # -- staying signed in --------------------------------------------------------------------------

    async def refresh(self, token: str, client: Client) -> TokenPair:
        """The next pair of a family, or the newest once more if its answer was lost (contract A2).

        Raises Problem: 401, after which the client has to sign in; 429.
        """
        return await self._counted("refresh", self._refresh(token, client))

    async def _refresh(self, token: str, client: Client) -> TokenPair:
        await self._throttle.take_refresh(client)
        claim = read_refresh(token)
        result: TokenPair | Problem
        async with self._db.begin() as tx:
            session = await session_store.lock_session(tx, claim.session_id)
            if session is None or session.ended_at is not None or session.expires_at <= self._clock.now_us():
                result = invalid_token("This session has ended; sign in again.")
            else:
                result = await self._refresh_in(tx, session, claim, token, client)
        if isinstance(result, Problem):
            if session is not None:
                self._callers.drop_user(session.user_id)
            raise result
        return result

    async def _refresh_in(
        self, tx: Tx, session: Session, claim: RefreshClaim, token: str, client: Client
    ) -> TokenPair | Problem:
        user = await store.find_user(tx, session.user_id)
        if user is None or not user.active:
            return invalid_token("This session has ended; sign in again.")
        presented = digest(token)
        if claim.generation == session.generation and same(presented, session.refresh_hash):
            return await self._rotate(tx, session, presented, client)
        now_us = await tx.now_us()
        if (
            claim.generation == session.generation - 1
            and session.previous_hash is not None
            and same(presented, session.previous_hash)
            and now_us - session.rotated_at <= GRACE_US
        ):
            again = self._tokens.refresh_matching(session.id, session.generation, session.refresh_hash)
            if again is not None:
                return self._pair(session, again)
        if not self._tokens.is_refresh(token, claim) and not same(presented, session.previous_hash or ""):
            return invalid_token("The refresh token is not valid; sign in again.")
        await session_store.end_session(
            tx, session.user_id, session.id, self._clock.now_us(), "refresh-reused"
        )
        detail = {"session": session.id, "generation": claim.generation, "newest": session.generation}
        actor = Actor("anonymous", client.address)
        subject = f"user:{session.user_id}"
        await self._audit(tx, actor, "auth.refresh.reused", subject, detail, client.request_id)
        return Problem(
            Code.REFRESH_REUSED,
            "This refresh token was used before, so somebody else may have it: the session has ended. "
            "Sign in again.",
        )

    async def _rotate(self, tx: Tx, session: Session, presented: str, client: Client) -> TokenPair:
        now_us = self._clock.now_us()
        successor = self._tokens.refresh(session.id, session.generation + 1)
        rotated = replace(
            session,
            generation=session.generation + 1,
            refresh_hash=digest(successor),
            previous_hash=presented,
            rotated_at=await tx.now_us(),
            access_jti=self._clock.random_bytes(16).hex(),
            access_iat=now_us // 1_000_000,
            last_used_at=now_us,
        )
        await session_store.rotate_session(tx, rotated)
        detail = {"session": session.id, "generation": rotated.generation, "address": client.address}
        await self._audit(
            tx,
            Actor("session", session.user_id),
            "auth.refresh",
            f"user:{session.user_id}",
            detail,
            client.request_id,
        )
        return self._pair(rotated, successor)

    # -- signing out --------------------------------------------------------------------------------

    async def logout(self, actor: Actor, user_id: str, request_id: str | None = None) -> int:
        """End all sessions of a user; how many. Acknowledged means no order of theirs can be claimed (A3)."""
        try:
            async with self._db.begin() as tx:
                await store.lock_user(tx, user_id)
                ended = await session_store.end_sessions(tx, user_id, self._clock.now_us(), "logout")
                await self._audit(
                    tx, actor, "auth.logout", f"user:{user_id}", {"sessions": ended}, request_id
                )
        finally:
            self._callers.drop_user(user_id)
        return ended

    async def list_sessions(self, user_id: str) -> list[Session]:
        """A user's open sessions, oldest first; at most 50."""
        async with self._db.read() as tx:
            return await session_store.list_sessions(tx, user_id, self._clock.now_us())

    async def end(self, principal: Principal, session_id: str, request_id: str | None = None) -> None:
        """End one of the caller's own. Raises Problem (404) if it is not his or has ended."""
        user_id = principal.user_id
        try:
            async with self._db.begin() as tx:
                await store.lock_user(tx, user_id)
                if not await session_store.end_session(
                    tx, user_id, session_id, self._clock.now_us(), "ended"
                ):
                    raise not_found("session")
                actor = Actor(principal.credential, user_id)
                detail = {"session": session_id, "reason": "ended"}
                await self._audit(tx, actor, "auth.session.end", f"user:{user_id}", detail, request_id)
        finally:
            self._callers.drop_user(user_id)

    async def _audit(
        self,
        tx: Tx,
        actor: Actor,
        action: str,
        subject: str,
        detail: Mapping[str, Any],
        request_id: str | None,
    ) -> None:
        await write_audit(
            tx, self._clock, await tx.now_us(), [AuditEntry(actor, action, subject, detail, request_id)]
        )
