"""Invites: an owner lets one person in, without setting a password for him; and whether everybody may register."""

import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import replace

from paiid.auth import invite_store, store
from paiid.auth.invite_store import Invite, Switch
from paiid.auth.records import normal_email
from paiid.auth.tokens import digest
from paiid.core.audit import AuditEntry, write_audit
from paiid.core.clock import Clock, new_id
from paiid.core.db import Database, Tx
from paiid.domain.errors import Code, Problem, invalid_field, not_found
from paiid.domain.identity import Actor, Role

MOST_OPEN = 100
"""Invites that may be used at a time."""
MOST_HOURS = 720
DEFAULT_HOURS = 72
CODE_LENGTH = 47
"""Characters of a code: `inv_` and 256 random bits."""
BY_HOST = "cli"
"""Who has made an invite on the host."""
_CODE = re.compile(r"inv_[A-Za-z0-9_-]{43}")
_HOUR_US = 3_600_000_000


class Invites:
    """Makes, lists and revokes them, and uses them up for who registers."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def make(
        self,
        actor: Actor,
        role: Role,
        email: str | None,
        expires_in_hours: int = DEFAULT_HOURS,
        request_id: str | None = None,
    ) -> tuple[Invite, str]:
        """A new one and its code, which cannot be had again. Raises Problem: 422 for the address or the role, 409 for an address that is
        taken and at 100 open ones."""
        address = None if email is None else normal_email(email)
        if email is not None and address is None:
            raise invalid_field("email", "email", "This is not an e-mail address, such as name@example.com.")
        if role == "owner":
            raise invalid_field(
                "role", "role", "An invite makes a trader or a viewer; make an owner by hand."
            )
        code = "inv_" + urlsafe_b64encode(self._clock.random_bytes(32)).rstrip(b"=").decode()
        created_by = BY_HOST if actor.kind == "cli" else actor.id
        async with self._db.begin() as tx:
            await store.lock_user_management(tx)
            if address is not None and await store.find_user_by_email(tx, address) is not None:
                raise Problem(Code.CONFLICT, "There is a user with this e-mail address already.")
            now_us = await tx.now_us()
            if await invite_store.count_open(tx, now_us) >= MOST_OPEN:
                raise Problem(Code.CONFLICT, f"There are {MOST_OPEN} open invites; revoke one first.")
            expires_us = now_us + expires_in_hours * _HOUR_US
            invite = Invite(
                new_id(self._clock, "inv"), digest(code), address, role, created_by, now_us, expires_us, None, None, None,
            )  # fmt: skip
            await invite_store.add_invite(tx, invite)
            detail = {"email": address, "role": role, "expires_at": expires_us}
            await self._audit(tx, now_us, actor, "invite.make", f"invite:{invite.id}", detail, request_id)
        return invite, code

    async def list_invites(self, before: str = "", limit: int = 50) -> tuple[list[Invite], str | None]:
        """A page behind a cursor, newest first, and the cursor of the next."""
        async with self._db.read() as tx:
            found = await invite_store.list_invites(tx, before, limit + 1)
        page = found[:limit]
        return page, page[-1].id if len(found) > limit else None

    async def revoke(self, actor: Actor, invite_id: str, request_id: str | None = None) -> None:
        """Nobody registers with it from now on; it may have expired or be revoked already. Raises Problem: 404, 409 if it was used."""
        async with self._db.begin() as tx:
            invite = await invite_store.lock_invite(tx, invite_id)
            if invite is None:
                raise not_found("invite")
            if invite.used_at is not None:
                raise Problem(
                    Code.CONFLICT, "This invite was used; if need be, disable the user it has made."
                )
            if invite.revoked_at is not None:
                return
            now_us = await tx.now_us()
            await invite_store.revoke_invite(tx, invite_id, now_us)
            await self._audit(tx, now_us, actor, "invite.revoke", f"invite:{invite_id}", {}, request_id)

    async def find_open(self, tx: Tx, code: str, email: str, now_us: int) -> Invite | None:
        """The invite behind a code if this address may use it now: it is open, for nobody or for him, and who made it is still an owner,
        which holds to the end of the transaction."""
        if not _CODE.fullmatch(code):
            return None
        invite = await invite_store.find_invite(tx, digest(code))
        if invite is None or invite.state_at(now_us) != "open" or invite.email not in (None, email):
            return None
        if invite.created_by != BY_HOST:
            maker = await store.share_user(tx, invite.created_by)
            if maker is None or not maker.active or maker.role != "owner":
                return None
        return invite

    async def is_open(self, code: str | None, email: str | None) -> bool:
        """Whether this address may use this code as things are. Raises DatabaseUnavailable."""
        if code is None or email is None:
            return False
        async with self._db.read() as tx:
            return await self.find_open(tx, code, email, await tx.now_us()) is not None

    # -- registration for everybody -----------------------------------------------------------------

    async def registration(self) -> Switch:
        """Whether everybody may register. It is read each time, so that all replicas know at once."""
        async with self._db.read(brief=True) as tx:
            return await invite_store.load_registration(tx)

    async def open_registration(self, actor: Actor, on: bool, request_id: str | None = None) -> Switch:
        """Turn it on or off. Acknowledged means that nobody is let in by it after it was turned off."""
        async with self._db.begin() as tx:
            await store.lock_user_management(tx)
            before = await invite_store.load_registration(tx)
            if before.on == on and before.updated_at is not None:
                return before
            now_us = await tx.now_us()
            await invite_store.set_registration(tx, on, actor.id, now_us)
            action = "registration.open" if on else "registration.close"
            await self._audit(tx, now_us, actor, action, "registration", {}, request_id)
        return replace(before, on=on, updated_at=now_us, updated_by=actor.id)

    async def _audit(
        self,
        tx: Tx,
        now_us: int,
        actor: Actor,
        action: str,
        subject: str,
        detail: Mapping[str, object],
        request_id: str | None,
    ) -> None:
        await write_audit(tx, self._clock, now_us, [AuditEntry(actor, action, subject, detail, request_id)])
