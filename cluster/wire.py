"""What the balancer reads of HTTP/1.1: heads, and how long a body is. Anything that two readers could read in two ways is
refused, so that nothing can be hidden from the balancer in what it passes on.
"""

import re
from dataclasses import dataclass

MAX_HEAD_BYTES = 65_536
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_HOP = {b"connection", b"keep-alive", b"proxy-connection"}
_NO_BODY = {204, 304}
_SWITCHING = 101

Headers = tuple[tuple[bytes, bytes], ...]
"""Names in lower case."""


class NotHttp(Exception):
    """This is no head of HTTP/1.1 that can be read in one way only."""


@dataclass(frozen=True, slots=True)
class Head:
    """Of a request or an answer. `length` is the body's, in bytes; None: it says itself where it ends, or ends with the connection."""

    line: bytes
    headers: Headers
    length: int | None
    chunked: bool
    keeps: bool
    """Whether the connection stays open behind it."""
    upgrade: bool

    def encoded(self, *more: tuple[bytes, bytes], connection: bytes, without: bytes = b"") -> bytes:
        """The head with another `connection` header, and headers of ours instead of those with the name `without`."""
        gone = _HOP | {without}
        lines = [self.line]
        lines += [name + b": " + value for name, value in self.headers if name not in gone]
        lines += [name + b": " + value for name, value in (*more, (b"connection", connection))]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def values(self, name: bytes) -> list[bytes]:
        """All values of a header."""
        return [value for one, value in self.headers if one == name]


def request_head(data: bytes) -> Head:
    """A request's head, with its empty line. Raises NotHttp."""
    line, headers = _split(data)
    words = line.split(b" ")
    if len(words) != 3 or not _TOKEN.match(words[0]) or words[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise NotHttp
    length, chunked = _framing(headers)
    keeps = words[2] == b"HTTP/1.1" and b"close" not in _options(headers)
    upgrade = b"upgrade" in _options(headers)
    return Head(line, headers, None if chunked else length or 0, chunked, keeps, upgrade)


def answer_head(data: bytes, method: bytes) -> tuple[int, Head]:
    """Status and head of the answer to a request with this method. Raises NotHttp."""
    line, headers = _split(data)
    words = line.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise NotHttp
    status = int(words[1])
    length, chunked = _framing(headers)
    if status == _SWITCHING:
        # What follows is another protocol, until one of them hangs up.
        length, chunked = None, False
    elif method == b"HEAD" or status in _NO_BODY or 100 <= status < 200:
        length, chunked = 0, False
    return status, Head(line, headers, length, chunked, length is not None or chunked, status == _SWITCHING)


def _split(data: bytes) -> tuple[bytes, Headers]:
    first, *lines = data.removesuffix(b"\r\n\r\n").split(b"\r\n")
    if b"\n" in first or b"\r" in first or b"\0" in data:
        raise NotHttp
    headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        # A name with a blank, or a line that goes on with the one before, is read in two ways by two readers.
        if not colon or not _TOKEN.match(name) or b"\n" in value or b"\r" in value:
            raise NotHttp
        headers.append((name.lower(), value.strip(b" \t")))
    return first, tuple(headers)


def _framing(headers: Headers) -> tuple[int | None, bool]:
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if codings:
        if lengths or codings != [b"chunked"]:
            raise NotHttp
        return None, True
    if not lengths:
        return None, False
    if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > 15:
        raise NotHttp
    return int(lengths[0]), False


def _options(headers: Headers) -> set[bytes]:
    return {
        one.strip().lower() for name, value in headers if name == b"connection" for one in value.split(b",")
    }
