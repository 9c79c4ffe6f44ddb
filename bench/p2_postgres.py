"""P2: durable orders on PostgreSQL, against the driver alone and against SQLAlchemy doing the same two commits."""

import asyncio
from pathlib import Path

import asyncpg

from bench.figures import Say, Series, goal, ratio, ratio_row, row
from bench.load import MakeRequest
from bench.ours import Executing
from bench.peers import Committer
from bench.processes import tree_cpu_s
from bench.service import Service, buy_a_little, execute
from tests.servers import PostgresServer, with_database

CALLERS = 16
MANY = 64
SLOW_US = 1000


def run(say: Say, directory: Path, seconds: float, rounds: int) -> bool:
    """Print the figures; whether every goal is reached."""
    say("P2 durable order, PostgreSQL 18, fsync and synchronous_commit on")
    say("  an order is two commits: before the broker is called, and after")
    server = PostgresServer(durable=True)
    services: list[Service] = []
    try:
        server.start()
        urls = {name: with_database(server.url, name) for name in ("raw", "instant", "paper")}
        for name in urls:
            _ask(server.url, f"CREATE DATABASE {name}")
        limit = Committer("raw_postgres", f"asyncpg, {CALLERS} connections", urls["raw"], CALLERS, directory)
        core = Committer("core_postgres", "SQLAlchemy Core", urls["raw"], CALLERS, directory)
        orm = Committer("orm_postgres", "SQLAlchemy ORM", urls["raw"], CALLERS, directory)
        many_limit = Committer("raw_postgres", f"asyncpg, {MANY} connections", urls["raw"], MANY, directory)
        service = Service("p2-instant", urls["instant"], directory)
        services.append(service)
        venue = Service("p2-paper", urls["paper"], directory, broker="paper")
        services.append(venue)
        for one in services:
            one.wait_ready()
            one.settled()
        owner = service.sign_in()
        traders = service.traders(CALLERS)
        single = Executing("execute, 1 account", service, [execute(owner) for _ in range(CALLERS)])
        spread = Executing(f"execute, {CALLERS} accounts", service, [execute(one) for one in traders])
        many = Executing(f"execute, {MANY} callers, {CALLERS} accounts", service, _shared(traders))
        paper = Executing(
            f"execute on the paper venue, {CALLERS} accounts",
            venue,
            [buy_a_little(one) for one in venue.traders(CALLERS)],
        )
        server_cpu = Series("PostgreSQL", "µs PostgreSQL CPU/order")
        for one_of_ours in (single, spread, paper):
            one_of_ours.spell(min(1.0, seconds), count=False)
        for _ in range(rounds):
            for peer in (limit, core, orm):
                peer.spell(seconds)
            single.spell(seconds)
            before = tree_cpu_s(server.pid)
            load = spread.spell(seconds)
            server_cpu.add((tree_cpu_s(server.pid) - before) / len(load.latencies_s) * 1e6)
            paper.spell(seconds)
        row(say, "limit", limit.name, limit.rate, limit.cpu)
        for peer in (core, orm):
            row(say, "peer", peer.name, peer.rate, peer.cpu)
        row(say, "ours", single.name, single.rate, single.cpu, single.p99)
        row(say, "ours", spread.name, spread.rate, spread.cpu, spread.p99, server_cpu)
        row(say, "ours", paper.name, paper.rate, paper.cpu, paper.p99)
        to_limit = ratio(f"execute, {CALLERS} accounts / asyncpg", spread.rate.values, limit.rate.values)
        to_limit_single = ratio("execute, 1 account / asyncpg", single.rate.values, limit.rate.values)
        for figure in (
            to_limit_single,
            to_limit,
            ratio(f"execute, {CALLERS} accounts / Core", spread.rate.values, core.rate.values),
            ratio(f"execute, {CALLERS} accounts / ORM", spread.rate.values, orm.rate.values),
            ratio("paper venue / asyncpg", paper.rate.values, limit.rate.values),
        ):
            ratio_row(say, figure)
        met = [
            goal(say, f"{CALLERS} callers, 1 account, against raw asyncpg", to_limit_single, 0.40),
            goal(say, f"{CALLERS} callers, {CALLERS} accounts, against raw asyncpg", to_limit, 0.40),
            _slow(say, server, many, many_limit, seconds, rounds),
        ]
        return all(met)
    finally:
        for one in services:
            one.process.stop()
        server.remove()


def _slow(
    say: Say, server: PostgresServer, many: Executing, limit: Committer, seconds: float, rounds: int
) -> bool:
    """The same on a disk that is a millisecond slower: PostgreSQL's commit_delay makes it sleep before each flush."""
    quick, slow = Series(many.name, "orders/s"), Series(f"{many.name}, slow", "orders/s")
    quick_limit, slow_limit = Series(limit.name, "orders/s"), Series(f"{limit.name}, slow", "orders/s")
    for _ in range(rounds):
        for delay_us, ours, its in ((0, quick, quick_limit), (SLOW_US, slow, slow_limit)):
            _ask(server.url, f"ALTER SYSTEM SET commit_delay = {delay_us}", "SELECT pg_reload_conf()")
            _ask(server.url, "ALTER SYSTEM SET commit_siblings = 0", "SELECT pg_reload_conf()")
            ours.add(many.spell(seconds).per_s)
            limit.spell(seconds)
            its.add(limit.rate.values[-1])
    row(say, "limit", limit.name, quick_limit)
    row(say, "limit", f"{limit.name}, +1 ms a flush", slow_limit)
    row(say, "ours", many.name, quick)
    row(say, "ours", f"{many.name}, +1 ms a flush", slow)
    say(
        "  +1 ms a flush is commit_delay=1000, commit_siblings=0: a sleep before the flush, not a slower disk"
    )
    kept = ratio("execute kept with +1 ms", slow.values, quick.values)
    ratio_row(say, ratio("asyncpg kept with +1 ms", slow_limit.values, quick_limit.values))
    ratio_row(say, kept)
    return goal(say, f"{MANY} callers keep their rate with +1 ms a flush", kept, 0.70)


def _shared(tokens: list[str]) -> list[MakeRequest]:
    return [execute(tokens[number % len(tokens)]) for number in range(MANY)]


def _ask(url: str, *commands: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            for command in commands:
                await connection.execute(command)
        finally:
            await connection.close()

    asyncio.run(run())
