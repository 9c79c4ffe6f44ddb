"""An answer below the app: what a client hears whose connection or handshake is refused before there is a request."""

import structlog

from paiid.core.clock import SystemClock
from paiid.core.middleware import own_headers
from paiid.core.problems import MEDIA_TYPE, problem_body, problem_headers
from paiid.domain.errors import Problem

_log = structlog.get_logger("paiid.http")
_clock = SystemClock()


def refusal(problem: Problem) -> bytes:
    """The whole answer, which says that the connection closes behind it; also writes the line of the log."""
    request_id = _clock.random_bytes(12).hex()
    body = problem_body(problem, request_id)
    head = [f"HTTP/1.1 {problem.code.status} {problem.code.title}".encode()]
    for name, value in problem_headers(problem).items():
        if name.lower() != "connection":
            head.append(f"{name.lower()}: {value}".encode())
    head += [name + b": " + value for name, value in own_headers(request_id)]
    head += [
        b"content-type: " + MEDIA_TYPE.encode(),
        b"content-length: " + str(len(body)).encode(),
        b"connection: close",
    ]
    _log.info("refused", status=problem.code.status, code=problem.code.slug, request_id=request_id)
    return b"\r\n".join(head) + b"\r\n\r\n" + body
