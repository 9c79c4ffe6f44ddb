"""A `paiid` of our own as a user meets it: real processes, a clean environment, output in files."""

import atexit
import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from cluster.ports import free_port
from tests.fault.nursery import Nursery

START_S = 60.0
"""Only guards against hanging: a start takes seconds, on a busy machine many."""
_COMMAND_S = 60.0


def environment(data: Path, **more: str) -> dict[str, str]:
    """A clean one: nothing of the shell's own configuration leaks into the process."""
    return {"PATH": os.environ["PATH"], "DATA_DIR": str(data), "COLUMNS": "200", "NO_COLOR": "1", **more}


def paiid(data: Path, *arguments: str, stdin: str = "", **more: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, in a process of its own that has the imports behind it: they take most of its time."""
    with tempfile.TemporaryDirectory() as here:
        paths = [Path(here) / name for name in ("stdin", "stdout", "stderr")]
        paths[0].write_text(stdin)
        ended = Path(here) / "exit"
        pid = _nursery().launch_command(arguments, environment(data, **more), paths, ended)
        give_up_at = time.monotonic() + _COMMAND_S
        while not ended.exists():
            if time.monotonic() > give_up_at:
                os.kill(pid, signal.SIGKILL)
                raise AssertionError(
                    f"{arguments} did not end: {paths[1].read_text()} {paths[2].read_text()}"
                )
            time.sleep(0.01)
        told, complained = (path.read_text() for path in paths[1:])
        return subprocess.CompletedProcess(["paiid", *arguments], int(ended.read_text()), told, complained)


def paiid_from_scratch(data: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The same as a shell would start it."""
    return subprocess.run(
        [sys.executable, "-m", "paiid", *arguments],
        env=environment(data),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_COMMAND_S,
        check=False,
    )


@functools.cache
def _nursery() -> Nursery:
    """One for the whole run of a test process."""
    made = Nursery(environment(Path()))
    atexit.register(made.close)
    return made


class Server:
    """A `paiid serve` of our own with its output in a file."""

    def __init__(self, data: Path, *arguments: str, port: int | None = None, **more: str) -> None:
        self.port = port or free_port()
        self.log = data.parent / f"serve-{self.port}.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "paiid", "serve", *arguments],
                env=environment(data, PORT=str(self.port), **more),
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def wait_until_ready(self) -> None:
        """Until it answers, and takes orders."""
        give_up_at = time.monotonic() + START_S
        while time.monotonic() < give_up_at:
            assert self.process.poll() is None, self.log.read_text()
            try:
                url = f"http://127.0.0.1:{self.port}/api/health/ready"
                with urllib.request.urlopen(url, timeout=10) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def end(self) -> int:
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)

    def kill(self) -> None:
        """Like a power cut."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
