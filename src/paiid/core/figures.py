"""Counters and histograms that parts keep for themselves: plain numbers, read when somebody asks for metrics.

A part owns its figures and counts where things happen, at the price of an addition; `system/exposition` alone knows
Prometheus and reads them. Not safe to change from several threads: all parts count on the event loop.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["LATENCY_S", "SLOW_S", "Figure", "Gauge", "Histogram", "Tally"]

LATENCY_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of buckets for what takes milliseconds."""
SLOW_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""For what takes seconds."""
Labels = tuple[str, ...]


class Tally:
    """Counts by labels. `names` are the labels' names, in order; labels come from us, never from a caller's text, so that
    there are only so many of them."""

    __slots__ = ("_counts", "names")

    def __init__(self, *names: str) -> None:
        self.names = names
        self._counts: dict[Labels, float] = {}

    def add(self, *labels: str, n: float = 1) -> None:
        """Count n more."""
        self._counts[labels] = self._counts.get(labels, 0) + n

    def of(self, *labels: str) -> float:
        """The count so far."""
        return self._counts.get(labels, 0)

    def items(self) -> Iterator[tuple[Labels, float]]:
        """All labels that have been counted, or are known to come."""
        if not self.names and not self._counts:
            yield (), 0.0
        yield from list(self._counts.items())

    def expect(self, *labels: str) -> "Tally":
        """Tell these as 0 until they are counted: of a series that begins with its first event nobody sees the rise."""
        self._counts.setdefault(labels, 0)
        return self


class Histogram:
    """Observations by labels in buckets of fixed upper bounds, in the unit of the bounds (seconds, unless said)."""

    __slots__ = ("_bounds", "_series", "names")

    def __init__(self, *names: str, bounds: Sequence[float] = LATENCY_S) -> None:
        self.names = names
        self._bounds = tuple(bounds)
        self._series: dict[Labels, tuple[list[int], list[float]]] = {}

    def observe(self, value: float, *labels: str) -> None:
        """One observation."""
        found = self._series.get(labels)
        if found is None:
            found = self._series[labels] = ([0] * (len(self._bounds) + 1), [0.0])
        found[0][bisect_left(self._bounds, value)] += 1
        found[1][0] += value

    def items(self) -> Iterator[tuple[Labels, list[tuple[str, float]], float]]:
        """(labels, [(upper bound, cumulative count) … ("+Inf", count)], sum) of each series, as Prometheus wants them."""
        for labels, (counts, total) in list(self._series.items()):
            seen, buckets = 0, []
            for bound, count in zip((*map(repr, self._bounds), "+Inf"), counts, strict=True):
                seen += count
                buckets.append((bound, float(seen)))
            yield labels, buckets, total[0]


class Gauge:
    """A figure that a part has anyway, read when it is asked for: `read` gives a number, or (labels, number) pairs where it has
    labels, or None where there is nothing to tell. It is called on the event loop and must neither wait nor take long."""

    __slots__ = ("_read", "names")

    def __init__(
        self, read: Callable[[], float | Iterable[tuple[Labels, float]] | None], *names: str
    ) -> None:
        self.names = names
        self._read = read

    def items(self) -> Iterator[tuple[Labels, float]]:
        """As it is now. Raises whatever `read` raises."""
        found = self._read()
        if found is None:
            return
        if isinstance(found, int | float):
            yield (), float(found)
        else:
            yield from found


Figure = tuple[str, str, Tally | Histogram | Gauge]
"""Prometheus' name of it, what it says in a sentence, and where it is kept. The name of a Tally ends in `_total`; one of a
Gauge may, where a part counts by itself and the gauge reads that."""
