"""An answer that is held in the hand before it goes out, so that a fault can change, delay or lose it."""

from dataclasses import dataclass, replace
from typing import Any

import msgspec
from starlette.types import Send

__all__ = ["Answer", "answer_with", "begin", "gateway_page"]

_GATEWAY = b"<html><head><title>504 Gateway Time-out</title></head><body>504 Gateway Time-out</body></html>\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that has not gone out."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @classmethod
    def of_json(cls, status: int, value: Any, **headers: str) -> "Answer":
        """An answer in JSON; header names with underscores for dashes."""
        more = tuple((name.replace("_", "-").encode(), one.encode()) for name, one in headers.items())
        return cls(
            status, ((b"content-type", b"application/json; charset=UTF-8"), *more), msgspec.json.encode(value)
        )

    def with_body(self, body: bytes, kind: bytes | None = None) -> "Answer":
        """The same with another body, and another type of it."""
        drop = {b"content-length"} if kind is None else {b"content-length", b"content-type"}
        headers = tuple(one for one in self.headers if one[0].lower() not in drop)
        if kind is not None:
            headers += ((b"content-type", kind),)
        return replace(self, headers=headers, body=body)

    @property
    def json(self) -> Any:
        """What it says; None where it is no JSON."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None


def gateway_page() -> Answer:
    """A gateway's page for 504."""
    return Answer(504, ((b"content-type", b"text/html"),), _GATEWAY)


async def begin(send: Send, answer: Answer) -> None:
    """Send status and headers."""
    headers = [one for one in answer.headers if one[0].lower() != b"content-length"]
    if answer.status != 204:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})


async def answer_with(send: Send, answer: Answer) -> None:
    """Send the whole of it."""
    await begin(send, answer)
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})
