"""`paiid sim alpaca`: a simulated Alpaca on this machine, for bots and tests that speak to the real one."""

import asyncio
import errno
import fcntl
import ipaddress
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Literal

import typer
import uvloop
from sqlalchemy.exc import SQLAlchemyError

from paiid.cli.session import fail
from paiid.core.clock import SystemClock
from paiid.core.db import DatabaseUnavailable
from paiid.core.log import configure as configure_log
from paiid.core.migrate import SchemaError, migrate
from paiid.sim.alpaca.accounts import DEFAULT_KEY_ID, DEFAULT_SECRET, BadKeys
from paiid.sim.alpaca.serve import BACKLOG, SimServer, ignore_signals, server_config
from paiid.sim.alpaca.world import SimWish, database_url, opened

MARKER = "paiid-sim"
"""A file that says that a directory is a simulator's: only such a one is emptied by --fresh."""


def run_alpaca(
    host: str,
    port: int,
    data: Path | None,
    *,
    fresh: bool,
    public: bool,
    seed: int,
    hours: str,
    rate_limit: int,
    partial_fills: float,
    key: str | None,
    connections: int,
    text_frames: bool,
    sync: bool,
) -> None:
    """The command; returns once it has ended cleanly."""
    _check_host(host, public)
    if hours not in ("always", "exchange"):
        fail("--hours must be always or exchange", 2)
    market_hours: Literal["always", "exchange"] = "exchange" if hours == "exchange" else "always"
    pair = _pair(key)
    if data is None:
        data = Path(os.environ.get("DATA_DIR") or "data") / "sim-alpaca"
    wish = SimWish(
        data,
        seed=seed,
        hours=market_hours,
        rate_limit=rate_limit,
        partial_fills=partial_fills,
        key=pair,
        max_connections=connections,
        text_frames=text_frames,
        sync_ledger=sync,
    )
    with _bind(host, port) as listener:
        lock = _prepare(data, fresh)
        try:
            _run(wish, listener, host)
        finally:
            os.close(lock)


def _run(wish: SimWish, listener: socket.socket, host: str) -> None:
    """Serve to the end; ends with code 1 and one line where that cannot be."""
    configure_log("WARNING", [DEFAULT_SECRET, *([] if wish.key is None else [wish.key[1]])])
    try:
        migrate(database_url(wish.data_dir))
    except SchemaError as error:
        fail(f"{error}; or start with --fresh")
    except (SQLAlchemyError, OSError) as error:
        fail(f"the books in {wish.data_dir} cannot be opened ({type(error).__name__})")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            started = runner.run(_serve(wish, listener, host))
    except BadKeys as error:
        fail(str(error), 2)
    except (DatabaseUnavailable, OSError) as error:
        fail(f"the simulator cannot run on {wish.data_dir}: {error}")
    if not started:
        fail("the simulator could not start; the log above says why")


async def _serve(wish: SimWish, listener: socket.socket, host: str) -> bool:
    async with opened(wish, SystemClock()) as sim:
        server = SimServer(sim, server_config(sim))
        ignore_signals()
        typer.echo(_first_line(host, listener.getsockname()[1], wish))
        sys.stdout.flush()
        await server.serve(sockets=[listener])
        return server.started


def _first_line(host: str, port: int, wish: SimWish) -> str:
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    key_id, secret = wish.key or (DEFAULT_KEY_ID, DEFAULT_SECRET)
    keys = f"key {key_id}" + (f" with secret {secret}" if wish.key is None else "")
    stream = url.replace("http", "ws", 1) + "/stream"
    return f"Simulated Alpaca on {url}, stream on {stream}; {keys}; control it at {url}/sim"


def _check_host(host: str, public: bool) -> None:
    """Ends with code 2 for an address that others can reach, unless that is wanted."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        fail(f"--host must be an IP address, not {host}", 2)
    if not address.is_loopback and not public:
        fail(
            f"--host {host} can be reached from other machines, and the default keys are known to everybody; "
            "add --public if that is meant",
            2,
        )


def _pair(key: str | None) -> tuple[str, str] | None:
    if key is None:
        return None
    key_id, colon, secret = key.partition(":")
    if not (key_id and colon and secret):
        fail("--key must be ID:SECRET", 2)
    return key_id, secret


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
