"""Answers that a client may keep and ask about again: 304 while the bytes are the same."""

from hashlib import blake2b

from fastapi import Request, Response

_KEEP_AND_ASK = "private, no-cache"


def tag_of(body: bytes) -> str:
    """What stands between the quotes of its ETag."""
    return blake2b(body, digest_size=12).hexdigest()


def answer(request: Request, body: bytes) -> Response:
    """The JSON with its ETag, or 304 without a body if the client has exactly that (RFC 9110, 13.1.2)."""
    tag = tag_of(body)
    return not_modified(request, tag) or tagged(body, tag)


def not_modified(
    request: Request, tag: str, coding: str | None = None, *, varies: bool = False
) -> Response | None:
    """304 if the client has exactly that, else None."""
    known = request.headers.get("if-none-match")
    if known is None or not _names(known, _quoted(tag, coding)):
        return None
    return Response(status_code=304, headers=_headers(tag, coding, varies))


def tagged(body: bytes, tag: str, coding: str | None = None, *, varies: bool = False) -> Response:
    """JSON with its ETag, in a content coding, which has a tag of its own. `varies`: another client may get another coding."""
    headers = _headers(tag, coding, varies)
    if coding is not None:
        headers["content-encoding"] = coding
    return Response(body, headers=headers, media_type="application/json")


def _headers(tag: str, coding: str | None, varies: bool) -> dict[str, str]:
    headers = {"etag": _quoted(tag, coding), "cache-control": _KEEP_AND_ASK}
    return headers | {"vary": "Accept-Encoding"} if varies else headers


def _quoted(tag: str, coding: str | None) -> str:
    return f'"{tag}"' if coding is None else f'"{tag}-{coding}"'


def _names(known: str, tag: str) -> bool:
    """Whether the list has the tag, compared weakly; `*` is any."""
    tags = [one.strip().removeprefix("W/") for one in known.split(",")]
    return tag in tags or tags == ["*"]
