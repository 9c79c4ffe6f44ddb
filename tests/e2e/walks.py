"""What walks through the README's sections share: their blocks, the simulator that they start, and waiting for what a stream tells."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from cluster.ports import free_port
from tests.e2e.curl import Shell
from tests.e2e.processes import START_S, Server, environment

README = Path(__file__).parents[2] / "README.md"


def blocks_of(title: str) -> list[list[str]]:
    """The code blocks of a section, line by line."""
    section = README.read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    return [block.strip().splitlines() for block in section.split("```")[1::2]]


def variables_of(line: str) -> dict[str, Any]:
    """What a line that ends in `make run` sets for it."""
    *pairs, make, run = shlex.split(line)
    assert (make, run) == ("make", "run")
    return dict(pair.split("=", 1) for pair in pairs)


class Simulator:
    """The README's simulator on a port of its own, which takes the place of the printed one in every line."""

    def __init__(self, line: str, data: Path) -> None:
        program, *arguments = shlex.split(line)
        assert program == ".venv/bin/paiid"
        self._printed = arguments[arguments.index("--port") + 1]
        self.port = free_port()
        self.log = data.parent / f"{'-'.join(arguments[:2])}.log"
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "paiid", *shlex.split(self.moved(shlex.join(arguments)))],
                env=environment(data), stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def moved(self, line: str) -> str:
        """The line, about our port."""
        return line.replace(f"127.0.0.1:{self._printed}", f"127.0.0.1:{self.port}").replace(
            f"--port {self._printed}", f"--port {self.port}"
        )

    def wait_until_it_serves(self) -> None:
        """Raises AssertionError with what it said where it ended or never answers."""
        give_up_at = time.monotonic() + START_S
        while time.monotonic() < give_up_at:
            assert self.process.poll() is None, self.log.read_text()
            try:
                httpx2.get(
                    f"http://127.0.0.1:{self.port}/sim", trust_env=False, timeout=30
                ).raise_for_status()
            except httpx2.TransportError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError(self.log.read_text())

    def kill(self) -> None:
        """Like a power cut."""
        self.process.kill()
        self.process.wait()


@contextmanager
def running(line: str, data: Path) -> Iterator[Simulator]:
    """Started by the README's line."""
    made = Simulator(line, data)
    try:
        made.wait_until_it_serves()
        yield made
    finally:
        made.kill()


@contextmanager
def serving(line: str, simulator: Simulator, data: Path) -> Iterator[Shell]:
    """A shell, with the service running that the README's line starts; it has to end cleanly."""
    server = Server(data, "--migrate", **variables_of(simulator.moved(line)))
    try:
        server.wait_until_ready()
        yield Shell(server.port, data)
        assert server.end() == 0
    finally:
        server.kill()


def wait_for(shell: Shell, line: str, is_there: Callable[[Any], Any]) -> Any:
    """The answer of a line once it is as it must become; a stream tells it, a moment after it happened."""
    give_up_at = time.monotonic() + START_S
    while True:
        told = json.loads(shell.run(line)[2])
        if is_there(told):
            return told
        assert time.monotonic() < give_up_at, told
        time.sleep(0.05)
