"""Errors to Sentry: what the log tells of a defect, without anything that is somebody's secret or somebody's business.

A client of our own, not the library's global one: no integration reads requests, no breadcrumbs, no variables of frames. Sending is a thread's
work with a bounded queue; nothing here ever waits for it.
"""

import threading
from collections.abc import Mapping
from typing import Any

from paiid.core.build import release
from paiid.core.clock import Clock
from paiid.core.figures import Tally
from paiid.core.log import Redactor
from paiid.core.settings import Settings, known_secrets

__all__ = ["ErrorReports", "start_reports"]

_QUEUE = 50
_MOST_A_MINUTE = 60
"""Working an error out takes the event loop a millisecond: a storm of them must not be one more trouble."""
_MOST_TEXT = 16_384
"""Characters of one text; fifty reports with the whole of what a broker has answered would be gigabytes."""
_SEND_S = 5
_LAST_S = 1.0
_TAGS = ("request_id", "trace_id", "task", "account", "order")
"""Fields of a log line that go along; they are ids of ours."""


class ErrorReports:
    """Reports of one process. Safe to call from any thread; never raises, never waits."""

    def __init__(self, client: Any, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._minute = -1
        self._this_minute = 0
        self.counts = Tally("result")
        """`sent`: handed to the sender; `dropped`: beyond what a minute may have, or could not be worked out."""

    def report(self, event: Mapping[str, Any], error: BaseException) -> None:
        """An error that the log tells of: its line's fields, and the exception with its frames."""
        minute = int(self._clock.monotonic_s() // 60)
        if minute != self._minute:
            self._minute, self._this_minute = minute, 0
        self._this_minute += 1
        if self._this_minute > _MOST_A_MINUTE:
            self.counts.add("dropped")
            return
        try:
            self._capture(event, error)
        except Exception:  # noqa: BLE001 - an error about an error must not become one more
            self.counts.add("dropped")
        else:
            self.counts.add("sent")

    def _capture(self, event: Mapping[str, Any], error: BaseException) -> None:
        from sentry_sdk.utils import event_from_exception

        made, hint = event_from_exception(error, client_options=self._client.options)
        made["logger"] = str(event.get("logger", "paiid"))
        made["message"] = str(event.get("event", ""))
        made["tags"] = {name: str(event[name]) for name in _TAGS if event.get(name) is not None}
        self._client.capture_event(made, hint)

    def close(self) -> None:
        """Give what waits a second, and no more, whatever the other side does."""
        last = threading.Thread(target=self._client.close, args=(_LAST_S,), daemon=True)
        last.start()
        last.join(_LAST_S + 0.5)


def start_reports(settings: Settings, clock: Clock) -> ErrorReports | None:
    """Reports to where the settings say; None where they say nothing."""
    if not settings.reports_errors:
        return None
    # A sixth of a second, for those who have asked for it.
    import sentry_sdk
    from sentry_sdk.transport import HttpTransport

    scrub = Redactor(known_secrets(settings))

    class Bounded(HttpTransport):
        TIMEOUT = _SEND_S

    def scrubbed(event: Any, _: Any) -> Any:
        for name in ("request", "user", "extra", "modules", "breadcrumbs", "server_name"):
            event.pop(name, None)
        found: Any = scrub(None, "", event)
        return found

    client = sentry_sdk.Client(
        dsn=settings.sentry_dsn,
        release=release(settings),
        environment=settings.sentry_environment,
        server_name="",
        transport=Bounded,
        transport_queue_size=_QUEUE,
        default_integrations=False,
        auto_enabling_integrations=False,
        auto_session_tracking=False,
        send_client_reports=False,
        include_local_variables=False,
        max_breadcrumbs=0,
        max_request_body_size="never",
        max_value_length=_MOST_TEXT,
        propagate_traces=False,
        enable_backpressure_handling=False,
        enable_db_query_source=False,
        shutdown_timeout=_LAST_S,
        before_send=scrubbed,
    )
    return ErrorReports(client, clock)
