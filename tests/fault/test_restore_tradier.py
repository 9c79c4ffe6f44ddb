"""A database that comes back from a backup of the same day, with Tradier's simulator as the broker, which knows our orders by
their tags alone (ADR 0024, 0032)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.alpaca_world import BRISK
from tests.fault.test_restore import resumed
from tests.moved_clock import away_from_midnight
from tests.restore_world import bring_back, take
from tests.tradier_world import tradier_world
from tests.world import make_settings

K1, K2, K3 = (f"test-key-{n}-of-restore" for n in range(3))


async def test_E08_E12_an_order_made_after_the_backup_is_never_sent_again_at_tradiers_simulator(
    sqlite_url: str, tmp_path: Path, template: Path
) -> None:
    asked: dict[str, dict[str, Any]] = {
        K1: {"symbol": "AAPL", "side": "buy", "qty": 3},
        K2: {"symbol": "MSFT", "side": "buy", "qty": 2},
        K3: {"symbol": "NVDA", "side": "buy", "qty": 1, "type": "limit", "limit_price": 1},
    }
    told: dict[str, list[dict[str, Any]]] = {}
    timings, clock = replace(BRISK, import_retry_s=0.1), away_from_midnight()
    async with tradier_world(sqlite_url, tmp_path, template, timings=timings, clock=clock) as world:
        told[K1] = await world.execute(asked[K1], key=K1)
        await world.until_status(told[K1][0]["id"], "FILLED")
        file = await take(sqlite_url, tmp_path / "backup.zip", clock)
        for key in (K2, K3):
            told[key] = await world.execute(asked[key], key=key)
            assert told[key][0]["state"] == "ACCEPTED", told[key]
        await world.until_status(told[K2][0]["id"], "FILLED")
    await bring_back(make_settings(sqlite_url, tmp_path, broker="tradier"), file, clock=clock)
    async with tradier_world(sqlite_url, tmp_path, template, timings=timings, clock=clock) as world:
        await resumed(world)
        for key, order in asked.items():
            (again,) = await world.execute(order, key=key)
            assert again["broker_order_id"] == told[key][0]["broker_order_id"], key
        rows = (await world.by_hand("GET", "/orders")).json()["orders"]["order"]
        assert sorted(str(one["id"]) for one in rows) == sorted(
            t[0]["broker_order_id"] for t in told.values()
        )
