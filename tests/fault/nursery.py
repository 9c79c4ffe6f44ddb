"""Starts many servers cheaply: one process has imported the product once, and forks a server whenever it is asked.

Each server is a process of its own, as real as any and killed like any; only the second of imports is shared.
It is asked by a line of JSON: {"environ": {...}, "log": path, "exit": path}; it answers with the pid, and writes
the exit code (negative: the signal) to `exit` when that process has ended. It ends with its standard input.
"""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

_LOOK_S = 0.02


class Nursery:
    """The asking side. `launch` returns at once; nothing here knows of asyncio."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fault.nursery"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def launch(self, environ: dict[str, str], log: Path, exit_file: Path) -> int:
        """The pid of a new server process with exactly this environment."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        wish = {"environ": environ, "log": str(log), "exit": str(exit_file)}
        self._process.stdin.write(json.dumps(wish).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process that forks servers has ended"
        return int(line)

    def close(self) -> None:
        """End it, and every server with it."""
        self._process.communicate(timeout=30)


def main() -> None:
    """Fork when asked, reap what has ended."""
    # Imported here: the asking side needs only the class above.
    from tests.fault import server

    exits: dict[int, str] = {}
    asked = b""
    while True:
        if select.select([0], [], [], _LOOK_S)[0]:
            more = os.read(0, 65536)
            if not more:
                break
            *lines, asked = (asked + more).split(b"\n")
            for line in lines:
                wish = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    _be_the_server(wish, server.main)
                exits[pid] = wish["exit"]
                os.write(1, f"{pid}\n".encode())
        _reap(exits)
    for pid in exits:
        os.kill(pid, signal.SIGKILL)


def _be_the_server(wish: dict[str, str | dict[str, str]], run: object) -> None:
    code = 1
    try:
        log = os.open(str(wish["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, nothing), (1, log), (2, log)):
            os.dup2(source, target)
        os.environ.clear()
        os.environ.update(wish["environ"])  # type: ignore[arg-type]
        assert callable(run)
        run()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _reap(exits: dict[int, str]) -> None:
    for pid in list(exits):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found == pid:
            path = Path(exits.pop(pid))
            fresh = path.with_suffix(".new")
            fresh.write_text(str(os.waitstatus_to_exitcode(status)))
            fresh.replace(path)


if __name__ == "__main__":
    main()
