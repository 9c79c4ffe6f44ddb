"""The processes of a run: started on loopback, pinned, asked for their CPU time, and ended by their id."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
START_S = 30.0
STOP_S = 8.0
_PASSED_ON = ("PATH", "HOME", "LANG", "PYTHONPATH", "TMPDIR")


def cores() -> tuple[set[int], set[int]]:
    """One core for the server and one for the load; both the same set where there is only one."""
    found = sorted(os.sched_getaffinity(0))
    return ({found[0]}, {found[1]}) if len(found) > 1 else (set(found), set(found))


@contextmanager
def pinned(to: set[int]) -> Iterator[None]:
    """This process on these cores, and back afterwards."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, to)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


_living: dict[int, "Process"] = {}
_starting = False
_interrupted = False


def interrupt(*_: object) -> None:
    """The handler of SIGINT and SIGTERM. A process that is just being started is first taken down in the list of
    those to be ended. Raises KeyboardInterrupt."""
    global _interrupted
    if _starting:
        _interrupted = True
        return
    raise KeyboardInterrupt


def end_all() -> None:
    """End whatever still lives, in the reverse order."""
    for process in reversed(list(_living.values())):
        process.stop()


class Process:
    """One child of this run. Its output goes to a file in the run's directory."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        directory: Path,
        environ: Mapping[str, str] | None = None,
        on: set[int] | None = None,
        program: str = sys.executable,
        talks: bool = False,
    ) -> None:
        """`talks`: it is asked by lines on its stdin, and answers by lines on its stdout."""
        self.name = name
        self.log = directory / f"{name}.log"
        passed = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
        global _starting
        _starting = True
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C reaches only this process, which ends its children in order.
            self._popen = subprocess.Popen(
                [program, *arguments],
                env={**passed, **(environ or {})},
                cwd=ROOT,
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else log,
                stderr=log,
                start_new_session=True,
            )
        _living[self._popen.pid] = self
        _starting = False
        if _interrupted:
            raise KeyboardInterrupt
        os.sched_setaffinity(self._popen.pid, on or os.sched_getaffinity(0))
        self._statistics = psutil.Process(self._popen.pid)

    @property
    def pid(self) -> int:
        """Its id."""
        return self._popen.pid

    def cpu_s(self) -> float:
        """CPU seconds of all its threads so far, user and system."""
        times = self._statistics.cpu_times()
        return times.user + times.system

    def memory(self) -> int:
        """Bytes of memory that it holds (RSS)."""
        return int(self._statistics.memory_info().rss)

    def ask(self, word: str) -> str:
        """Its answer. Raises RuntimeError when it has ended."""
        asked, told = self._popen.stdin, self._popen.stdout
        assert asked is not None
        assert told is not None
        asked.write(word.encode() + b"\n")
        asked.flush()
        line: bytes = told.readline()
        if not line:
            raise RuntimeError(f"{self.name} says nothing: {self.output()}")
        return line.decode()

    def wait_listening(self, port: int) -> None:
        """Raises RuntimeError when it ends or does not listen in time."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self._popen.poll() is not None:
                break
            with socket.socket() as probe:
                probe.settimeout(1.0)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"{self.name} does not listen: {self.output()}")

    def wait_end(self, timeout_s: float) -> str:
        """Its output after a clean end. Raises RuntimeError."""
        try:
            code = self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = None
        if code != 0:
            raise RuntimeError(f"{self.name} failed ({code}): {self.output()}")
        return self.log.read_text()

    def output(self) -> str:
        """The last of what it wrote."""
        return self.log.read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if it lingers."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
            try:
                self._popen.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()
        _living.pop(self._popen.pid, None)


def tree_cpu_s(pid: int) -> float:
    """CPU seconds so far of a process and of its children that still live."""
    total = 0.0
    top = psutil.Process(pid)
    for one in (top, *top.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
