"""Reads the parameters of a request for market data, in Tradier's words for what is wrong with them (tradier.md, section 4)."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from paiid.domain.calendar import EASTERN
from paiid.sim.tradier.gate import TradierError
from paiid.sim.tradier.markets.names import find_symbol

__all__ = [
    "Asked",
    "choice_of",
    "day_of",
    "flag_of",
    "invalid",
    "minute_us_of",
    "symbol_of",
    "text_of",
    "texts_of",
]

Asked = Mapping[str, str]
"""The parameters of a query or a form."""
_FLAGS = {"true": True, "false": False, "1": True, "0": False}
_DAY, _MINUTE = "%Y-%m-%d", "%Y-%m-%d %H:%M"


def invalid(name: str, reason: str = "is not valid.") -> TradierError:
    """400 for a parameter that is wrong, or missing."""
    return TradierError(400, f"Invalid parameter, {name}: {reason}")


def text_of(asked: Asked, name: str) -> str:
    """A parameter that must be there. Raises TradierError 400."""
    text = asked.get(name, "").strip()
    if not text:
        raise invalid(name, "is required.")
    return text


def texts_of(asked: Asked, name: str) -> list[str]:
    """A comma list, each once; empty where it is missing."""
    return list(dict.fromkeys(one for part in asked.get(name, "").split(",") if (one := part.strip())))


def flag_of(asked: Asked, name: str, default: bool = False) -> bool:
    """True or false. Raises TradierError 400."""
    text = asked.get(name, "").strip().lower()
    if not text:
        return default
    if text not in _FLAGS:
        raise invalid(name)
    return _FLAGS[text]


def choice_of(asked: Asked, name: str, known: Sequence[str]) -> str:
    """One of these, the first if it is missing. Raises TradierError 400."""
    text = asked.get(name, "").strip().lower() or known[0]
    if text not in known:
        raise invalid(name)
    return text


def symbol_of(asked: Asked, name: str = "symbol") -> str | None:
    """Our symbol behind a parameter that must be there; None for what cannot be one. Raises TradierError 400."""
    return find_symbol(text_of(asked, name))


def day_of(asked: Asked, name: str) -> date | None:
    """A day as `YYYY-MM-DD`; None where it is missing. Raises TradierError 400."""
    text = asked.get(name, "").strip()
    return _moment(name, text, _DAY).date() if text else None


def minute_us_of(asked: Asked, name: str) -> int | None:
    """A minute of New York as `YYYY-MM-DD HH:MM`, or the beginning of a day, in microseconds since the epoch; None where it is missing.
    Raises TradierError 400."""
    text = asked.get(name, "").strip()
    if not text:
        return None
    moment = _moment(name, text, _MINUTE if len(text) > len("2026-01-01") else _DAY)
    return int(moment.replace(tzinfo=EASTERN).timestamp()) * 1_000_000


def _moment(name: str, text: str, form: str) -> datetime:
    try:
        if not text.isascii() or len(text) > len("2026-01-01 00:00:00"):
            raise ValueError(text)
        return datetime.strptime(text, form)  # noqa: DTZ007 - New York's, as the callers say
    except ValueError:
        raise invalid(name) from None
