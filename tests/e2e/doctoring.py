"""What tests of `paiid doctor` share: a server with one answer to everything, and the probes by their names."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paiid.cli.doctor import Finding, probe
from paiid.core.settings import load_settings


@contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[str]:
    """A server that has one answer to everything; its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def line_of(probe: str, told: str) -> str:
    """The line of a probe, behind its name."""
    (line,) = [one for one in told.splitlines() if one.startswith(f"{probe} ")]
    return line.removeprefix(probe).strip()


def found(tmp_path: Path, **environ: str) -> dict[str, Finding]:
    """What the probes find, in this process."""
    settings = load_settings({"DATA_DIR": str(tmp_path / "data"), **environ})
    return {one.name: one for one in probe(settings)}
