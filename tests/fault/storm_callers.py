"""The callers of a storm: several clients with symbols of their own, who order, replace, cancel and ask again."""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx2

from tests.fault.storm_world import StormWorld

CALLERS = 8
SYMBOLS = (
    "INTC", "BAC", "KO", "WMT", "NFLX", "DIS", "XOM", "PG",
    "PEP", "AMD", "NVDA", "JNJ", "ORCL", "AMZN", "CRM", "AAPL",
    "GOOG", "JPM", "V", "UNH", "HD", "AVGO", "GOOGL", "TSLA",
)  # fmt: skip
_MOST_WORKING = 4
"""Orders that one caller lets work before he begins to cancel."""
_MOST_OPEN = 350
"""Open orders of the account, of which it may have 500: a caller waits until more of their ends have been booked."""


@dataclass
class Tally:
    """What came of it all. `kinds` are the orders by what they are; `states` orders and replaces by what the final answer
    says of them; `doubts` calls whose first answer was not final, `put_off` those that found no place in the budget; `played`
    faults by kind; `requests` all that reached the simulator."""

    orders: int = 0
    replaces: int = 0
    cancels: int = 0
    retries: int = 0
    doubts: int = 0
    put_off: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    played: dict[str, int] = field(default_factory=dict)
    prints: int = 0
    requests: int = 0
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """For people."""
        calls = (
            f"{self.orders} orders, {self.replaces} replaces, {self.cancels} cancels, {self.retries} retries"
        )
        return [
            f"{calls} in {self.seconds:.0f} s; {self.prints} fills",
            "orders: " + _told(self.kinds),
            "orders and replaces: " + _told(self.states) + f"; {self.doubts} calls were in doubt for a while,"
            f" {self.put_off} put off",
            "refused or rejected: " + _told(self.codes),
            f"faults played: {sum(self.played.values())} on {self.requests} requests and their updates: "
            + _told(self.played),
        ]


def _told(counts: "Counter[str] | dict[str, int]") -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda one: -one[1]))


class Caller(ABC):
    """One client with symbols of his own: he orders, replaces, cancels, and asks again where he has no final answer. What
    he orders is the broker's matter."""

    replaces = 0.25
    """How many calls are followed by a replace."""

    def __init__(self, world: StormWorld, tally: Tally, number: int, seed: int) -> None:
        self.world = world
        self.dice = random.Random(f"{seed}:{number}")
        per = len(SYMBOLS) // CALLERS
        self.symbols = SYMBOLS[number * per : (number + 1) * per]
        self._tally = tally
        self._name = f"storm-{seed}-{number}"
        self._calls = 0
        self._side: dict[str, str] = {}
        self._working: list[str] = []
        self._unsettled: list[httpx2.Request] = []
        self._last = ""

    async def trade(self, orders: int) -> None:
        """Place so many, and meanwhile replace, cancel, and ask again."""
        placed = 0
        while placed < orders:
            while self._calls % 4 == 0 and await self._open_orders() > _MOST_OPEN:
                await asyncio.sleep(0.3)
            size = 1 if self.dice.random() < 0.9 else 2
            wanted = [self.order() for _ in range(min(size, orders - placed))]
            placed += len(wanted)
            self._tally.orders += len(wanted)
            for one in wanted:
                self._tally.kinds[_kind_of(one)] += 1
            await self._ask("POST", "/api/trading/execute", {"orders": wanted})
            if self.dice.random() < self.replaces:
                await self._replace()
            while len(self._working) > _MOST_WORKING:
                await self._cancel()
            if self._unsettled and self.dice.random() < 0.3:
                await self._ask_again(self._unsettled.pop(0))

    async def settle(self) -> None:
        """Ask until every answer is final."""
        end_s = time.monotonic() + 120
        while self._unsettled:
            await self._ask_again(self._unsettled.pop(0))
            assert time.monotonic() < end_s, f"never final: {self._last}"
            await asyncio.sleep(0.02)

    async def _open_orders(self) -> int:
        found: int = (await self.world.get("/api/account"))["open_orders"]
        return found

    # -- what is asked ------------------------------------------------------------------------------

    @abstractmethod
    def order(self) -> dict[str, Any]:
        """The next one. Each kind is on a symbol of its own, for a broker takes no order against one's own resting one."""

    def there_and_back(self, symbol: str, qty: int) -> dict[str, Any]:
        """A market order: bought, sold, bought."""
        side = self._side.get(symbol, "buy")
        self._side[symbol] = "sell" if side == "buy" else "buy"
        return {"symbol": symbol, "side": side, "qty": qty}

    def at(self, symbol: str, part: str) -> float:
        """So much of what the symbol costs, to the cent."""
        return float((self.world.price(symbol) * Decimal(part)).quantize(Decimal("0.01")))

    def change_of(self, order: dict[str, Any]) -> dict[str, Any] | None:
        """What may be changed of an order that works; None: nothing."""
        if order["type"] != "limit":
            return None
        return {"limit_price": float(Decimal(str(order["limit_price"])) + Decimal("0.05"))}

    async def _replace(self) -> None:
        """Change one that works, if it still does."""
        order = await self._some_working()
        change = None if order is None else self.change_of(order)
        if order is None or change is None:
            return
        self._tally.replaces += 1
        await self._ask("PATCH", f"/api/trading/orders/{order['id']}", change, {"If-Match": "*"})

    async def _cancel(self) -> None:
        """The oldest one; what comes of it the stream tells."""
        self._tally.cancels += 1
        order_id = self._working.pop(0)
        async with asyncio.timeout(60):
            # On a busy machine the database is late at times: nothing was done, and the same request may come again.
            while (
                answer := await self.world.owner.delete(f"/api/trading/orders/{order_id}")
            ).status_code == 503:
                await asyncio.sleep(0.3)
        assert answer.status_code in (200, 202), answer.text

    async def _some_working(self) -> dict[str, Any] | None:
        if not self._working:
            return None
        order = await self.world.order(self.dice.choice(self._working))
        if order["status"] in ("NEW", "PARTIALLY_FILLED", "HELD"):
            return order
        self._working.remove(order["id"])
        return None

    # -- how it is asked ----------------------------------------------------------------------------

    async def _ask(self, method: str, path: str, body: Any, headers: dict[str, str] | None = None) -> None:
        self._calls += 1
        key = f"{self._name}-{self._calls:06d}"
        named = {"Idempotency-Key": key, "Authorization": f"Bearer {self.world.owner.token}"}
        request = self.world.app.http.build_request(method, path, json=body, headers=named | (headers or {}))
        await self._send(request, first=True)

    async def _ask_again(self, request: httpx2.Request) -> None:
        self._tally.retries += 1
        await self._send(request, first=False)

    async def _send(self, request: httpx2.Request, *, first: bool) -> None:
        async with asyncio.timeout(60):
            # As with a cancel: nothing was done, and its key tries again.
            while (answer := await self.world.app.http.send(request)).status_code == 503:
                await asyncio.sleep(0.3)
        if answer.status_code in (202, 409, 429):
            # Before the claim a call may find no place in the broker's budget: its key tries again (ADR 0026).
            self._last = answer.text
            self._tally.doubts += first and answer.status_code != 429
            self._tally.put_off += first and answer.status_code == 429
            self._unsettled.append(request)
            return
        assert answer.status_code == 200, (
            f"{request.method} {request.url}: {answer.status_code} {answer.text}"
        )
        self.world.asked.append((request, answer.content))
        for order in answer.json()["orders"]:
            self._tally.states[order["state"]] += 1
            if order["reason"] is not None:
                self._tally.codes[order["reason"]["code"]] += 1
            if order["state"] != "ACCEPTED":
                continue
            # Exits outlive their entry, and the end of one is the end of both.
            if order["order_class"] in ("bracket", "oto") and order["legs"]:
                self._working.append(order["legs"][0]["id"])
            elif order["type"] != "market":
                self._working.append(order["id"])


def _kind_of(order: dict[str, Any]) -> str:
    exits = sum(name in order for name in ("take_profit", "stop_loss"))
    if order.get("order_class") == "oco":
        return "oco"
    if "legs" in order:
        return "spread"
    if exits:
        return "bracket" if exits == 2 else "oto"
    return ("option " if len(order["symbol"]) > 6 else "") + str(order.get("type", "market"))
