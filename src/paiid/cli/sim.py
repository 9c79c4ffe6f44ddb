"""What every `paiid sim` does: it takes a port and a directory, serves a simulator on them, and ends with a signal."""

import asyncio
import errno
import fcntl
import ipaddress
import os
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import typer
import uvloop
from sqlalchemy.exc import SQLAlchemyError

from paiid.cli.session import fail
from paiid.core.clock import Clock, SystemClock
from paiid.core.db import DatabaseUnavailable
from paiid.core.log import configure as configure_log
from paiid.core.migrate import SchemaError, migrate
from paiid.sim.engine.books import database_url
from paiid.sim.engine.serve import BACKLOG, SimApp, SimServer, ignore_signals, server_config

__all__ = ["Plan", "check_host", "data_dir_of", "hours_named", "run"]

MARKER = "paiid-sim"
"""A file that says that a directory is a simulator's: only such a one is emptied by --fresh."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One simulator to run. `opened` raises `bad_file` for accounts that cannot be read or added; `first_line` is what is
    printed once it serves, given its URL; `secrets` are never logged."""

    data_dir: Path
    opened: Callable[[Clock], AbstractAsyncContextManager[SimApp]]
    bad_file: type[ValueError]
    first_line: Callable[[str], str]
    secrets: Sequence[str]


def hours_named(hours: str) -> Literal["always", "exchange"]:
    """Ends with code 2 for other hours."""
    if hours not in ("always", "exchange"):
        fail("--hours must be always or exchange", 2)
    return "exchange" if hours == "exchange" else "always"


def data_dir_of(data: Path | None, name: str) -> Path:
    """Where the books are, if nothing is said: below the directory of our own data."""
    return Path(os.environ.get("DATA_DIR") or "data") / name if data is None else data


def run(plan: Plan, host: str, port: int, *, fresh: bool) -> None:
    """Serve to the end; ends with code 1 and one line where that cannot be."""
    with _bind(host, port) as listener:
        lock = _prepare(plan.data_dir, fresh)
        try:
            _run(plan, listener, host)
        finally:
            os.close(lock)


def _run(plan: Plan, listener: socket.socket, host: str) -> None:
    configure_log("WARNING", list(plan.secrets))
    try:
        migrate(database_url(plan.data_dir))
    except SchemaError as error:
        fail(f"{error}; or start with --fresh")
    except (SQLAlchemyError, OSError) as error:
        fail(f"the books in {plan.data_dir} cannot be opened ({type(error).__name__})")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            started = runner.run(_serve(plan, listener, host))
    except plan.bad_file as error:
        fail(str(error), 2)
    except (DatabaseUnavailable, OSError) as error:
        fail(f"the simulator cannot run on {plan.data_dir}: {error}")
    if not started:
        fail("the simulator could not start; the log above says why")


async def _serve(plan: Plan, listener: socket.socket, host: str) -> bool:
    async with plan.opened(SystemClock()) as sim:
        server = SimServer(sim, server_config(sim))
        ignore_signals()
        port = listener.getsockname()[1]
        typer.echo(plan.first_line(f"http://{f'[{host}]' if ':' in host else host}:{port}"))
        sys.stdout.flush()
        await server.serve(sockets=[listener])
        return server.started


def check_host(host: str, public: bool, secret: str) -> None:
    """Ends with code 2 for an address that others can reach, unless that is wanted. `secret` is what everybody knows, with its verb."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        fail(f"--host must be an IP address, not {host}", 2)
    if not address.is_loopback and not public:
        fail(
            f"--host {host} can be reached from other machines, and the default {secret} known to everybody; "
            "add --public if that is meant",
            2,
        )


def _bind(host: str, port: int) -> socket.socket:
    """The address is ours before anything is written; ends with code 1 where it is not."""
    host = "127.0.0.1" if host == "localhost" else host
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        why = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
        fail(f"cannot listen on {host} port {port}: {why}; choose another --port")
    return listener


def _prepare(data: Path, fresh: bool) -> int:
    """The directory, made for our user alone, emptied if that is wanted, and locked until the process ends."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        marker = data / MARKER
        if not marker.exists() and any(data.iterdir()):
            fail(f"{data} holds other things than a simulator's; choose another --data", 2)
        descriptor = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fail(f"another simulator is running on {data}; choose another --data")
        if fresh:
            for one in data.iterdir():
                if one.is_dir():
                    shutil.rmtree(one)
                elif one != marker:
                    one.unlink()
    except OSError as error:
        fail(f"{data} cannot be used: {error.strerror}")
    return descriptor
