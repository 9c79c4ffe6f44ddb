"""SIGTERM while orders are in flight: gone within five seconds, and the next start finds everything."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.fault.books import opened
from tests.fault.conftest import MakeServer
from tests.fault.meddling import read_submits
from tests.fault.processes import execute, settle, taken

CALLS = 40
TWO: dict[str, Any] = {"orders": [{"symbol": symbol, "side": "buy", "qty": 1} for symbol in ("KO", "PEP")]}
KEYS = [f"terminated-{number:03d}" for number in range(CALLS)]
LATE_KEYS = [f"too-late-{number:03d}" for number in range(5)]
GONE_WITHIN_S = 5.0
NOISE_S = 3.0
"""What a busy machine may add to the end and to our noticing it; the venue that hangs would hold it up far longer."""

# A venue that answers in time, and one that answers to nobody before the process is gone.
PACES = {"answers": ("0.4", "3"), "hangs": ("30", "6")}


Ask = Callable[[httpx2.AsyncClient, str, dict[str, Any]], Awaitable[httpx2.Response]]


async def attempt(client: httpx2.AsyncClient, key: str, ask: Ask) -> httpx2.Response | None:
    """One call; None where the connection broke or was refused."""
    try:
        return await ask(client, key, TWO)
    except httpx2.TransportError:
        return None


@pytest.mark.parametrize("pace", list(PACES))
async def test_E13_sigterm_with_orders_in_flight_ends_within_5_s_and_loses_or_doubles_nothing(
    pace: str, db_url: str, make_server: MakeServer, tmp_path: Path
) -> None:
    delay_s, deadline_s = PACES[pace]
    log = tmp_path / "submits"
    server = make_server(db_url, SUBMIT_LOG=str(log))
    await server.start(SUBMIT_DELAY_S=delay_s, BROKER_DEADLINE_S=deadline_s)
    await server.sign_in()
    async with server.client(connections=CALLS + 10) as client:
        calls = [asyncio.create_task(attempt(client, key, taken)) for key in KEYS]
        async with asyncio.timeout(60):
            while len(read_submits(log)) < CALLS:
                await asyncio.sleep(0.01)
        server.signal(signal.SIGTERM)
        began_s = time.monotonic()
        late = await asyncio.gather(*(attempt(client, key, execute) for key in LATE_KEYS))
        code = await server.wait()
        took_s = time.monotonic() - began_s
        first = dict(zip(KEYS, await asyncio.gather(*calls), strict=True))
    assert took_s < GONE_WITHIN_S + NOISE_S
    assert {one.status_code for one in late if one is not None} <= {503}
    if pace == "answers":
        assert code == 0
        # Sends in flight had their time: the first order of every call was placed, and every caller heard of it.
        assert all(answer is not None and answer.status_code in (200, 202) for answer in first.values())
    await server.start()
    async with opened(db_url) as books, server.client() as client:
        final = dict(zip(KEYS, await asyncio.gather(*(settle(client, k, TWO) for k in KEYS)), strict=True))
        for key, answer in final.items():
            assert answer.status_code == 200, answer.text
            assert (await settle(client, key, TWO)).content == answer.content
            told = first[key]
            if told is not None and told.status_code == 200:
                assert answer.content == told.content
        await books.assert_agree()
        await books.assert_truthful(answer.json() for answer in final.values())
        # Nothing of the calls that came after the signal: their keys are as good as new.
        assert {row["client_order_id"] for row in await books.our_orders()} == {
            order["client_order_id"] for answer in final.values() for order in answer.json()["orders"]
        }
        again = await settle(client, LATE_KEYS[0], TWO)
        assert again.json()["accepted"]
        assert "Idempotency-Replayed" not in again.headers
