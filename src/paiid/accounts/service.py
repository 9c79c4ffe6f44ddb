"""Accounts, grants and settings of users: who may use which account, and with which choices of his own."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from paiid.accounts import store
from paiid.accounts.records import Account, Grant, UserSettings
from paiid.auth.fresh import FreshCache
from paiid.auth.store import lock_user
from paiid.brokers import BrokerAccount
from paiid.core.audit import AuditEntry, write_audit
from paiid.core.clock import Clock
from paiid.core.db import Database, Tx, UniqueViolation
from paiid.core.settings import Settings
from paiid.domain.errors import Code, Problem, invalid_field, not_found
from paiid.domain.identity import SYSTEM, Actor, Principal, Right, Role
from paiid.domain.terms import DEFAULT_TERMS, AccountTerms

_FRESH_S = 1.5
_MOST_VIEWS = 10_000


@dataclass(frozen=True, slots=True)
class _View:
    """What one user may use, and his choices."""

    accounts: dict[str, Account]
    settings: UserSettings


class AccountService:
    """Answers from memory for up to 1.5 s; the claim checks the grant again in its transaction."""

    def __init__(
        self, db: Database, clock: Clock, settings: Settings, paper_terms: AccountTerms = DEFAULT_TERMS
    ) -> None:
        self._paper_terms = paper_terms
        self._db = db
        self._clock = clock
        self._default_account = settings.default_account
        self._live_trading = settings.live_trading
        self._broker = settings.broker
        self._views: FreshCache[str, _View] = FreshCache(clock, _FRESH_S, _MOST_VIEWS)
        self._changed: list[Callable[[str], None]] = []

    # -- which account ------------------------------------------------------------------------------

    async def resolve(self, principal: Principal, named: str | None, right: Right) -> Account:
        """The account a request is about: the one it names, else the caller's default.

        Raises Problem: 404 without a grant, 403 for a right the grant or the role does not give, or for trading
        live while that is off; 422 when nothing is named and there is no default.
        """
        view = await self._view(principal.user_id)
        account = self._default(principal, view) if named is None else view.accounts.get(named)
        if account is None:
            raise not_found("account")
        if right == "trade":
            self._refuse_trade(principal, account)
        return account

    def _refuse_trade(self, principal: Principal, account: Account) -> None:
        if principal.role == "viewer":
            raise Problem(Code.FORBIDDEN, "A viewer cannot trade; ask the owner for another role.")
        if account.access != "trade":
            raise Problem(Code.FORBIDDEN, "You may look at this account but not trade in it; ask the owner.")
        if account.mode == "live" and not self._live_trading:
            raise Problem(Code.FORBIDDEN, "This is a live account, and LIVE_TRADING is off.")

    def _default(self, principal: Principal, view: _View) -> Account:
        """The user's choice, the deployment's if he may use it (DEFAULT_ACCOUNT, or the account at BROKER), his own
        paper account, or the only one he has.

        A live account is never anybody's default but by DEFAULT_ACCOUNT.
        """
        chosen = view.accounts.get(view.settings.default_account or "")
        if chosen is not None and chosen.mode != "live":
            return chosen
        named = view.accounts.get(self._default_account or "")
        if named is not None:
            return named
        # Where orders go by default; several accounts there are no default.
        there = [one for one in view.accounts.values() if one.broker == self._broker and one.mode != "live"]
        if self._broker != store.BUILT_IN and len(there) == 1:
            return there[0]
        own = view.accounts.get(paper_account_id(principal.user_id))
        if own is not None:
            return own
        usable = [account for account in view.accounts.values() if account.mode != "live"]
        if len(usable) == 1:
            return usable[0]
        if not view.accounts:
            raise not_found("account")
        raise invalid_field(
            "account",
            "missing",
            "You have several accounts and no default: name one, or set default_account.",
        )

    async def list_accounts(self, principal: Principal) -> list[Account]:
        """All accounts the caller has a grant on, oldest first."""
        return list((await self._view(principal.user_id)).accounts.values())

    async def _view(self, user_id: str) -> _View:
        found = self._views.find(user_id)
        if found is not None:
            return found

        async def read() -> _View:
            async with self._db.read() as tx:
                accounts = await store.load_accounts_of(tx, user_id)
                settings, _ = await store.load_settings(tx, user_id)
            return _View({account.id: account for account in accounts}, settings)

        return await self._views.load(user_id, read)

    def forget(self, user_id: str) -> None:
        """Read this user's accounts and settings afresh; for whoever changes them elsewhere."""
        self._views.drop(user_id)
        for tell in self._changed:
            tell(user_id)

    def on_change(self, tell: Callable[[str], None]) -> None:
        """Be told at once, on the event loop, of each user whose accounts or settings have changed on this replica."""
        self._changed.append(tell)

    async def load_granted(self, user_ids: Collection[str]) -> set[tuple[str, str]]:
        """(user, account) for every grant of these users, from the database now, in one query."""
        async with self._db.read() as tx:
            return await store.load_granted(tx, user_ids)

    # -- the built-in paper account -----------------------------------------------------------------

    async def open_paper_account(self, tx: Tx, user_id: str, email: str, role: Role) -> None:
        """For a user who is new or has a new role, in the transaction that makes him so.

        Owners and traders get `trade` on their own paper account, which is opened once; a viewer keeps only
        rights to view. The accounts of the environment belong to the owners: who becomes one may use them, who is
        none any more keeps what an owner has given him (contract A10).
        """
        now_us = await tx.now_us()
        if role == "owner":
            for account_id in await store.load_environment_ids(tx):
                await store.put_grant(tx, Grant(user_id, account_id, "trade", now_us, SYSTEM.id))
        else:
            dropped = await store.drop_environment_grants(tx, user_id, SYSTEM.id)
            if dropped:
                await self._audit(tx, now_us, SYSTEM, "grant.drop", f"user:{user_id}", {"grants": dropped})
        if role == "viewer":
            lowered = await store.lower_grants(tx, user_id)
            if lowered:
                await self._audit(tx, now_us, SYSTEM, "grant.lower", f"user:{user_id}", {"grants": lowered})
        else:
            account_id = paper_account_id(user_id)
            if not await store.account_exists(tx, account_id):
                account = Account(
                    account_id, "paper", "paper", account_id, "Paper account", "active", user_id, "trade"
                )
                await store.add_account(tx, account, self._paper_terms, now_us)
                await self._audit(
                    tx,
                    now_us,
                    SYSTEM,
                    "account.open",
                    f"account:{account_id}",
                    {"user": user_id, "cash": int(self._paper_terms.starting_cash)},
                )
            await store.put_grant(tx, Grant(user_id, account_id, "trade", now_us, SYSTEM.id))
        self.forget(user_id)

    # -- accounts of the environment ----------------------------------------------------------------

    async def open_environment_account(self, broker: str, found: BrokerAccount) -> str:
        """The ledger's id of an account that is there by itself; the first time it is opened for the owners, with
        books that do not agree yet. Raises DatabaseUnavailable."""
        account_id = environment_account_id(broker, found.mode, found.number)
        try:
            owners = await self._open_for_owners(account_id, broker, found)
        except UniqueViolation:
            # Another process was first.
            return account_id
        for user_id in owners:
            self.forget(user_id)
        return account_id

    async def _open_for_owners(self, account_id: str, broker: str, found: BrokerAccount) -> list[str]:
        """The owners, who may all trade in it; nobody where it is open already. Raises UniqueViolation."""
        async with self._db.begin() as tx:
            if await store.account_exists(tx, account_id):
                return []
            owners = await store.load_owners(tx)
            for user_id in sorted(owners):
                await lock_user(tx, user_id)
            now_us = await tx.now_us()
            name = f"{broker.capitalize()} {found.mode} account"
            first = owners[0] if owners else ""
            account = Account(
                account_id, broker, found.mode, found.number, name, found.status, first, "trade"
            )
            terms = AccountTerms(Decimal(0), margin=found.margin, options_level=found.options_level)
            await store.add_account(tx, account, terms, now_us, "the opening balances are not booked yet")
            await store.wait_if_restored(tx, account_id)
            for user_id in owners:
                await store.put_grant(tx, Grant(user_id, account_id, "trade", now_us, SYSTEM.id))
            detail = {"broker": broker, "mode": found.mode, "number": found.number, "owners": owners}
            await self._audit(tx, now_us, SYSTEM, "account.open", f"account:{account_id}", detail)
            return owners

    # -- grants -------------------------------------------------------------------------------------

    async def list_grants(self, account_id: str) -> list[Grant]:
        """All rights on an account. Raises Problem (404) when there is no such account."""
        async with self._db.read() as tx:
            if not await store.account_exists(tx, account_id):
                raise not_found("account")
            return await store.list_grants(tx, account_id)

    async def put_grant(
        self, actor: Actor, account_id: str, user_id: str, access: Right, request_id: str | None = None
    ) -> Grant:
        """Give a user a right, or change it; acknowledged means every later claim sees it.

        Raises Problem: 404 for no such account or user, 409 for a viewer who should trade.
        """
        async with self._db.begin() as tx:
            user = await lock_user(tx, user_id)
            if user is None:
                raise not_found("user")
            if not await store.account_exists(tx, account_id):
                raise not_found("account")
            if user.role == "viewer" and access == "trade":
                raise Problem(
                    Code.CONFLICT, "A viewer can only get the right to view; change his role first."
                )
            now_us = await tx.now_us()
            grant = Grant(user_id, account_id, access, now_us, actor.id)
            grant, before = await store.put_grant(tx, grant)
            detail = {"user": user_id, "access": access, "before": before}
            await self._audit(tx, now_us, actor, "grant.put", f"account:{account_id}", detail, request_id)
        self.forget(user_id)
        return grant

    async def drop_grant(
        self, actor: Actor, account_id: str, user_id: str, request_id: str | None = None
    ) -> None:
        """Take a right away; acknowledged means no later claim has it. Raises Problem (404) if there was none."""
        async with self._db.begin() as tx:
            await lock_user(tx, user_id)
            if not await store.drop_grant(tx, user_id, account_id):
                raise not_found("grant")
            await self._audit(
                tx,
                await tx.now_us(),
                actor,
                "grant.drop",
                f"account:{account_id}",
                {"user": user_id},
                request_id,
            )
        self.forget(user_id)

    # -- settings -----------------------------------------------------------------------------------

    async def settings_of(self, user_id: str) -> UserSettings:
        """A user's choices, at most 1.5 s old."""
        return (await self._view(user_id)).settings

    async def change_settings(
        self, principal: Principal, changes: Mapping[str, Any], request_id: str | None = None
    ) -> UserSettings:
        """Merge: what is named changes, None takes a choice back. Values are validated already.

        Raises Problem (422) for a default account that is live or not his.
        """
        async with self._db.begin() as tx:
            if await lock_user(tx, principal.user_id) is None:
                raise Problem(Code.INVALID_TOKEN, "This user no longer exists.")
            await self._check_default(tx, principal.user_id, changes.get("default_account"))
            before, version = await store.load_settings(tx, principal.user_id)
            after = replace(before, **changes)
            if after != before:
                now_us = await tx.now_us()
                await store.save_settings(tx, principal.user_id, after, version, now_us)
                detail = {
                    name: [getattr(before, name), getattr(after, name)]
                    for name in changes
                    if getattr(before, name) != getattr(after, name)
                }
                subject = f"user:{principal.user_id}"
                await self._audit(tx, now_us, principal.actor, "settings.change", subject, detail, request_id)
        self.forget(principal.user_id)
        return after

    async def _check_default(self, tx: Tx, user_id: str, account_id: str | None) -> None:
        if account_id is None:
            return
        own = {account.id: account for account in await store.load_accounts_of(tx, user_id)}
        if account_id not in own:
            raise invalid_field("default_account", "unknown_account", "You have no account with this id.")
        if own[account_id].mode == "live":
            raise invalid_field(
                "default_account",
                "live_account",
                "A live account cannot be a default; name it in each request.",
            )

    async def _audit(
        self,
        tx: Tx,
        at_us: int,
        actor: Actor,
        action: str,
        subject: str,
        detail: Mapping[str, Any],
        request_id: str | None = None,
    ) -> None:
        await write_audit(tx, self._clock, at_us, [AuditEntry(actor, action, subject, detail, request_id)])


def environment_account_id(broker: str, mode: str, number: str) -> str:
    """The id of an account of the environment: the same on every replica and after a restore."""
    return f"{broker}-{mode}-" + re.sub(r"[^A-Za-z0-9._-]", "-", number)[:40]


def paper_account_id(user_id: str) -> str:
    """The id of a user's own paper account."""
    return "paper-" + user_id.removeprefix("usr_")


__all__ = [
    "Account",
    "AccountService",
    "Grant",
    "UserSettings",
    "environment_account_id",
    "paper_account_id",
]
