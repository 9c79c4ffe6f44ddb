"""Starts many servers cheaply: one process has imported the product once, and forks a server whenever it is asked.

Each server is a process of its own, as real as any and killed like any; only the second of imports is shared.
It is asked by a line of JSON: {"environ": {...}, "streams": [path, path, path], "exit": path, "arguments": [...]}; it
answers with the pid, and writes the exit code (negative: the signal) to `exit` when that process has ended. With
arguments the process is the command `paiid` with these. It ends with its standard input.
"""

import gc
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_LOOK_S = 0.02


class Nursery:
    """The asking side. `launch` returns at once; nothing here knows of asyncio."""

    def __init__(self, environ: dict[str, str] | None = None) -> None:
        # Some of what is imported looks at the environment; None is our own.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fault.nursery"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, cwd=Path(__file__).parents[2],
        )  # fmt: skip

    def launch(self, environ: dict[str, str], log: Path, exit_file: Path) -> int:
        """The pid of a new server process with exactly this environment."""
        return self._ask(environ, (os.devnull, log, log), exit_file)

    def launch_command(
        self, arguments: Sequence[str], environ: dict[str, str], streams: Sequence[Path], exit_file: Path
    ) -> int:
        """The pid of a new `paiid` with these arguments and standard streams."""
        return self._ask(environ, streams, exit_file, arguments=list(arguments))

    def _ask(
        self, environ: dict[str, str], streams: Sequence[Path | str], exit_file: Path, **more: list[str]
    ) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        wish = {"environ": environ, "streams": [str(one) for one in streams], "exit": str(exit_file), **more}
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
    from paiid import cli
    from paiid.cli import (  # noqa: F401
        backup,
        commands,
        doctor,
        halt,
        migrate,
        orders,
        reconcile,
        restore,
        sim,
        tokens,
        users,
    )
    from tests.fault import server

    server.warm_up()
    # What is there now is there to stay: no fork looks through it for garbage, and so none copies it.
    gc.collect()
    gc.freeze()
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
                    _be(wish, cli.main if "arguments" in wish else server.main)
                exits[pid] = wish["exit"]
                os.write(1, f"{pid}\n".encode())
        _reap(exits)
    for pid in exits:
        os.kill(pid, signal.SIGKILL)


def _be(wish: dict[str, Any], run: Callable[[], None]) -> None:
    code = 1
    try:
        flags = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_APPEND, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for target, (path, flag) in enumerate(zip(wish["streams"], flags, strict=True)):
            os.dup2(os.open(path, flag, 0o600), target)
        os.environ.clear()
        os.environ.update(wish["environ"])
        sys.argv = ["paiid", *wish.get("arguments", ())]
        run()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
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
