"""Plays the faults of the market data stream: what happens to a quote, a trade or a bar on its way to one account."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Protocol

from paiid.core.clock import Clock
from paiid.sim.alpaca.marketdata.wire import Tick
from paiid.sim.engine.faults import Fault, FaultBook

__all__ = ["Hearer", "Spoiler"]

_CENT = Decimal("0.01")
_NOISE = '{"T":"q","S":\x00<<<'


class Hearer(Protocol):
    """One socket, as the faults see it."""

    def hear(self, tick: Tick) -> None:
        """Send this message in its turn."""
        ...

    def hear_noise(self, noise: str) -> None:
        """Send a frame that no decoder takes."""
        ...

    def cut(self) -> None:
        """Cut the connection once all before it has been sent."""
        ...

    def fall_silent(self, *, deaf: bool) -> None:
        """Stay open and say nothing any more; deaf: answer no ping either."""
        ...


class Spoiler:
    """A fault is drawn once for a message and an account, and meets all sockets of the account that hear this message."""

    def __init__(self, clock: Clock, faults: FaultBook) -> None:
        self._clock = clock
        self._faults = faults
        self._held: dict[tuple[str, str], list[tuple[Tick, Sequence[Hearer]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Nothing that is held back comes any more."""
        for task in self._tasks:
            task.cancel()

    def deliver(self, tick: Tick, account: str, hearers: Sequence[Hearer]) -> None:
        """Send it to these sockets of an account, or do to it what a fault wants."""
        fault = self._faults.draw("ticks", account, symbol=tick.symbol, event=tick.event)
        if fault is None:
            _send([tick], hearers)
        else:
            self._faults.tell(fault, account=account, event=tick.event, symbol=tick.symbol)
            if fault.kind.name == "quote_reordered":
                self._hold(fault, tick, account, hearers)
                return
            self._play(fault, tick, account, hearers)
        if tick.event == "quote":
            for held, whom in self._held.pop((account, tick.symbol), ()):
                _send([held], whom)

    def _play(self, fault: Fault, tick: Tick, account: str, hearers: Sequence[Hearer]) -> None:
        name, params = fault.kind.name, fault.params
        if name in ("silent", "disconnect"):
            for one in hearers:
                if name == "silent":
                    one.fall_silent(deaf=params["deaf"])
                else:
                    one.cut()
        elif name == "frame_garbage":
            for one in hearers:
                one.hear_noise(_NOISE)
        elif name == "message_unknown":
            odd = {"T": params["type"], "S": tick.symbol, "t": tick.body["t"], "what": ["nobody", "knows"]}
            _send([Tick(tick.channel, tick.event, tick.symbol, odd), tick], hearers)
        elif name != "tick_missing":
            _send(_spoiled(fault, tick), hearers)

    def _hold(self, fault: Fault, tick: Tick, account: str, hearers: Sequence[Hearer]) -> None:
        held = (tick, hearers)
        self._held.setdefault((account, tick.symbol), []).append(held)
        task = asyncio.create_task(
            self._let_go(held, account, fault.params["wait_ms"] / 1000), name="paiid-sim-tick"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _let_go(self, held: tuple[Tick, Sequence[Hearer]], account: str, wait_s: float) -> None:
        """Deliver a quote that no other one has come to overtake."""
        await self._clock.sleep(wait_s)
        waiting = self._held.get((account, held[0].symbol), [])
        if held in waiting:
            waiting.remove(held)
            _send([held[0]], held[1])


def _send(ticks: Sequence[Tick], hearers: Sequence[Hearer]) -> None:
    for one in hearers:
        for tick in ticks:
            one.hear(tick)


def _spoiled(fault: Fault, tick: Tick) -> list[Tick]:
    """What is sent in place of a message."""
    name, params = fault.kind.name, fault.params
    if name == "quote_duplicated":
        return [tick] * int(params["times"])
    if name == "quote_burst":
        return [*(_shifted(tick, number) for number in range(params["quotes"], 0, -1)), tick]
    body = dict(tick.body)
    if name == "quote_crossed":
        body["bp"], body["ap"] = max(body["ap"], body["bp"]) + _CENT, body["bp"]
    elif name == "quote_zero":
        sides = [side for side, wanted in (("b", params["bid"]), ("a", params["ask"])) if wanted]
        body.update(
            {f"{side}{field}": zero for side in sides for field, zero in (("p", Decimal(0)), ("s", 0))}
        )
    elif name == "quote_time":
        body["t"] += params["shift_ms"] * 1000
    return [_with(tick, body)]


def _shifted(tick: Tick, steps: int) -> Tick:
    """A quote of so many microseconds before, a cent higher every other time."""
    up = _CENT * (steps % 2)
    body = {**tick.body, "t": tick.body["t"] - steps}
    return _with(tick, {**body, "bp": body["bp"] + up, "ap": body["ap"] + up})


def _with(tick: Tick, body: dict[str, Any]) -> Tick:
    return Tick(tick.channel, tick.event, tick.symbol, body)
