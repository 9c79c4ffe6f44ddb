"""A real server for the fault tests: the product's app with short deadlines, a fail point and a bad line.

Forked off by tests/fault/nursery.py. The environment is the product's own, and beside it
FAIL_AT (a fail point's value: the process kills itself there, and says so in DATA_DIR/died-at),
FAIL_HIT (at which pass, default 1), BROKER_DEADLINE_S, HORIZON_S (a broker on the wire has a look-up lag), SEND_WINDOW_S,
REDIS_DEADLINE_S (for an answer of Redis), STREAM_HEARTBEAT_S (between the heartbeats of a stream), CLOCK_LATER_S (by how much its clocks are moved), and what tests/fault/meddling.py reads.
SIGUSR1 fills the disk as far as this process can tell, SIGUSR2 empties it.
"""

import os
import resource
import signal
import tempfile
from dataclasses import replace
from pathlib import Path

from paiid.app import create_app
from paiid.auth import passwords
from paiid.cli import serve
from paiid.core.failpoints import FailPoint, Probe, no_probe
from paiid.core.log import configure
from paiid.core.migrate import migrate
from paiid.core.redis_store import RedisStore
from paiid.core.settings import load_settings
from paiid.domain.terms import PLAIN
from paiid.stream.hub import Hub
from paiid.trading.timings import Timings
from tests.fault.meddling import Faults, MeddlingBroker
from tests.fault.processes import DISK_IS_FULL, MARKER
from tests.moved_clock import move_process
from tests.world import make_settings

FAST = Timings(
    # 0.4 s of it are kept for the wait at the broker; the rest is as long as a commit may take.
    send_window_s=0.9,
    broker_deadline_s=0.7,
    call_budget_s=5.0,
    unknown_wait_s=0.5,
    horizon_s=2.0,
    sweep_s=0.2,
    dispatch_slack_s=0.1,
    first_lookups_s=(0.1, 0.2, 0.4),
    late_lookup_s=0.5,
    watch_lookup_s=5.0,
)


def timings_from(environ: dict[str, str]) -> Timings:
    """`FAST`, with another deadline for the broker, another horizon or another window, where one is wished."""
    deadline_s = float(environ.get("BROKER_DEADLINE_S", "0"))
    window_s = float(environ.get("SEND_WINDOW_S", "0"))
    if "HORIZON_S" in environ:
        # A server of many lives must not die of what an earlier one still watches.
        return replace(
            FAST,
            send_window_s=window_s or FAST.send_window_s,
            horizon_s=float(environ["HORIZON_S"]),
            watch_lookup_s=600.0,
        )
    if deadline_s == 0:
        return FAST
    # Where sends may take long there are many at once, and a busy machine needs a while to begin them all.
    window_s = window_s or 2.5
    return replace(
        FAST,
        send_window_s=window_s,
        broker_deadline_s=deadline_s,
        call_budget_s=20.0,
        horizon_s=window_s + deadline_s + 1.0,
    )


def probe_from(environ: dict[str, str]) -> Probe:
    """Kills this process, as a power cut would, when the wanted point is passed for the n-th time."""
    wanted = environ.get("FAIL_AT")
    if not wanted:
        return no_probe
    left = int(environ.get("FAIL_HIT", "1"))
    marker = Path(environ["DATA_DIR"]) / MARKER

    def kill(point: FailPoint) -> None:
        nonlocal left
        if point.value == wanted:
            left -= 1
            if left == 0:
                marker.write_text(point.value)
                os.kill(os.getpid(), signal.SIGKILL)

    return kill


def let_the_disk_fill() -> None:
    """No file may grow or be written any more while the limit stands; Python has SIGXFSZ ignored, so that the
    write fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(*_: object) -> None:
        os.write(2, f"{DISK_IS_FULL}\n".encode())
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))

    signal.signal(signal.SIGUSR1, fill)
    signal.signal(signal.SIGUSR2, lambda *_: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)))


def let_streams_beat(environ: dict[str, str]) -> None:
    """Heartbeats as often as wished: no test waits 15 s for one."""
    if "STREAM_HEARTBEAT_S" in environ:
        defaults = Hub.__init__.__kwdefaults__
        assert defaults is not None
        defaults["heartbeat_s"] = float(environ["STREAM_HEARTBEAT_S"])


def let_redis_be_late(environ: dict[str, str]) -> None:
    """A deadline for its answers that a busy machine keeps."""
    if "REDIS_DEADLINE_S" in environ:
        defaults = RedisStore.__init__.__kwdefaults__
        assert defaults is not None
        defaults["deadline_s"] = float(environ["REDIS_DEADLINE_S"])


def warm_up() -> None:
    """Do once, in the process that forks the servers, what each of them would do for itself: read the migrations,
    and work out the routes."""
    with tempfile.TemporaryDirectory() as here:
        migrate(f"sqlite:///{here}/warm.db")
        app = create_app(make_settings(f"sqlite:///{here}/warm.db", Path(here)))
    app.openapi()


def main() -> None:
    """Migrate and serve, ending on SIGTERM as the product does."""
    environ = dict(os.environ)
    move_process(float(environ.get("CLOCK_LATER_S", "0")))
    settings = load_settings(environ)
    # As in the tests' own process (`conftest`): each of these servers signs somebody in, and hashing would be most of its start.
    passwords.MEMORY_KIB, passwords.TIME_COST = 8, 1
    configure(settings.log_level)
    migrate(settings.database)
    let_streams_beat(environ)
    let_redis_be_late(environ)
    probe, faults = probe_from(environ), Faults.of(environ)
    app = create_app(
        settings,
        probe=probe,
        timings=timings_from(environ),
        wrap_broker=lambda inner: MeddlingBroker(inner, faults, probe),
        paper_terms=PLAIN,
    )
    config = serve.server_config(app)
    config.host, config.port = settings.host, settings.port
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    let_the_disk_fill()
    serve._Server(app, config).run()
