"""The probes of docs/limits.md that are about what-if and strategies; nothing of the market is asked."""

from typing import Any

import httpx2

from tests.limit_probes import _request
from tests.world import Client

_LEG: dict[str, Any] = {
    "type": "call",
    "strike_price": 100,
    "days_to_expiry": 30,
    "qty": 1,
    "volatility": 0.3,
}


async def _ask(client: Client, path: str, **changes: Any) -> httpx2.Response:
    return await client.post(f"/api/options/{path}", json={"legs": [_LEG], "spot": 100, **changes})


_request("what-if-legs", lambda c, n: _ask(c, "price", legs=[_LEG] * n))
_request("what-if-dividends", lambda c, n: _ask(c, "price", dividends=[{"days": 400, "amount": 1}] * n))
_request("what-if-days", lambda c, n: _ask(c, "price", legs=[{**_LEG, "days_to_expiry": n}]))
_request("what-if-spots", lambda c, n: _ask(c, "price", grid={"spot_steps": n}))
_request("what-if-rows", lambda c, n: _ask(c, "price", grid={"steps": n}))
_request("strategy-options", lambda c, n: _ask(c, "strategy", legs=[_LEG] * n))
_request("strategy-points", lambda c, n: _ask(c, "strategy", range={"points": n}))
