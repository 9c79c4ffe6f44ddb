"""Which coding a client gets, and that it is the same body."""

import gzip

import pytest
import zstandard

from paiid.core.compression import accepted_coding, compress

BODY = b'{"calls":[' + b'{"symbol":"AAPL"},' * 500 + b"null]}"


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("br, deflate", None),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("zstd;q=0, gzip", "gzip"),
        ("zstd;q=0,gzip;q=0.000", None),
        ("*", "zstd"),
        ("*;q=0", None),
        ("zstd;q=0, *", "gzip"),
        ("gzip;q=0.5, *;q=0.1", "gzip"),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("gzip ; q=0.8 , zstd ; q=0.9", "zstd"),
        ("gzip;q=2", None),
        ("gzip;q=x, zstd", "zstd"),
        ("gzip;q=", None),
        (";;;,,,", None),
        ("gzip;level=9;q=0.1", "gzip"),
        ("zstd," + " " * 600, None),
    ],
)
def test_the_coding_is_the_one_the_client_likes_best(header: str | None, coding: str | None) -> None:
    assert accepted_coding(header) == coding


def test_every_coding_gives_the_body_back_and_the_same_bytes_each_time() -> None:
    packed = compress(BODY, "zstd")
    assert zstandard.ZstdDecompressor().decompress(packed) == BODY
    assert compress(BODY, "zstd") == packed
    zipped = compress(BODY, "gzip")
    assert gzip.decompress(zipped) == BODY
    assert compress(BODY, "gzip") == zipped
    assert len(packed) < len(BODY) / 5
    assert len(zipped) < len(BODY) / 5
