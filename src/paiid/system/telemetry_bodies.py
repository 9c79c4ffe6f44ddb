"""What user interfaces may tell of themselves: the shape and the bounds of a telemetry request."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from paiid.core.instants import parse_instant
from paiid.core.json import StrictModel, encode

MAX_EVENTS = 100
"""Events of one request."""
MAX_TEXT = 128
"""Characters of each text of an event."""
MAX_METADATA_BYTES = 4096
"""Bytes of an event's metadata as JSON."""
MAX_METADATA_DEPTH = 6
"""Objects and arrays inside each other in them, themselves included."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise PydanticCustomError("characters", "has a character that cannot be seen; leave it out")
    return text


def _instant(text: str) -> str:
    if parse_instant(text) is None:
        raise PydanticCustomError("instant", "send an instant with its zone such as 2026-11-27T14:30:00.123Z")
    return text


def _bounded(metadata: dict[str, Any]) -> dict[str, Any]:
    if _depth(metadata) > MAX_METADATA_DEPTH:
        raise PydanticCustomError(
            "too_deep", "may be nested at most {most} deep", {"most": MAX_METADATA_DEPTH}
        )
    if len(encode(metadata)) > MAX_METADATA_BYTES:
        raise PydanticCustomError("too_large", "may have at most {most} bytes", {"most": MAX_METADATA_BYTES})
    return metadata


def _depth(value: Any) -> int:
    """How many objects and arrays are inside each other; the request as a whole is bounded already."""
    if isinstance(value, Mapping):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


Said = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_printable)]
Named = Annotated[str, Field(min_length=1, max_length=MAX_TEXT), AfterValidator(_printable)]


class EventBody(StrictModel):
    """One event. Who sent it is taken from the token: `userId` and `userRole` are read, compared and forgotten."""

    component: Named
    action: Named
    timestamp: Annotated[str, Field(max_length=40), AfterValidator(_instant)]
    sessionId: Said | None = None
    userId: Said | None = None
    userRole: Said | None = None
    metadata: Annotated[dict[str, Any], AfterValidator(_bounded), Field(default_factory=dict)]


class TelemetryBody(StrictModel):
    """1 to 100 events; if one of them is refused, all are."""

    events: Annotated[list[EventBody], Field(min_length=1, max_length=MAX_EVENTS)]
