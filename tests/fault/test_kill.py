"""SIGKILL at every step of the order path, answers lost or not: none doubled, none lost, every replay equal."""

import asyncio
from typing import Any

import httpx2
import pytest

from paiid.core.failpoints import FailPoint
from tests.fault.books import Books, opened
from tests.fault.conftest import MakeServer
from tests.fault.processes import Server, settle, taken

ONE = {"orders": [{"symbol": "AAPL", "side": "buy", "qty": 2}]}
THREE = {"orders": [{"symbol": symbol, "side": "buy", "qty": 1} for symbol in ("AAPL", "KO", "PEP")]}
RESTING = {"orders": [{"symbol": "MSFT", "side": "buy", "qty": 1, "type": "limit", "limit_price": 1.00}]}
KEYS: dict[str, dict[str, Any]] = {"kill-key-1": ONE, "kill-key-2": ONE, "kill-key-3": THREE}
REST_KEY = "kill-rest-1"

LOOKUPS = {FailPoint.BEFORE_LOOKUP, FailPoint.AFTER_LOOKUP, FailPoint.IN_RESOLVE}
CANCELS = {FailPoint.BEFORE_CANCEL, FailPoint.AFTER_CANCEL}
Answers = dict[str, httpx2.Response]


async def send_all(client: httpx2.AsyncClient) -> Answers:
    """All keys at once; what was answered before the process died."""
    answered: Answers = {}

    async def send(key: str, body: dict[str, Any]) -> None:
        try:
            answered[key] = await taken(client, key, body)
        except httpx2.TransportError:
            return

    await asyncio.gather(*(send(key, body) for key, body in KEYS.items()))
    return answered


async def cancel_one(client: httpx2.AsyncClient) -> Answers:
    """A resting order whose cancellation kills the process."""
    placed = await settle(client, REST_KEY, RESTING)
    assert placed.json()["accepted"], placed.text
    try:
        while True:
            gone = await client.delete(f"/api/trading/orders/{placed.json()['orders'][0]['id']}")
            if gone.status_code != 503:
                break
    except httpx2.TransportError:
        return {REST_KEY: placed}
    raise AssertionError(f"the cancel was answered: {gone.text}")


async def live_until(server: Server, point: FailPoint, lost: bool) -> Answers:
    """One or two lives, the last of which ends at the point; the final answers given until then."""
    answered: Answers = {}
    if point in LOOKUPS and not lost:
        # Something must be in doubt before a look-up can be killed: this life ends with orders claimed.
        await server.start(FAIL_AT=FailPoint.AFTER_CLAIM.value)
        await server.sign_in()
        async with server.client() as client:
            answered = await send_all(client)
        await server.wait_killed_at(FailPoint.AFTER_CLAIM)
        server.launch(FAIL_AT=point.value, QUIET="1")
    else:
        # Without its silence the update stream would often settle an order before the look-up does.
        await server.start(FAIL_AT=point.value, **({"QUIET": "1"} if point in LOOKUPS else {}))
        await server.sign_in()
        async with server.client() as client:
            answered = await (cancel_one if point in CANCELS else send_all)(client)
    await server.wait_killed_at(point)
    return {key: answer for key, answer in answered.items() if answer.status_code == 200}


async def finished_cancel(client: httpx2.AsyncClient) -> str:
    """How the cancelled order ends: a cancel that was written down is carried out by the next life."""
    order_id = (await settle(client, REST_KEY, RESTING)).json()["orders"][0]["id"]
    async with asyncio.timeout(30):
        while True:
            order: dict[str, Any] = (await client.get(f"/api/trading/orders/{order_id}")).json()
            if order["status"] != "NEW":
                return str(order["status"])
            await asyncio.sleep(0.1)


async def assert_nothing_doubled_or_lost(client: httpx2.AsyncClient, before: Answers, books: Books) -> None:
    """Every key has one final answer, the same bytes as ever, and the venue has what it says."""
    final = dict(
        zip(KEYS, await asyncio.gather(*(settle(client, k, b) for k, b in KEYS.items())), strict=True)
    )
    for key, answer in final.items():
        assert answer.status_code == 200, answer.text
        again = await settle(client, key, KEYS[key])
        assert again.content == answer.content
        assert again.headers["Idempotency-Replayed"] == "true"
        if key in before:
            assert answer.content == before[key].content
    await books.assert_truthful(answer.json() for answer in final.values())
    await books.assert_agree()


@pytest.mark.parametrize("lost", [False, True], ids=["answered", "answer-lost"])
@pytest.mark.parametrize("point", list(FailPoint), ids=lambda point: point.value)
async def test_E09_E13_a_kill_at_any_step_neither_doubles_nor_loses_an_order(
    point: FailPoint, lost: bool, db_url: str, make_server: MakeServer
) -> None:
    server = make_server(db_url, **({"LOSE_ANSWERS": "1"} if lost else {}))
    # Raises unless this very point was passed: a member of the enum that nothing ever hits fails here.
    before = await live_until(server, point, lost)
    await server.start()
    async with opened(db_url) as books, server.client() as client:
        await assert_nothing_doubled_or_lost(client, before, books)
        if point in CANCELS:
            assert await finished_cancel(client) == "CANCELED"
            assert (await settle(client, REST_KEY, RESTING)).content == before[REST_KEY].content
            await books.assert_agree()
