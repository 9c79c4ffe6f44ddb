"""A simulated Tradier on a real socket, with everything that `paiid sim tradier` has, and a client of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from paiid.core.clock import SystemClock
from paiid.core.migrate import migrate
from paiid.sim.engine.serve import running
from paiid.sim.tradier.accounts import DEFAULT_ACCOUNT, DEFAULT_TOKEN
from paiid.sim.tradier.app import SimApp
from paiid.sim.tradier.world import SimWish, database_url, opened
from tests.sim_world import PATIENCE_S, until

HEADERS = {"authorization": f"Bearer {DEFAULT_TOKEN}", "accept": "application/json"}
HOME = f"/v1/accounts/{DEFAULT_ACCOUNT}"
ORDERS = f"{HOME}/orders"


class TradierWorld:
    """The simulator, and its client with the default token. AAPL is pinned at 99.00 to 101.00 until told otherwise."""

    def __init__(self, sim: SimApp, url: str, client: httpx2.AsyncClient) -> None:
        self.sim = sim
        self.url = url
        self.client = client

    async def post(self, tag: str | None, **fields: str) -> httpx2.Response:
        """Submit an order: ten AAPL at the market, unless told otherwise. A `price` makes it a limit order."""
        form = {"class": "equity", "symbol": "AAPL", "side": "buy", "quantity": "10", "duration": "day"}
        form["type"] = "limit" if "price" in fields else "market"
        if tag is not None:
            form["tag"] = tag
        return await self.client.post(ORDERS, data={**form, **fields})

    async def placed(self, tag: str | None, **fields: str) -> int:
        """Submit an order that is taken; its id."""
        answer = await self.post(tag, **fields)
        assert answer.status_code == 200, answer.text
        order_id: int = answer.json()["order"]["id"]
        return order_id

    async def orders(self) -> list[dict[str, Any]]:
        """Today's orders, as they are listed."""
        answer = await self.client.get(ORDERS, params={"includeTags": "true"})
        assert answer.status_code == 200, answer.text
        return rows(answer.json()["orders"], "order")

    async def booked(self, tag: str) -> bool:
        """Whether an order with this tag was taken, by the ledger."""
        return any(one["tag"] == tag for one in await self.ledger("order_accepted"))

    async def order(self, order_id: int) -> dict[str, Any]:
        """One order."""
        answer = await self.client.get(f"{ORDERS}/{order_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["order"]
        return found

    async def has_status(self, order_id: int, *statuses: str) -> dict[str, Any]:
        """The order once it has one of these statuses."""

        async def ask() -> Any:
            found = await self.order(order_id)
            return found if found["status"] in statuses else None

        found: dict[str, Any] = await until(ask)
        return found

    async def fault(self, kind: str, **wish: Any) -> dict[str, Any]:
        """Put a fault in force."""
        answer = await self.client.post("/sim/faults", json={"kind": kind, **wish})
        assert answer.status_code == 201, answer.text
        fault: dict[str, Any] = answer.json()
        return fault

    async def pin(self, bid: str, ask: str, symbol: str = "AAPL") -> None:
        """Hold a quote."""
        answer = await self.client.post("/sim/quotes", json={"symbol": symbol, "bid": bid, "ask": ask})
        assert answer.status_code == 201, answer.text

    async def quiesce(self) -> None:
        """Until nothing is under way any more."""
        answer = await self.client.post("/sim/quiesce", json={"timeout_s": PATIENCE_S})
        assert answer.json()["quiet"], answer.text

    async def ledger(self, kind: str) -> list[dict[str, Any]]:
        """All entries of a kind."""
        answer = await self.client.get("/sim/ledger", params={"kind": kind, "limit": 1000})
        entries: list[dict[str, Any]] = answer.json()["entries"]
        return entries

    async def played(self) -> list[str]:
        """The kinds of faults that the ledger says have been played."""
        return [one["fault_kind"] for one in await self.ledger("fault")]


def rows(container: Any, key: str) -> list[dict[str, Any]]:
    """The rows of a collection, whichever way it is told (tradier.md, section 3)."""
    found = container.get(key) if isinstance(container, dict) else None
    return [] if found is None else found if isinstance(found, list) else [found]


@asynccontextmanager
async def tradier(data_dir: Path, **wish: Any) -> AsyncIterator[TradierWorld]:
    """A simulator that never says too many, and fills whole, unless told otherwise."""
    migrate(database_url(data_dir))
    wanted = SimWish(data_dir, **{"rate_limit": 0, "partial_fills": 0.0, **wish})
    async with opened(wanted, SystemClock()) as sim, running(sim) as url:
        async with httpx2.AsyncClient(
            base_url=url, headers=HEADERS, trust_env=False, verify=False, timeout=PATIENCE_S
        ) as client:
            world = TradierWorld(sim, url, client)
            await world.pin("99.00", "101.00")
            yield world
