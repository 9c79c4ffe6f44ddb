"""The callers of a storm: several clients with symbols of their own, who order, replace, cancel and ask again."""

import asyncio
import random
import time
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
    """What came of it all. `states` are orders and replaces by what the final answer says of them; `doubts` calls whose
    first answer was not final; `played` faults by kind; `requests` all that reached the simulator."""

    orders: int = 0
    replaces: int = 0
    cancels: int = 0
    retries: int = 0
    doubts: int = 0
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
            "orders and replaces: " + _told(self.states) + f"; {self.doubts} calls were in doubt for a while",
            "refused or rejected: " + _told(self.codes),
            f"faults played: {sum(self.played.values())} on {self.requests} requests and their updates: "
            + _told(self.played),
        ]


def _told(counts: "Counter[str] | dict[str, int]") -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda one: -one[1]))


class Caller:
    """One client with symbols of his own: he orders, replaces, cancels, and asks again where he has no final answer."""

    def __init__(self, world: StormWorld, tally: Tally, number: int, seed: int) -> None:
        self._world = world
        self._tally = tally
        self._name = f"storm-{seed}-{number}"
        self._dice = random.Random(f"{seed}:{number}")
        per = len(SYMBOLS) // CALLERS
        self._symbols = SYMBOLS[number * per : (number + 1) * per]
        self._calls = 0
        self._side = dict.fromkeys(self._symbols, "buy")
        self._working: list[str] = []
        self._unsettled: list[httpx2.Request] = []
        self._last = ""

    async def trade(self, orders: int) -> None:
        """Place so many, and meanwhile replace, cancel, and ask again."""
        placed = 0
        while placed < orders:
            while self._calls % 4 == 0 and await self._open_orders() > _MOST_OPEN:
                await asyncio.sleep(0.3)
            size = 1 if self._dice.random() < 0.9 else 2
            wanted = [self._order() for _ in range(min(size, orders - placed))]
            placed += len(wanted)
            self._tally.orders += len(wanted)
            await self._ask("POST", "/api/trading/execute", {"orders": wanted})
            if self._dice.random() < 0.25:
                await self._replace()
            while len(self._working) > _MOST_WORKING:
                await self._cancel()
            if self._unsettled and self._dice.random() < 0.3:
                await self._ask_again(self._unsettled.pop(0))

    async def settle(self) -> None:
        """Ask until every answer is final."""
        end_s = time.monotonic() + 60
        while self._unsettled:
            await self._ask_again(self._unsettled.pop(0))
            assert time.monotonic() < end_s, f"never final: {self._last}"
            await asyncio.sleep(0.02)

    async def _open_orders(self) -> int:
        found: int = (await self._world.owner.get("/api/account")).json()["open_orders"]
        return found

    # -- what is asked ------------------------------------------------------------------------------

    def _order(self) -> dict[str, Any]:
        """A market order there and back, a limit order that fills or rests, or a bracket: each on a symbol of its own,
        for a broker takes no order against one's own resting one."""
        trades, rests, brackets = self._symbols
        kind = self._dice.random()
        qty = self._dice.randint(1, 12)
        if kind < 0.4:
            side, self._side[trades] = self._side[trades], "sell" if self._side[trades] == "buy" else "buy"
            return {"symbol": trades, "side": side, "qty": qty}
        if kind < 0.75:
            part = Decimal("1.01") if kind < 0.5 else Decimal("0.70")
            price = str(self._price(rests, part))
            life = self._dice.choice(("day", "gtc"))
            return {
                "symbol": rests, "side": "buy", "qty": qty, "type": "limit", "limit_price": float(price),
                "time_in_force": life,
            }  # fmt: skip
        entry: dict[str, Any] = {"type": "market"}
        if self._dice.random() < 0.4:
            entry = {"type": "limit", "limit_price": float(self._price(brackets, Decimal("0.75")))}
        return {
            "symbol": brackets, "side": "buy", "qty": qty, **entry,
            "take_profit": {"limit_price": float(self._price(brackets, Decimal("1.5")))},
            "stop_loss": {"stop_price": float(self._price(brackets, Decimal("0.6")))},
        }  # fmt: skip

    def _price(self, symbol: str, part: Decimal) -> Decimal:
        return (self._world.price(symbol) * part).quantize(Decimal("0.01"))

    async def _replace(self) -> None:
        """Another quantity or limit for one that works, if it still does."""
        order = await self._some_working()
        if order is None or order["type"] != "limit":
            return
        self._tally.replaces += 1
        change = {"limit_price": float(Decimal(str(order["limit_price"])) + Decimal("0.05"))}
        path = f"/api/trading/orders/{order['id']}"
        await self._ask("PATCH", path, change, {"If-Match": "*"})

    async def _cancel(self) -> None:
        """The oldest one; what comes of it the stream tells."""
        self._tally.cancels += 1
        answer = await self._world.owner.delete(f"/api/trading/orders/{self._working.pop(0)}")
        assert answer.status_code in (200, 202), answer.text

    async def _some_working(self) -> dict[str, Any] | None:
        if not self._working:
            return None
        order = await self._world.order(self._dice.choice(self._working))
        if order["status"] in ("NEW", "PARTIALLY_FILLED", "HELD"):
            return order
        self._working.remove(order["id"])
        return None

    # -- how it is asked ----------------------------------------------------------------------------

    async def _ask(self, method: str, path: str, body: Any, headers: dict[str, str] | None = None) -> None:
        self._calls += 1
        key = f"{self._name}-{self._calls:06d}"
        named = {"Idempotency-Key": key, "Authorization": f"Bearer {self._world.owner.token}"}
        request = self._world.app.http.build_request(method, path, json=body, headers=named | (headers or {}))
        await self._send(request, first=True)

    async def _ask_again(self, request: httpx2.Request) -> None:
        self._tally.retries += 1
        await self._send(request, first=False)

    async def _send(self, request: httpx2.Request, *, first: bool) -> None:
        answer = await self._world.app.http.send(request)
        if answer.status_code in (202, 409):
            self._last = answer.text
            self._tally.doubts += first
            self._unsettled.append(request)
            return
        assert answer.status_code == 200, (
            f"{request.method} {request.url}: {answer.status_code} {answer.text}"
        )
        self._world.asked.append((request, answer.content))
        for order in answer.json()["orders"]:
            self._tally.states[order["state"]] += 1
            if order["reason"] is not None:
                self._tally.codes[order["reason"]["code"]] += 1
            if order["state"] != "ACCEPTED":
                continue
            # Exits outlive their entry, and the end of one is the end of both.
            if order["order_class"] == "bracket" and order["legs"]:
                self._working.append(order["legs"][0]["id"])
            elif order["type"] != "market":
                self._working.append(order["id"])
