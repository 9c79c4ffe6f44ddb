"""P5 and P6: one source to a thousand WebSocket clients, ours against nats-server and against a bare loop of writes."""

import json
import sys
import time
from pathlib import Path

from bench.fanout_nats import configuration
from bench.figures import Say, Series, goal, ratio, ratio_row, row
from bench.processes import Process, cores
from cluster.ports import free_port

CLIENTS = 1000
SETTLE_S = 1.0
STALLED = 50
STALL_S = 4.0


class Contender:
    """One server with its clients, and its figures. It is started anew for each spell, so that none disturbs another."""

    def __init__(self, kind: str, name: str, symbols: int, per_s: float) -> None:
        self.kind = kind
        self.name = name
        self._symbols = symbols
        self._per_s = per_s
        self.delivered = Series(name, "msg/s")
        self.per_cpu = Series(name, "msg/CPU-s")
        self.p50 = Series(name, "ms p50")
        self.p99 = Series(name, "ms p99")
        self.cpu = Series(name, "cores")
        self.idle = Series(name, "KiB an idle client")
        self.stalled = Series(name, "KiB a stalled client")

    def spell(self, directory: Path, seconds: float, number: int, *, stall: bool = False) -> None:
        """One round: connect, look at the memory, measure, stall some."""
        on_server, on_load = cores()
        server, ws_port, others = self._start(directory, number, on_server, on_load)
        load = Process(
            f"load-{self.kind}-{number}",
            ["-m", "bench.fanout_load", self.kind, str(ws_port), str(CLIENTS)],
            directory,
            on=on_load,
            talks=True,
        )
        try:
            before = server.memory()
            load.ask("connect")
            time.sleep(0.2)
            self.idle.add((server.memory() - before) / CLIENTS / 1024)
            load.ask("begin")
            time.sleep(SETTLE_S)
            load.ask("count")
            cpu, began = server.cpu_s(), time.perf_counter()
            time.sleep(seconds)
            found = json.loads(load.ask("count"))
            took, cpu = time.perf_counter() - began, server.cpu_s() - cpu
            if self.kind != "nats" and (found["lost"] or not found["messages"]):
                # nats-server cuts off whom it cannot serve in time; that is a result, and ours must not.
                raise RuntimeError(f"{self.name}: {found}")
            self.delivered.add(found["messages"] / took)
            self.per_cpu.add(found["messages"] / cpu if cpu else 0.0)
            self.cpu.add(cpu / took)
            self.p50.add(found["p50_ms"])
            self.p99.add(found["p99_ms"])
            if stall:
                before = most = server.memory()
                load.ask(f"stall {STALLED}")
                until = time.perf_counter() + STALL_S
                while time.perf_counter() < until:
                    time.sleep(0.1)
                    most = max(most, server.memory())
                self.stalled.add((most - before) / STALLED / 1024)
        finally:
            load.stop()
            for one in others:
                one.stop()
            server.stop()

    def _start(
        self, directory: Path, number: int, on_server: set[int], on_load: set[int]
    ) -> tuple[Process, int, list[Process]]:
        port = free_port()
        if self.kind != "nats":
            kind = "limit" if self.kind == "limit" else "ours"
            arguments = ["-m", "bench.fanout_server", kind, str(port), str(self._symbols), str(self._per_s)]
            server = Process(f"fanout-{self.kind}-{number}", arguments, directory, on=on_server)
            server.wait_listening(port)
            return server, port, []
        ws_port = free_port()
        binary = str(Path(sys.executable).with_name("nats-server"))
        settings = configuration(port, ws_port, directory)
        server = Process(f"nats-{number}", ["-c", str(settings)], directory, on=on_server, program=binary)
        server.wait_listening(ws_port)
        publisher = Process(
            f"nats-publisher-{number}",
            ["-m", "bench.fanout_nats", str(port), str(self._symbols), str(self._per_s)],
            directory,
            on=on_load,
        )
        return server, ws_port, [publisher]


def p5(say: Say, directory: Path, seconds: float, rounds: int) -> bool:
    """Print the figures of one message a frame; whether every goal is reached."""
    say(f"P5 fan-out, one message a frame: {CLIENTS} clients x 100 messages/s of 100 symbols")
    say(f"  server on core {cores()[0]}, clients on core {cores()[1]}; ours without authentication")
    limit = Contender("limit", "bare loop of transport.write", 100, 100)
    peer = Contender("nats", "nats-server, WebSocket", 100, 100)
    ours = Contender("ours", "hub, one frame a message", 100, 100)
    _play(directory, seconds, rounds, (limit, peer, ours), stall=False)
    for role, one in (("limit", limit), ("peer", peer), ("ours", ours)):
        row(say, role, one.name, one.delivered, one.per_cpu, one.cpu, one.p50, one.p99)
    for role, one in (("peer", peer), ("ours", ours)):
        row(say, role, one.name, one.idle)
    by_cpu = ratio("ours / nats-server, delivered per CPU-second", ours.per_cpu.values, peer.per_cpu.values)
    late = ratio("ours / nats-server, p99", ours.p99.values, peer.p99.values)
    for figure in (
        by_cpu,
        late,
        ratio("ours / bare loop, by CPU", ours.per_cpu.values, limit.per_cpu.values),
    ):
        ratio_row(say, figure)
    met = goal(say, "delivered per CPU-second against nats-server", by_cpu, 1.0)
    return goal(say, "p99 against nats-server", late, 0.5, at_most=True) and met


def p6(say: Say, directory: Path, seconds: float, rounds: int) -> bool:
    """Print the figures of batches; whether every goal is reached."""
    say(f"P6 fan-out in batches of 10 ms: {CLIENTS} clients x 2,000 messages/s of 200 symbols")
    say(f"  server on core {cores()[0]}, clients on core {cores()[1]}; ours without authentication")
    peer = Contender("nats", "nats-server, WebSocket", 200, 2000)
    ours = Contender("batches", "hub, batches", 200, 2000)
    _play(directory, seconds, rounds, (peer, ours), stall=True)
    for role, one in (("peer", peer), ("ours", ours)):
        row(say, role, one.name, one.delivered, one.per_cpu, one.cpu, one.p50, one.p99)
        row(say, role, one.name, one.idle, one.stalled)
    delivered = ratio("ours / nats-server, delivered", ours.delivered.values, peer.delivered.values)
    ratio_row(say, delivered)
    ratio_row(say, ratio("ours / nats-server, by CPU", ours.per_cpu.values, peer.per_cpu.values))
    met = goal(say, "delivered against nats-server", delivered, 2.0)
    met = goal(say, "p99", ours.p99, 50.0, at_most=True) and met
    return goal(say, "a stalled client", ours.stalled, 1024.0, at_most=True) and met


def _play(
    directory: Path, seconds: float, rounds: int, contenders: tuple[Contender, ...], *, stall: bool
) -> None:
    for number in range(rounds):
        for one in contenders:
            one.spell(directory, seconds, number, stall=stall)
