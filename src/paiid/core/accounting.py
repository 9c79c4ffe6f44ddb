"""What the edge counts of its requests, in bounded memory, for the health figures and for shedding load."""

from collections import deque
from collections.abc import Mapping
from typing import Any

from paiid.core.clock import Clock
from paiid.core.figures import Histogram, Tally
from paiid.core.limits import MAX_IN_FLIGHT, MAX_IN_FLIGHT_PER_ADDRESS

__all__ = ["UNMATCHED", "Accounting", "template_of"]

_REMEMBERED = 2048
UNMATCHED = "unmatched"
"""Stands for the path of a request that no route has taken: what a stranger asks for is no label."""
_NOTHING: Mapping[str, Any] = {}
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "WEBSOCKET"})


def template_of(scope: Mapping[str, Any]) -> str:
    """The path of the route that has taken a request, with the names of its parameters and not their values."""
    direct: str | None = scope.get("paiid.route")
    if direct is not None:
        return direct
    # A route knows nothing of the prefix under which its router was included; the framework's context does.
    context = scope.get("fastapi", _NOTHING).get("effective_route_context")
    template: str = getattr(context, "path_format", "") or getattr(
        getattr(context, "starlette_route", None) or scope.get("route"), "path", ""
    )
    return template or UNMATCHED


class Accounting:
    """Totals since the start, the last 2,048 durations, the last two minutes, and what is under way; and for Prometheus
    `requests` by route and how they ended, `seconds` of all that are no streams."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.total = 0
        self.errors = 0
        self.in_flight = 0
        self.durations_ms: deque[float] = deque(maxlen=_REMEMBERED)
        self._by_address: dict[str, int] = {}
        self._minute = -1
        self._this_minute = 0
        self._last_minute = 0
        self.requests = Tally("method", "route", "status")
        self.seconds = Histogram("method", "route")

    def began(self, address: str) -> None:
        """A request has come."""
        self.total += 1
        self.in_flight += 1
        self._by_address[address] = self._by_address.get(address, 0) + 1
        self._turn()
        self._this_minute += 1

    def ended(self, address: str, status: int, took_ms: float) -> None:
        """A request was answered."""
        self.in_flight -= 1
        left = self._by_address[address] - 1
        if left:
            self._by_address[address] = left
        else:
            del self._by_address[address]
        self.durations_ms.append(took_ms)
        if status >= 500:
            self.errors += 1

    def count(self, scope: Mapping[str, Any], status: int, took_s: float | None) -> None:
        """For Prometheus: a request has been answered, in this time; None for what stays open."""
        method = scope.get("method", "WEBSOCKET")
        if method not in _METHODS:
            method = "other"
        route = template_of(scope)
        self.requests.add(method, route, f"{status // 100}xx")
        if took_s is not None:
            self.seconds.observe(took_s, method, route)

    def is_overloaded(self, address: str) -> bool:
        """Whether the request of this address that has just begun is one too many."""
        return self.in_flight > MAX_IN_FLIGHT or self._by_address[address] > MAX_IN_FLIGHT_PER_ADDRESS

    def per_minute(self) -> int:
        """Requests of the last whole minute; if there was none, of this one so far."""
        self._turn()
        return self._last_minute or self._this_minute

    def percentile_ms(self, share: float) -> float:
        """A percentile of recent durations in milliseconds; 0 without any."""
        ordered = sorted(self.durations_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0

    def average_ms(self) -> float:
        """The mean of recent durations in milliseconds; 0 without any."""
        return sum(self.durations_ms) / len(self.durations_ms) if self.durations_ms else 0.0

    def _turn(self) -> None:
        minute = int(self._clock.monotonic_s() // 60)
        if minute != self._minute:
            self._last_minute = self._this_minute if minute == self._minute + 1 else 0
            self._minute = minute
            self._this_minute = 0
