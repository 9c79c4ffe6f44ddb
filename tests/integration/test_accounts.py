"""Which account a request is about: grants, defaults, and live accounts that nobody trades by accident."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from paiid.accounts import store
from paiid.accounts.records import Account, Grant, UserSettings
from paiid.accounts.service import AccountService
from paiid.core.clock import SystemClock
from paiid.core.db import Database, statement
from paiid.core.tables import users
from paiid.domain.errors import Code, Problem
from paiid.domain.identity import ALL_SCOPES, Principal, Right, Role
from paiid.domain.terms import PLAIN
from tests.world import make_settings

ANNA = Principal("usr_anna", "anna@example.com", "trader", "session", "ses_1", ALL_SCOPES)
_ADD = statement(insert(users))


class World:
    """An account service and the means to fill its database."""

    def __init__(self, db: Database, clock: SystemClock, data_dir: Path, **settings: Any) -> None:
        self.db = db
        self.service = AccountService(db, clock, make_settings("", data_dir, **settings))

    async def open(self, role: Role = "trader") -> None:
        async with self.db.begin() as tx:
            await tx.execute(
                _ADD,
                {
                    "id": ANNA.user_id,
                    "email": ANNA.email,
                    "password_hash": "-",
                    "role": role,
                    "created_at": 1,
                    "updated_at": 1,
                    "disabled_at": None,
                    "deleted_at": None,
                },
            )
            await self.service.open_paper_account(tx, ANNA.user_id, ANNA.email, role)

    async def account(self, account_id: str, mode: str, access: Right) -> None:
        made = Account(account_id, "alpaca", mode, account_id, account_id, "active", "usr_owner", access)
        async with self.db.begin() as tx:
            await store.add_account(tx, made, PLAIN, 1)
            await store.put_grant(tx, Grant(ANNA.user_id, account_id, access, 1, "usr_owner"))
        self.service.forget(ANNA.user_id)

    async def refused(self, code: Code, named: str | None, right: Right, who: Principal = ANNA) -> Problem:
        with pytest.raises(Problem) as told:
            await self.service.resolve(who, named, right)
        assert told.value.code is code
        return told.value


async def test_A10_the_default_is_the_choice_then_the_deployments_then_the_own_paper_account(
    db: Database, clock: SystemClock, tmp_path: Path
) -> None:
    world = World(db, clock, tmp_path, default_account="house")
    await world.open()
    assert (await world.service.resolve(ANNA, None, "trade")).id == "paper-anna"
    await world.account("house", "paper", "trade")
    assert (await world.service.resolve(ANNA, None, "trade")).id == "house"
    await world.service.change_settings(ANNA, {"default_account": "paper-anna"})
    assert (await world.service.resolve(ANNA, None, "trade")).id == "paper-anna"


async def test_A10_without_a_default_one_account_is_taken_and_of_several_one_must_be_named(
    db: Database, clock: SystemClock, tmp_path: Path
) -> None:
    world = World(db, clock, tmp_path)
    await world.open("viewer")
    await world.refused(Code.NOT_FOUND, None, "view")
    await world.account("one", "paper", "view")
    assert (await world.service.resolve(ANNA, None, "view")).id == "one"
    await world.account("two", "paper", "view")
    await world.refused(Code.VALIDATION, None, "view")
    await world.refused(Code.NOT_FOUND, "three", "view")
    assert (await world.service.resolve(ANNA, "two", "view")).id == "two"
    await world.refused(Code.FORBIDDEN, "two", "trade")
    await world.refused(Code.FORBIDDEN, "two", "trade", replace(ANNA, role="viewer"))


async def test_a_live_account_is_never_a_default_by_choice_or_by_chance(
    db: Database, clock: SystemClock, tmp_path: Path
) -> None:
    world = World(db, clock, tmp_path, live_trading=True)
    await world.open("viewer")
    await world.account("live", "live", "trade")
    await world.refused(Code.VALIDATION, None, "trade")
    assert (await world.service.resolve(ANNA, "live", "trade")).id == "live"
    with pytest.raises(Problem) as told:
        await world.service.change_settings(ANNA, {"default_account": "live"})
    assert told.value.errors[0].code == "live_account"
    named = World(db, clock, tmp_path, live_trading=True, default_account="live")
    assert (await named.service.resolve(ANNA, None, "trade")).id == "live"


async def test_a_live_account_can_be_looked_at_but_not_traded_while_live_trading_is_off(
    db: Database, clock: SystemClock, tmp_path: Path
) -> None:
    world = World(db, clock, tmp_path)
    await world.open()
    await world.account("live", "live", "trade")
    assert (await world.service.resolve(ANNA, "live", "view")).mode == "live"
    await world.refused(Code.FORBIDDEN, "live", "trade")


async def test_settings_keep_every_digit(db: Database, clock: SystemClock, tmp_path: Path) -> None:
    world = World(db, clock, tmp_path)
    await world.open()
    wanted = UserSettings(
        position_size=Decimal("999999999.123456"), max_order_qty=Decimal("0.000000001"), max_positions=3
    )
    await world.service.change_settings(
        ANNA,
        {
            "position_size": wanted.position_size,
            "max_order_qty": wanted.max_order_qty,
            "max_positions": wanted.max_positions,
        },
    )
    assert await world.service.settings_of(ANNA.user_id) == wanted


async def test_a_paper_account_is_opened_once_and_never_filled_again(
    db: Database, clock: SystemClock, tmp_path: Path
) -> None:
    world = World(db, clock, tmp_path)
    await world.open()
    async with db.begin() as tx:
        await world.service.open_paper_account(tx, ANNA.user_id, ANNA.email, "owner")
    assert [account.id for account in await world.service.list_accounts(ANNA)] == ["paper-anna"]
