"""Many orders of every kind from several callers, against a simulated Alpaca that fails three times in ten.

`python -m tests.fault.alpaca_storm --orders 1000` runs it by itself and prints the tally.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from paiid.brokers.alpaca import AlpacaBroker
from paiid.core.log import configure
from paiid.core.migrate import migrate
from paiid.sim.alpaca.fault_kinds import KINDS
from tests.alpaca_referee import changed_answers
from tests.fault.alpaca_callers import CALLERS, Caller, Tally
from tests.fault.storm_world import StormWorld, storm_world

SHARE = 0.3
_MANY = 1_000_000
_PARAMS: dict[str, dict[str, Any]] = {
    # Scaled to the deadline of 1 s and the horizon of 2.5 s: some answers come too late, no order does.
    "slow": {"before_ms": 50, "after_ms": 1100},
    "late_accept": {"delay_ms": 300},
    "lookup_lag": {"lag_ms": 250},
    "trickle": {"every_ms": 40},
    "huge": {"bytes": 1_200_000},
    "cancel_slow": {"delay_ms": 200},
    "cancel_fill_race": {"timeout_ms": 1000},
    "fill_before_answer": {"timeout_ms": 300},
    "partial_fill_burst": {"prints": 3},
    "rate_limited": {"reset_s": 1},
    "update_reordered": {"wait_ms": 100},
    "update_late": {"delay_ms": 300},
    "silent": {"deaf": True},
}
_LONG_LIST = {"bytes": 9_000_000}
"""Of a list more is read than of one order."""
_STORMED = ("submit", "replace", "cancel", "lookup", "list", "activities", "stream")
_RARE = frozenset({"disconnect", "silent"})
"""What takes the stream away for a while: while nobody listens, no other fault of the stream can be played."""


def faults(share: float, seed: int) -> list[dict[str, Any]]:
    """Wishes by which this share of the requests of each operation, and of the updates, meets a fault, every kind as
    often as any other that can be played there.

    The simulator asks one fault after the other, so each one's rate is of what those before it have left.
    """
    wishes: list[dict[str, Any]] = []
    for operation in _STORMED:
        kinds = [one for one in KINDS.values() if operation in one.on]
        weights = {one.name: 0.05 if one.name in _RARE else 1.0 for one in kinds}
        left = 1.0
        for kind in kinds:
            rate = share * weights[kind.name] / sum(weights.values())
            wish: dict[str, Any] = {"kind": kind.name, "on": operation, "rate": rate / left, "seed": seed}
            if kind.name in _PARAMS:
                long = kind.name == "huge" and operation in ("list", "activities")
                wish["params"] = _LONG_LIST if long else _PARAMS[kind.name]
            wishes.append(wish)
            left -= rate
    return wishes


async def storm(
    directory: Path,
    database_url: str,
    orders: int,
    *,
    share: float = SHARE,
    seed: int = 1,
    adapter: type[AlpacaBroker] = AlpacaBroker,
    patience_s: float = 40.0,
) -> tuple[Tally, list[str]]:
    """Play it to the end: what came of it, and every way in which ledger and broker still differ when all has been
    quiet for as long as is waited for a difference to go."""
    tally = Tally()
    async with storm_world(directory, database_url, seed, adapter) as world:
        for wish in faults(share, seed):
            world.sim.faults.add(wish)
        callers = [Caller(world, tally, number, seed) for number in range(CALLERS)]
        began_s = time.monotonic()
        shares = [orders // CALLERS + (number < orders % CALLERS) for number in range(CALLERS)]
        await asyncio.gather(*(one.trade(n) for one, n in zip(callers, shares, strict=True)))
        world.sim.faults.remove()
        await asyncio.gather(*(one.settle() for one in callers))
        differences = await _differences(world, patience_s)
        tally.seconds = time.monotonic() - began_s
        tally.played = world.sim.faults.played
        both = await world.referee.read()
        tally.prints = len(both.our_prints)
        tally.requests = sum(one["kind"] == "request" for one in both.ledger)
    return tally, differences


async def _differences(world: StormWorld, patience_s: float) -> list[str]:
    """What stays different, after the time that fetching by polls may take."""
    await world.quiesce()
    end_s = time.monotonic() + patience_s
    while (wrong := await world.referee.differences()) and time.monotonic() < end_s:
        await asyncio.sleep(0.2)
    return wrong + await changed_answers(world.app.http, world.asked)


def main(arguments: list[str]) -> int:
    """The command; 1 where the books differ."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault.alpaca_storm", description=__doc__)
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument(
        "--share", type=float, default=SHARE, help="of requests and updates that meet a fault"
    )
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    if not 1 <= asked.orders <= _MANY or not 0 <= asked.share <= 0.9:
        parser.error(f"orders are 1 to {_MANY}, the share is 0 to 0.9")
    configure("CRITICAL")
    directory = Path(tempfile.mkdtemp(prefix="paiid-storm-"))
    try:
        url = prepare(directory)
        tally, differences = asyncio.run(
            storm(directory, url, asked.orders, share=asked.share, seed=asked.seed)
        )
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print("\n".join(tally.lines()))
    print(f"differences between ledger and broker: {len(differences)}")
    for one in differences[:50]:
        print(one)
    return 1 if differences else 0


def prepare(directory: Path) -> str:
    """Make both databases; the ledger's URL."""
    (directory / "sim").mkdir(parents=True)
    migrate(f"sqlite:///{directory}/sim/sim.db")
    url = f"sqlite:///{directory}/ledger.db"
    migrate(url)
    return url


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
