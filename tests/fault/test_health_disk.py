"""The disk fills up under a running server: it says so, takes no claim, lives, and trades again once there is room."""

import asyncio
from pathlib import Path
from typing import Any

from tests.fault.books import opened
from tests.fault.conftest import MakeServer
from tests.fault.meddling import read_submits
from tests.fault.outages import FullDisk
from tests.fault.processes import execute, taken

ORDER: dict[str, Any] = {"orders": [{"symbol": "AAPL", "side": "buy", "qty": 1}]}
READY = "/api/health/ready"


async def test_E17_on_a_full_disk_nothing_is_claimed_or_sent_readiness_says_so_and_it_ends_by_itself(
    sqlite_url: str, make_server: MakeServer, tmp_path: Path
) -> None:
    log = tmp_path / "submits"
    # A deadline that a busy machine keeps: a call that is in doubt would have to be asked again.
    server = make_server(sqlite_url, SUBMIT_LOG=str(log), LOG_LEVEL="INFO", BROKER_DEADLINE_S="5")
    await server.start()
    await server.sign_in()
    async with server.client() as client:

        async def ready_is(status: int) -> dict[str, Any]:
            async with asyncio.timeout(30):
                while (answer := await client.get(READY)).status_code != status:
                    await asyncio.sleep(0.2)
            found: dict[str, Any] = answer.json()
            return found

        assert (await taken(client, "before-it-was-full", ORDER)).status_code == 200
        async with FullDisk().during(server):
            sent = len(read_submits(log))
            for n in range(3):
                answer = await execute(client, f"while-it-is-full-{n}", ORDER)
                assert answer.status_code == 503, answer.text
            assert await ready_is(503) == {"ready": False, "reason": "the disk of the database is full"}
            full = (await client.get("/api/health/ready/full")).json()
            assert (full["status"], full["checks"]["disk"]["status"]) == ("down", "down")
            assert str(tmp_path) not in full["checks"]["disk"]["detail"]
            assert (await client.get("/api/trading/orders")).status_code == 200, "reads go on"
            assert len(read_submits(log)) == sent
        await ready_is(200)
        # The same key: no row was left of it.
        answer = await taken(client, "while-it-is-full-0", ORDER)
        assert (answer.status_code, answer.json()["accepted"]) == (200, True), answer.text
        assert "idempotency-replayed" not in answer.headers
        assert server.running
    async with opened(sqlite_url) as books:
        await books.assert_agree()
        assert len(await books.our_orders()) == 2
