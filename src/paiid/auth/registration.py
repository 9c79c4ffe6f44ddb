"""Registering: who has an invite, or anybody while an owner has opened it; it tells nobody which addresses are known (contract A5)."""

from collections.abc import Mapping
from dataclasses import replace

from paiid.auth import invite_store, store
from paiid.auth.invites import Invites
from paiid.auth.passwords import Passwords, check_password
from paiid.auth.records import User, normal_email
from paiid.auth.throttle import Client, Throttle
from paiid.auth.users import Users
from paiid.core.audit import AuditEntry, write_audit
from paiid.core.clock import Clock, new_id
from paiid.core.db import Database, Tx, UniqueViolation
from paiid.domain.errors import Code, Problem, invalid_field
from paiid.domain.identity import Actor, Role

OPEN_ROLE: Role = "trader"
"""What somebody becomes who registers without an invite: he has a paper account of his own, and sees nobody else's."""


class Registration:
    """Makes users of who asks for it himself."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        throttle: Throttle,
        passwords: Passwords,
        users: Users,
        invites: Invites,
    ) -> None:
        self._db = db
        self._clock = clock
        self._throttle = throttle
        self._passwords = passwords
        self._users = users
        self._invites = invites

    async def register(self, email: str, password: str, invite: str | None, client: Client) -> None:
        """Make the user, unless there is one with this address: then nothing changes, and nothing of it is told. Both take one hashing and
        one commit.

        Raises Problem: 403 while registration is closed and there is no invite, or for an invite that is not good for this
        address, whatever the reason; 422, 429, 503.
        """
        address = normal_email(email)
        await self._throttle.take_register(client, lambda: self._invites.is_open(invite, address))
        if address is None:
            raise invalid_field("email", "email", "This is not an e-mail address, such as name@example.com.")
        check_password(password)
        if invite is None and not (await self._invites.registration()).on:
            raise _closed()
        hashed = await self._passwords.hash(password)
        now_us = self._clock.now_us()
        user = User(new_id(self._clock, "usr"), address, hashed, OPEN_ROLE, now_us, now_us, None, None)
        try:
            async with self._db.begin() as tx:
                refused = await self._register_in(tx, user, invite, client)
        except UniqueViolation:
            # Somebody was first by a hair: the answer is as if he had been long before.
            return
        if refused is not None:
            raise refused

    async def _register_in(self, tx: Tx, user: User, invite: str | None, client: Client) -> Problem | None:
        """A refusal is a value here: its audit row is to be committed."""
        actor = Actor("anonymous", client.address)
        now_us = await tx.now_us()
        used = None
        if invite is not None:
            used = await self._invites.find_open(tx, invite, user.email, now_us)
            if used is None:
                return await self._refused(tx, now_us, actor, _not_good(), client)
        elif not (await invite_store.load_registration(tx, hold=True)).on:
            return await self._refused(tx, now_us, actor, _closed(), client)
        if await store.find_user_by_email(tx, user.email) is not None:
            # Neither the invite nor anything else changes.
            await self._audit(tx, now_us, actor, "auth.register.known", {}, client)
            return None
        if used is not None:
            if not await invite_store.use_invite(tx, used.id, user.email, user.id, now_us):
                return await self._refused(tx, now_us, actor, _not_good(), client)
            user = replace(user, role=used.role)
        await self._users.add(tx, actor, user, client.request_id)
        detail = {"user": user.id, "role": user.role, "invite": None if used is None else used.id}
        await self._audit(tx, now_us, actor, "auth.register", detail, client)
        return None

    async def _refused(self, tx: Tx, now_us: int, actor: Actor, problem: Problem, client: Client) -> Problem:
        await self._audit(tx, now_us, actor, "auth.register.refuse", {}, client)
        return problem

    async def _audit(
        self, tx: Tx, now_us: int, actor: Actor, action: str, detail: Mapping[str, object], client: Client
    ) -> None:
        # The address typed is not kept: people type passwords into that field.
        entry = AuditEntry(actor, action, "registration", detail, client.request_id)
        await write_audit(tx, self._clock, now_us, [entry])


def _closed() -> Problem:
    return Problem(Code.FORBIDDEN, "Registration is closed; ask the owner for an invite.")


def _not_good() -> Problem:
    return Problem(
        Code.FORBIDDEN, "This invite is not good: unknown, used, expired, revoked, or for another address."
    )
