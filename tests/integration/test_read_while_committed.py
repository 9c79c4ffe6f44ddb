"""On PostgreSQL each statement sees what is committed by then: what is shown together must have been true together (E14, E15, S2)."""

import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from paiid.brokers import OutcomeUnknown
from paiid.core.db.postgres import _PgReadTx, _PgTx
from paiid.trading import store
from paiid.trading.channel_snapshot import ChannelSnapshot
from tests.conftest import MakeApp
from tests.fakes import FakeBroker, loses_answer
from tests.orders_world import BUY, QUICK, Trading, final_answer, until
from tests.world import fresh_key

pytestmark = pytest.mark.parametrize("db_url", ["postgresql"], indirect=True)


class InBetween:
    """Has something committed behind the first statement of a reader that has read what was asked for, before its next one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._happens: Callable[[], Awaitable[None]] | None = None
        self._column = ""
        self.met = 0
        one, together = _PgTx.fetch, _PgTx._together

        async def fetch(tx: _PgTx, *asked: Any) -> Any:
            rows = await one(tx, *asked)
            await self._after(tx, [rows])
            return rows

        async def fetch_together(tx: _PgTx, reads: Any) -> Any:
            now_us, found = await together(tx, reads)
            await self._after(tx, found)
            return now_us, found

        monkeypatch.setattr(_PgTx, "fetch", fetch)
        monkeypatch.setattr(_PgTx, "_together", fetch_together)

    def behind(self, column: str, happens: Callable[[], Awaitable[None]]) -> None:
        """Once, behind rows that have this column."""
        self._column, self._happens = column, happens

    async def _after(self, tx: _PgTx, found: Any) -> None:
        happens = self._happens
        if happens is None or not isinstance(tx, _PgReadTx):
            return
        if any(self._column in row.keys() for rows in found for row in rows):  # noqa: SIM118 - rows are no mappings
            self._happens = None
            await happens()
            self.met += 1


@pytest.mark.parametrize("looks", ["its own call", "by key", "by id"])
async def test_E14_E15_who_looks_while_the_outcome_is_committed_is_told_the_stored_answer_or_none(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, looks: str
) -> None:
    broker = FakeBroker()
    broker.scripts.append(loses_answer(placed=True))
    broker.lookup_error = OutcomeUnknown("no answer in time")
    app = await make_app(broker=broker, timings=QUICK)
    trading, key = Trading(app, broker, await app.owner()), fresh_key()
    between = InBetween(monkeypatch)

    async def found() -> bool:
        async with trading.db.read() as tx:
            intents = await store.find_intents_by_key(tx, [f"{user}:{key}"])
        return all(one.final_at is not None for one in intents.values())

    async def is_found() -> None:
        broker.lookup_error = None
        await until(found)

    user = (await trading.owner.get("/auth/me")).json()["id"]
    if looks == "its own call":
        between.behind("fingerprint", is_found)
    first = await trading.owner.execute(BUY, key=key)
    if looks == "its own call":
        assert between.met == 1
        final = await final_answer(trading.owner, key, BUY)
        assert first.status_code == 202 or first.content == final.content, first.text
        return
    assert first.status_code == 202, first.text
    between.behind("fingerprint", is_found)
    where = f"?key={key}" if looks == "by key" else f"/{first.json()['intent_id']}"
    told = (await trading.owner.get(f"/api/trading/intents{where}")).json()
    assert between.met == 1
    assert (told["status"] == "final") == (told["final_at"] is not None), told


async def bought_while_read(
    make_app: MakeApp, between: InBetween
) -> tuple[Trading, Callable[[], Awaitable[None]]]:
    """An account with an order that works, and how it fills."""
    broker = FakeBroker()
    app = await make_app(broker=broker, timings=QUICK)
    trading = Trading(app, broker, await app.owner())
    resting = {"symbol": "MSFT", "side": "buy", "qty": 10, "type": "limit", "limit_price": 100.25}
    (order,) = (await trading.owner.execute(resting)).json()["orders"]

    async def filled() -> bool:
        return bool((await trading.owner.get(f"/api/trading/orders/{order['id']}")).json()["filled_qty"])

    async def fills() -> None:
        broker.fill(order["broker_order_id"], 10, "100.25")
        await until(filled)

    return trading, fills


async def test_an_account_is_worth_what_it_was_at_one_instant(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    between = InBetween(monkeypatch)
    trading, fills = await bought_while_read(make_app, between)
    before = (await trading.owner.get("/api/account")).json()
    between.behind("starting_cash", fills)
    told = (await trading.owner.get("/api/account")).json()
    assert between.met == 1
    worth = Decimal(str(told["cash"])) + Decimal(str(told["long_market_value"]))
    assert told["equity"] == pytest.approx(float(worth))
    paid = Decimal(str(before["cash"])) - Decimal(str(told["cash"]))
    assert (paid > 0) == (told["long_market_value"] > 0), told


async def test_S2_a_snapshot_is_of_one_instant(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    between = InBetween(monkeypatch)
    trading, fills = await bought_while_read(make_app, between)
    (account,) = (await trading.owner.get("/api/accounts")).json()
    between.behind("starting_cash", fills)
    told = json.loads(await ChannelSnapshot(trading.db)(account["id"]))
    assert between.met == 1
    assert len(told["orders"]) + len(told["positions"]) == 1, told
    assert (told["cash"] == account["cash"]) == (told["positions"] == []), told
