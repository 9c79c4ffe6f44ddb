"""Traces to an OpenTelemetry collector: the SDK behind `core/tracing`, made only where the settings name a collector.

Spans wait in a bounded queue for a thread that sends them; a collector that is slow or away costs spans, never time. Nothing is set globally, so
that several apps in one process do not share a tracer.
"""

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import structlog

from paiid import __version__
from paiid.core.build import build_id
from paiid.core.figures import Tally
from paiid.core.settings import Settings
from paiid.core.tracing import NO_TRACES, Part, Span, Tracer, Value

__all__ = ["TracesUnavailable", "start_traces"]

_log = structlog.get_logger("paiid.traces")
_QUEUE = 4096
_BATCH = 512
_EVERY_MS = 1000
_SEND_S = 3.0
_LAST_S = 1.0


class TracesUnavailable(Exception):
    """Traces are asked for, and the libraries for them are not installed."""


def start_traces(settings: Settings) -> Tracer:
    """The tracer that the settings want. Raises TracesUnavailable."""
    if not settings.traces:
        return NO_TRACES
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError:
        raise TracesUnavailable(
            "OTEL_EXPORTER_OTLP_ENDPOINT: is set, but the extra otel is not installed; install paiid[otel], or leave it out"
        ) from None
    ratio = settings.otel_traces_sampler_arg
    sent = Tally("result")
    exporter = OTLPSpanExporter(endpoint=f"{settings.otel_exporter_otlp_endpoint}/v1/traces", timeout=_SEND_S)
    provider = TracerProvider(
        # A trace is kept or not by a draw of ours (`resumed`): a caller can choose its id, and must not choose our share.
        sampler=ParentBased(root=TraceIdRatioBased(ratio)),
        resource=Resource(
            {"service.name": "paiid", "service.version": __version__, "service.build": build_id(settings)}
        ),
        shutdown_on_exit=False,
    )
    told = _told(exporter, sent)

    class Bounded(BatchSpanProcessor):
        """The library throws away what is too much and tells nobody."""

        taken = 0

        def on_end(self, span: Any) -> None:
            if not span.context.trace_flags.sampled:
                return
            if self.taken - told.handled >= _QUEUE:
                sent.add("dropped")
                return
            self.taken += 1
            super().on_end(span)

    provider.add_span_processor(
        Bounded(told, max_queue_size=_QUEUE, schedule_delay_millis=_EVERY_MS, max_export_batch_size=_BATCH)
    )
    return OtelTracer(provider, ratio, sent)


def _told(exporter: Any, sent: Tally) -> Any:
    """The exporter, with one line in the log when it begins to fail and one when it works again."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Told(SpanExporter):
        def __init__(self) -> None:
            self._failing = False
            self.handled = 0

        def export(self, spans: Any) -> Any:
            try:
                result = exporter.export(spans)
            finally:
                self.handled += len(spans)
            failing = result is not SpanExportResult.SUCCESS
            # Only this thread counts these two.
            sent.add("lost" if failing else "sent", n=len(spans))
            if failing != self._failing:
                self._failing = failing
                _log.warning("traces_lost" if failing else "traces_sent_again")
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

        def force_flush(self, timeout_millis: int = 1000) -> bool:
            return bool(exporter.force_flush(timeout_millis))

    return Told()


class _OtelSpan:
    __slots__ = ("_span", "trace_id")

    def __init__(self, span: Any) -> None:
        self._span = span
        context = span.get_span_context()
        self.trace_id: str | None = f"{context.trace_id:032x}" if context.trace_flags.sampled else None

    def set(self, name: str, value: Value) -> None:
        """An attribute."""
        self._span.set_attribute(name, value)


class OtelTracer:
    """Spans of the SDK."""

    on = True

    def __init__(self, provider: Any, ratio: float, sent: Tally) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("paiid", __version__)
        self._ratio = ratio
        self.sent: Tally | None = sent
        """Spans by `result`: `sent`, `lost`, and `dropped` because too many waited."""

    def span(self, name: str, /, **attributes: Value) -> AbstractContextManager[Span]:
        """A child of whatever is current."""
        return self._open(name, None, "INTERNAL", attributes)

    def inside(self, name: str, /, **attributes: Value) -> AbstractContextManager[Span]:
        """A child of whatever is current, if there is something."""
        from opentelemetry.trace import get_current_span

        if not get_current_span().get_span_context().is_valid:
            return NO_TRACES.inside(name)
        return self._open(name, None, "CLIENT", attributes)

    def resumed(
        self, traceparent: str | None, name: str, /, **attributes: Value
    ) -> AbstractContextManager[Span]:
        """A server's span. The caller's trace is joined, by our draw and not by his flag."""
        return self._open(name, self._parent(traceparent), "SERVER", attributes)

    def record(self, name: str, parts: Sequence[Part], /, **attributes: Value) -> None:
        """What is over."""
        from opentelemetry.context import Context
        from opentelemetry.trace import set_span_in_context

        whole = self._tracer.start_span(
            name, context=Context(), attributes=attributes, start_time=parts[0][1] * 1000
        )
        inside = set_span_in_context(whole)
        for part, began_us, ended_us in parts:
            self._tracer.start_span(part, context=inside, start_time=began_us * 1000).end(ended_us * 1000)
        whole.end(parts[-1][2] * 1000)

    def close(self) -> None:
        """Give what waits a second, and no more, whatever the collector does."""
        last = threading.Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        last.join(_LAST_S)

    def _parent(self, traceparent: str | None) -> Any:
        """The context that a server's span begins in: never that of somebody else's span in this process."""
        from opentelemetry.context import Context
        from opentelemetry.trace import (
            NonRecordingSpan,
            SpanContext,
            TraceFlags,
            get_current_span,
            set_span_in_context,
        )
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        if traceparent is None:
            return Context()
        found = TraceContextTextMapPropagator().extract({"traceparent": traceparent}, context=Context())
        theirs = get_current_span(found).get_span_context()
        if not theirs.is_valid:
            return Context()
        kept = random.random() < self._ratio  # noqa: S311 - no secret hangs on it
        flags = TraceFlags(TraceFlags.SAMPLED if kept else TraceFlags.DEFAULT)
        context = SpanContext(theirs.trace_id, theirs.span_id, is_remote=True, trace_flags=flags)
        return set_span_in_context(NonRecordingSpan(context), Context())

    @contextmanager
    def _open(self, name: str, context: Any, kind: str, attributes: dict[str, Value]) -> Iterator[Span]:
        from opentelemetry.trace import SpanKind, Status, StatusCode

        with self._tracer.start_as_current_span(
            name,
            context=context,
            kind=SpanKind[kind],
            attributes=attributes,
            # An exception's text may hold what nobody else should read.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield _OtelSpan(span)
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise
