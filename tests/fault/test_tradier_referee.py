"""The referee of the Tradier tests must see what they are there to see: each rule is broken once, in the books, in the
simulator's ledger, or by a service that does what it must not."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from paiid.brokers import Broker, BrokerOrder, BrokerOrderView, BrokerReplace, OutcomeUnknown
from paiid.sim.tradier.ids import Register
from tests.fault import tradier_paths as paths
from tests.fault.tradier_kept import KeptWorld, agree, referee_for
from tests.tradier_referee import Sides, judge
from tests.tradier_world import TradierWorld, tradier_world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(tmp_path_factory: pytest.TempPathFactory, _sqlite_template: Path) -> AsyncIterator[KeptWorld]:
    one = KeptWorld(tmp_path_factory.mktemp("tradier"), _sqlite_template)
    yield one
    await one.close()


def _with(rows: list[Any], at: int, **changes: Any) -> list[Any]:
    return [{**row, **changes} if number == at else row for number, row in enumerate(rows)]


def _entry(both: Sides, kind: str, method: str | None = None) -> dict[str, Any]:
    found = (one for one in both.ledger if one["kind"] == kind and one.get("method") == method)
    return next(one for one in found if "/orders" in one.get("path", "/orders"))


def _of_chain(both: Sides, **changes: Any) -> Sides:
    """The order that was changed in place, otherwise."""
    at = next(n for n, row in enumerate(both.our_orders) if row["replaces"] is not None)
    return replace(both, our_orders=_with(both.our_orders, at, **changes))


def _of_filled(both: Sides, **changes: Any) -> Sides:
    at = next(n for n, row in enumerate(both.our_orders) if row["filled_qty"])
    return replace(both, our_orders=_with(both.our_orders, at, **changes))


BROKEN: dict[str, Any] = {
    "sent once: pd-": lambda b: replace(b, ledger=[*b.ledger, _entry(b, "request", "POST")]),
    "sent once: 228": lambda b: replace(b, ledger=[*b.ledger, _entry(b, "request", "PUT")]),
    "accepted once": lambda b: replace(b, ledger=[*b.ledger, _entry(b, "order_accepted")]),
    "changed": lambda b: replace(b, ledger=[*b.ledger, _entry(b, "order_replaced")]),
    "nothing lost": lambda b: replace(b, our_orders=[r for r in b.our_orders if not r["filled_qty"]]),
    "nothing invented": lambda b: replace(b, their_orders=[r for r in b.their_orders if not r["filled_qty"]]),
    "truthful": lambda b: _of_filled(b, state="NOT_PLACED"),
    "settled: pd-": lambda b: _of_filled(b, state="UNKNOWN"),
    "settled: the replace": lambda b: _of_filled(b, replace_state="UNKNOWN"),
    "status": lambda b: _of_chain(b, status="REJECTED"),
    "filled": lambda b: _of_filled(b, filled_qty=1),
    "value": lambda b: _of_filled(b, filled_value=1),
    "prints": lambda b: replace(b, our_prints=b.our_prints[1:]),
    "position": lambda b: replace(b, our_positions=[]),
    "cash": lambda b: replace(b, our_account={**b.our_account, "cash": b.our_account["cash"] + 10_000}),
    "reconciled": lambda b: replace(b, our_account={**b.our_account, "reconcile_problem": "cash"}),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("rule", BROKEN)
async def test_the_referee_of_tradier_sees_a_row_that_is_wrong(rule: str, kept: KeptWorld) -> None:
    async with kept.lent() as world:
        await paths.single(world, lambda **_: None)
        await paths.replacing(world, lambda **_: None)
        await agree(world)
        both, register = await referee_for(world).read(), Register(world.sim.exchange.data_dir)
        assert list(judge(both, register)) == []
        broken = list(judge(BROKEN[rule](both), register))
        assert any(one.startswith(rule) for one in broken), broken


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


class ChangesTwice(Meddler):
    async def replace(
        self, account_number: str, broker_order_id: str, change: BrokerReplace, timeout_s: float
    ) -> BrokerOrderView:
        await self._inner.replace(account_number, broker_order_id, change, timeout_s)
        return await self._inner.replace(account_number, broker_order_id, change, timeout_s)


class Blind(Meddler):
    """Finds no order by our id, and hears of none."""

    async def fetch_order(self, account_number: str, client_order_id: str, timeout_s: float) -> None:
        return None

    async def fetch_open_orders(self, account_number: str, timeout_s: float) -> list[BrokerOrderView]:
        return []

    async def updates(self, after: int) -> AsyncIterator[Any]:
        async for one in self._inner.updates(after):
            if one.order is None:
                yield one


async def _lost(world: TradierWorld) -> None:
    world.pin("INTC")
    world.fault("answer_lost")
    await world.execute({"symbol": "INTC", "side": "buy", "qty": 10})


async def _changed(world: TradierWorld) -> None:
    await paths.replacing(world, lambda **_: None)


@pytest.mark.parametrize(
    ("meddler", "life", "rule"),
    [
        (Resender, _lost, "sent once"),
        (ChangesTwice, _changed, "sent once"),
        (Blind, _lost, "truthful"),
    ],
    ids=["resends", "changes twice", "finds nothing"],
)
async def test_the_referee_of_tradier_sees_a_service_that_does_what_it_must_not(
    meddler: type[Meddler], life: Any, rule: str, sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    async with tradier_world(sqlite_url, tmp_path, template, meddle=meddler) as world:
        await life(world)

        async def seen() -> bool:
            return any(one.startswith(rule) for one in await referee_for(world).differences())

        await world.quiesce()
        await world.until(seen)
