"""Loads `execute` of a running service round by round, and keeps its figures."""

from collections.abc import Sequence

from bench.figures import Series
from bench.load import Load, MakeRequest, closed_loop
from bench.service import ACCEPTED, Service


class Executing:
    """One way of calling the service with so many callers at once; `makers` has one entry a caller."""

    def __init__(self, name: str, service: Service, makers: Sequence[MakeRequest], expects: bytes = ACCEPTED):
        self.name = name
        self.rate = Series(name, "orders/s")
        self.cpu = Series(name, "µs CPU/order")
        self.p99 = Series(name, "ms p99")
        self._service = service
        self._makers = makers
        self._expects = expects

    def spell(self, seconds: float, *, count: bool = True) -> Load:
        """One round. Raises RuntimeError when an answer is not the one expected."""
        before = self._service.process.cpu_s()
        load = closed_loop(self._service.port, self._makers, seconds, self._expects)
        load.require_right(self.name)
        if count:
            self.rate.add(load.per_s)
            self.cpu.add((self._service.process.cpu_s() - before) / len(load.latencies_s) * 1e6)
            self.p99.add(load.quantile_ms(0.99))
        return load
