"""The same answers as XML, which Tradier gives to everybody who does not ask for JSON (tradier.md, section 1)."""

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

__all__ = ["to_xml"]


def to_xml(value: Mapping[str, Any]) -> bytes:
    """One element for each key, one for each row of an array; null is the text `null`, as it is in every container."""
    body = "".join(_element(str(name), one) for name, one in value.items())
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode()


def _element(name: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return "".join(_element(name, one) for one in value)
    if isinstance(value, Mapping):
        inner = "".join(_element(str(key), one) for key, one in value.items())
    else:
        inner = _text(value)
    return f"<{name}>{inner}</{name}>"


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return escape(str(value))
