"""P4: the time we add to an order at 200 orders a second, measured from the instant each was due."""

import time
from datetime import date
from decimal import Decimal
from pathlib import Path

from bench.broker import InstantBroker
from bench.figures import Say, Series, goal, row
from bench.load import MakeRequest, open_loop
from bench.processes import Process, cores, pinned
from bench.service import ACCEPTED, Service, execute, get
from cluster.ports import free_port
from paiid.domain.halts import HaltSet
from paiid.domain.instruments import Instrument
from paiid.domain.margin import Exposure
from paiid.domain.orders import OrderRequest, Reason
from paiid.domain.quotes import Quote
from paiid.domain.risk import RiskLimits, Standing
from paiid.trading.checks import Gate, refuse, resolve
from paiid.trading.commands import Surroundings
from tests.servers import PostgresServer, with_database

PER_S = 200
POSITIONS = 20
"""Symbols in the account whose checks are timed."""


class _Way:
    def __init__(self, name: str, process: Process, port: int, make: MakeRequest, expects: bytes) -> None:
        self.name = name
        self.p50, self.p99 = Series(name, "ms p50"), Series(name, "ms p99")
        self.cpu = Series(name, "µs CPU/order")
        self._process, self._port, self._make, self._expects = process, port, make, expects

    def spell(self, seconds: float, *, count: bool = True) -> None:
        before = self._process.cpu_s()
        load = open_loop(self._port, self._make, PER_S, seconds, self._expects)
        load.require_right(self.name)
        if count:
            self.p50.add(load.quantile_ms(0.50))
            self.p99.add(load.quantile_ms(0.99))
            self.cpu.add((self._process.cpu_s() - before) / len(load.latencies_s) * 1e6)


def run(say: Say, directory: Path, seconds: float, rounds: int) -> bool:
    """Print the figures; whether every goal is reached."""
    say(f"P4 latency added by us, {PER_S} orders/s in an open loop, broker that takes no time")
    on_server, on_load = cores()
    server = PostgresServer(durable=True)
    services: list[Service] = []
    raw_port = free_port()
    raw = Process("p4-raw", ["-m", "bench.servers", "raw", str(raw_port)], directory, on=on_server)
    try:
        server.start()
        services.append(Service("p4-sqlite", f"sqlite:///{directory}/p4.db", directory, on=on_server))
        postgres = with_database(server.url, "postgres")
        services.append(Service("p4-postgres", postgres, directory, on=on_server))
        raw.wait_listening(raw_port)
        for one in services:
            one.wait_ready()
            one.settled()
        limit = _Way("raw ASGI, one request", raw, raw_port, get("/"), b'"ok"')
        ours = [
            _Way(f"{what}, {name}", one.process, one.port, execute(one.sign_in(), bracket=bracket), ACCEPTED)
            for name, one in zip(("SQLite", "PostgreSQL"), services, strict=True)
            for what, bracket in (("execute", False), ("bracket", True))
        ]
        with pinned(on_load):
            for way in (limit, *ours):
                way.spell(min(1.0, seconds), count=False)
            for _ in range(rounds):
                for way in (limit, *ours):
                    way.spell(seconds)
    finally:
        for one in services:
            one.process.stop()
        raw.stop()
        server.remove()
    row(say, "limit", limit.name, limit.p50, limit.p99, limit.cpu)
    for way in ours:
        row(say, "ours", way.name, way.p50, way.p99, way.cpu)
    checks = Series("all checks", "µs CPU")
    for _ in range(max(3, rounds)):
        checks.add(time_checks() * 1e6)
    row(say, "ours", f"all risk checks, {POSITIONS} positions", checks)
    met = []
    for way in ours:
        if way.name.startswith("bracket"):
            # An entry and two exits in one call: told, without a goal of its own.
            continue
        met.append(goal(say, f"{way.name}, p50", way.p50, 3.0, at_most=True))
        met.append(goal(say, f"{way.name}, p99", way.p99, 10.0, at_most=True))
    met.append(goal(say, "all risk checks", checks, 100.0, at_most=True))
    return all(met)


def time_checks(times: int = 2000) -> float:
    """CPU seconds that one order's checks take: resolving it, halts, what the broker can hold, and every limit."""
    request = OrderRequest("AAPL", "buy", "limit", "day", Decimal(10), Decimal("190.25"), None)
    quote = Quote(
        "AAPL", Decimal("190.10"), Decimal("190.20"), Decimal(500), Decimal(400), Decimal("190.15"),
        Decimal("189.00"), 1_800_000_000_000_000, 1, "simulated",
    )  # fmt: skip
    exposures = tuple(
        Exposure(
            "AAPL" if number == 0 else f"T{chr(65 + number)}",
            Decimal(100 if number % 2 == 0 else -10),
            Decimal(10), Decimal("1902.50"), Decimal(5), Decimal("950.25"), Decimal("190.15"),
        )
        for number in range(POSITIONS)
    )  # fmt: skip
    around = Surroundings(
        quotes={"AAPL": quote},
        instruments={"AAPL": Instrument("AAPL", "Apple Inc.", "stock")},
        limits=RiskLimits(),
        position_size=None,
        capabilities=InstantBroker.capabilities,
        market_open=True,
        newest=lambda symbol: None,
        trading_day=date(2026, 11, 25),
    )
    standing = Standing(Decimal(100_000), 20, POSITIONS, exposures, margin=True)
    gate = Gate(HaltSet(), None)
    # CPU time: what else runs on the machine is not our checks' doing.
    began = time.thread_time()
    for _ in range(times):
        resolved = resolve(request, around, standing)
        if isinstance(resolved, Reason):
            raise RuntimeError(f"the order to be timed is refused: {resolved.code}")
        request, proposal = resolved
        refused = refuse(request, proposal, "paper-1", "usr_1", gate, standing, around, around.limits)
    took = time.thread_time() - began
    if refused is not None:
        raise RuntimeError(f"the order to be timed is refused: {refused.code}")
    return took / times
