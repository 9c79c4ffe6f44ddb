"""What all replicas want to be followed, each by its own word, which is good for a few seconds (docs/adr/0018)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from paiid.core.clock import Clock
from paiid.market.demand import Demand
from paiid.market.ticks import MOST_WANTED, Wanted

MOST_REPLICAS = 64
GOOD_FOR_S = 5.0
"""A replica that has not repeated its word for so long is gone."""


@dataclass(frozen=True, slots=True)
class Union:
    """Symbols by how they are followed: those that the feed streams, and the rest, which is asked for."""

    streamed: tuple[str, ...]
    polled: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        return self.streamed + self.polled


class WantedEverywhere:
    """This replica's demand and the others' together."""

    def __init__(self, clock: Clock, demand: Demand) -> None:
        self._clock = clock
        self._demand = demand
        self._others: dict[str, tuple[Wanted, float]] = {}

    def hear(self, wanted: Wanted) -> bool:
        """Take another replica's word. Whether its symbols are others than before; False too where there are too many replicas."""
        self._forget_gone()
        before = self._others.get(wanted.replica)
        if before is None and len(self._others) >= MOST_REPLICAS:
            return False
        self._others[wanted.replica] = (wanted, self._clock.monotonic_s())
        return before is None or (before[0].subscribed, before[0].asked) != (wanted.subscribed, wanted.asked)

    def ours(self) -> tuple[list[str], list[str]]:
        """Symbols subscribed to here, and those asked for."""
        return self._demand.subscribed()[:MOST_WANTED], self._demand.asked()[:MOST_WANTED]

    def union(self, most_streamed: int, streamed_now: Collection[str] = ()) -> Union:
        """At most `most_streamed` of all; who is subscribed to comes before who was asked for, and among equals those that are
        streamed already, so that a feed at its bound is not told another set every second."""
        self._forget_gone()
        subscribed, asked = self.ours()
        for wanted, _ in self._others.values():
            subscribed += wanted.subscribed
            asked += wanted.asked
        first = _steady(dict.fromkeys(subscribed), streamed_now)
        then = _steady(dict.fromkeys(one for one in asked if one not in first), streamed_now)
        symbols = [*first, *then]
        return Union(tuple(symbols[:most_streamed]), tuple(symbols[most_streamed:MOST_WANTED]))

    def sockets(self, user_id: str) -> int:
        """How many sockets a user has on other replicas, as far as is known."""
        self._forget_gone()
        return sum(wanted.sockets.get(user_id, 0) for wanted, _ in self._others.values())

    @property
    def newest_epoch(self) -> int:
        """The newest epoch that any other replica has heard of."""
        return max((wanted.epoch for wanted, _ in self._others.values()), default=0)

    @property
    def replicas(self) -> int:
        """The others that are there."""
        self._forget_gone()
        return len(self._others)

    def _forget_gone(self) -> None:
        since_s = self._clock.monotonic_s() - GOOD_FOR_S
        for replica in [name for name, (_, at_s) in self._others.items() if at_s < since_s]:
            del self._others[replica]


def _steady(symbols: Mapping[str, None], streamed_now: Collection[str]) -> dict[str, None]:
    """Those already streamed first."""
    return dict.fromkeys([*(s for s in symbols if s in streamed_now), *symbols])
