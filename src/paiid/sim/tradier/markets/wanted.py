"""What a client of the stream wants to hear: its payload, or the parameters of HTTP streaming (tradier.md, sections 9.2 and 9.3)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from paiid.sim.tradier.markets.asked import Asked, texts_of
from paiid.sim.tradier.markets.events import EVENTS
from paiid.sim.tradier.markets.names import find_symbol

__all__ = ["BadPayload", "Payload", "Wanted", "payload_of_json", "payload_of_params"]

MOST_SYMBOLS = 10_000
_FLAGS = ("linebreak", "validOnly", "advancedDetails")
_MAX_NAME = 64


class BadPayload(ValueError):
    """What a client said is no payload; the text is told to it."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A payload that is right in itself; its session and its symbols have not been looked at. Symbols are as the client wrote them."""

    session: str
    symbols: tuple[str, ...]
    events: frozenset[str]
    linebreak: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be sent: these events about these symbols (ours)."""

    symbols: frozenset[str] = frozenset()
    events: frozenset[str] = frozenset()
    linebreak: bool = False

    def wants(self, event: str, symbol: str) -> bool:
        """Whether a message is to be sent."""
        return event in self.events and symbol in self.symbols

    @classmethod
    def of(cls, payload: Payload, knows: Callable[[str], bool]) -> "tuple[Wanted, list[str]]":
        """What a payload wants, and the names in it that are no symbols of the market."""
        found: set[str] = set()
        unknown: list[str] = []
        for name in payload.symbols:
            symbol = find_symbol(name)
            if symbol is not None and knows(symbol):
                found.add(symbol)
            else:
                unknown.append(name)
        return cls(frozenset(found), payload.events, payload.linebreak), unknown


def payload_of_json(text: str | bytes) -> Payload:
    """A text message of a WebSocket. Raises BadPayload."""
    try:
        said = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadPayload("the payload is not valid JSON") from None
    if not isinstance(said, dict):
        raise BadPayload("the payload is not an object")
    symbols, events = said.get("symbols"), said.get("filter")
    if not _are_names(symbols):
        raise BadPayload("symbols is not valid")
    if events is not None and not _are_names(events):
        raise BadPayload("filter is not valid")
    flags = {name: said.get(name) for name in _FLAGS}
    for name, value in flags.items():
        if value is not None and not isinstance(value, bool):
            raise BadPayload(f"{name} is not valid")
    session = said.get("sessionid")
    return _payload(session if isinstance(session, str) else "", symbols, events or [], flags)


def payload_of_params(asked: Asked) -> Payload:
    """The parameters of HTTP streaming. Raises BadPayload."""
    flags: dict[str, bool | None] = {}
    for name in _FLAGS:
        text = asked.get(name, "").strip().lower()
        if text not in ("", "true", "false"):
            raise BadPayload(f"{name} is not valid")
        flags[name] = text == "true" if text else None
    return _payload(
        asked.get("sessionid", "").strip(), texts_of(asked, "symbols"), texts_of(asked, "filter"), flags
    )


def _payload(session: str, symbols: Any, events: Any, flags: Mapping[str, bool | None]) -> Payload:
    if not symbols:
        raise BadPayload("symbols is required")
    if len(symbols) > MOST_SYMBOLS:
        raise BadPayload(f"symbols contains more than {MOST_SYMBOLS} symbols")
    for one in events:
        if one not in EVENTS:
            raise BadPayload(f"{one} is not a valid filter")
    return Payload(session, tuple(symbols), frozenset(events or EVENTS), bool(flags["linebreak"]))


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, str) and 0 < len(one) <= _MAX_NAME for one in value
    )
