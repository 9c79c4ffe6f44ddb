"""`python -m cluster [up|roll]`: several replicas over one PostgreSQL and one Valkey, behind one address, until SIGTERM or Ctrl-C.

  up     start it (what `make cluster` does) and stay in the foreground
  roll   restart the replicas of a running cluster one after the other, without a failed request; also SIGHUP or SIGUSR1 to it

HOST and PORT say where it listens (127.0.0.1, 8000); the replicas take the ports behind it. Everything it keeps is in DATA_DIR/cluster.
All other settings are the service's own (docs/settings.md) and reach every replica.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from cluster.fleet import Cluster, Plan
from cluster.home import ClusterError, Home, is_running

MOST_REPLICAS = 9
ROLL_S = 300.0


def say(line: str) -> None:
    """To the terminal, at once."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def main(arguments: list[str]) -> int:
    """The exit code: 1 where it could not run, 2 where it was called wrongly."""
    parser = argparse.ArgumentParser(
        prog="python -m cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=("up", "roll"), default="up", help="default: up")
    parser.add_argument("--replicas", type=int, default=3, help=f"how many, 1 to {MOST_REPLICAS} (default 3)")
    asked = parser.parse_args(arguments)
    if not 1 <= asked.replicas <= MOST_REPLICAS:
        parser.error(f"replicas are 1 to {MOST_REPLICAS}")
    os.umask(0o077)
    home = Path(os.environ.get("DATA_DIR") or "./data") / "cluster"
    try:
        if asked.command == "roll":
            return _roll(Home(home))
        return asyncio.run(_up(_plan(home, asked.replicas)))
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 1


def _plan(home: Path, replicas: int) -> Plan:
    """Raises ClusterError for a PORT that cannot be."""
    text = os.environ.get("PORT") or "8000"
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535 - replicas:
        raise ClusterError(f"PORT: {text!r} is no port with {replicas} more behind it; use one such as 8000")
    for name in ("DATABASE_URL", "REDIS_URL"):
        if os.environ.get(name):
            say(f"{name} is set, and not used here: the cluster has a server of its own")
    host = os.environ.get("HOST") or "127.0.0.1"
    return Plan(home, dict(os.environ), host, int(text), replicas, say=say)


async def _up(plan: Plan) -> int:
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    rolls: set[asyncio.Task[None]] = set()
    cluster = Cluster(plan)

    async def roll() -> None:
        try:
            await cluster.roll()
        except ClusterError as error:
            say(f"the roll has stopped: {error}")

    def begin_roll() -> None:
        task = asyncio.create_task(roll())
        rolls.add(task)
        task.add_done_callback(rolls.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    starting = asyncio.create_task(_start(cluster))
    over = asyncio.create_task(ending.wait())
    try:
        await asyncio.wait({starting, over}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            loop.add_signal_handler(signal.SIGUSR1, begin_roll)
            # A terminal that is closed sends the same signal.
            hangs_up = sys.stdin is not None and sys.stdin.isatty()
            loop.add_signal_handler(signal.SIGHUP, ending.set if hangs_up else begin_roll)
            await over
        say("ending")
        return 0
    finally:
        for task in (starting, over, *rolls):
            task.cancel()
        await asyncio.gather(starting, over, *rolls, return_exceptions=True)
        await cluster.stop()
        say("ended")


async def _start(cluster: Cluster) -> None:
    say(f"starting PostgreSQL, Valkey and {cluster.plan.replicas} replicas; data in {cluster.home.path}")
    await cluster.start()
    owner = cluster.plan.environ.get("OWNER_EMAIL") or "owner@localhost"
    password = f"the password in {cluster.home.path / 'owner-password'}"
    if cluster.plan.environ.get("OWNER_PASSWORD"):
        password = "the password that OWNER_PASSWORD gave at the first start"
    for one in cluster.replicas:
        say(f"{one.name}: http://127.0.0.1:{one.target.port}, process {one.child.pid if one.child else '?'}")
    for name, server in (("PostgreSQL", cluster.postgres), ("Valkey", cluster.valkey)):
        if server is not None:
            say(f"{name}: 127.0.0.1:{server.port}, process {server.pid}")
    say(f"for `paiid` on this cluster: set -a; . {cluster.home.path / 'env'}; set +a")
    say(f"PaiiD serves on {cluster.url}; sign in as {owner} with {password}")


def _roll(home: Home) -> int:
    """Ask a running cluster to roll, and wait until it has. Raises ClusterError."""
    before = home.state()
    if not is_running(before):
        raise ClusterError(f"no cluster is running in {home.path}; start it with `make cluster`")
    with contextlib.suppress(ProcessLookupError):
        os.kill(before["pid"], signal.SIGUSR1)
    end_s = time.monotonic() + ROLL_S
    while time.monotonic() < end_s:
        state = home.state()
        if not is_running(state):
            raise ClusterError("the cluster has ended")
        if state["rolls"] > before["rolls"] and "roll_failed" in state:
            raise ClusterError(state["roll_failed"])
        if state["rolled"] > before["rolled"]:
            print("rolled: every replica has been restarted and is ready")
            return 0
        time.sleep(0.1)
    raise ClusterError(f"the roll is not over after {ROLL_S:g} s; look at the cluster's own words")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
