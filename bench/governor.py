"""GOVERNOR: who waits for a broker's few requests, and how long, with the urgent first and with whoever came first.

60 requests a minute; 40 symbols are polled all the time, which alone is more than that. After a minute of it a burst comes within half a minute: 60
orders, 20 exits, 20 cancels and 20 look-ups. Time runs faster than life, so that a minute takes `--seconds`; what is told is in seconds of the minute.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import Say
from paiid.core.clock import SystemClock
from paiid.wires.governor import ORDER_SHARES, Governor, Priority, Shares, Spent
from paiid.wires.outbound import Deadline

LIMIT = 60
SYMBOLS = 40
POLL_S = 10.0
WARM_S = 60.0
BURST_S = 30.0
END_S = 100.0
BURST: tuple[tuple[str, Priority, int, float], ...] = (
    ("cancels", Priority.CANCEL, 20, 5.0),
    ("exits", Priority.EXIT, 20, 0.4),
    ("entries", Priority.ENTRY, 60, 0.4),
    ("look-ups", Priority.READ, 20, 5.0),
)
"""What comes, how urgent it is, how often, and how long it waits."""
NO_SHARES: Shares = dict.fromkeys(Priority, 0.0)


class FastClock(SystemClock):
    """Time that runs `speed` times as fast as life."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._began_s = time.monotonic()

    def monotonic_s(self) -> float:
        return (time.monotonic() - self._began_s) * self._speed

    def now_us(self) -> int:
        return int(self.monotonic_s() * 1_000_000)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._speed)


@dataclass
class Kind:
    """What became of one kind of requests."""

    waited_s: list[float] = field(default_factory=list)
    refused: int = 0

    def __str__(self) -> str:
        taken = sorted(self.waited_s)
        if not taken:
            return f"none admitted, {self.refused} refused"
        p50, p99 = (taken[min(len(taken) - 1, int(len(taken) * share))] for share in (0.50, 0.99))
        return f"waited {p50:6.2f} s p50, {p99:6.2f} s p99, {taken[-1]:6.2f} s max; {len(taken)} admitted, {self.refused} refused"


Kinds = dict[str, Kind]


async def play(
    speed: float, shares: Shares, seen_as: Callable[[Priority], Priority], seed: int, kinds: Kinds
) -> None:
    """One burst. `seen_as`: how urgent the governor takes each to be."""
    clock, chance = FastClock(speed), random.Random(seed)
    governor = Governor(clock, "bench", LIMIT, shares)

    async def ask(name: str, priority: Priority, patience_s: float, at_s: float) -> None:
        await clock.sleep(max(0.0, at_s - clock.monotonic_s()))
        began_s = clock.monotonic_s()
        kind = kinds.setdefault(name, Kind())
        try:
            await governor.admit(seen_as(priority), Deadline(clock, patience_s))
            kind.waited_s.append(clock.monotonic_s() - began_s)
        except Spent:
            kind.refused += 1

    async def poll(at_s: float) -> None:
        while at_s < END_S:
            await ask("polls", Priority.BACKGROUND, POLL_S, at_s)
            at_s = max(at_s + POLL_S, clock.monotonic_s())

    burst = [
        (name, priority, patience_s, WARM_S + chance.random() * BURST_S)
        for name, priority, count, patience_s in BURST
        for _ in range(count)
    ]
    await asyncio.gather(
        *(poll(chance.random() * POLL_S) for _ in range(SYMBOLS)),
        *(ask(*one) for one in burst),
    )


def run(say: Say, directory: Path, seconds: float, rounds: int) -> bool:
    """Print the figures; there is no goal but that no cancel is refused where another request was let through in its place."""
    say(
        f"GOVERNOR {LIMIT} requests a minute, {SYMBOLS} symbols polled, then a burst; {rounds} bursts together"
    )
    found: dict[str, Kinds] = {}
    for words, shares, seen_as in (
        ("the urgent first", ORDER_SHARES, lambda one: one),
        # All are as urgent as a cancel, and wait as long as they may.
        ("who came first", NO_SHARES, lambda _: Priority.CANCEL),
    ):
        kinds = found[words] = {}
        for number in range(rounds):
            asyncio.run(play(60.0 / seconds, shares, seen_as, number, kinds))
        say(f"  {words}")
        for name in (*(one[0] for one in BURST), "polls"):
            say(f"    {name:<9} {kinds[name]}")
    return found["the urgent first"]["cancels"].refused <= found["who came first"]["cancels"].refused
