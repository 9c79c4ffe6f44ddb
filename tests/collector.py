"""A local receiver of what the service reports: Sentry's envelopes and OpenTelemetry's spans, on a socket of its own."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class Collector:
    """Keeps what is posted. `status` is what it answers; while `held` is set it answers nothing."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.bodies: list[tuple[str, bytes]] = []
        self.came = threading.Condition()
        self.held = threading.Event()
        self._let_go = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                with collector.came:
                    collector.bodies.append((self.path, body))
                    collector.came.notify_all()
                if collector.held.is_set():
                    collector._let_go.wait(20)
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._let_go.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """As the settings would name it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def dsn(self) -> str:
        """The same for Sentry."""
        return f"http://testpublickey0001@127.0.0.1:{self.port}/42"

    def wait(self, count: int = 1, timeout_s: float = 15.0) -> None:
        """Until so many have come."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.bodies) >= count, timeout_s), self.bodies

    def events(self) -> list[dict[str, Any]]:
        """Sentry's events, read from their envelopes."""
        found = []
        for _, body in list(self.bodies):
            rest = body.split(b"\n", 1)[1]
            while rest.strip():
                head, rest = rest.split(b"\n", 1)
                item = json.loads(head)
                payload, rest = rest[: item["length"]], rest[item["length"] :].lstrip(b"\n")
                if item["type"] == "event":
                    found.append(json.loads(payload))
        return found

    def spans(self) -> list[Any]:
        """OpenTelemetry's spans of all requests so far."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        found: list[Any] = []
        for path, body in list(self.bodies):
            assert path == "/v1/traces"
            request = ExportTraceServiceRequest.FromString(body)
            found += [s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
        return found
