"""`paiid serve`: one process that listens, and that is gone within five seconds of SIGTERM."""

import errno
import os
import signal
import socket
import sys
import threading
import time
from types import FrameType

import typer
import uvicorn
from fastapi import FastAPI

from paiid.cli.httpserver import GuardedProtocol, fitted, raise_file_limit
from paiid.cli.lean import keep_what_is_there
from paiid.cli.migrate import bring_up_or_exit
from paiid.cli.servelock import prepare_data_dir, take_serve_lock
from paiid.cli.session import fail, schema_or_exit, settings_or_exit
from paiid.core.clock import SystemClock
from paiid.core.log import configure as configure_log
from paiid.core.settings import Settings, known_secrets
from paiid.feeds import Feed
from paiid.system.otel import TracesUnavailable
from paiid.system.sentry import start_reports

BACKLOG = 2048
KEEP_ALIVE_S = 30
GRACE_S = 3
"""For requests under way; what is left of the five seconds is for the shutdown of the services."""
LEAVE_S = 1
"""Behind a proxy it goes on listening so long after the signal, unready: a balancer that looks every half a second has left by then."""
LAST_RESORT_S = 4.8
"""After this the process ends whatever still runs. Every promise holds across a kill, so this one is safe."""


class _Server(uvicorn.Server):
    """uvicorn's server that stops taking orders with the signal itself, and that cannot linger."""

    def __init__(self, app: FastAPI, config: uvicorn.Config, leave_s: int = 0) -> None:
        # Requests under way have their time from the signal on, however long it still listens.
        config.timeout_graceful_shutdown = GRACE_S - leave_s
        super().__init__(config)
        self._state = app.state
        self._leave_s = leave_s
        self._leaves_at_s: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the app, and listen."""
        await super().startup(sockets)
        keep_what_is_there()

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop listening now: asked ten times a second."""
        ending = await super().on_tick(counter)
        return ending and (self._leaves_at_s is None or time.monotonic() >= self._leaves_at_s)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            self._leaves_at_s = time.monotonic() + self._leave_s
            # There is no order service before the start has come that far.
            trading = getattr(self._state, "trading", None)
            if trading is not None:
                trading.begin_draining()
            ai = getattr(self._state, "ai", None)
            if ai is not None:
                ai.begin_draining()
            # uvicorn waits for open streams, so they are ended first.
            streams = getattr(self._state, "streams", None)
            if streams is not None:
                streams.begin_draining()
            last = threading.Timer(LAST_RESORT_S, os._exit, args=(1,))
            last.daemon = True
            last.start()
        else:
            # Whoever asks twice does not want to wait.
            self._leaves_at_s = None
        super().handle_exit(sig, frame)


def run(*, migrate_first: bool) -> None:
    """The command."""
    # Nothing is begun yet that a kill could harm. Without a handler the first process of a container would not hear it at all.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    settings = settings_or_exit()
    reports = start_reports(settings, SystemClock())
    configure_log(settings.log_level, known_secrets(settings), None if reports is None else reports.report)
    recording = _recording_or_exit(settings)
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

    try:
        app = create_app(settings, feed=recording, reports=reports)
    except TracesUnavailable as problem:
        fail(str(problem), 2)
    leave_s = LEAVE_S if settings.trusted_proxies else 0
    server = _Server(app, server_config(app, fitted(raise_file_limit())), leave_s)
    # uvicorn raises the signal again after a clean end; that end is exit code 0, not a death by signal. One that comes before uvicorn
    # listens for it is not lost either.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    server.run(sockets=[listener])
    if reports is not None:
        reports.close()
    for descriptor in locks:
        os.close(descriptor)
    if not server.started:
        fail("the service could not start; the log above says why")


def _recording_or_exit(settings: Settings) -> Feed | None:
    """The recording that MARKET_DATA=replay plays, None for other sources; ends with code 2 where it cannot be played."""
    if settings.market_data != "replay":
        return None
    from paiid.feeds.configured import configured_feed
    from paiid.feeds.replay.recording import ReplayError
    from paiid.wires.governor import Governors

    try:
        clock = SystemClock()
        return configured_feed(settings, clock, Governors(clock))[0]
    except ReplayError as error:
        fail(f"REPLAY_FILE: {error}; mend the file or name another", 2)


def server_config(app: FastAPI, protocol: type[GuardedProtocol] = GuardedProtocol) -> uvicorn.Config:
    """How uvicorn is set: our own access log and proxy rules, no server header, every wait bounded."""
    from paiid.cli.wsserver import MAX_MESSAGE, PING_S, StreamProtocol

    return uvicorn.Config(
        app,
        loop="uvloop",
        http=protocol,
        ws=StreamProtocol,
        ws_max_size=MAX_MESSAGE,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        ws_per_message_deflate=False,
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
