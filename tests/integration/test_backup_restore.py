"""A service after its database went back in time: halted, with nothing of the lost time valid, until its brokers' orders are
back in the ledger; then a key that was used in that time finds its order and does not execute (ADR 0032, E8, K8)."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, select, update

from paiid.core.backup import BackupError
from paiid.core.clock import SystemClock
from paiid.core.db import statement
from paiid.core.tables import accounts, orders, restored_accounts
from paiid.domain.identity import SYSTEM
from paiid.trading.restored import accept_unimported
from tests.fakes import accepts, rejects, waits_for
from tests.halt_world import audit_actions
from tests.integration.test_backup import damaged, told
from tests.orders_world import BUY, Trading, final_answer
from tests.restore_world import (
    ACCOUNT,
    Outside,
    agreed,
    bring_back,
    opened,
    settings_of,
    take,
    trading_with,
    until,
)
from tests.world import Client

LIMIT: dict[str, Any] = {"symbol": "MSFT", "side": "buy", "qty": 1, "type": "limit", "limit_price": 100.25}
BRACKET: dict[str, Any] = {
    "symbol": "MSFT", "side": "buy", "qty": 2, "type": "limit", "limit_price": 100, "order_class": "bracket",
    "take_profit": {"limit_price": 130}, "stop_loss": {"stop_price": 90},
}  # fmt: skip
K1, K2, K3, K4 = (f"test-key-{n}-of-restore" for n in range(4))
_UNNAME = statement(
    update(orders).where(orders.c.broker_order_id == bindparam("b_id")), columns=["client_order_id"]
)
_BOOKS_ACCEPTED = statement(update(accounts).values(reconcile_problem=None))
_ROW = statement(select(restored_accounts).where(restored_accounts.c.account_id == ACCOUNT))


async def pending(trading: Trading) -> dict[str, Any]:
    """The account's row of the restore."""
    async with trading.db.read() as tx:
        row = await tx.fetch_one(_ROW)
    assert row is not None
    return dict(row)


async def imported(trading: Trading) -> dict[str, Any]:
    """The same once the broker's orders are here."""

    async def done() -> bool:
        return (await pending(trading))["imported_at"] is not None

    await until(done)
    return await pending(trading)


async def resume(trading: Trading, epoch: int | None = None) -> Any:
    """Resume everything, at the epoch that stands now unless one is given."""
    now = (await trading.owner.get("/api/admin/kill")).json()["epoch"]
    body = {"halt": False, "epoch": now if epoch is None else epoch, "reason": "test", "scope": "global"}
    return await trading.owner.post("/api/admin/kill", json=body)


async def test_E08_K08_after_a_restore_a_retry_of_a_key_used_since_the_backup_finds_its_order(
    postgres_url: str, tmp_path: Path
) -> None:
    broker = Outside()
    settings = settings_of(postgres_url, tmp_path)
    async with trading_with(settings, broker) as trading:
        await agreed(trading)
        first = await trading.owner.execute(BUY, key=K1)
        assert first.status_code == 200, first.text
        halt = await trading.owner.post("/api/admin/kill?state=true")
        lost_epoch = halt.json()["epoch"]
        assert (await resume(trading)).status_code == 200
        file = await take(postgres_url, tmp_path / "backup.zip")
        session = trading.owner.token
        second = await trading.owner.execute(LIMIT, key=K2)
        broker.fill(second.json()["orders"][0]["broker_order_id"], 1, "100")
        third = await trading.owner.execute(BRACKET, key=K3)
        assert third.json()["accepted"] is True, third.text
        path = f"/api/trading/orders/{first.json()['orders'][0]['id']}"
        version = (await trading.owner.get(path)).headers["etag"]
        change = {"json": {"qty": 12}, "headers": {"Idempotency-Key": K4, "If-Match": version}}
        replaced = await trading.owner.request("PATCH", path, **change)
        assert replaced.status_code == 200, replaced.text
    sent = (len(broker.submitted), len(broker.replaced))
    with pytest.raises(BackupError, match="has 1 users"):
        await bring_back(settings, file, replacing=False)
    done = await bring_back(settings, file)
    assert list(done.waiting) == [ACCOUNT]
    broker.tells.clear()
    broker.order_page = 2
    async with trading_with(settings, broker) as trading:
        stale = Client(trading.app.http, session)
        assert (await stale.get("/auth/me")).status_code == 401
        # Halted, and nothing of the account is decided before its orders are here.
        told = (await trading.owner.get("/api/admin/kill")).json()
        assert (told["effective_mode"], told["epoch"] > lost_epoch + 1000) == ("halted", True)
        assert "restored from the backup of" in told["reason"]
        await until(lambda: _asked(broker))
        for key, order in ((K2, LIMIT), ("test-key-of-now", BUY)):
            answer = await trading.owner.execute(order, key=key)
            assert answer.status_code == 503, answer.text
            assert (answer.json()["type"], answer.headers["retry-after"]) == (
                "urn:paiid:problem:not-ready",
                "5",
            )
        refused = await resume(trading)
        assert refused.status_code == 409
        assert ACCOUNT in refused.json()["problems"][0]
        assert "not imported" in refused.json()["detail"]
        assert (await resume(trading, lost_epoch)).json()["type"].endswith("halt-epoch-moved")
        broker.tells.set()
        row = await imported(trading)
        assert row["imported_orders"] == 4
        # Known by their ids, under the halt as well: that is no new order.
        again = await trading.owner.execute(LIMIT, key=K2)
        assert again.status_code == 200, again.text
        assert again.json()["orders"][0]["client_order_id"] == second.json()["orders"][0]["client_order_id"]
        stale = await trading.owner.execute(BUY, key="test-key-of-now")
        assert stale.status_code == 423
        await agreed(trading)
        assert (await resume(trading)).status_code == 200
        bracket = await trading.owner.execute(BRACKET, key=K3)
        assert bracket.json()["accepted"] is True, bracket.text
        ids = [one["broker_order_id"] for one in third.json()["orders"]]
        assert [one["broker_order_id"] for one in bracket.json()["orders"]] == ids
        assert (await trading.owner.execute(BUY, key=K1)).content == first.content
        same = await trading.owner.request("PATCH", path, **change)
        assert same.status_code == 200, same.text
        assert same.json()["orders"][0]["broker_order_id"] == replaced.json()["orders"][0]["broker_order_id"]
        assert (len(broker.submitted), len(broker.replaced)) == sent
        fresh = await trading.owner.execute(LIMIT, key="test-key-of-later")
        assert fresh.json()["accepted"] is True, fresh.text
        assert len(broker.submitted) == sent[0] + 1


async def _asked(broker: Outside) -> bool:
    return broker.asked > 0


def back_dated(file: Path, by_us: int) -> Path:
    """The same backup, made so long before."""

    def change(members: dict[str, bytes]) -> None:
        told(members, lambda one: one.update(taken_at_us=one["taken_at_us"] - by_us))

    return damaged(file, file.with_name("earlier.zip"), change)


async def test_E07_E08_what_was_half_done_at_the_backup_comes_out_as_it_did(
    sqlite_url: str, tmp_path: Path
) -> None:
    """Of one call an order was on the wire and one was waiting; both were sent after the backup. Of another, made after it,
    an order was refused: the key was used, so that the refused one is not sent by a retry."""
    broker, settings, on_wire = Outside(), settings_of(sqlite_url, tmp_path), asyncio.Event()
    half = (LIMIT, {**LIMIT, "qty": 2})
    partly = ({**LIMIT, "qty": 3}, {**LIMIT, "qty": 4})
    # The order is on the wire for as long as a backup takes.
    slow = {"broker_deadline_s": 20.0, "call_budget_s": 25.0, "horizon_s": 30.0}
    async with trading_with(settings, broker, **slow) as trading:
        await agreed(trading)
        made = await trading.owner.post("/auth/tokens", json={"name": "bot", "scopes": ["read"]})
        assert made.status_code in (200, 201), made.text
        token = made.json()["token"]
        broker.scripts.append(waits_for(on_wire))
        calling = asyncio.ensure_future(trading.owner.execute(*half, key=K1))
        await until(lambda: _submitted(broker, 1))
        file = await take(sqlite_url, tmp_path / "backup.zip")
        on_wire.set()
        first = await calling
        assert first.json()["accepted"] is True, first.text
        broker.scripts.extend((accepts, rejects()))
        second = await trading.owner.execute(*partly, key=K2)
        assert [one["state"] for one in second.json()["orders"]] == ["ACCEPTED", "REJECTED"]
        filled = second.json()["orders"][0]["broker_order_id"]
        broker.fill(filled, 3, "100")
    sent = len(broker.submitted)
    await bring_back(settings, file)
    again = await take(sqlite_url, tmp_path / "again.zip")
    earlier = (await row_of(sqlite_url))["backup_at"]
    # Restored once more from a backup of the restored: what was not imported then is still to be.
    done = await bring_back(settings, again, keep_tokens=True)
    assert (done.doubted, done.tokens, (await row_of(sqlite_url))["backup_at"]) == (0, 0, earlier)
    broker.tells.clear()
    async with trading_with(settings, broker) as trading:
        assert (await Client(trading.app.http, token).get("/auth/me")).status_code == 401

        async def there() -> bool:
            rows = (await trading.owner.get(f"/api/trading/orders?account={ACCOUNT}")).json()["data"]
            return any(one["broker_order_id"] == filled for one in rows)

        await until(there)
        async with trading.db.begin() as tx:
            # As one of many that were known by their prints alone.
            await tx.execute(_UNNAME, {"b_id": filled, "client_order_id": f"ext-{filled}"})
        broker.tells.set()
        await imported(trading)
        await agreed(trading)
        assert (await resume(trading)).status_code == 200
        same = await final_answer(trading.owner, K1, *half)
        ids = [[one["broker_order_id"] for one in answer.json()["orders"]] for answer in (first, same)]
        assert ids[0] == ids[1]
        rest = (await trading.owner.execute(*partly, key=K2)).json()
        assert [one["state"] for one in rest["orders"]] == ["ACCEPTED", "SKIPPED"], rest
        assert (rest["accepted"], rest["orders"][0]["broker_order_id"]) == (False, filled)
        assert "was used before the database was restored" in rest["orders"][1]["reason"]["message"]
        assert len(broker.submitted) == sent


async def _submitted(broker: Outside, count: int) -> bool:
    return len(broker.submitted) == count


async def row_of(url: str) -> dict[str, Any]:
    async with opened(url) as db, db.read() as tx:
        row = await tx.fetch_one(_ROW)
    assert row is not None
    return dict(row)


async def test_E12_K08_where_the_broker_no_longer_tells_only_the_owners_word_settles_it(
    sqlite_url: str, tmp_path: Path
) -> None:
    """As Tradier, whose list ends with the day."""
    broker, settings = Outside(), settings_of(sqlite_url, tmp_path)
    async with trading_with(settings, broker) as trading:
        await agreed(trading)
        file = back_dated(await take(sqlite_url, tmp_path / "backup.zip"), 2 * 86_400_000_000)
        order = (await trading.owner.execute(LIMIT, key=K2)).json()["orders"][0]
    await bring_back(settings, file)
    broker.capabilities = replace(broker.capabilities, lists_end_with_day=True)
    async with trading_with(settings, broker) as trading:

        async def told_of(words: str) -> bool:
            return words in ((await pending(trading))["problem"] or "")

        await until(lambda: told_of("the orders of today alone"))
        assert f"paiid restore-accept {ACCOUNT}" in (await pending(trading))["problem"]
        refused = await resume(trading)
        assert (refused.status_code, "of today alone" in refused.text) == (409, True)
        answer = await trading.owner.execute(LIMIT, key=K2)
        assert (answer.status_code, answer.json()["account"]) == (503, ACCOUNT)
        async with trading.db.begin() as tx:
            # As the owner's word on the books would: that says nothing of what was ordered.
            await tx.execute(_BOOKS_ACCEPTED)
        assert (await trading.owner.execute(LIMIT, key=K2)).status_code == 503
        assert (await resume(trading)).status_code == 409
        accepted = await accept_unimported(trading.db, SystemClock(), ACCOUNT, "looked at its pages", SYSTEM)
        assert accepted is not None
        assert await accept_unimported(trading.db, SystemClock(), ACCOUNT, "again", SYSTEM) is None
        assert "account.restore_accept" in [action for action, _, _ in await audit_actions(trading.db)]
        await agreed(trading)
        assert (await resume(trading)).status_code == 200
        # What it did tell is known all the same.
        again = await trading.owner.execute(LIMIT, key=K2)
        assert again.json()["orders"][0]["broker_order_id"] == order["broker_order_id"]
        assert len(broker.submitted) == 1


async def test_E08_K08_an_account_that_came_after_the_backup_waits_for_the_owner_if_it_was_used(
    sqlite_url: str, tmp_path: Path
) -> None:
    """Opened anew it has the id that it had, so that a key used in it would buy again; its orders are in the opening
    balance."""
    broker, settings = Outside(), settings_of(sqlite_url, tmp_path)
    file = await take(sqlite_url, tmp_path / "backup.zip")
    async with trading_with(settings, broker) as trading:
        await agreed(trading)
        order = (await trading.owner.execute(LIMIT, key=K2)).json()["orders"][0]
        broker.fill(order["broker_order_id"], 1, "100")
    # It was made in the time of the broker, which is ahead.
    broker.orders = {
        key: replace(one, submitted_at_us=SystemClock().now_us()) for key, one in broker.orders.items()
    }
    await bring_back(settings, file)
    async with trading_with(settings, broker) as trading:

        async def waits() -> bool:
            async with trading.db.read() as tx:
                row = await tx.fetch_one(_ROW)
            return row is not None and "not in the backup" in (row["problem"] or "")

        await until(waits)
        assert (await trading.owner.execute(LIMIT, key=K2)).status_code == 503
        assert (await resume(trading)).status_code == 409
        assert len(broker.submitted) == 1
        await accept_unimported(trading.db, SystemClock(), ACCOUNT, "nobody repeats it", SYSTEM)
        await agreed(trading)
        assert (await resume(trading)).status_code == 200
