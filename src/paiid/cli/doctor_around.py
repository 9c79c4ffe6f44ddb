"""The probes of `paiid doctor` for what the service does not need to trade, and for the disks it writes to."""

import socket
from urllib.parse import urlsplit

from paiid.cli.findings import Finding
from paiid.core.settings import Settings
from paiid.system.disk import FULL_BYTES, LOW_BYTES, places_of, room_in

__all__ = ["ai", "collector", "disks", "sentry"]

_CONNECT_S = 3.0
_PORTS = {"http": 80, "https": 443}


def _reached(url: str) -> tuple[str, str | None]:
    """(host:port, why no connection to it can be opened, or None). User, password and path are left out."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443)
    try:
        with socket.create_connection((host, port), _CONNECT_S):
            return f"{host}:{port}", None
    except OSError as error:
        return f"{host}:{port}", error.strerror or type(error).__name__


def ai(settings: Settings) -> Finding:
    """Whether a model can be asked. It is not: each question costs tokens."""
    if settings.anthropic_api_key is None:
        return Finding("ai", "up", "ANTHROPIC_API_KEY is not set: rules answer")
    if not settings.asks_anthropic:
        return Finding("ai", "up", "TESTING asks no model that is not on this machine: rules answer")
    where, problem = _reached(settings.anthropic_base_url)
    if problem is not None:
        return Finding("ai", "warning", f"{where} cannot be reached ({problem}): rules answer meanwhile")
    told = (
        f"{settings.ai_model} at {where}, with the key that is set; it was not asked, for that costs tokens"
    )
    return Finding("ai", "up", told)


def sentry(settings: Settings) -> Finding:
    """Whether errors can be reported."""
    if settings.sentry_dsn is None:
        return Finding("sentry", "up", "SENTRY_DSN is not set: not used")
    if not settings.reports_errors:
        return Finding("sentry", "up", "TESTING reports to nobody who is not on this machine")
    where, problem = _reached(settings.sentry_dsn)
    if problem is not None:
        return Finding(
            "sentry", "warning", f"{where} cannot be reached ({problem}): errors are in the log only"
        )
    return Finding("sentry", "up", f"{where} takes connections; environment {settings.sentry_environment}")


def collector(settings: Settings) -> Finding:
    """Whether traces can be sent."""
    endpoint = settings.otel_exporter_otlp_endpoint
    if endpoint is None:
        return Finding("traces", "up", "OTEL_EXPORTER_OTLP_ENDPOINT is not set: no traces")
    if not settings.traces:
        return Finding("traces", "up", "TESTING sends no traces to another machine")
    where, problem = _reached(endpoint)
    if problem is not None:
        return Finding("traces", "warning", f"{where} cannot be reached ({problem}): traces are lost")
    return Finding("traces", "up", f"{where} takes connections")


def disks(settings: Settings) -> Finding:
    """Whether there is room where the service writes, and whether it may."""
    told: list[str] = []
    status = "up"
    for place in places_of(settings):
        if not place.path.is_dir():
            continue
        try:
            room = room_in(place.path)
        except OSError as error:
            return Finding("disk", "down", f"{place.path}: {error.strerror}")
        told.append(f"{place.name}: {room.free_bytes / 1_048_576:,.0f} MiB free")
        if room.problem is not None:
            return Finding("disk", "down", f"{place.path}: {room.problem}")
        if room.full:
            return Finding("disk", "down", f"{told[-1]} at {place.path}, less than {FULL_BYTES >> 20}")
        if room.low:
            status = "warning"
            told[-1] += f" at {place.path}, less than {LOW_BYTES >> 20}, or few files more"
    if not told:
        return Finding("disk", "warning", "there is no data directory yet")
    return Finding("disk", "warning" if status == "warning" else "up", "; ".join(told))
