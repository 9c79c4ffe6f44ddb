"""Tradier's JSON is made from XML: a collection is an array, one bare object, null, the text "null", or missing (section 3)."""

from typing import Any

from paiid.wires.values import fields_of

__all__ = ["absent", "as_list"]


def absent(value: object) -> bool:
    """Whether a field tells nothing: missing, null, or the text "null"."""
    return value is None or (isinstance(value, str) and value.strip().lower() in ("null", ""))


def as_list(container: object, key: str) -> list[Any]:
    """The rows of a collection such as `{"order": …}` by its inner key, however many there are; items that tell nothing are
    left out. Of anything that is no such container: none."""
    rows = fields_of(container).get(key)
    if absent(rows):
        return []
    return [row for row in rows if not absent(row)] if isinstance(rows, list) else [rows]
