"""`paiid serve`: one process that listens, and that is gone within five seconds of SIGTERM."""

import errno
import os
import signal
import socket
import sys
import threading
from types import FrameType

import typer
import uvicorn
from fastapi import FastAPI

from paiid.cli.httpserver import GuardedProtocol, fitted, raise_file_limit
from paiid.cli.migrate import bring_up_or_exit
from paiid.cli.servelock import prepare_data_dir, take_serve_lock
from paiid.cli.session import fail, schema_or_exit, settings_or_exit
from paiid.core.log import configure as configure_log
from paiid.core.settings import Settings, known_secrets

BACKLOG = 2048
KEEP_ALIVE_S = 30
GRACE_S = 3
"""For requests under way; what is left of the five seconds is for the shutdown of the services."""
LAST_RESORT_S = 4.8
"""After this the process ends whatever still runs. Every promise holds across a kill, so this one is safe."""


class _Server(uvicorn.Server):
    """uvicorn's server that stops taking orders with the signal itself, and that cannot linger."""

    def __init__(self, app: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._state = app.state

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            # There is no order service before the start has come that far.
            trading = getattr(self._state, "trading", None)
            if trading is not None:
                trading.begin_draining()
            last = threading.Timer(LAST_RESORT_S, os._exit, args=(1,))
            last.daemon = True
            last.start()
        super().handle_exit(sig, frame)


def run(*, migrate_first: bool) -> None:
    """The command."""
    settings = settings_or_exit()
    configure_log(settings.log_level, known_secrets(settings))
    prepare_data_dir(settings)
    locks = take_serve_lock(settings)
    if migrate_first:
        bring_up_or_exit(settings)
    else:
        schema_or_exit(settings)
    listener = _bind(settings)
    typer.echo(_first_line(settings))
    sys.stdout.flush()
    # The whole service is imported only once nothing stands in its way: a refusal is quick.
    from paiid.app import create_app

    app = create_app(settings)
    server = _Server(app, server_config(app, fitted(raise_file_limit())))
    # uvicorn raises the signal again after a clean end; that end is exit code 0, not a death by signal.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listener])
    for descriptor in locks:
        os.close(descriptor)
    if not server.started:
        fail("the service could not start; the log above says why")


def server_config(app: FastAPI, protocol: type[GuardedProtocol] = GuardedProtocol) -> uvicorn.Config:
    """How uvicorn is set: our own access log and proxy rules, no server header, every wait bounded."""
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=protocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )


def _bind(settings: Settings) -> socket.socket:
    """The address is ours before anything is written; ends with code 1 where it is not."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        # Two listeners may both bind with SO_REUSEADDR; only one may listen.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        why = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
        fail(f"cannot listen on {settings.host} port {settings.port}: {why}; set HOST or PORT")
    return listener


def _first_line(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    line = f"PaiiD serves on http://{host}:{settings.port}; sign in as {settings.owner_email}"
    if settings.owner_password is not None:
        return line + " with the password that OWNER_PASSWORD gave at the first start"
    return line + f" with the password in {(settings.data_dir / 'owner-password').absolute()}"
