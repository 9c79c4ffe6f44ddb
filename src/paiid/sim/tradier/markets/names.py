"""Symbols as Tradier writes them, and what it says of an instrument that our market does not (tradier.md, sections 3.6 and 8)."""

from datetime import date, timedelta
from decimal import Decimal

from paiid.domain.instruments import is_option, parse_any_symbol, underlying_of
from paiid.domain.occ import OptionContract, root_for

__all__ = [
    "LONGEST_SYMBOL",
    "contract_name",
    "exchange_of",
    "expiration_type",
    "find_symbol",
    "lots",
    "quote_exchange",
    "root_of",
    "security_type",
    "wire_symbol",
]

LONGEST_SYMBOL = 21
_FUNDS = frozenset({"SPY", "QQQ", "DIA", "IWM", "TLT"})
_ARCA, _NASDAQ, _CBOE, _ISE = "P", "Q", "C", "X"
_OPTIONS = "Z"
_FRIDAY = 4
_ROUND_LOT = 100


def wire_symbol(symbol: str) -> str:
    """Our symbol on the wire: class shares with a slash, `BRK/B`; contracts as they are."""
    return symbol.replace(".", "/")


def find_symbol(text: str) -> str | None:
    """Our symbol behind one on the wire, in whatever case; None for what cannot be one: `BRK.B` and padded contracts are none."""
    text = text.strip()
    if not text or len(text) > LONGEST_SYMBOL or "." in text or " " in text:
        return None
    try:
        return parse_any_symbol(text.replace("/", "."))
    except ValueError:
        return None


def security_type(symbol: str) -> str:
    """`option`, `etf` or `stock`; the market tells funds by nothing, so they are named here."""
    if is_option(symbol):
        return "option"
    return "etf" if symbol in _FUNDS else "stock"


def exchange_of(symbol: str) -> str:
    """The code of where it is listed: funds at Arca, the rest at NASDAQ."""
    if is_option(symbol):
        return _OPTIONS
    return _ARCA if symbol in _FUNDS else _NASDAQ


def quote_exchange(symbol: str, side: str) -> str:
    """The code of where the best bid or ask is: always the same, as the market has no exchanges."""
    if is_option(symbol):
        return _CBOE if side == "bid" else _ISE
    return _NASDAQ if side == "bid" else _ARCA


def lots(symbol: str, size: Decimal) -> int:
    """A size as it is told: shares in round lots of a hundred, options in contracts; what is there is at least one."""
    lot = 1 if is_option(symbol) else _ROUND_LOT
    return max(1, int(size) // lot) if size > 0 else 0


def root_of(symbol: str) -> str | None:
    """The root of the standard options on a ticker; None where it can have none."""
    try:
        return root_for(underlying_of(symbol))
    except ValueError:
        return None


def expiration_type(day: date) -> str:
    """`standard` for the expiration of a third Friday (or the day before, where that one is closed), else `weeklys`."""
    friday = day + timedelta(days=(_FRIDAY - day.weekday()) % 7)
    return "standard" if 15 <= friday.day <= 21 else "weeklys"


def contract_name(contract: OptionContract) -> str:
    """Such as `SPY Dec 18 2026 $700.00 Call`."""
    day = contract.expiration
    when = f"{day:%b} {day.day} {day.year}"
    kind = contract.option_type.capitalize()
    return f"{wire_symbol(contract.underlying)} {when} ${contract.strike:.2f} {kind}"
