"""What changes an account and is no order: booked once, at its place among the prints, in whatever order it is told."""

import itertools
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import insert, select

from paiid.brokers import BrokerUpdate
from paiid.core.clock import SystemClock
from paiid.core.db import Database, statement
from paiid.core.tables import accounts, activities
from tests.ledger_world import Merging, account_row, books, filled, happened, printed
from tests.orders_world import Trading
from tests.world import Client

MICRO = 10**6
OPTION = "AAPL261218C00265000"
_ACTIVITIES = statement(select(activities).order_by(activities.c.account_id, activities.c.activity_id))


def long_life(account: str) -> list[BrokerUpdate]:
    """20 for 2,100; two for one; 15 sold; a call is exercised; 30 sold."""
    return [
        printed(account, 1, "buy", "20", "105"),
        happened(account, 2, "split", "20", "0", "0"),
        printed(account, 3, "sell", "15", "60"),
        happened(account, 4, "exercise", "100", "50", "-5000"),
        printed(account, 5, "sell", "30", "55"),
    ]


def short_life(account: str) -> list[BrokerUpdate]:
    """10 sold short for 1,000; two for one; 5 covered; a short call is assigned; 30 covered."""
    return [
        printed(account, 1, "sell", "10", "100"),
        happened(account, 2, "split", "-10", "0", "0"),
        printed(account, 3, "buy", "5", "60"),
        happened(account, 4, "assignment", "-100", "50", "5000"),
        printed(account, 5, "buy", "30", "55"),
    ]


def reverse_life(account: str) -> list[BrokerUpdate]:
    """A split that takes shares away takes no money with it; the fraction is paid out."""
    return [
        printed(account, 1, "buy", "25", "10"),
        happened(account, 2, "split", "-23", "0", "50"),
        printed(account, 3, "buy", "2", "100"),
        happened(account, 4, "dividend", "0", "0", "3.50"),
        printed(account, 5, "sell", "3", "120"),
    ]


def option_life(account: str) -> list[BrokerUpdate]:
    """Three contracts bought, one sold again, what is left expires."""
    return [
        printed(account, 1, "buy", "3", "3.50", OPTION),
        printed(account, 2, "sell", "1", "4", OPTION),
        happened(account, 3, "expiration", "-2", "0", "0", OPTION),
        happened(account, 4, "dividend", "0", "0", "-1.25"),
        printed(account, 5, "buy", "1", "0.05", OPTION.replace("265", "270")),
    ]


LIVES = [
    # qty, cost, realized, cash: 2100 x 15/40 = 787.50; 6312.50 x 30/125 = 1515.
    pytest.param(long_life, ("95", "4797.50", "247.50", "-4550"), id="long"),
    # -1000 x 5/20 = -250; -5750 x 30/115 = -1500.
    pytest.param(short_life, ("-85", "-4250", "-200", "4050"), id="short"),
    # 250 and 200 for 4 shares; 3 of them go for 360.
    pytest.param(reverse_life, ("1", "112.50", "22.50", "-36.50"), id="reverse-split"),
    # 1050 for three; one back for 400; 700 is lost.
    pytest.param(option_life, ("0", "0", "-650", "-656.25"), id="option"),
]


async def open_accounts(db: Database, names: Sequence[str]) -> None:
    """Accounts without cash."""
    async with db.begin() as tx:
        now = await tx.now_us()
        await tx.execute_many(statement(insert(accounts)), [account_row(name, 0, now) for name in names])


async def booked(db: Database) -> dict[str, list[dict[str, Any]]]:
    """The activities of every account, without what says when they were written."""
    found: dict[str, list[dict[str, Any]]] = {}
    async with db.read() as tx:
        for row in await tx.fetch(_ACTIVITIES):
            kept = {name: row[name] for name in row.keys() if name not in ("id", "account_id", "booked_at")}  # noqa: SIM118 - a Row iterates over values
            found.setdefault(row["account_id"], []).append(kept)
    return found


async def merge_some(merging: Merging, told: Sequence[Sequence[BrokerUpdate]]) -> None:
    """Several accounts a transaction, and not so many that a slow machine could not write them in the time of one."""
    for start in range(0, len(told), 20):
        await merging.merge([update for updates in told[start : start + 20] for update in updates])


@pytest.mark.parametrize(("life", "outcome"), LIVES)
async def test_E18_every_order_of_prints_and_activities_ends_in_the_same_rows(
    db: Database, clock: SystemClock, life: Any, outcome: tuple[str, str, str, str]
) -> None:
    """An account for each of the 120 orders, an event a transaction; then as many more, each all at once."""
    merging = Merging(db, clock)
    orders = list(itertools.permutations(range(5)))
    one_by_one = [f"one-{n}" for n in range(len(orders))]
    at_once = [f"all-{n}" for n in range(len(orders))]
    await open_accounts(db, [*one_by_one, *at_once])
    for step in range(5):
        pairs = zip(one_by_one, orders, strict=True)
        await merge_some(merging, [[life(account)[order[step]]] for account, order in pairs])
    pairs = zip(at_once, orders, strict=True)
    await merge_some(merging, [[life(account)[i] for i in order] for account, order in pairs])

    found, moved = await books(db), await booked(db)
    straight = found["one-0"]
    different = [n for n in (*one_by_one, *at_once) if (found[n], moved[n]) != (straight, moved["one-0"])]
    assert not different, (len(different), different[:3], found[different[0]], straight)
    qty, cost, realized, cash = (Decimal(text) for text in outcome)
    position = straight["positions"][0]
    assert position["qty"] == qty
    assert (position["cost_basis"], position["realized_pl"]) == (cost * MICRO, realized * MICRO)
    assert straight["cash"] == cash
    assert not merging.alarms


@pytest.mark.parametrize("life", [long_life, option_life])
async def test_E18_what_is_told_again_changes_nothing(db: Database, clock: SystemClock, life: Any) -> None:
    merging = Merging(db, clock)
    await open_accounts(db, ["a"])
    await merging.merge(life("a"))
    before = await books(db, everything=True)
    for update in life("a"):
        await merging.merge([update])
    await merging.merge([*life("a"), *life("a")])
    assert await books(db, everything=True) == before
    assert len((await booked(db))["a"]) == 2


async def test_E18_an_activity_told_twice_in_one_breath_is_booked_once(
    db: Database, clock: SystemClock
) -> None:
    merging = Merging(db, clock)
    await open_accounts(db, ["a"])
    dividend = happened("a", 1, "dividend", "0", "0", "12.34")
    await merging.merge([dividend, dividend])
    assert (await books(db))["a"]["cash"] == Decimal("12.34")
    assert len((await booked(db))["a"]) == 1


async def test_S01_an_activity_is_told_before_the_position_and_the_cash_that_follow_from_it(
    db: Database, clock: SystemClock
) -> None:
    merging = Merging(db, clock)
    await open_accounts(db, ["a"])
    await merging.merge([printed("a", 1, "buy", "2", "3", OPTION)])
    before = len(await merging.events("a"))
    await merging.merge([happened("a", 2, "expiration", "-2", "0", "0", OPTION)])
    told = (await merging.events("a"))[before:]
    assert [event["kind"] for event in told] == ["activity", "position", "cash"]
    assert told[0]["data"]["kind"] == "expiration"
    assert (told[1]["data"]["qty"], told[1]["data"]["realized_pl"]) == (0, -600)
    await merging.merge([happened("a", 3, "dividend", "0", "0", "5")])
    told = (await merging.events("a"))[before + 3 :]
    assert [event["kind"] for event in told] == ["activity", "cash"], "no position has moved"
    events = await merging.events("a")
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


async def test_E18_an_activity_of_an_account_that_is_not_ours_is_passed_by(
    db: Database, clock: SystemClock
) -> None:
    merging = Merging(db, clock)
    await open_accounts(db, ["a"])
    await merging.merge([happened("somebody", 1, "dividend", "0", "0", "5"), *filled().events("a")])
    assert await booked(db) == {}
    assert (await books(db))["a"]["positions"][0]["qty"] == 10


# -- over HTTP ---------------------------------------------------------------------------------------


async def own_account(client: Client) -> str:
    """The caller's account."""
    return str((await client.get("/api/accounts")).json()[0]["id"])


async def test_activities_are_read_page_by_page_newest_first(trading: Trading) -> None:
    account = await own_account(trading.owner)
    reader = trading.app.state.desk.readers["paper"]
    for at in range(1, 4):
        await reader.merge(None, [happened(account, at, "dividend", "0", "0.25", f"{at}.50")])
    first = (await trading.owner.get("/api/trading/activities?limit=2")).json()
    rest = (await trading.owner.get(f"/api/trading/activities?limit=2&after={first['next']}")).json()
    assert rest["next"] is None
    told = [*first["data"], *rest["data"]]
    # Ids of one millisecond sort by chance.
    assert [one["id"] for one in told] == sorted((one["id"] for one in told), reverse=True)
    told.sort(key=lambda one: one["cash"], reverse=True)
    assert [one["cash"] for one in told] == [3.5, 2.5, 1.5]
    wanted = {
        "activity_id": "dividend-3",
        "kind": "dividend",
        "symbol": "AAPL",
        "qty": 0,
        "price": 0.25,
        "cash": 3.5,
        "description": "dividend",
        "time": "2027-01-15T08:00:00.000003Z",
    }
    assert {name: told[0][name] for name in wanted} == wanted
    cash = (await trading.owner.get("/api/portfolio/summary")).json()["cash"]
    assert cash == 100_007.5


async def test_A10_activities_are_shown_to_whoever_may_see_the_account(trading: Trading) -> None:
    account = await own_account(trading.owner)
    await trading.app.state.desk.readers["paper"].merge(
        None, [happened(account, 1, "dividend", "0", "0", "1")]
    )
    stranger = await trading.app.user("trader")
    assert (await stranger.get(f"/api/trading/activities?account={account}")).status_code == 404
    assert (await stranger.get("/api/trading/activities")).json()["data"] == []
    me = (await stranger.get("/auth/me")).json()["id"]
    await trading.owner.request("PUT", f"/api/accounts/{account}/grants/{me}", json={"access": "view"})
    seen = (await stranger.get(f"/api/trading/activities?account={account}")).json()
    assert [one["cash"] for one in seen["data"]] == [1]
