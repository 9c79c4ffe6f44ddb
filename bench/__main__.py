"""`python -m bench [P1 P2 P3 P4 P4A P5 P6 P7 P8 P9 P10 P11 ACCURACY] [--seconds N] [--rounds N] [--peers]`: measure, and say which goals are
reached.

Exit code 0 whenever all was measured: a goal missed is a figure, not an error. Ctrl-C ends every process the run
has started and removes what it has written.
"""

import argparse
import importlib
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import fanout, p1_http, p2_postgres, p3_sqlite, p4_alpaca, p4_latency, peer_environments
from bench.figures import Say
from bench.processes import end_all, interrupt


def late(module: str) -> Callable[[Say, Path, float, int], bool]:
    """An area whose module is imported when it runs: those of pricing load what the others have no use for."""

    def run(say: Say, directory: Path, seconds: float, rounds: int) -> bool:
        reached: bool = importlib.import_module(module).run(say, directory, seconds, rounds)
        return reached

    return run


AREAS: dict[str, Callable[[Say, Path, float, int], bool]] = {
    "P1": p1_http.run,
    "P2": p2_postgres.run,
    "P3": p3_sqlite.run,
    "P4": p4_latency.run,
    "P4A": p4_alpaca.run,
    "P5": fanout.p5,
    "P6": fanout.p6,
    "P7": late("bench.p7_peers"),
    "P8": late("bench.p8_american"),
    "P9": late("bench.p9_json"),
    "P10": late("bench.p10_start"),
    "P11": late("bench.p11_halt"),
}
ON_REQUEST = {
    "ACCURACY": late("bench.accuracy"),
    "PICTURE": late("bench.chain_picture"),
    "GOVERNOR": late("bench.governor"),
}
"""Not among those of a plain run: they write documents, or have no goal."""
MOST_SECONDS = 60.0
MOST_ROUNDS = 50


def say(line: str) -> None:
    """Print at once: a run takes minutes."""
    print(line, flush=True)


def main(arguments: list[str]) -> int:
    """Run the areas asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "areas", nargs="*", metavar="AREA", help=f"{', '.join(AREAS)} (default: all), {', '.join(ON_REQUEST)}"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="of each spell of load (default 3)")
    parser.add_argument("--rounds", type=int, default=5, help="of all contenders in turn (default 5)")
    parser.add_argument(
        "--peers", action="store_true", help="install the pricing peers into .venv-bench first"
    )
    asked = parser.parse_args(arguments)
    areas = [one.upper() for one in asked.areas] or list(AREAS)
    unknown = [one for one in areas if one not in AREAS | ON_REQUEST]
    if unknown:
        parser.error(f"there is no area {', '.join(unknown)}")
    if not 0.1 <= asked.seconds <= MOST_SECONDS or not 1 <= asked.rounds <= MOST_ROUNDS:
        parser.error(f"seconds are 0.1 to {MOST_SECONDS:g}, rounds 1 to {MOST_ROUNDS}")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    say(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {asked.rounds} rounds of {asked.seconds:g} s"
    )
    say("median of rounds (smallest..largest); ratios are taken within each round")
    if asked.peers:
        peer_environments.install(say)
    missed = []
    directory = Path(tempfile.mkdtemp(prefix="paiid-bench-"))
    try:
        for area in areas:
            say("")
            own = directory / area
            own.mkdir()
            if not (AREAS | ON_REQUEST)[area](say, own, asked.seconds, asked.rounds):
                missed.append(area)
    except KeyboardInterrupt:
        say("stopped")
        return 130
    finally:
        # A second Ctrl-C must not stop the tidying up.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        end_all()
        shutil.rmtree(directory, ignore_errors=True)
    say("")
    say(f"goals missed in: {', '.join(missed)}" if missed else "every goal is reached")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
