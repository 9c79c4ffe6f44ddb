"""Who looks just while an outcome is being committed gets the stored answer or none yet, never another one (E14, E15)."""

import asyncio
from collections.abc import Sequence

import pytest

from paiid.brokers import OutcomeUnknown
from paiid.core.db import Database, Tx
from paiid.trading import store
from paiid.trading.records import OrderRow
from tests.conftest import MakeApp
from tests.fakes import FakeBroker, loses_answer
from tests.orders_world import BUY, QUICK, Trading, final_answer
from tests.world import fresh_key


class InBetween:
    """Lets the outcome be found and committed between two statements of a reader: behind the one for the intent, before the one for
    its orders."""

    def __init__(self, broker: FakeBroker, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.armed = False
        self._broker = broker
        self._db = db
        self._load = store.load_orders_of_intents
        monkeypatch.setattr(store, "load_orders_of_intents", self)

    async def __call__(self, tx: Tx, intent_ids: Sequence[str]) -> list[OrderRow]:
        if self.armed and self._broker.lookup_error is not None:
            self._broker.lookup_error = None
            async with asyncio.timeout(15):
                while not await self._ended(intent_ids):
                    await asyncio.sleep(0.01)
        return await self._load(tx, intent_ids)

    async def _ended(self, intent_ids: Sequence[str]) -> bool:
        async with self._db.read() as tx:
            found = await store.load_intents(tx, intent_ids)
        return all(one.final_at is not None for one in found.values())


@pytest.mark.parametrize("looks", ["its own call", "by key", "by id"])
@pytest.mark.parametrize("db_url", ["postgresql"], indirect=True)
async def test_E14_E15_who_looks_while_the_outcome_is_committed_is_told_the_stored_answer(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, looks: str
) -> None:
    broker = FakeBroker()
    broker.scripts.append(loses_answer(placed=True))
    broker.lookup_error = OutcomeUnknown("no answer in time")
    app = await make_app(broker=broker, timings=QUICK)
    trading, key = Trading(app, broker, await app.owner()), fresh_key()
    between = InBetween(broker, trading.db, monkeypatch)
    between.armed = looks == "its own call"
    first = await trading.owner.execute(BUY, key=key)
    if looks == "its own call":
        assert first.status_code == 200, first.text
        assert "idempotency-replayed" not in first.headers
        assert (await final_answer(trading.owner, key, BUY)).content == first.content
        return
    assert first.status_code == 202, first.text
    between.armed = True
    where = f"?key={key}" if looks == "by key" else f"/{first.json()['intent_id']}"
    told = (await trading.owner.get(f"/api/trading/intents{where}")).json()
    assert told["status"] == "final"
    assert told["final_at"] is not None
