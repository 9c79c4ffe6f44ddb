"""How Tradier's JSON tells collections: none is null, one is a bare object, more are an array (tradier.md, section 3)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

__all__ = ["Rows", "Told", "as_rows", "encode", "number", "some", "unfolded"]

_ENCODER = msgspec.json.Encoder(decimal_format="number")
_TENTH = Decimal("0.1")
_MOST_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Rows:
    """A container of rows under one key: `Rows("order", [])` is null (or the text "null"), one row is
    `{"order": row}`, more are `{"order": [row, …]}`. May stand anywhere in a `Told`."""

    key: str
    rows: Iterable[Any]


@dataclass(frozen=True, slots=True)
class Told:
    """An answer: `value` is an object with one key, which is the root of the XML, too."""

    value: Mapping[str, Any]
    status: int = 200


def some(rows: Iterable[Any]) -> Any:
    """Rows that have no container of their own (`leg`, `error`): the one, or all of them in an array."""
    found = list(rows)
    return found[0] if len(found) == 1 else found


def as_rows(value: Any) -> list[Any]:
    """The other way."""
    return [] if value is None else list(value) if isinstance(value, list) else [value]


def number(value: Decimal | int | None) -> Decimal | None:
    """A number as Tradier writes it: with a point, also where there is nothing behind it (`10.0`). None stays null."""
    if value is None:
        return None
    exact = Decimal(value).normalize()
    exponent = exact.as_tuple().exponent
    if isinstance(exponent, int) and exponent >= 0 and exact.adjusted() < _MOST_DIGITS:
        return exact.quantize(_TENTH)
    return exact


def unfolded(value: Any, *, null_text: bool) -> Any:
    """The plain values behind a `Told`; `null_text`: an empty collection is the text "null" instead of null."""
    if isinstance(value, Rows):
        rows = [unfolded(one, null_text=null_text) for one in value.rows]
        if not rows:
            return "null" if null_text else None
        return {value.key: some(rows)}
    if isinstance(value, Mapping):
        return {key: unfolded(one, null_text=null_text) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [unfolded(one, null_text=null_text) for one in value]
    return value


def encode(value: Any) -> bytes:
    """Plain values as JSON."""
    return _ENCODER.encode(value)
