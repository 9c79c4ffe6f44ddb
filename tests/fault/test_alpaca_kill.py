"""SIGKILL at every step of the order path with a simulated Alpaca in a process of its own, answers lost or not: none
doubled, none lost, every replay equal."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from paiid.core.failpoints import FailPoint
from paiid.sim.alpaca.accounts import DEFAULT_KEY_ID, DEFAULT_SECRET
from tests.alpaca_referee import referee_of
from tests.fault.lives import CASES, SAMPLE, Lives, OnTheWire, begun, names
from tests.fault.nursery import Nursery

ALPACA = OnTheWire(
    "alpaca",
    lambda url: {
        "ALPACA_API_BASE_URL": url,
        "ALPACA_PAPER_API_KEY": DEFAULT_KEY_ID,
        "ALPACA_PAPER_SECRET_KEY": DEFAULT_SECRET,
    },
    referee_of,
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lives() -> AsyncIterator[Lives]:
    found = Lives(ALPACA)
    yield found
    await found.end()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("point", "lost"), CASES, ids=names)
async def test_E09_E13_a_kill_with_a_broker_on_the_wire_neither_doubles_nor_loses_an_order(
    point: FailPoint, lost: bool, lives: Lives, nursery: Nursery, tmp_path: Path, template: Path
) -> None:
    async with lives.lent(nursery, tmp_path, template) as life:
        await life.try_at(point, lost)


@pytest.mark.long
async def test_E09_E13_a_kill_leaves_as_much_in_order_on_postgresql(
    nursery: Nursery, tmp_path: Path, postgres_url: str
) -> None:
    life = await begun(ALPACA, nursery, tmp_path, postgres_url)
    try:
        for point, lost in SAMPLE:
            await life.try_at(point, lost)
    finally:
        await life.end()
