"""Takes the market stream apart into single messages, however it comes in pieces (tradier.md, sections 9.2 to 9.4).

A WebSocket frame holds whole messages. HTTP holds objects one after the other, one a line where the server heeds `linebreak`, cut
anywhere. Numbers are kept as texts, as REST's are: some are sent as texts anyway.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_LONGEST = 1 << 18
"""Bytes of something that does not become a message; our messages have some hundred."""
_MOST_BROKEN = 100
"""Beginnings that are tried in one text, where none becomes a message."""
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=lambda _: None)


@dataclass(slots=True)
class Read:
    """`dropped` counts what should have been a message and was none."""

    messages: list[Mapping[str, Any]] = field(default_factory=list)
    dropped: int = 0


def read_frame(frame: str | bytes) -> Read:
    """The messages of a frame. Never raises; what cannot be read costs only itself."""
    text = frame if isinstance(frame, str) else frame.decode("utf-8", "replace")
    read = Read()
    for line in text.split("\n"):
        _take(line, read, whole=True)
    return read


class Pieces:
    """The messages of a body that never ends."""

    def __init__(self) -> None:
        self._rest = b""

    def read(self, piece: bytes) -> Read:
        """The messages that this piece completes. Never raises."""
        read = Read()
        *lines, tail = (self._rest + piece).split(b"\n")
        for line in lines:
            _take(line.decode("utf-8", "replace"), read, whole=True)
        if tail.rstrip().endswith(b"}"):
            # It may be whole, where nothing ends the lines.
            tail = _take(tail.decode("utf-8", "replace"), read, whole=False).encode("utf-8")
        if len(tail) > _LONGEST:
            read.dropped += 1
            tail = b""
        self._rest = tail
        return read


def _take(text: str, read: Read, *, whole: bool) -> str:
    """All objects in a text; what is left at its end, if more may come (not `whole`)."""
    at, broken = 0, 0
    while at < len(text):
        start = text.find("{", at)
        if text[at : None if start < 0 else start].strip():
            read.dropped += 1
        if start < 0:
            return ""
        try:
            found, at = _DECODER.raw_decode(text, start)
        except json.JSONDecodeError as error:
            if not whole and _may_go_on(text, error):
                return text[start:]
            # Something broken, maybe with messages behind it.
            read.dropped += 1
            broken += 1
            at = text.find('{"', start + 1) if broken < _MOST_BROKEN else -1
            if at < 0:
                return ""
            continue
        except RecursionError:
            read.dropped += 1
            return ""
        read.messages.append(found)
    return ""


def _may_go_on(text: str, error: json.JSONDecodeError) -> bool:
    """Whether the text only ends too early; a string that is open tells of its beginning."""
    return error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
