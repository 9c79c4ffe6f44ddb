"""Runs the limit and the peers of the durable order, each spell in a process of its own."""

import json
from pathlib import Path

from bench.figures import Series
from bench.processes import Process

MORE_S = 40.0
"""For the start of the process, its warm-up and its end."""


class Committer:
    """One way of `bench.commits`, and its figures."""

    def __init__(self, kind: str, name: str, url: str, callers: int, directory: Path) -> None:
        self.kind = kind
        self.name = name
        self.rate = Series(name, "orders/s")
        self.cpu = Series(name, "µs client CPU/order")
        self._url = url
        self._callers = callers
        self._directory = directory
        self._spells = 0

    def spell(self, seconds: float) -> None:
        """One round. Raises RuntimeError."""
        self._spells += 1
        process = Process(
            f"{self.kind}-{self._callers}-{self._spells}-{id(self):x}",
            ["-m", "bench.commits", self.kind, self._url, str(self._callers), str(seconds)],
            self._directory,
        )
        try:
            found = json.loads(process.wait_end(seconds + MORE_S).splitlines()[-1])
        finally:
            process.stop()
        self.rate.add(found["orders"] / found["seconds"])
        self.cpu.add(found["cpu_s"] / found["orders"] * 1e6)
