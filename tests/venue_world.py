"""The whole service over its own paper venue and a market in the test's hand."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx2

from paiid.core.clock import SystemClock
from tests.market_world import FakeFeed
from tests.world import App, Client, fresh_key

MINUTE_US = 60_000_000
CALL, HIGHER, PUT, LOWER = (
    "AAPL271217C00100000",
    "AAPL271217C00105000",
    "AAPL271217P00095000",
    "AAPL271217P00090000",
)


class Venue:
    """AAPL at 99.99 / 100.00 and four of its options; the owner trades on his paper account."""

    def __init__(self, app: App, feed: FakeFeed, owner: Client) -> None:
        self.app = app
        self.feed = feed
        self.owner = owner
        self.quote("AAPL", "99.99", "100.00")
        for symbol, bid, ask in ((CALL, "5.00", "5.10"), (HIGHER, "3.00", "3.10"), (PUT, "2.50", "2.60"),
                                 (LOWER, "1.20", "1.30")):  # fmt: skip
            self.quote(symbol, bid, ask)

    def quote(self, symbol: str, bid: str, ask: str) -> None:
        """A quote that stays fresh for a minute."""
        self.feed.set(symbol, bid, ask, as_of_us=SystemClock().now_us() + MINUTE_US)

    async def place(self, **order: Any) -> dict[str, Any]:
        """One order that must be accepted."""
        answer = await self.owner.execute(order)
        assert answer.status_code == 200, answer.text
        (one,) = answer.json()["orders"]
        assert answer.json()["accepted"] is True, one["reason"]
        placed: dict[str, Any] = one
        return placed

    async def refused(self, **order: Any) -> dict[str, Any]:
        """Why one order is not taken: by us, or by the venue."""
        answer = await self.owner.execute(order)
        assert answer.json()["accepted"] is False, answer.text
        reason: dict[str, Any] = answer.json()["orders"][0]["reason"]
        return reason

    async def order(self, order_id: str) -> dict[str, Any]:
        """The order as it is now, with what hangs on it."""
        found: dict[str, Any] = (await self.owner.get(f"/api/trading/orders/{order_id}")).json()
        return found

    async def until(self, order_id: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The order once it is as wanted."""
        for _ in range(400):
            found = await self.order(order_id)
            if wanted(found):
                return found
            await asyncio.sleep(0.025)
        raise AssertionError(found)

    async def until_status(self, order_id: str, status: str) -> dict[str, Any]:
        """The order once the venue has told this status."""
        return await self.until(order_id, lambda one: one["status"] == status)

    async def replace(
        self, order_id: str, version: int | str = "*", *, key: str | None = None, **change: Any
    ) -> httpx2.Response:
        """PATCH the order."""
        return await self.owner.request(
            "PATCH",
            f"/api/trading/orders/{order_id}",
            json=change,
            headers={"If-Match": str(version), "Idempotency-Key": key or fresh_key()},
        )

    async def held(self) -> dict[str, Decimal]:
        """Symbol -> quantity."""
        answer = await self.owner.get("/api/portfolio/positions")
        return {one["symbol"]: Decimal(str(one["qty"])) for one in answer.json()}

    async def account(self) -> dict[str, Any]:
        """Cash, buying power and the rest."""
        found: dict[str, Any] = (await self.owner.get("/api/account")).json()
        return found

    async def until_held(self, **wanted: int) -> None:
        """Until exactly this is held."""
        for _ in range(400):
            if await self.held() == {symbol: Decimal(qty) for symbol, qty in wanted.items()}:
                return
            await asyncio.sleep(0.025)
        raise AssertionError(await self.held())


def roles(order: dict[str, Any]) -> dict[str, str]:
    """Role -> status of what hangs on an order."""
    return {leg["group_role"]: leg["status"] for leg in order["legs"]}
