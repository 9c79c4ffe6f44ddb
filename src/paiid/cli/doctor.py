"""`paiid doctor`: what is configured, and whether each thing the service needs is there."""

import asyncio
import os
import stat
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import typer
from sqlalchemy import insert
from sqlalchemy.exc import SQLAlchemyError

from paiid.brokers import Broker, BrokerError, BrokerRejected
from paiid.cli.doctor_around import ai, collector, disks, sentry
from paiid.cli.findings import Finding
from paiid.cli.session import fail, opened, settings_or_exit, table
from paiid.core.clock import SystemClock, new_id
from paiid.core.db import DatabaseUnavailable, statement
from paiid.core.db.connect import sqlite_path
from paiid.core.log import configure as configure_log
from paiid.core.migrate import SchemaError, require_current
from paiid.core.settings import Settings, describe, known_secrets, mask_url
from paiid.core.tables import leases
from paiid.trading.latch import Latch
from paiid.wires.governor import Governors

__all__ = ["Finding", "probe", "run"]

_WRITE = statement(insert(leases))
_MAX_DRIFT_S = 2.0
_OFF_S = 30.0
_PROBE_S = 3.0
_SYMBOL = "SPY"
_EARLIEST_US = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000


class _NothingKept(Exception):
    """Undoes the trial write."""


def run() -> None:
    """The command."""
    settings = settings_or_exit()
    # What a probe meets is told in its line.
    configure_log("CRITICAL", known_secrets(settings))
    table(("VARIABLE", "VALUE"), describe(settings))
    typer.echo("")
    findings = probe(settings)
    table(("PROBE", "STATUS", "DETAIL"), [(one.name, one.status, one.detail) for one in findings])
    down = [one.name for one in findings if one.status == "down"]
    if down:
        fail(f"down: {', '.join(down)}")


def probe(settings: Settings) -> list[Finding]:
    """Every probe, each bounded in time; none changes anything that stays."""
    probes: tuple[Callable[[Settings], Finding], ...] = (
        _data_dir,
        _database,
        _schema,
        _write,
        _market,
        _redis,
        _broker,
        _alpaca,
        _tradier,
        ai,
        sentry,
        collector,
        disks,
        _clock,
        _latch,
    )
    return [one(settings) for one in probes]


def _data_dir(settings: Settings) -> Finding:
    path = settings.data_dir
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return Finding("data directory", "warning", f"{path.absolute()} is not there yet; serve makes it")
    if not os.access(path, os.W_OK | os.X_OK):
        return Finding("data directory", "down", f"{path.absolute()} cannot be written")
    secret = path / "owner-password"
    if secret.exists() and stat.S_IMODE(secret.stat().st_mode) & 0o077:
        return Finding("data directory", "down", f"others can read {secret.absolute()}: chmod 600 it")
    if mode & 0o077:
        return Finding("data directory", "warning", f"others can look into it (mode {mode:o}): chmod 700 it")
    return Finding("data directory", "up", f"{path.absolute()}, mode {mode:o}")


def _is_missing(settings: Settings) -> Path | None:
    if settings.on_postgres or sqlite_path(settings.database).exists():
        return None
    return sqlite_path(settings.database)


def _database(settings: Settings) -> Finding:
    missing = _is_missing(settings)
    if missing is not None:
        return Finding("database", "down", f"there is no file {missing}; run `paiid migrate`")

    async def ping() -> float:
        async with opened(settings, SystemClock()) as db:
            began = time.perf_counter()
            await db.ping()
            return (time.perf_counter() - began) * 1000

    try:
        took_ms = asyncio.run(ping())
    except DatabaseUnavailable as error:
        return Finding("database", "down", str(error))
    kind = "PostgreSQL" if settings.on_postgres else "SQLite"
    return Finding("database", "up", f"{kind} answers in {took_ms:.1f} ms")


def _schema(settings: Settings) -> Finding:
    if _is_missing(settings) is not None:
        return Finding("schema", "down", "there is no database")
    try:
        require_current(settings.database)
    except SchemaError as error:
        return Finding("schema", "down", str(error))
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        return Finding("schema", "down", f"cannot be read ({type(error).__name__})")
    return Finding("schema", "up", "fits this version")


def _write(settings: Settings) -> Finding:
    if _is_missing(settings) is not None:
        return Finding("database write", "down", "there is no database")

    async def write() -> None:
        clock = SystemClock()
        async with opened(settings, clock) as db:
            async with db.begin() as tx:
                row = {"name": new_id(clock, "doctor"), "holder": "doctor", "token": 1, "expires_at": 0}
                await tx.execute(_WRITE, row)
                raise _NothingKept

    try:
        asyncio.run(write())
    except _NothingKept:
        return Finding("database write", "up", "a trial row was written and taken back")
    except DatabaseUnavailable as error:
        return Finding("database write", "down", str(error))
    except Exception as error:  # noqa: BLE001 - the driver's own words for a schema that does not fit
        return Finding("database write", "down", f"refused ({type(error).__name__})")
    return Finding("database write", "up", "works")


def _market(settings: Settings) -> Finding:
    """The source that is configured. A stream is not tried: a server that runs may hold the only place on it."""
    from paiid.feeds import FeedUnavailable
    from paiid.feeds.configured import configured_feed

    if settings.market_data == "replay":
        return _recording(settings)

    async def quote() -> str:
        clock = SystemClock()
        feed, _ = configured_feed(settings, clock, Governors(clock))
        await feed.start()
        try:
            async with asyncio.timeout(_PROBE_S):
                found = (await feed.fetch_quotes([_SYMBOL])).get(_SYMBOL)
        finally:
            await feed.stop()
        if found is None:
            raise FeedUnavailable(f"no quote for {_SYMBOL}")
        return f"{found.source}: {_SYMBOL} {found.bid} x {found.ask}"

    urls = {"alpaca": settings.alpaca_data_url, "tradier": settings.tradier_api_base_url}
    where = f"{urls[settings.market_data]}: " if settings.market_data in urls else ""
    try:
        return Finding("market data", "up", asyncio.run(quote()))
    except (FeedUnavailable, TimeoutError) as error:
        return Finding("market data", "down", where + (str(error) or "no answer in time"))
    except ValueError as error:
        # Keys that no header can carry; the text never has them.
        return Finding("market data", "down", str(error))


def _recording(settings: Settings) -> Finding:
    from paiid.feeds.replay.files import recordings_in
    from paiid.feeds.replay.recording import ReplayError

    path = settings.replay_file
    assert path is not None, "the settings have seen to it"
    try:
        recordings = recordings_in(path)
    except ReplayError as error:
        return Finding("market data", "down", f"REPLAY_FILE: {error}")
    told = [f"the chain of {one.symbol} of {one.day}, {len(one.rows)} contracts" for one in recordings.chains]
    found = recordings.contents
    if found is not None:
        plays = timedelta(seconds=round((found.last_us - found.first_us) / 1_000_000 / settings.replay_speed))
        told.insert(0, f"{found.rows} quotes of {len(found.symbols)} symbols, which play for {plays}")
    return Finding("market data", "up", f"replay: {'; '.join(told)}")


def _redis(settings: Settings) -> Finding:
    """Whether a word of ours comes back, as the replicas' must."""
    url = settings.redis_url
    if url is None:
        return Finding("redis", "up", "REDIS_URL is not set: not used")
    from paiid.core.redis import RedisBus

    async def is_up() -> bool:
        clock = SystemClock()
        bus = RedisBus(url, f"paiid:{new_id(clock, 'doctor')}", clock)
        came = asyncio.Event()
        bus.on_change(lambda up: came.set())
        await bus.start()
        try:
            async with asyncio.timeout(_PROBE_S):
                await came.wait()
        except TimeoutError:
            return False
        finally:
            await bus.stop()
        return True

    where = mask_url(url)
    if asyncio.run(is_up()):
        return Finding("redis", "up", f"{where} carries our words")
    return Finding(
        "redis",
        "down",
        f"{where} does not answer, or does not take the password; each replica would go on by itself",
    )


def _broker(settings: Settings) -> Finding:
    from paiid.brokers.paper import PaperBroker
    from paiid.core.leases import Leases
    from paiid.domain.calendar import hours_of

    if _is_missing(settings) is not None:
        return Finding("broker", "down", "the built-in venue keeps its books in the database")

    async def ask() -> str:
        clock = SystemClock()
        async with opened(settings, clock) as db:
            hours = hours_of(settings.sim_hours)
            venue = PaperBroker(db, clock, lambda _: None, hours, Leases(db, "doctor"))
            account = await venue.fetch_account("doctor", _PROBE_S)
            return f"{venue.name}: the built-in venue answers, a new account is {account.status}"

    try:
        return Finding("broker", "up", asyncio.run(ask()))
    except (BrokerError, DatabaseUnavailable) as error:
        return Finding("broker", "down", str(error))
    except Exception as error:  # noqa: BLE001 - the driver's own words for a schema that does not fit
        return Finding("broker", "down", f"its books cannot be read ({type(error).__name__})")


def _alpaca(settings: Settings) -> Finding:
    from paiid.brokers.configured import alpaca_broker

    clock = SystemClock()
    broker = alpaca_broker(settings, clock, Governors(clock))
    if broker is None:
        unread = settings.alpaca_live_api_key is not None and not settings.live_trading
        extra = "; live keys are read with LIVE_TRADING=true only" if unread else ""
        return Finding("alpaca", "up", f"no keys are set: not used{extra}")
    return _ask_broker(broker, settings.alpaca_api_base_url, "the keys: check ALPACA_*_API_KEY and secret")


def _tradier(settings: Settings) -> Finding:
    from paiid.brokers.configured import tradier_broker

    clock = SystemClock()
    broker = tradier_broker(settings, clock, Governors(clock))
    if broker is None:
        if not settings.asks_tradier:
            return Finding("tradier", "up", "no token is set: not used")
        return Finding(
            "tradier", "up", "market data alone: orders go to the live host with LIVE_TRADING=true only"
        )
    mend = "the token: check TRADIER_API_KEY, and that TRADIER_API_BASE_URL is of its environment"
    return _ask_broker(broker, settings.tradier_api_base_url, mend)


def _ask_broker(broker: Broker, where: str, mend: str) -> Finding:
    """Its accounts; `mend` says what it does not take where it refuses who we are."""

    async def ask() -> str:
        await broker.start()
        try:
            found = await broker.fetch_accounts(_PROBE_S)
        finally:
            await broker.stop()
        return "; ".join(
            f"{one.mode} account {one.number} is {one.status}"
            + (", suspended by its own stop" if one.suspended else "")
            for one in found
        )

    try:
        told = asyncio.run(ask())
    except BrokerRejected as refusal:
        if refusal.code == "invalid_credentials":
            return Finding(broker.name, "down", f"{where} does not take {mend}")
        return Finding(broker.name, "down", f"{where} refused: {refusal.message}")
    except BrokerError as error:
        return Finding(broker.name, "down", f"{where} cannot be reached: {error}")
    return Finding(broker.name, "warning" if "blocked" in told or "suspended" in told else "up", told)


def _clock(settings: Settings) -> Finding:
    clock = SystemClock()
    if clock.now_us() < _EARLIEST_US:
        return Finding(
            "clock", "down", "the machine's clock is years behind; tokens and sessions depend on it"
        )
    if not settings.on_postgres:
        return Finding("clock", "up", datetime.now(UTC).isoformat(timespec="seconds"))

    async def drift_s() -> float:
        async with opened(settings, clock) as db, db.read() as tx:
            before = clock.now_us()
            theirs = await tx.now_us()
            return abs(theirs - (before + clock.now_us()) / 2) / 1_000_000

    try:
        drift = asyncio.run(drift_s())
    except DatabaseUnavailable:
        return Finding("clock", "warning", "cannot be compared with the database's")
    if drift > _OFF_S:
        return Finding(
            "clock", "down", f"{drift:.0f} s from the database's: set it, no orders are taken with it"
        )
    status: Literal["up", "warning"] = "up" if drift <= _MAX_DRIFT_S else "warning"
    return Finding("clock", status, f"{drift:.3f} s from the database's")


def _latch(settings: Settings) -> Finding:
    held = Latch(settings.data_dir).holds()
    if held is None:
        return Finding("halt latch", "up", "not set")
    return Finding("halt latch", "warning", f"holds this host halted: {held}")
