"""SIGKILL at every step of the order path with a simulated Tradier in a process of its own, answers lost or not: an order
is found by its tag, a change by its terms, and once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from paiid.core.failpoints import FailPoint
from paiid.sim.tradier.accounts import DEFAULT_ACCOUNT, DEFAULT_TOKEN
from tests.fault.lives import CASES, RESTING, SAMPLE, Lives, OnTheWire, begun, names
from tests.fault.nursery import Nursery
from tests.fault.processes import settle
from tests.tradier_referee import referee_of

TRADIER = OnTheWire(
    "tradier",
    lambda url: {
        "TRADIER_API_BASE_URL": f"{url}/v1",
        "TRADIER_API_KEY": DEFAULT_TOKEN,
        "TRADIER_ACCOUNT_ID": DEFAULT_ACCOUNT,
        # Its quotes do not matter here, and its market is another one than the simulated feed's.
        "MARKET_DATA": "tradier",
    },
    referee_of,
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lives() -> AsyncIterator[Lives]:
    found = Lives(TRADIER)
    yield found
    await found.end()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("point", "lost"), CASES, ids=names)
async def test_E09_E13_a_kill_over_tradier_neither_doubles_nor_loses_an_order(
    point: FailPoint, lost: bool, lives: Lives, nursery: Nursery, tmp_path: Path, template: Path
) -> None:
    async with lives.lent(nursery, tmp_path, template) as life:
        await life.try_at(point, lost)


@pytest.mark.long
async def test_E09_E13_a_kill_over_tradier_leaves_as_much_in_order_on_postgresql(
    nursery: Nursery, tmp_path: Path, postgres_url: str
) -> None:
    life = await begun(TRADIER, nursery, tmp_path, postgres_url)
    try:
        for point, lost in SAMPLE:
            await life.try_at(point, lost)
    finally:
        await life.end()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("point", "sent"),
    [
        (FailPoint.AFTER_CLAIM, False),
        (FailPoint.BEFORE_SEND, False),
        (FailPoint.AFTER_SEND, True),
        (FailPoint.IN_RECORD, True),
        (FailPoint.AFTER_RECORD, True),
    ],
    ids=lambda one: one.value if isinstance(one, FailPoint) else "",
)
async def test_E12_E13_a_change_in_place_that_a_kill_leaves_in_doubt_is_known_by_its_terms(
    point: FailPoint, sent: bool, lives: Lives, nursery: Nursery, tmp_path: Path, template: Path
) -> None:
    async with lives.lent(nursery, tmp_path, template) as life:
        await life.server.start()
        async with life.server.client() as client:
            (order,) = (await settle(client, f"rest-{point.value}", RESTING)).json()["orders"]
        await life.server.kill()
        await life.server.start(FAIL_AT=point.value)
        async with life.server.client() as client:
            with suppress(httpx2.TransportError):
                while (answer := await change(client, order["id"], point)).status_code == 503:
                    await asyncio.sleep(0.1)
                raise AssertionError(f"the change was answered: {answer.text}")
        await life.server.wait_killed_at(point)
        await life.server.start()
        async with life.server.client() as client:
            told = await changed(client, order["id"], point)
            assert told["state"] == ("ACCEPTED" if sent else "NOT_PLACED"), told
            old = (await client.get(f"/api/trading/orders/{order['id']}")).json()
            assert old["status"] == ("REPLACED" if sent else "NEW"), old
            await life.agree()
            await client.delete(f"/api/trading/orders/{told['id'] if sent else old['id']}")
        await life.server.kill()


async def change(client: httpx2.AsyncClient, order_id: str, point: FailPoint) -> httpx2.Response:
    """A request for another price."""
    headers = {"Idempotency-Key": f"change-{point.value}", "If-Match": "*"}
    return await client.patch(f"/api/trading/orders/{order_id}", json={"limit_price": 1.05}, headers=headers)


async def changed(client: httpx2.AsyncClient, order_id: str, point: FailPoint) -> dict[str, Any]:
    """The same request until its answer is final."""
    async with asyncio.timeout(60):
        while (answer := await change(client, order_id, point)).status_code != 200:
            assert answer.status_code in (202, 409, 503), answer.text
            await asyncio.sleep(0.1)
    (told,) = answer.json()["orders"]
    assert isinstance(told, dict)
    return told
