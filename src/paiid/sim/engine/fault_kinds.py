"""What a scripted fault is: where it can be played, what can be set about it, and the catalogue of a simulator's own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["MAX_DELAY_MS", "BadFault", "Catalogue", "Kind", "Param", "parse_params"]

MAX_DELAY_MS = 600_000


class BadFault(ValueError):
    """A fault that cannot be played: which field, and why."""

    def __init__(self, field_name: str, reason: str) -> None:
        super().__init__(f"{field_name}: {reason}")
        self.field = field_name
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter: its type, what it is if it is not given, and its bounds."""

    type: Literal["int", "text", "bool", "texts", "object"]
    default: Any
    least: int = 0
    most: int = MAX_DELAY_MS


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault. `default_on` is where it is played if the wish does not say, `event` on which messages only.

    `is_asked`: the handling of a request asks for it by a question of its own (`FaultBook.hides` and its like), so
    that `FaultBook.draw` never gives it. `knows_symbol`: it can be about one symbol wherever it is played.
    """

    name: str
    says: str
    on: tuple[str, ...]
    default_on: str
    params: Mapping[str, Param] = field(default_factory=dict)
    event: str | None = None
    is_asked: bool = False
    knows_symbol: bool = False


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every kind that one simulator plays, in parts as `GET /sim/faults` lists them.

    `operations` are all places where one can be played; those of `no_requests` are not meant by `any`. A message that
    is told has a symbol and an event: `told` are its places.
    """

    parts: Mapping[str, Mapping[str, Kind]]
    operations: tuple[str, ...]
    no_requests: frozenset[str]
    told: tuple[str, ...] = ("stream", "ticks")

    @property
    def kinds(self) -> dict[str, Kind]:
        """All of them by name."""
        return {name: kind for part in self.parts.values() for name, kind in part.items()}

    def as_json(self) -> dict[str, Any]:
        """As the control endpoint shows it."""
        return {part: _kinds_json(kinds) for part, kinds in self.parts.items()}


def _kinds_json(kinds: Mapping[str, Kind]) -> dict[str, Any]:
    return {
        name: {
            "says": kind.says,
            "on": kind.on,
            "default_on": kind.default_on,
            "params": {key: param.default for key, param in kind.params.items()},
        }
        for name, kind in kinds.items()
    }


def parse_params(kind: Kind, given: Any) -> dict[str, Any]:
    """All parameters of a fault, those that are not given at their default. Raises BadFault."""
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise BadFault("params", "must be an object")
    for name in given:
        if name not in kind.params:
            known = ", ".join(kind.params) or "none"
            raise BadFault(f"params.{name}", f"{kind.name} has no such parameter; it has: {known}")
    return {
        name: _value(f"params.{name}", given.get(name, param.default), param)
        for name, param in kind.params.items()
    }


def _value(name: str, value: Any, param: Param) -> Any:
    if param.type == "int":
        if isinstance(value, bool) or not isinstance(value, int) or not param.least <= value <= param.most:
            raise BadFault(name, f"must be a whole number from {param.least} to {param.most}")
    elif param.type == "bool":
        if not isinstance(value, bool):
            raise BadFault(name, "must be true or false")
    elif param.type == "text":
        if (
            not isinstance(value, str)
            or not 1 <= len(value) <= 2000
            or not value.isascii()
            or not value.isprintable()
        ):
            raise BadFault(name, "must be a text of 1 to 2000 printable ASCII characters")
    elif param.type == "texts":
        if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
            raise BadFault(name, "must be a list of texts")
        value = list(value)
    elif not isinstance(value, dict):
        raise BadFault(name, "must be an object")
    return value
