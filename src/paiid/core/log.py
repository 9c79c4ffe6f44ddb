"""Structured logs on stderr, one JSON object a line, with the request's id and without secrets."""

import json
import logging
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from decimal import Decimal
from functools import lru_cache
from typing import Any, TextIO, cast

import msgspec
import structlog

_SECRET_NAMES = re.compile(
    r"(password|passwd|secret|token|ticket|authorization|api_?key|cookie|jwt|credential_value|dsn)",
    re.IGNORECASE,
)
_SHAPES = (
    # A JSON web token. Bounded and without going back: over a long text of nothing but beginnings it would stand for seconds.
    r"eyJ[A-Za-z0-9_-]{5,256}+\.[A-Za-z0-9_-]++\.[A-Za-z0-9_-]+"
    r"|pd_[A-Za-z0-9]+_[0-9a-f]{16,}"  # an API token
    r"|pr_ses_[0-9a-z]+_[0-9]+_[A-Za-z0-9_-]+"  # a refresh token
    r"|pt_[A-Za-z0-9_-]{20,}"  # a ticket of a WebSocket
    r"|(?i:bearer)\s+\S+"
    r"|://[^/\s:@]*:[^/\s@]+@"  # user and password in a URL
)
HIDDEN = "[hidden]"
REQUEST_ID: ContextVar[str | None] = ContextVar("paiid_request_id", default=None)
"""Set by the edge; every line written while a request is served carries it, also from tasks it has started."""
TRACE_ID: ContextVar[str | None] = ContextVar("paiid_trace_id", default=None)
"""Set by the edge while traces are recorded."""
Report = Callable[[Mapping[str, Any], BaseException], None]
"""Told of each line of an error that has an exception, before it becomes text; must neither wait nor raise."""
_SHORTEST_SECRET = 6
_NUMBERS = (int, float, bool)
_THEIR_OWN = ("sentry_sdk", "opentelemetry", "urllib3")
_ERRORS = ("error", "critical", "exception")


class Redactor:
    """A structlog processor: hides values under secret names, anything that looks like a secret, and the
    secrets we were told of, for those may look like anything."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        known = sorted({re.escape(one) for one in secrets if len(one) >= _SHORTEST_SECRET}, reverse=True)
        self._text = re.compile("|".join([_SHAPES, *known]))

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if self._is_plain(event):
            return event
        for name, value in event.items():
            event[name] = HIDDEN if _is_secret(name) and value is not None else self._clean(value)
        return event

    def clean(self, value: Any) -> Any:
        """The same for any value: dictionaries, lists, texts and numbers in it. A new value; the given stays as it is."""
        return self._clean(value)

    def _is_plain(self, event: MutableMapping[str, Any]) -> bool:
        """Whether one look at all texts together finds nothing to hide, as in almost every line."""
        texts = []
        for name, value in event.items():
            if _is_secret(name):
                return False
            if type(value) is str:
                texts.append(value)
            elif value is not None and type(value) not in _NUMBERS:
                return False
        return self._text.search("\n".join(texts)) is None

    def _clean(self, value: Any) -> Any:
        if value is None or isinstance(value, (bool, int, float, Decimal)):
            return value
        if isinstance(value, dict):
            return {
                self._text.sub(HIDDEN, str(key)): HIDDEN if _is_secret(str(key)) else self._clean(inner)
                for key, inner in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self._clean(inner) for inner in value]
        # Whatever else it is becomes text here, so that nothing is turned into text after this look at it.
        return self._text.sub(HIDDEN, value if isinstance(value, str) else str(value))


redact = Redactor()
"""Without known secrets."""


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET_NAMES.search(name) is not None


def _add_request_id(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    request_id = REQUEST_ID.get()
    if request_id is not None:
        event.setdefault("request_id", request_id)
    trace_id = TRACE_ID.get()
    if trace_id is not None:
        event.setdefault("trace_id", trace_id)
    return event


def _reporting(report: Report) -> Callable[..., MutableMapping[str, Any]]:
    """A processor that hands on what is an error with an exception."""

    def processor(_: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if level in _ERRORS:
            error = _exception_of(event.get("exc_info"))
            if error is not None:
                report(event, error)
        return event

    return processor


def _exception_of(found: Any) -> BaseException | None:
    """What `exc_info` stands for: an exception, the triple of one, or True for the one being handled."""
    if isinstance(found, BaseException):
        return found
    if isinstance(found, tuple) and len(found) == 3 and isinstance(found[1], BaseException):
        return found[1]
    return sys.exc_info()[1] if found is True else None


def _render(event: Any, **_: Any) -> str:
    try:
        return msgspec.json.encode(event).decode()
    except UnicodeEncodeError:
        # Half a surrogate pair, as in the name of a file; the standard library escapes it.
        return json.dumps(event)


class _Unfailing:
    """A stream for lines that may be lost: where it is a file on a full disk, an order's answer matters more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


class _ToStructlog(logging.Handler):
    """Libraries that use the standard log speak through ours, redacted like everything else."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(_THEIR_OWN):
            # Of reporting itself: it would report that it cannot report. Its figures and health say so.
            return
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        more = {"exc_info": record.exc_info} if record.exc_info else {}
        structlog.get_logger(record.name).log(record.levelno, message, **more)


def configure(level: str, secrets: Sequence[str] = (), report: Report | None = None) -> None:
    """Set up once, at the start of a process; `secrets` never appear in a line. `report` hears of errors."""
    number = logging.getLevelNamesMapping()[level]
    structlog.configure(
        processors=[
            _add_request_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if report is None else [_reporting(report)]),
            structlog.processors.format_exc_info,
            Redactor(secrets),
            structlog.processors.JSONRenderer(serializer=_render),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Unfailing(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_ToStructlog()]
    root.setLevel(max(number, logging.WARNING))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "alembic", "asyncio"):
        quiet = logging.getLogger(name)
        quiet.handlers = []
        quiet.propagate = True
        quiet.setLevel(logging.WARNING)
