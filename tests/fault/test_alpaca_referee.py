"""The referee of the Alpaca tests must see what they are there to see: each rule is broken once, in the books, in the
simulator's ledger, or by a service that does what it must not."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import update

from paiid.brokers import Broker, BrokerOrder, BrokerOrderView, BrokerUpdate, OutcomeUnknown
from paiid.core.db import statement
from paiid.core.tables import intents
from tests import alpaca_paths as paths
from tests.alpaca_kept import KeptWorld
from tests.alpaca_referee import Sides, changed_answers, judge
from tests.alpaca_world import BRISK, AlpacaWorld, alpaca_world

BUY: dict[str, Any] = {"symbol": "INTC", "side": "buy", "qty": 10}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> AsyncIterator[KeptWorld]:
    one = KeptWorld(tmp_path_factory.mktemp("alpaca"), _sqlite_template)
    yield one
    await one.close()


def _with(rows: list[Any], at: int, **changes: Any) -> list[Any]:
    return [{**row, **changes} if number == at else row for number, row in enumerate(rows)]


def _entry(kind: str, both: Sides, method: str | None = None) -> dict[str, Any]:
    return next(
        e for e in both.ledger
        if e["kind"] == kind and (method is None or (e["method"] == method and e["path"] == "/v2/orders"))
    )  # fmt: skip


BROKEN: dict[str, Any] = {
    "sent once": lambda b: replace(b, ledger=[*b.ledger, _entry("request", b, "POST")]),
    "accepted once": lambda b: replace(b, ledger=[*b.ledger, _entry("order_accepted", b)]),
    "nothing lost": lambda b: replace(b, our_orders=b.our_orders[1:]),
    "nothing invented": lambda b: replace(b, their_orders=b.their_orders[1:]),
    "truthful": lambda b: replace(b, our_orders=_with(b.our_orders, 0, state="NOT_PLACED")),
    "settled": lambda b: replace(b, our_orders=_with(b.our_orders, 0, state="UNKNOWN")),
    "status": lambda b: replace(b, our_orders=_with(b.our_orders, 0, status="CANCELED")),
    "filled": lambda b: replace(b, our_orders=_with(b.our_orders, 0, filled_qty=1)),
    "average": lambda b: replace(b, our_orders=_with(b.our_orders, 0, filled_avg_price=1)),
    "prints: booked here": lambda b: replace(b, our_prints=[*b.our_prints, b.our_prints[0]]),
    "prints: at the broker": lambda b: replace(b, our_prints=b.our_prints[1:]),
    "position": lambda b: replace(b, our_positions=[]),
    "cash": lambda b: replace(b, our_account={**b.our_account, "cash": 1}),
    "reconciled": lambda b: replace(b, our_account={**b.our_account, "reconcile_problem": "cash"}),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("rule", BROKEN)
async def test_the_referee_sees_a_row_that_is_wrong(rule: str, kept: KeptWorld) -> None:
    async with kept.lent() as world:
        await paths.single(world, lambda **_: None)
        await world.agree()
        both = await world.referee.read()
        assert list(judge(both)) == []
        broken = list(judge(BROKEN[rule](both)))
        assert any(one.startswith(rule) for one in broken), broken


async def test_the_referee_sees_an_answer_that_is_not_the_same_any_more(
    sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    async with alpaca_world(sqlite_url, tmp_path, template) as world:
        await paths.single(world, lambda **_: None)
        await world.agree()
        async with world.db.begin() as tx:
            await tx.execute(
                statement(update(intents), columns=["body"]), {"body": json.dumps({"orders": []})}
            )
        (wrong,) = await changed_answers(world.app.http, world.asked)
        assert wrong.startswith("replayed: 200 true")


# -- services that do what they must not --------------------------------------------------------------


class Meddler:
    """Passes everything on."""

    def __init__(self, inner: Broker) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Resender(Meddler):
    async def submit(self, order: BrokerOrder, timeout_s: float) -> BrokerOrderView:
        try:
            return await self._inner.submit(order, timeout_s)
        except OutcomeUnknown:
            return await self._inner.submit(order, timeout_s)


class Doubler(Meddler):
    """Tells each print a second time under another id."""

    async def updates(self, after: int) -> AsyncIterator[BrokerUpdate]:
        async for one in self._inner.updates(after):
            yield one
            if one.execution is not None:
                again = replace(one.execution, execution_id=one.execution.execution_id + "x")
                yield replace(one, execution=again)


class Forgetful(Meddler):
    """Does not say that its stream has begun anew."""

    async def updates(self, after: int) -> AsyncIterator[BrokerUpdate]:
        async for one in self._inner.updates(after):
            if one.resync is None:
                yield one


class Blind(Meddler):
    """Finds no order by our id."""

    async def fetch_order(self, account_number: str, client_order_id: str, timeout_s: float) -> None:
        return None


DEAF = replace(BRISK, poll_s=600.0, stream_late_s=600.0, compare_s=600.0, recompare_s=600.0)
"""Nothing but the stream."""


async def _cut(world: AlpacaWorld) -> None:
    """A fill that happens while the stream is cut."""
    await world.until_listened_to()
    world.fault("disconnect", event="fill")
    world.pin("INTC")
    await world.execute(BUY)
    await world.until_played(0)
    await world.until_listened_to()


async def _lost(world: AlpacaWorld) -> None:
    world.pin("INTC")
    world.fault("answer_lost")
    await world.execute(BUY)


async def _blind(world: AlpacaWorld) -> None:
    # The stream would have found it: it must not tell.
    world.fault("update_missing", rate=1.0)
    await _lost(world)


async def _plain(world: AlpacaWorld) -> None:
    world.pin("INTC")
    await world.execute(BUY)


@pytest.mark.parametrize(
    ("meddler", "life", "rule"),
    [
        (Resender, _lost, "sent once"),
        (Doubler, _plain, "prints: booked here"),
        (Forgetful, _cut, "prints: at the broker"),
        (Blind, _blind, "truthful"),
    ],
    ids=["resends", "books a print twice", "forgets a resync", "finds nothing"],
)
async def test_the_referee_sees_a_service_that_does_what_it_must_not(
    meddler: type[Meddler], life: Any, rule: str, sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    how: dict[str, Any] = {"timings": DEAF, "meddle": meddler}
    async with alpaca_world(sqlite_url, tmp_path, template, **how) as world:
        await life(world)

        async def seen() -> bool:
            return any(one.startswith(rule) for one in await world.referee.differences())

        await world.quiesce()
        await world.until(seen)
