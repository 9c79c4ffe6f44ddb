"""SIGKILL at every step of a replace of a bracket's entry: at most one successor, and the old order lives or is gone."""

import asyncio
from typing import Any

import httpx2
import pytest

from paiid.core.failpoints import FailPoint
from tests.fault.books import Books, opened
from tests.fault.conftest import MakeServer
from tests.fault.processes import settle

BRACKET: dict[str, Any] = {
    "orders": [
        {
            "symbol": "MSFT", "side": "buy", "qty": 3, "type": "limit", "limit_price": 1.00, "time_in_force": "gtc",
            "take_profit": {"limit_price": 2.00}, "stop_loss": {"stop_price": 0.50},
        }
    ]
}  # fmt: skip
PLACE_KEY, REPLACE_KEY = "kill-bracket-1", "kill-replace-1"
POINTS = [
    FailPoint.BEFORE_CLAIM,
    FailPoint.IN_CLAIM,
    FailPoint.AFTER_CLAIM,
    FailPoint.BEFORE_SEND,
    FailPoint.AFTER_SEND,
    FailPoint.IN_RECORD,
    FailPoint.AFTER_RECORD,
]


async def replace(client: httpx2.AsyncClient, order_id: str, version: int) -> httpx2.Response:
    return await client.patch(
        f"/api/trading/orders/{order_id}",
        json={"limit_price": 1.10, "qty": 2},
        headers={"If-Match": str(version), "Idempotency-Key": REPLACE_KEY},
    )


async def until_it_dies(client: httpx2.AsyncClient, order_id: str, version: int) -> None:
    """Ask for the replace, and go on asking for something until nobody answers any more."""
    while (answer := await replace(client, order_id, version)).status_code == 503:
        await asyncio.sleep(0.1)
    assert answer.status_code in (200, 202), answer.text
    while True:
        await client.get("/api/health")
        await asyncio.sleep(0.05)


async def settled(client: httpx2.AsyncClient, order_id: str, version: int) -> httpx2.Response:
    """The final answer of the replace, asked for again and again under its key."""
    async with asyncio.timeout(60):
        while True:
            answer = await replace(client, order_id, version)
            if answer.status_code == 200:
                return answer
            assert answer.status_code in (202, 409, 503), answer.text
            await asyncio.sleep(0.1)


async def working(books: Books) -> list[tuple[str | None, str, int]]:
    """(role, status, quantity) of everything that works at the venue."""
    rows = await books.venue_orders()
    return sorted(
        ((row["group_role"], row["status"], row["qty"] // 10**9) for row in rows if row["working"]),
        key=str,
    )


# Before the order is sent no answer can be lost.
SENT = POINTS[-3:]
CASES = [*((point, False) for point in POINTS), *((point, True) for point in SENT)]


@pytest.mark.parametrize(
    ("point", "lost"),
    CASES,
    ids=lambda value: getattr(value, "value", "answer-lost" if value else "answered"),
)
async def test_E00_E09_a_kill_at_any_step_of_a_replace_leaves_one_of_the_two_orders(
    point: FailPoint, lost: bool, db_url: str, make_server: MakeServer
) -> None:
    server = make_server(db_url)
    await server.start()
    await server.sign_in()
    async with server.client() as client:
        placed = await settle(client, PLACE_KEY, BRACKET)
        assert placed.json()["accepted"], placed.text
        (old,) = placed.json()["orders"]
    await server.kill()

    await server.start(FAIL_AT=point.value, **({"LOSE_ANSWERS": "1"} if lost else {}))
    async with server.client() as client:
        version = (await client.get(f"/api/trading/orders/{old['id']}")).json()["version"]
        with pytest.raises(httpx2.TransportError):
            await until_it_dies(client, old["id"], version)
    await server.wait_killed_at(point)

    await server.start()
    async with opened(db_url) as books, server.client() as client:
        final = await settled(client, old["id"], version)
        again = await replace(client, old["id"], version)
        assert (again.content, again.headers["Idempotency-Replayed"]) == (final.content, "true")
        (new,) = final.json()["orders"]
        await books.assert_agree()
        gone = (await client.get(f"/api/trading/orders/{old['id']}")).json()
        if new["state"] == "ACCEPTED":
            assert (gone["status"], gone["replaced_by"], gone["replace_state"]) == (
                "REPLACED",
                new["id"],
                "ACCEPTED",
            )
            entry = ("entry", "NEW", 2)
        else:
            assert (gone["status"], gone["replaced_by"]) == ("NEW", None)
            entry = ("entry", "NEW", 3)
        held = entry[2]
        assert await working(books) == sorted(
            [entry, ("stop_loss", "HELD", held), ("take_profit", "HELD", held)], key=str
        )
