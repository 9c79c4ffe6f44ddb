"""One replica over its lives: started, asked whether it is ready, ended in good order, started again when it dies."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cluster.balancer import Balancer, Target
from cluster.home import ClusterError

READY_S = 30.0
TERM_S = 5.0
"""From SIGTERM until SIGKILL; `paiid serve` ends within five seconds."""
_FINISH_S = 0.5
"""For requests under way before a restart; those that take longer, and streams, end as with any SIGTERM."""
_POLL_S = 0.05
_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0)
_WELL_S = 30.0
"""Who has lived so long is started again after the shortest pause."""


class Child(Protocol):
    """A process of ours."""

    @property
    def pid(self) -> int:
        """Its id."""
        ...

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives."""
        ...

    def send_signal(self, number: int, /) -> None:
        """Nothing where it has ended."""
        ...


Spawn = Callable[[Sequence[str], Mapping[str, str], Path], Child]
"""The command `paiid` with these arguments and exactly this environment; what it writes goes behind the end of the file."""


def spawn(arguments: Sequence[str], environ: Mapping[str, str], log: Path) -> Child:
    """A process with a session of its own: Ctrl-C reaches the cluster alone, which ends the others in order."""
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "paiid", *arguments],
            env=dict(environ), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip


async def ended(child: Child, within_s: float) -> bool:
    """Wait for its end; whether it came."""
    end_s = time.monotonic() + within_s
    while child.poll() is None:
        if time.monotonic() > end_s:
            return False
        await asyncio.sleep(_POLL_S)
    return True


@dataclass
class Replica:
    """One of them. `changed` is called whenever its process is another one."""

    target: Target
    environ: Mapping[str, str]
    log: Path
    balancer: Balancer
    spawn: Spawn
    say: Callable[[str], None]
    changed: Callable[[], None]
    child: Child | None = None
    _keeping: asyncio.Task[None] | None = None
    _ending: bool = False

    @property
    def name(self) -> str:
        """As the log and the balancer call it."""
        return self.target.name

    def launch(self, **changes: str) -> None:
        """Start it, and from then on start it again whenever it dies. `changes` are for this life and later ones."""
        self.environ = {**self.environ, **changes}
        self._ending = False
        self._begin()
        self._keeping = asyncio.create_task(self._keep())

    def _begin(self) -> None:
        self.child = self.spawn(["serve"], self.environ, self.log)
        self.changed()

    async def ready(self, within_s: float = READY_S) -> None:
        """Until it says so. Raises ClusterError with the end of its log where it does not."""
        end_s = time.monotonic() + within_s
        while not await self.balancer.check(self.target):
            if self.child is not None and self.child.poll() is not None:
                raise ClusterError(f"{self.name} has ended at its start:\n{self.output()}")
            if time.monotonic() > end_s:
                raise ClusterError(f"{self.name} does not become ready; its log is {self.log}")
            await asyncio.sleep(_POLL_S)

    def output(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-2000:].strip()

    async def stop(self) -> int | None:
        """End it: SIGTERM, and SIGKILL where that does not end it. Its exit code."""
        self._ending = True
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        child = self.child
        if child is None:
            return None
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            if not await ended(child, TERM_S):
                self.say(f"{self.name} did not end and is killed")
                child.send_signal(signal.SIGKILL)
                await ended(child, 2.0)
        return child.poll()

    async def restart(self, **changes: str) -> None:
        """End it without a new request on its way there, and start it again; ready afterwards. Raises ClusterError."""
        self.target.out = True
        end_s = time.monotonic() + _FINISH_S
        while self.target.serving and time.monotonic() < end_s:
            await asyncio.sleep(_POLL_S)
        await self.stop()
        try:
            self.launch(**changes)
            await self.ready()
        finally:
            self.target.out = False

    async def _keep(self) -> None:
        failures = 0
        while True:
            began_s = time.monotonic()
            child = self.child
            assert child is not None
            while (code := child.poll()) is None:
                await asyncio.sleep(_POLL_S)
            failures = 0 if time.monotonic() - began_s > _WELL_S else failures
            pause_s = _PAUSES_S[min(failures, len(_PAUSES_S) - 1)]
            failures += 1
            how = f"killed by signal {-code}" if code < 0 else f"ended with code {code}"
            self.say(
                f"{self.name} (process {child.pid}) was {how}; it starts again in {pause_s:g} s; log: {self.log}"
            )
            await asyncio.sleep(pause_s)
            self._begin()
