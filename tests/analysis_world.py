"""Surface, what-if and strategy in a test's hands: a flat chain at one instant, and short ways to ask."""

from typing import Any

from paiid.core.clock import SystemClock
from tests.market_world import WEDNESDAY_OPEN_US
from tests.options_world import NEAR
from tests.world import Client

STRIKES = tuple(range(60, 145, 5))
VOLATILITY = 0.3


class AtOneInstant(SystemClock):
    """It is always the same moment of a trading day; waiting takes its time all the same."""

    def now_us(self) -> int:
        return WEDNESDAY_OPEN_US


def leg(kind: str, strike: float, qty: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "strike_price": strike, "expiration_date": NEAR.isoformat(), "qty": qty, **more}


async def price(caller: Client, *legs: dict[str, Any], **body: Any) -> dict[str, Any]:
    answer = await caller.post("/api/options/price", json={"symbol": "ACME", "legs": legs, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def strategy(caller: Client, *legs: dict[str, Any], **body: Any) -> dict[str, Any]:
    answer = await caller.post("/api/options/strategy", json={"symbol": "ACME", "legs": legs, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def surface(caller: Client, query: str = "") -> dict[str, Any]:
    answer = await caller.get(f"/api/options/surface/ACME{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found
