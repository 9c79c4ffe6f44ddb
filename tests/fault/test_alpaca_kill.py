"""SIGKILL at every step of the order path with a simulated Alpaca in a process of its own, answers lost or not: none
doubled, none lost, every replay equal."""

import asyncio
import contextlib
import itertools
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from paiid.core.failpoints import FailPoint
from paiid.sim.alpaca.accounts import DEFAULT_KEY_ID, DEFAULT_SECRET
from tests.alpaca_referee import referee_of
from tests.e2e.processes import environment
from tests.fault.nursery import Nursery
from tests.fault.processes import Server, execute, settle

ONE = {"orders": [{"symbol": "KO", "side": "buy", "qty": 2}]}
THREE = {"orders": [{"symbol": symbol, "side": "buy", "qty": 1} for symbol in ("INTC", "KO", "BAC")]}
RESTING = {"orders": [{"symbol": "MSFT", "side": "buy", "qty": 1, "type": "limit", "limit_price": 1.00}]}
LOOKUPS = {FailPoint.BEFORE_LOOKUP, FailPoint.AFTER_LOOKUP, FailPoint.IN_RESOLVE}
CANCELS = {FailPoint.BEFORE_CANCEL, FailPoint.AFTER_CANCEL}
NOTHING_SENT = {FailPoint.BEFORE_CLAIM, FailPoint.IN_CLAIM, FailPoint.AFTER_CLAIM, FailPoint.BEFORE_SEND}
"""Here no answer can be lost yet."""
CASES = [
    (point, lost)
    for point in FailPoint
    for lost in (False, True)
    # Whoever has lost the answer does not come to the point behind it.
    if not (lost and point in {*NOTHING_SENT, FailPoint.AFTER_SEND})
]
SAMPLE = [(FailPoint.AFTER_CLAIM, False), (FailPoint.IN_RECORD, True), (FailPoint.IN_MERGE, False)]
_numbers = itertools.count(1)


def names(value: object) -> str:
    return value.value if isinstance(value, FailPoint) else "answer-lost" if value else "answered"


class Sim:
    """`paiid sim alpaca` as a process."""

    def __init__(self, data: Path) -> None:
        self.data = data / "sim"
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "paiid", "sim", "alpaca", "--port", "0", "--rate-limit", "9000",
                "--partial-fills", "0.5", "--data", str(self.data),
            ],
            env=environment(data), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", self._process.stdout.readline())
        assert found is not None
        self.url = found[0]

    async def control(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """A request to the control endpoint."""
        async with httpx2.AsyncClient(base_url=self.url, trust_env=False, verify=False, timeout=30) as client:
            answer = await client.request(method, f"/sim{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def end(self) -> None:
        """End it and wait for that."""
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


class Life:
    """One server over one database, which is killed again and again, and its broker, which is not."""

    def __init__(self, nursery: Nursery, directory: Path, database_url: str) -> None:
        self.sim = Sim(directory)
        self.database_url = database_url
        self.server = Server(
            nursery, database_url, directory / "data",
            {
                "TESTING": "false", "BROKER": "alpaca", "HORIZON_S": "3.4", "ALPACA_API_BASE_URL": self.sim.url,
                "ALPACA_PAPER_API_KEY": DEFAULT_KEY_ID, "ALPACA_PAPER_SECRET_KEY": DEFAULT_SECRET,
            },
        )  # fmt: skip

    async def begin(self) -> None:
        """A first life, in which the account is opened."""
        await self.server.start()
        await self.server.sign_in()
        async with self.server.client() as client, asyncio.timeout(30):
            while True:
                accounts = (await client.get("/api/accounts")).json()
                found = [one for one in accounts if one["broker"] == "alpaca"]
                if found and found[0]["reconcile_problem"] is None:
                    break
                await asyncio.sleep(0.05)
        await self.server.kill()

    async def end(self) -> None:
        """End both."""
        await self.server.kill()
        self.sim.end()

    async def try_at(self, point: FailPoint, lost: bool) -> None:
        """Live until the point, die there, live again: everything must be in order."""
        number = next(_numbers)
        keys = {f"kill-{number}-{n}": body for n, body in enumerate((ONE, ONE, THREE))}
        if point in CANCELS:
            keys = {f"kill-{number}-rest": RESTING}
        if lost:
            for on in ("submit", "cancel"):
                await self.sim.control("POST", "/faults", {"kind": "answer_lost", "on": on, "rate": 1.0})
        before = await self._live_until(point, lost, keys)
        await self.sim.control("DELETE", "/faults")
        await self.server.start()
        async with self.server.client() as client:
            await self._judge(client, keys, before)
            if point in CANCELS:
                await self._assert_canceled(client, *keys)
        await self.server.kill()

    async def _live_until(
        self, point: FailPoint, lost: bool, keys: dict[str, dict[str, Any]]
    ) -> dict[str, httpx2.Response]:
        """The final answers that were given until the server died, of this point and of nothing else."""
        if point in LOOKUPS and not lost:
            # Something must be in doubt before a look-up can be killed: this life ends with orders claimed.
            answered = await self._one_life(FailPoint.AFTER_CLAIM, keys)
            self.server.launch(FAIL_AT=point.value, QUIET="1")
            await self.server.wait_killed_at(point)
            return answered
        # Without its silence the update stream would often settle an order before the look-up does.
        return await self._one_life(point, keys, **({"QUIET": "1"} if point in LOOKUPS else {}))

    async def _one_life(
        self, point: FailPoint, keys: dict[str, dict[str, Any]], **extra: str
    ) -> dict[str, httpx2.Response]:
        await self.server.start(FAIL_AT=point.value, **extra)
        answered: dict[str, httpx2.Response] = {}

        async def send(key: str, body: dict[str, Any]) -> None:
            with contextlib.suppress(httpx2.TransportError):
                answered[key] = await (settle if point in CANCELS else execute)(client, key, body)
                if point in CANCELS:
                    order_id = answered[key].json()["orders"][0]["id"]
                    gone = await client.delete(f"/api/trading/orders/{order_id}")
                    raise AssertionError(f"the cancel was answered: {gone.text}")

        async with self.server.client() as client:
            await asyncio.gather(*(send(key, body) for key, body in keys.items()))
        await self.server.wait_killed_at(point)
        return {key: answer for key, answer in answered.items() if answer.status_code == 200}

    async def _judge(
        self,
        client: httpx2.AsyncClient,
        keys: dict[str, dict[str, Any]],
        before: dict[str, httpx2.Response],
    ) -> None:
        finals = await asyncio.gather(*(settle(client, key, body) for key, body in keys.items()))
        for key, answer in zip(keys, finals, strict=True):
            assert answer.status_code == 200, answer.text
            again = await settle(client, key, keys[key])
            assert (again.content, again.headers["Idempotency-Replayed"]) == (answer.content, "true")
            assert key not in before or before[key].content == answer.content
        assert (await self.sim.control("POST", "/quiesce", {"timeout_s": 20}))["quiet"]
        async with referee_of(self.sim.data, self.database_url) as referee:
            loop = asyncio.get_running_loop()
            end = loop.time() + 20
            while wrong := await referee.differences():
                assert loop.time() < end, wrong
                await asyncio.sleep(0.05)

    async def _assert_canceled(self, client: httpx2.AsyncClient, key: str) -> None:
        """A cancel that was written down is carried out by the next life."""
        (order,) = (await settle(client, key, RESTING)).json()["orders"]
        async with asyncio.timeout(30):
            while (await client.get(f"/api/trading/orders/{order['id']}")).json()["status"] != "CANCELED":
                await asyncio.sleep(0.05)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lives() -> AsyncIterator[list[Life]]:
    """At most one, for as many cases as it goes well with."""
    found: list[Life] = []
    yield found
    for one in found:
        await one.end()


async def begun(nursery: Nursery, directory: Path, database_url: str) -> Life:
    life = Life(nursery, directory, database_url)
    try:
        await life.begin()
    except BaseException:
        await life.end()
        raise
    return life


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("point", "lost"), CASES, ids=names)
async def test_E09_E13_a_kill_with_a_broker_on_the_wire_neither_doubles_nor_loses_an_order(
    point: FailPoint, lost: bool, lives: list[Life], nursery: Nursery, tmp_path: Path, template: Path
) -> None:
    if not lives:
        shutil.copy(template, tmp_path / "test.db")
        lives.append(await begun(nursery, tmp_path, f"sqlite:///{tmp_path / 'test.db'}"))
    life = lives.pop()
    try:
        await life.try_at(point, lost)
    except BaseException:
        await life.end()
        raise
    lives.append(life)


async def test_E09_E13_a_kill_leaves_as_much_in_order_on_postgresql(
    nursery: Nursery, tmp_path: Path, postgres_url: str
) -> None:
    life = await begun(nursery, tmp_path, postgres_url)
    try:
        for point, lost in SAMPLE:
            await life.try_at(point, lost)
    finally:
        await life.end()
