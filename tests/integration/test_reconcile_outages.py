"""Catch-ups and a stream that loses, repeats and delays, in any interleaving: in the end the ledger has what happened
at the broker, once (contract E18)."""

import asyncio
import random
import shutil
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from paiid.brokers import BrokerReplace, BrokerUpdate
from paiid.core.clock import SystemClock
from paiid.core.db import Database, make_database
from paiid.domain.orders import OrderStatus
from tests.fakes import FakeBroker
from tests.reconcile_world import ACCOUNT, Books, held

D = Decimal
BOUNDED = settings(
    phases=[Phase.generate],
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
STEPS = st.lists(
    st.sampled_from(
        ["ours", "theirs", "fill", "fill", "fill", "cancel", "replace", "compare", "dividend", "hours", "tell", "lose",
         "catch up"]
    ),
    min_size=8,
    max_size=40,
)  # fmt: skip


class Outages:
    """What happens at a broker, and of that what its stream tells, and when."""

    def __init__(self, both: Books, seed: int) -> None:
        self.both, self.broker = both, both.broker
        self.dice = random.Random(seed)
        self.heard = 0
        self.waiting: list[BrokerUpdate] = []

    @property
    def now_us(self) -> int:
        """The broker's time."""
        return 1_800_000_000_000_000 + self.broker.later_us + self.broker._count

    def working(self) -> list[str]:
        """The broker's ids of what can still fill."""
        return [view.broker_order_id for view in self.broker.orders.values() if view.status in _WORKING]

    async def step(self, what: str) -> None:
        """One thing happens."""
        working = self.working()
        if what == "ours":
            await self.both.placed()
        elif what == "theirs":
            self.both.place(f"theirs-{len(self.broker.orders)}", self.dice.choice(["AAPL", "TSLA"]))
        elif what == "fill" and working:
            one = self.dice.choice(working)
            view = self.broker.orders[one]
            left = (view.qty or D(0)) - view.filled_qty
            price = D(self.dice.randrange(9_000, 11_000)) / 100
            self.broker.fill(one, D(self.dice.randint(1, int(left))), price)
        elif what == "cancel" and working:
            self.broker.end(self.dice.choice(working), OrderStatus.CANCELED)
        elif what == "replace" and working:
            change = BrokerReplace(
                f"new-{len(self.broker.orders)}", limit_price=100 + D(len(self.broker.orders)) / 100
            )
            await self.broker.replace(ACCOUNT, self.dice.choice(working), change, 1.0)
        elif what == "dividend":
            self.both.act("dividend", f"div-{len(self.broker.activities)}", "1.25")
        elif what == "compare" and not await self.both.compare():
            # The broker's clock stands in the future; the database's would show the same time.
            await self.both.set(reconciled_at=self.now_us)
        elif what == "hours":
            self.broker.later_us += 3 * 3_600_000_000
        elif what in ("tell", "lose"):
            await self.hear(what == "tell")
        elif what == "catch up":
            await self.both.catch_up()

    async def hear(self, told: bool) -> None:
        """Some of the stream arrives: late, in any order, some of it twice; or a stretch of it never does."""
        fresh = self.broker._updates[self.heard :]
        self.heard += len(fresh)
        if not told:
            return
        self.waiting += fresh + [one for one in fresh if self.dice.random() < 0.3]
        self.dice.shuffle(self.waiting)
        count = self.dice.randint(0, len(self.waiting))
        now, self.waiting = self.waiting[:count], self.waiting[count:]
        await self.both.merge(now)

    async def end(self) -> None:
        """A catch-up, what was still on its way, and one more catch-up that must change nothing."""
        await self.both.catch_up()
        before = await self.both.shown()
        self.dice.shuffle(self.waiting)
        await self.both.merge(self.waiting)
        await self.both.catch_up()
        assert await self.both.shown() == before


_WORKING = (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED)


async def live(db: Database, steps: list[str], seed: int) -> None:
    """Live through it, and compare."""
    both = await Books(db, FakeBroker("fake")).open()
    outages = Outages(both, seed)
    for what in steps:
        await outages.step(what)
    await outages.end()
    shown, broker = await both.shown(), both.broker
    assert await both.compare() == []
    assert both.alarms == []
    assert held(shown) == {s: q for s, q in broker.positions.get(ACCOUNT, {}).items() if q}
    assert shown["cash"] == (await broker.fetch_account(ACCOUNT, 1.0)).cash
    assert len(shown["executions"]) == len(broker.executions)
    assert len(await both.activities()) == len(broker.activities)
    for row in shown["orders"]:
        view = broker.orders[row["broker_order_id"]]
        assert (row["status"], row["filled_qty"]) == (view.status.value, view.filled_qty)
    told = {one.broker_order_id for one in broker.executions} | set(outages.working())
    assert told <= {row["broker_order_id"] for row in shown["orders"]}
    assert shown["open_orders"] == len(outages.working())


@BOUNDED
@given(steps=STEPS, seed=st.integers(0, 2**32))
def test_E18_whatever_is_lost_or_late_the_ledger_ends_with_what_happened(
    template: Path, tmp_path: Path, runner: asyncio.Runner, steps: list[str], seed: int
) -> None:
    path = tmp_path / f"{abs(hash((tuple(steps), seed)))}.db"
    shutil.copy(template, path)

    async def run() -> None:
        db = make_database(f"sqlite:///{path}", SystemClock())
        await db.start()
        try:
            await live(db, steps, seed)
        finally:
            await db.stop()

    runner.run(run())


@pytest.mark.parametrize("seed", range(3))
async def test_E18_an_outage_is_mended_on_either_database(db: Database, seed: int) -> None:
    steps = ["ours", "theirs", "ours", "fill", "tell", "hours", "fill", "fill", "lose", "hours", "fill", "cancel",
             "replace", "fill", "tell", "catch up", "dividend", "fill", "fill", "theirs", "fill"]  # fmt: skip
    await live(db, steps, seed)
