"""Answers that a client may keep and ask about again: 304 while the bytes are the same."""

from hashlib import blake2b

from fastapi import Request, Response

_KEEP_AND_ASK = "private, no-cache"


def answer(request: Request, body: bytes) -> Response:
    """The JSON with its ETag, or 304 without a body if the client has exactly that (RFC 9110, 13.1.2)."""
    tag = f'"{blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"etag": tag, "cache-control": _KEEP_AND_ASK}
    known = request.headers.get("if-none-match")
    if known is not None and _names(known, tag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def _names(known: str, tag: str) -> bool:
    """Whether the list has the tag, compared weakly; `*` is any."""
    tags = [one.strip().removeprefix("W/") for one in known.split(",")]
    return tag in tags or tags == ["*"]
