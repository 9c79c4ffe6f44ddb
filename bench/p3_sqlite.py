"""P3: durable orders on SQLite with synchronous=FULL, against the same route without a ledger."""

from pathlib import Path

from bench.figures import Say, goal, ratio, ratio_row, row
from bench.ours import Executing
from bench.peers import Committer
from bench.service import Service, buy_a_little, dry_run, execute

CALLERS = 64


def run(say: Say, directory: Path, seconds: float, rounds: int) -> bool:
    """Print the figures; whether every goal is reached."""
    say("P3 durable order, SQLite, WAL and synchronous=FULL")
    say(
        f"  {CALLERS} callers; without a ledger is the dry run: same edge, caller, body and checks, nothing written"
    )
    limit = Committer(
        "grouped_sqlite", "group commit, sqlite3 in a thread", f"{directory}/limit.db", CALLERS, directory
    )
    threaded = Committer(
        "threaded_sqlite", "sqlite3 in a thread, 2 commits", f"{directory}/peer.db", CALLERS, directory
    )
    orm = Committer("orm_sqlite", "SQLAlchemy ORM, 2 commits", f"{directory}/orm.db", CALLERS, directory)
    services: list[Service] = []
    try:
        service = Service("p3-instant", f"sqlite:///{directory}/p3.db", directory)
        services.append(service)
        venue = Service("p3-paper", f"sqlite:///{directory}/p3-paper.db", directory, broker="paper")
        services.append(venue)
        for one in services:
            one.wait_ready()
            one.settled()
        traders = service.traders(16)
        makers = [execute(traders[number % 16]) for number in range(CALLERS)]
        owner = service.sign_in()
        ledger = Executing("execute, 16 accounts", service, makers)
        single = Executing("execute, 1 account", service, [execute(owner) for _ in range(CALLERS)])
        without = Executing(
            "the same route without a ledger", service, [dry_run(owner) for _ in range(CALLERS)]
        )
        at_venue = venue.traders(16)
        paper = Executing(
            "execute on the paper venue, 16 accounts",
            venue,
            [buy_a_little(at_venue[number % 16]) for number in range(CALLERS)],
        )
        ways = (ledger, single, without, paper)
        for way in ways:
            way.spell(min(1.0, seconds), count=False)
        for _ in range(rounds):
            for peer in (limit, threaded, orm):
                peer.spell(seconds)
            for way in ways:
                way.spell(seconds)
    finally:
        for one in services:
            one.process.stop()
    row(say, "limit", limit.name, limit.rate, limit.cpu)
    row(say, "limit", without.name, without.rate, without.cpu, without.p99)
    for peer in (threaded, orm):
        row(say, "peer", peer.name, peer.rate, peer.cpu)
    for way in (ledger, single, paper):
        row(say, "ours", way.name, way.rate, way.cpu, way.p99)
    kept = ratio("execute / the route without a ledger", ledger.rate.values, without.rate.values)
    for figure in (
        kept,
        ratio("execute, 1 account / without a ledger", single.rate.values, without.rate.values),
        ratio("execute / group commit alone", ledger.rate.values, limit.rate.values),
        ratio("execute / sqlite3 in a thread", ledger.rate.values, threaded.rate.values),
        ratio("execute / ORM", ledger.rate.values, orm.rate.values),
    ):
        ratio_row(say, figure)
    return goal(say, f"{CALLERS} callers against the route without a ledger", kept, 0.75)
