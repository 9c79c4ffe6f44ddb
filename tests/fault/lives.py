"""One server that is killed again and again, over a simulated broker in a process of its own, which is not."""

import asyncio
import contextlib
import itertools
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from paiid.core.failpoints import FailPoint
from tests.both_books import BothBooks
from tests.e2e.processes import environment
from tests.fault.nursery import Nursery
from tests.fault.processes import Server, execute, settle
from tests.moved_clock import later_s, move_database

ONE: dict[str, Any] = {"orders": [{"symbol": "KO", "side": "buy", "qty": 2}]}
THREE: dict[str, Any] = {
    "orders": [{"symbol": symbol, "side": "buy", "qty": 1} for symbol in ("INTC", "KO", "BAC")]
}
RESTING: dict[str, Any] = {
    "orders": [{"symbol": "MSFT", "side": "buy", "qty": 1, "type": "limit", "limit_price": 1.00}]
}
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


@dataclass(frozen=True, slots=True)
class OnTheWire:
    """A broker behind a wire: the name of its simulator, what a server is told of it, and who compares the books."""

    name: str
    environ: Callable[[str], Mapping[str, str]]
    """From the simulator's URL."""
    referee_of: Callable[[Path, str], AbstractAsyncContextManager[BothBooks]]


def names(value: object) -> str:
    """Of the parameters of a case, for its id."""
    return value.value if isinstance(value, FailPoint) else "answer-lost" if value else "answered"


class Sim:
    """`paiid sim …` as a process, at the time of day of the servers."""

    def __init__(self, name: str, data: Path) -> None:
        self.data = data / "sim"
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "tests.moved_clock", str(later_s()), "sim", name, "--port", "0", "--rate-limit", "9000",
                "--partial-fills", "0.5", "--data", str(self.data),
            ],
            env=environment(data), stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
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

    def __init__(self, broker: OnTheWire, nursery: Nursery, directory: Path, database_url: str) -> None:
        self.broker = broker
        self.sim = Sim(broker.name, directory)
        self.database_url = database_url
        self.server = Server(
            nursery, database_url, directory / "data",
            {"TESTING": "false", "BROKER": broker.name, "HORIZON_S": "3.8", "CLOCK_LATER_S": str(later_s()), **broker.environ(self.sim.url)},
        )  # fmt: skip

    async def begin(self) -> None:
        """A first life, in which the account is opened."""
        await self.server.start()
        await self.server.sign_in()
        async with self.server.client() as client, asyncio.timeout(60):
            while True:
                accounts = (await client.get("/api/accounts")).json()
                found = [one for one in accounts if one["broker"] == self.broker.name]
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
        await self.agree()

    async def agree(self) -> None:
        """Both sides must come to agree."""
        assert (await self.sim.control("POST", "/quiesce", {"timeout_s": 20}))["quiet"]
        async with self.broker.referee_of(self.sim.data, self.database_url) as referee:
            loop = asyncio.get_running_loop()
            end = loop.time() + 40
            while wrong := await referee.differences():
                assert loop.time() < end, wrong
                await asyncio.sleep(0.05)

    async def _assert_canceled(self, client: httpx2.AsyncClient, key: str) -> None:
        """A cancel that was written down is carried out by the next life."""
        (order,) = (await settle(client, key, RESTING)).json()["orders"]
        async with asyncio.timeout(30):
            while (await client.get(f"/api/trading/orders/{order['id']}")).json()["status"] != "CANCELED":
                await asyncio.sleep(0.05)


async def begun(broker: OnTheWire, nursery: Nursery, directory: Path, database_url: str) -> Life:
    """A life whose account is open."""
    if database_url.startswith("postgresql"):
        await move_database(database_url, later_s())
    life = Life(broker, nursery, directory, database_url)
    try:
        await life.begin()
    except BaseException:
        await life.end()
        raise
    return life


class Lives:
    """At most one life, for as many cases as it goes well with."""

    def __init__(self, broker: OnTheWire) -> None:
        self._broker = broker
        self._life: Life | None = None

    @asynccontextmanager
    async def lent(self, nursery: Nursery, directory: Path, template: Path) -> AsyncIterator[Life]:
        """The life for one case; a new one after a case that has failed."""
        if self._life is None:
            shutil.copy(template, directory / "test.db")
            self._life = await begun(self._broker, nursery, directory, f"sqlite:///{directory / 'test.db'}")
        try:
            yield self._life
        except BaseException:
            await self.end()
            raise

    async def end(self) -> None:
        """End it."""
        life, self._life = self._life, None
        if life is not None:
            await life.end()
