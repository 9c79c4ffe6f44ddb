"""What every storm is: many orders of every kind from several callers, against a broker of which three requests in ten fail."""

import argparse
import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paiid.core.log import configure
from paiid.core.migrate import migrate
from paiid.sim.engine.fault_kinds import Kind
from tests.both_books import changed_answers
from tests.fault.storm_callers import CALLERS, Caller, Tally
from tests.fault.storm_world import StormWorld

SHARE = 0.3
_MANY = 1_000_000
_PARAMS: dict[str, dict[str, Any]] = {
    # Scaled to the deadline of 1 s and the horizon of 12 s: some answers come too late, no order does.
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
_RARE: Mapping[str, float] = {"disconnect": 0.05, "silent": 0.05}
"""What takes the stream away for a while: while nobody listens, no other fault of the stream can be played."""
Outcome = tuple[Tally, list[str]]


@dataclass(frozen=True, slots=True)
class Weather:
    """What can go wrong at one broker. `spared` are kinds that no storm can play, `scaled` the part of the share of an
    operation of which less may fail. `spells` follow each other, each with its part of the kinds: a simulator plays no
    more than a hundred faults at once."""

    kinds: Mapping[str, Kind]
    stormed: tuple[str, ...]
    params: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    spared: frozenset[str] = frozenset()
    scaled: Mapping[str, float] = field(default_factory=dict)
    spells: int = 1

    @property
    def played(self) -> frozenset[str]:
        """Every kind that a storm plays."""
        return frozenset(
            name
            for name, kind in self.kinds.items()
            if name not in self.spared and set(kind.on) & set(self.stormed)
        )

    def faults(self, share: float, seed: int, spell: int = 0) -> list[dict[str, Any]]:
        """Wishes by which this share of the requests of each operation, and of the updates, meets a fault, every kind of
        the spell as often as any other that can be played there.

        The simulator asks one fault after the other, so each one's rate is of what those before it have left.
        """
        wishes: list[dict[str, Any]] = []
        for operation in self.stormed:
            kinds = [
                one for one in self.kinds.values() if operation in one.on and one.name not in self.spared
            ]
            if len(kinds) >= self.spells:
                kinds = kinds[spell :: self.spells]
            weights = {one.name: _RARE.get(one.name, 1.0) for one in kinds}
            part, left = share * self.scaled.get(operation, 1.0), 1.0
            for kind in kinds:
                rate = part * weights[kind.name] / sum(weights.values())
                wish: dict[str, Any] = {"kind": kind.name, "on": operation, "rate": rate / left, "seed": seed}
                params = self.params.get(kind.name, _PARAMS.get(kind.name))
                if params is not None:
                    long = kind.name == "huge" and operation in ("list", "activities")
                    wish["params"] = _LONG_LIST if long else params
                wishes.append(wish)
                left -= rate
        return wishes


async def play(
    world: StormWorld,
    weather: Weather,
    caller: type[Caller],
    orders: int,
    *,
    share: float,
    seed: int,
    patience_s: float,
) -> Outcome:
    """Play it to the end: what came of it, and every way in which ledger and broker still differ when all has been
    quiet for as long as is waited for a difference to go."""
    tally = Tally()
    callers = [caller(world, tally, number, seed) for number in range(CALLERS)]
    began_s = time.monotonic()
    for spell, some in enumerate(_parts(orders, weather.spells)):
        for wish in weather.faults(share, seed, spell):
            world.sim.faults.add(wish)
        shares = _parts(some, CALLERS)
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


def _parts(whole: int, parts: int) -> list[int]:
    return [whole // parts + (number < whole % parts) for number in range(parts)]


async def _differences(world: StormWorld, patience_s: float) -> list[str]:
    """What stays different, after the time that fetching by polls may take."""
    await world.quiesce()
    end_s = time.monotonic() + patience_s
    while (wrong := await world.referee.differences()) and time.monotonic() < end_s:
        await asyncio.sleep(0.2)
    return wrong + await changed_answers(world.app.http, world.asked)


def command(name: str, storm: Callable[..., Awaitable[Outcome]], arguments: list[str]) -> int:
    """The command; 1 where the books differ. `storm` takes directory, URL, orders, `share` and `seed`."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=__doc__)
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

    async def run() -> Outcome:
        return await storm(directory, url, asked.orders, share=asked.share, seed=asked.seed)

    try:
        url = prepare(directory)
        tally, differences = asyncio.run(run())
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
