"""The SQL of accounts as grants show them, of the grants themselves, and of user settings."""

import json
from collections.abc import Collection

from sqlalchemy import bindparam, delete, insert, select, update

from paiid.accounts.records import Account, Grant, UserSettings, settings_from, settings_to
from paiid.core.db import Tx, any_of, statement
from paiid.core.tables import accounts, grants, restored_accounts, user_settings, users
from paiid.domain.identity import Right
from paiid.domain.money import money_to_int
from paiid.domain.terms import AccountTerms

_COLUMNS = [
    accounts.c[name] for name in ("id", "broker", "mode", "number", "name", "status", "owner_user_id")
]

BUILT_IN = "paper"
"""The broker whose accounts the service opens itself."""
EVERY_ACCOUNT = ""
"""The row of `restored_accounts` that says of the database itself that it came from a backup."""
RESTORED_WAITING = "restored.waiting: orders that the broker has taken since the backup are not imported yet"
"""The problem of an account in which nothing is claimed for now; a comparison does not clear it."""
ACCOUNT_FIELDS = tuple(Account.__dataclass_fields__)
GRANT_FIELDS = tuple(Grant.__dataclass_fields__)

_OF_USER = statement(
    select(*_COLUMNS, grants.c.access)
    .select_from(grants.join(accounts, accounts.c.id == grants.c.account_id))
    .where(grants.c.user_id == bindparam("b_user"))
    .order_by(accounts.c.created_at, accounts.c.id)
)
_GRANTED = statement(select(grants.c.user_id, grants.c.account_id).where(any_of(grants.c.user_id, "b_users")))
_EXISTS = statement(select(accounts.c.id).where(accounts.c.id == bindparam("b_id")))
_ADD_ACCOUNT = statement(insert(accounts))
_RESTORED = statement(select(restored_accounts).where(restored_accounts.c.account_id == EVERY_ACCOUNT))
_ADD_RESTORED = statement(insert(restored_accounts))
_WAIT = statement(
    update(accounts)
    .where(accounts.c.id == bindparam("b_id"))
    .values(event_epoch=accounts.c.event_epoch + bindparam("b_by"), reconcile_problem=bindparam("b_problem"))
)
_GRANTS = statement(
    select(grants).where(grants.c.account_id == bindparam("b_account")).order_by(grants.c.user_id)
)
_FIND_GRANT = statement(
    select(grants)
    .where(grants.c.user_id == bindparam("b_user"), grants.c.account_id == bindparam("b_account"))
    .with_for_update()
)
_ADD_GRANT = statement(insert(grants))
_UPDATE_GRANT = statement(
    update(grants).where(
        grants.c.user_id == bindparam("b_user"), grants.c.account_id == bindparam("b_account")
    ),
    columns=["access", "created_at", "created_by"],
)
_LOWER_GRANTS = statement(
    update(grants).where(grants.c.user_id == bindparam("b_user"), grants.c.access == bindparam("b_from")),
    columns=["access"],
)
_ENVIRONMENT = select(accounts.c.id).where(accounts.c.broker != BUILT_IN)
_DROP_ENVIRONMENT_GRANTS = statement(
    delete(grants).where(
        grants.c.user_id == bindparam("b_user"),
        grants.c.created_by == bindparam("b_by"),
        grants.c.account_id.in_(_ENVIRONMENT),
    )
)
_ENVIRONMENT_IDS = statement(_ENVIRONMENT.order_by(accounts.c.id))
_OWNERS = statement(
    select(users.c.id)
    .where(users.c.role == "owner", users.c.disabled_at.is_(None))
    .order_by(users.c.created_at, users.c.id)
)
_DROP_GRANT = statement(
    delete(grants).where(
        grants.c.user_id == bindparam("b_user"), grants.c.account_id == bindparam("b_account")
    )
)
_SETTINGS = statement(select(user_settings).where(user_settings.c.user_id == bindparam("b_user")))
_ADD_SETTINGS = statement(insert(user_settings))
_UPDATE_SETTINGS = statement(
    update(user_settings).where(user_settings.c.user_id == bindparam("b_user")),
    columns=["data", "version", "updated_at"],
)


async def load_accounts_of(tx: Tx, user_id: str) -> list[Account]:
    """All accounts a user has a grant on, oldest first."""
    rows = await tx.fetch(_OF_USER, {"b_user": user_id})
    return [Account(**{name: row[name] for name in ACCOUNT_FIELDS}) for row in rows]


async def load_granted(tx: Tx, user_ids: Collection[str]) -> set[tuple[str, str]]:
    """(user, account) for every grant of these users."""
    rows = await tx.fetch(_GRANTED, {"b_users": sorted(user_ids)})
    return {(row["user_id"], row["account_id"]) for row in rows}


async def account_exists(tx: Tx, account_id: str) -> bool:
    """Whether the ledger knows the account."""
    return await tx.fetch_one(_EXISTS, {"b_id": account_id}) is not None


async def add_account(
    tx: Tx, account: Account, terms: AccountTerms, at_us: int, problem: str | None = None
) -> None:
    """A new account on these terms; with `problem` its books do not agree with its broker's yet. Raises
    UniqueViolation when it exists."""
    cash = money_to_int(terms.starting_cash)
    await tx.execute(
        _ADD_ACCOUNT,
        {
            "id": account.id,
            "broker": account.broker,
            "mode": account.mode,
            "number": account.number,
            "owner_user_id": account.owner_user_id,
            "name": account.name,
            "status": account.status,
            "cash": cash,
            "starting_cash": cash,
            "open_orders": 0,
            "event_seq": 0,
            "event_epoch": 1,
            "version": 0,
            "reconciled_at": None,
            "reconcile_problem": problem,
            "created_at": at_us,
            "margin": int(terms.margin),
            "options_level": terms.options_level,
            "open_combos": 0,
            "reset_at": 0,
        },
    )


async def wait_if_restored(tx: Tx, account_id: str) -> bool:
    """An account that has just been opened in a database that came from a backup may have been there after the backup, under
    the same id: it waits until that is settled. Whether it does."""
    row = await tx.fetch_one(_RESTORED)
    if row is None:
        return False
    waiting = {**{name: row[name] for name in row.keys()}, "account_id": account_id, "imported_at": None}  # noqa: SIM118
    await tx.execute(_ADD_RESTORED, waiting)
    by = row["restored_at"] // 1_000_000
    await tx.execute(_WAIT, {"b_id": account_id, "b_by": by, "b_problem": RESTORED_WAITING})
    return True


async def load_owners(tx: Tx) -> list[str]:
    """Ids of the owners that may sign in, the first one first."""
    return [str(row["id"]) for row in await tx.fetch(_OWNERS)]


async def load_environment_ids(tx: Tx) -> list[str]:
    """Accounts that are not at the built-in venue: those of the environment (contract A10)."""
    return [str(row["id"]) for row in await tx.fetch(_ENVIRONMENT_IDS)]


async def drop_environment_grants(tx: Tx, user_id: str, given_by: str) -> int:
    """Take back rights on accounts of the environment that were given so. Hold his row alone before."""
    return await tx.execute(_DROP_ENVIRONMENT_GRANTS, {"b_user": user_id, "b_by": given_by})


async def list_grants(tx: Tx, account_id: str) -> list[Grant]:
    """The grants on an account, by user id."""
    rows = await tx.fetch(_GRANTS, {"b_account": account_id})
    return [Grant(**{name: row[name] for name in GRANT_FIELDS}) for row in rows]


async def put_grant(tx: Tx, grant: Grant) -> tuple[Grant, Right | None]:
    """Set a user's right on an account: the grant as it is now, and the right before. Hold his row alone before."""
    row = await tx.fetch_one(_FIND_GRANT, {"b_user": grant.user_id, "b_account": grant.account_id})
    values = {name: getattr(grant, name) for name in GRANT_FIELDS}
    if row is None:
        await tx.execute(_ADD_GRANT, values)
        return grant, None
    before = Grant(**{name: row[name] for name in GRANT_FIELDS})
    if before.access == grant.access:
        return before, before.access
    await tx.execute(
        _UPDATE_GRANT,
        {
            "b_user": grant.user_id,
            "b_account": grant.account_id,
            "access": grant.access,
            "created_at": grant.created_at,
            "created_by": grant.created_by,
        },
    )
    return grant, before.access


async def lower_grants(tx: Tx, user_id: str) -> int:
    """Turn all rights to trade of a user into rights to view. Hold his row alone before."""
    return await tx.execute(_LOWER_GRANTS, {"b_user": user_id, "b_from": "trade", "access": "view"})


async def drop_grant(tx: Tx, user_id: str, account_id: str) -> int:
    """0 if there was none."""
    return await tx.execute(_DROP_GRANT, {"b_user": user_id, "b_account": account_id})


async def load_settings(tx: Tx, user_id: str) -> tuple[UserSettings, int]:
    """A user's settings and their version; version 0 when nothing was ever chosen."""
    row = await tx.fetch_one(_SETTINGS, {"b_user": user_id})
    if row is None:
        return UserSettings(), 0
    return settings_from(json.loads(row["data"])), int(row["version"])


async def save_settings(tx: Tx, user_id: str, settings: UserSettings, version: int, at_us: int) -> None:
    """Write them under the next version. Hold the user's row alone before."""
    data = json.dumps(settings_to(settings), separators=(",", ":"))
    if version == 0:
        await tx.execute(_ADD_SETTINGS, {"user_id": user_id, "data": data, "version": 1, "updated_at": at_us})
    else:
        await tx.execute(
            _UPDATE_SETTINGS, {"b_user": user_id, "data": data, "version": version + 1, "updated_at": at_us}
        )
