"""SIGKILL at every step of the order path, answers lost or not: none doubled, none lost, every replay equal."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import httpx2
import pytest

from paiid.core.failpoints import FailPoint
from tests.fault.books import assert_books_agree, count_at_venue
from tests.fault.processes import Server, settle

ORDER = {"symbol": "AAPL", "side": "buy", "qty": 2}
RESTING = {"symbol": "MSFT", "side": "buy", "qty": 1, "type": "limit", "limit_price": 1.00}
ONE = {"orders": [ORDER]}
THREE = {
    "orders": [ORDER, {"symbol": "KO", "side": "buy", "qty": 1}, {"symbol": "PEP", "side": "buy", "qty": 1}]
}
KEYS: dict[str, dict[str, Any]] = {"kill-key-1": ONE, "kill-key-2": ONE, "kill-key-3": THREE}

_LOOKUPS = {FailPoint.BEFORE_LOOKUP, FailPoint.AFTER_LOOKUP, FailPoint.IN_RESOLVE}
_CANCELS = {FailPoint.BEFORE_CANCEL, FailPoint.AFTER_CANCEL}
REACHED: set[FailPoint] = set()


async def send_all(server: Server) -> None:
    """All keys at once; the server may die under them."""

    async def send(key: str, body: dict[str, Any]) -> None:
        try:
            async with server.client() as client:
                await client.post("/api/trading/execute", json=body, headers={"Idempotency-Key": key})
        except httpx2.TransportError:
            pass

    await asyncio.gather(*(send(key, body) for key, body in KEYS.items()))


async def provoke(server: Server, point: FailPoint) -> None:
    """Drive the server into the fail point."""
    if point in _CANCELS:
        async with server.client() as client:
            placed = await client.post(
                "/api/trading/execute", json={"orders": [RESTING]}, headers={"Idempotency-Key": "kill-rest-1"}
            )
            order_id = placed.json()["orders"][0]["id"]
            with contextlib.suppress(httpx2.TransportError):
                await client.delete(f"/api/trading/orders/{order_id}")
    await send_all(server)


@pytest.mark.timeout(90)
@pytest.mark.parametrize("lost", [False, True], ids=["answered", "answer-lost"])
@pytest.mark.parametrize("point", list(FailPoint), ids=lambda p: p.value)
async def test_E09_E13_a_kill_at_any_step_neither_doubles_nor_loses_an_order(
    point: FailPoint, lost: bool, db_url: str, tmp_path: Path
) -> None:
    server = Server(db_url, tmp_path, {"LOSE_ANSWERS": "1"} if lost else {})
    try:
        if point in _LOOKUPS:
            # Something must be in doubt before a look-up can be killed: the first life dies with the order sent.
            await server.start(
                FAIL_AT=FailPoint.AFTER_SEND.value if not lost else FailPoint.AFTER_CLAIM.value
            )
            await server.sign_in()
            await send_all(server)
            await server.wait_killed()
            server.process = None
            try:
                await server.start(FAIL_AT=point.value)
            except AssertionError:
                pass
            else:
                await send_all(server)
        else:
            await server.start(FAIL_AT=point.value)
            await server.sign_in()
            await provoke(server, point)
        await server.wait_killed()
        REACHED.add(point)
        await server.start()
        first = {key: await settle(server, key, body) for key, body in KEYS.items()}
        for key, body in KEYS.items():
            answer = first[key]
            assert answer.status_code == 200, answer.text
            again = await settle(server, key, body)
            assert again.content == answer.content
            assert again.headers["Idempotency-Replayed"] == "true"
            for position, order in enumerate(answer.json()["orders"]):
                placed = await count_at_venue(db_url, order["client_order_id"])
                assert placed == (1 if order["state"] == "ACCEPTED" else 0), (key, position, order)
        await assert_books_agree(server, db_url)
    finally:
        await server.kill()
