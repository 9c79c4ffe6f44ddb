"""Answers in fewer bytes: which coding a client takes (RFC 9110, 12.5.3), and the two that we write: zstd and gzip."""

import gzip
import re
from collections.abc import Callable
from typing import Literal

import zstandard

Coding = Literal["zstd", "gzip"]

LEAST_BYTES = 1024
"""Shorter bodies are sent as they are: the headers would weigh more than what is saved."""
MOST_HEADER = 512
"""Characters of an Accept-Encoding that are read; one that is longer gets the body as it is."""
_ZSTD_LEVEL = 1
_GZIP_LEVEL = 1
_QUALITY = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\Z", re.ASCII)
_OFFERED: tuple[Coding, ...] = ("zstd", "gzip")


def accepted_coding(header: str | None) -> Coding | None:
    """The coding that the client likes best, ours in case of a tie; None where it wants the body as it is, says nothing, or takes neither.
    What cannot be read in it counts as not said."""
    if not header or len(header) > MOST_HEADER:
        return None
    said: dict[str, float] = {}
    for part in header.lower().split(","):
        name, *parameters = [one.strip(" \t") for one in part.split(";")]
        quality = _quality_of(parameters)
        if name and quality is not None:
            said["gzip" if name == "x-gzip" else name] = quality
    rest = said.get("*", 0.0)
    best: Coding | None = None
    # As it is counts as acceptable where nothing is said of it, but a coding that is welcome goes before.
    best_quality = said.get("identity", 0.0)
    for coding in _OFFERED:
        quality = said.get(coding, rest)
        if quality > 0 and (quality > best_quality or (best is None and quality >= best_quality)):
            best, best_quality = coding, quality
    return best


def compress(body: bytes, coding: Coding) -> bytes:
    """The body in that coding; the same bytes whenever it is done. Takes some milliseconds a megabyte: not for the event loop."""
    return _COMPRESSORS[coding](body)


def _quality_of(parameters: list[str]) -> float | None:
    for one in parameters:
        name, equals, value = one.partition("=")
        if name.strip() == "q":
            return float(value.strip()) if equals and _QUALITY.match(value.strip()) else None
    return 1.0


def _zstd(body: bytes) -> bytes:
    # One for each call: a compressor is not for two threads.
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(body)


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, _GZIP_LEVEL, mtime=0)


_COMPRESSORS: dict[Coding, Callable[[bytes], bytes]] = {"zstd": _zstd, "gzip": _gzip}
