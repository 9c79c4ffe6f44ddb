"""Symbols here and at Tradier: class shares have a dot here and a slash there, contracts are the same (tradier.md, section 3)."""

from paiid.domain.instruments import SYMBOL_PATTERN, is_option
from paiid.domain.occ import find_contract


def is_asked_for(symbol: str) -> bool:
    """Whether it is a symbol in its canonical form, and so one that Tradier may know."""
    if is_option(symbol):
        contract = find_contract(symbol)
        return contract is not None and contract.symbol == symbol
    return bool(SYMBOL_PATTERN.match(symbol)) and "/" not in symbol


def to_wire(symbol: str) -> str:
    """As Tradier writes it."""
    return symbol.replace(".", "/")


def from_wire(told: object) -> str | None:
    """As it is written here; None for what is no symbol here."""
    if not isinstance(told, str) or len(told) > 24:
        return None
    symbol = told.replace("/", ".")
    return symbol if is_asked_for(symbol) else None
