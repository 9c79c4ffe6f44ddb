"""A halt while two hundred calls are in flight: nothing is sent behind its acknowledgement, and nobody is lied to."""

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx2

from tests.fault.books import NOTHING_SENT, opened
from tests.fault.conftest import MakeServer
from tests.fault.meddling import read_submits
from tests.fault.processes import settle, taken

CALLS = 200
TWO: dict[str, Any] = {"orders": [{"symbol": symbol, "side": "buy", "qty": 1} for symbol in ("KO", "PEP")]}
KEYS = [f"in-flight-{number:03d}" for number in range(CALLS)]
_FINAL = (200, 423)


async def test_K05_nothing_is_sent_after_drained_is_acknowledged_while_200_calls_are_in_flight(
    db_url: str, make_server: MakeServer, tmp_path: Path
) -> None:
    log = tmp_path / "submits"
    # Each order is on the wire for long enough that the halt finds some there and others waiting for their turn.
    server = make_server(db_url, SUBMIT_LOG=str(log), SUBMIT_DELAY_S="0.4", BROKER_DEADLINE_S="4")
    await server.start()
    await server.sign_in()
    async with server.client(timeout_s=60, connections=CALLS + 1) as client:
        calls = [asyncio.create_task(taken(client, key, TWO)) for key in KEYS]
        async with asyncio.timeout(60):
            while len(read_submits(log)) < CALLS // 2:
                await asyncio.sleep(0.01)
        halted = await client.post("/api/admin/kill", json={"halt": True, "reason": "stop"})
        acknowledged_us = time.time_ns() // 1000
        assert halted.status_code == 200, halted.text
        assert halted.json()["level"] == "drained"
        first = dict(zip(KEYS, await asyncio.gather(*calls), strict=True))
        final = dict(zip(KEYS, await asyncio.gather(*(settle(client, k, TWO) for k in KEYS)), strict=True))
    assert {answer.status_code for answer in final.values()} <= set(_FINAL)
    for key, answer in first.items():
        if answer.status_code in _FINAL:
            assert final[key].content == answer.content
    async with opened(db_url) as books:
        receipt = (await books.receipts())[halted.json()["epoch"]]
        drained_us = receipt["updated_at"]
        assert drained_us <= acknowledged_us
        assert [one for one in read_submits(log) if one[0] > drained_us] == []
        assert [row["id"] for row in await books.venue_orders() if row["submitted_at"] > drained_us] == []
        late = [
            row["id"]
            for row in await books.our_orders()
            if row["created_at"] > receipt["started_at"] and row["state"] not in NOTHING_SENT
        ]
        assert late == []
        await books.assert_agree()
        await books.assert_truthful(answer.json() for answer in final.values())
    assert_the_halt_met_orders_in_every_stage(list(final.values()))


def assert_the_halt_met_orders_in_every_stage(answers: list[httpx2.Response]) -> None:
    """Otherwise the test has shown nothing: some were sent, and some were stopped half-way through their call."""
    states = [tuple(order["state"] for order in answer.json()["orders"]) for answer in answers]
    assert len(states) == CALLS
    assert ("ACCEPTED", "REFUSED") in states
    assert not {state for pair in states for state in pair} & {"QUEUED", "DISPATCHING", "UNKNOWN"}
