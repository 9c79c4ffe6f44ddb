"""CORS: the exact list of origins, never a reflection (contract A6).

Credentials are bearer tokens only, so no answer ever allows cookies, and a page of a foreign origin gets nothing
it could not have asked for without a browser.
"""

from collections.abc import Sequence

Headers = list[tuple[bytes, bytes]]

_METHODS = b"GET, POST, PUT, PATCH, DELETE"
_REQUEST_HEADERS = (
    b"authorization, content-type, idempotency-key, if-match, if-none-match, last-event-id, x-request-id"
)
_EXPOSED = (
    b"x-request-id, etag, location, retry-after, idempotency-replayed, "
    b"ratelimit-limit, ratelimit-remaining, ratelimit-reset"
)
_VARY: Headers = [(b"vary", b"origin")]


class Origins:
    """Says which headers an answer to an origin gets."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = {origin.encode() for origin in allowed}
        self._any = b"*" in self._allowed

    def allows(self, origin: bytes) -> bool:
        """Whether pages of this origin may read answers. `null`, the origin of sandboxed pages, is nobody's."""
        return origin != b"null" and (self._any or origin in self._allowed)

    def answer_headers(self, origin: bytes | None) -> Headers:
        """What every answer carries: caches must keep answers of different origins apart."""
        if not self._allowed:
            return []
        if origin is None or not self.allows(origin):
            return _VARY
        return [
            *_VARY,
            (b"access-control-allow-origin", b"*" if self._any else origin),
            (b"access-control-expose-headers", _EXPOSED),
        ]

    @staticmethod
    def preflight_headers() -> Headers:
        """What a preflight of an allowed origin carries besides."""
        return [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _REQUEST_HEADERS),
            (b"access-control-max-age", b"600"),
        ]
