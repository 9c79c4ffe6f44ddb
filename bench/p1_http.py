"""P1: what one core answers over HTTP, against the bare protocol and against FastAPI as people write it."""

import time
from pathlib import Path

import jwt

from bench.figures import Say, Series, goal, ratio, ratio_row, row
from bench.load import MakeRequest, closed_loop
from bench.processes import Process, cores, pinned
from bench.servers import TEST_KEY
from bench.service import ACCEPTED, ORDER, Service, dry_run, get, post
from cluster.ports import free_port

CONNECTIONS = 32


class _Contender:
    def __init__(self, name: str, process: Process, port: int, make: MakeRequest, expects: bytes) -> None:
        self.name = name
        self.process = process
        self.port = port
        self.make = make
        self.expects = expects
        self.rate = Series(name, "req/s")
        self.cpu = Series(name, "µs CPU/req")

    def load(self, seconds: float, *, count: bool) -> None:
        before = self.process.cpu_s()
        load = closed_loop(self.port, [self.make] * CONNECTIONS, seconds, self.expects)
        load.require_right(self.name)
        if count:
            self.rate.add(load.per_s)
            self.cpu.add((self.process.cpu_s() - before) / len(load.latencies_s) * 1e6)


def run(say: Say, directory: Path, seconds: float, rounds: int) -> bool:
    """Print the figures; whether every goal is reached."""
    on_server, on_load = cores()
    say("P1 HTTP on one core")
    say(
        f"  {CONNECTIONS} keep-alive connections; server on core {on_server}, load on core {on_load}; ours on SQLite"
    )
    with_token = {"sub": "usr_bench", "exp": int(time.time()) + 86_400}
    token = jwt.encode(with_token, TEST_KEY, "HS256")
    service = Service("p1-ours", f"sqlite:///{directory}/p1.db", directory, on=on_server)
    others: dict[str, tuple[Process, int]] = {}
    try:
        for kind in ("raw", "bare", "jwt"):
            port = free_port()
            others[kind] = (
                Process(f"p1-{kind}", ["-m", "bench.servers", kind, str(port)], directory, on=on_server),
                port,
            )
        for process, port in others.values():
            process.wait_listening(port)
        service.wait_ready()
        service.settled()
        ours = service.sign_in()
        order = {"dryRun": True, "orders": [ORDER]}
        raw = _Contender("raw ASGI", *others["raw"], get("/"), b'"ok"')
        bare = _Contender("FastAPI bare, one GET", *others["bare"], get("/"), b'"ok"')
        body = _Contender(
            "FastAPI + pydantic body + JWT", *others["jwt"], post("/execute", order, token), ACCEPTED
        )
        run_dry = _Contender(
            "execute, dry run, signed in", service.process, service.port, dry_run(ours), ACCEPTED
        )
        quotes = _Contender(
            "GET quotes, signed in",
            service.process,
            service.port,
            get("/api/market/quotes?symbols=AAPL", ours),
            b'"AAPL"',
        )
        contenders = (raw, bare, body, run_dry, quotes)
        with pinned(on_load):
            for contender in contenders:
                contender.load(min(1.0, seconds), count=False)
            for _ in range(rounds):
                for contender in contenders:
                    contender.load(seconds, count=True)
    finally:
        service.process.stop()
        for process, _ in others.values():
            process.stop()
    for role, contender in zip(("limit", "peer", "peer", "ours", "ours"), contenders, strict=True):
        row(say, role, contender.name, contender.rate, contender.cpu)
    # The other way round, for CPU: what costs half is worth twice.
    execute_cpu = ratio("execute / FastAPI+body+JWT, by CPU", body.cpu.values, run_dry.cpu.values)
    quotes_cpu = ratio("GET quotes / FastAPI bare, by CPU", bare.cpu.values, quotes.cpu.values)
    for figure in (
        ratio("execute / FastAPI+body+JWT, by req/s", run_dry.rate.values, body.rate.values),
        execute_cpu,
        ratio("GET quotes / FastAPI bare, by req/s", quotes.rate.values, bare.rate.values),
        quotes_cpu,
        ratio("execute / raw ASGI, by CPU", raw.cpu.values, run_dry.cpu.values),
    ):
        ratio_row(say, figure)
    say("  judged by the server's CPU time a request: a client in Python can hold back the throughput")
    met = goal(say, "execute dry run against FastAPI + body + JWT", execute_cpu, 1.0)
    return goal(say, "signed-in GET from memory against FastAPI bare", quotes_cpu, 1.0) and met
