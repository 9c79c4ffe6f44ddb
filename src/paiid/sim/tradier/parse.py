"""From the form of an order to what is asked, with Tradier's texts for what is wrong in it (tradier.md, 6.1, 6.7, 6.8)."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import get_args

from paiid.domain.instruments import SYMBOL_PATTERN
from paiid.domain.occ import find_contract
from paiid.sim.tradier.asked import Asked, AskedChange, AskedLeg
from paiid.sim.tradier.gate import TradierError
from paiid.sim.tradier.ids import GROUPS, OrderClass

__all__ = ["boolean", "invalid", "read_change", "read_order", "ticker_of", "whole"]

DURATIONS = ("day", "gtc", "pre", "post")
TYPES = ("market", "limit", "stop", "stop_limit")
NET_TYPES = ("market", "debit", "credit", "even")
EQUITY_SIDES = ("buy", "sell", "sell_short", "buy_to_cover")
OPTION_SIDES = ("buy_to_open", "buy_to_close", "sell_to_open", "sell_to_close")
MAX_QUANTITY = 10_000_000
MAX_TAG = 255
_CLASSES: tuple[OrderClass, ...] = get_args(OrderClass)
_TAG = re.compile(r"[A-Za-z0-9-]+\Z", re.ASCII)
_WHOLE = re.compile(r"[0-9]{1,9}(?:\.0*)?\Z", re.ASCII)
_PRICE = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})\Z", re.ASCII)
_INDEX = re.compile(r"[a-z_]+\[([0-9]{1,2})\]\Z", re.ASCII)
_LEGS: Mapping[OrderClass, tuple[int, int]] = {
    "multileg": (2, 4), "combo": (2, 4), "oto": (2, 2), "oco": (2, 2), "otoco": (3, 3),
}  # fmt: skip

Form = Mapping[str, str]


def invalid(name: str, says: str = "is not valid.") -> TradierError:
    """The text for a parameter that is wrong."""
    return TradierError(400, f"Invalid parameter, {name}: {says}")


def read_order(form: Form) -> Asked:
    """What a form asks for. Raises TradierError."""
    cls = next((one for one in _CLASSES if one == form.get("class")), None)
    if cls is None:
        raise invalid("class")
    tag, preview = _tag(form.get("tag")), boolean(form.get("preview"), "preview")
    if cls in GROUPS:
        if "symbol" in form:
            raise TradierError(400, "Invalid parameter, symbol: is not valid")
        legs = tuple(_group_leg(form, at) for at in range(_count(form, cls)))
        return Asked(cls, legs[0].type, _group_duration(form, len(legs)), legs[0].price, tag, preview, legs)
    duration = _one_of(form, "duration", DURATIONS)
    if cls in ("multileg", "combo"):
        kind = _one_of(form, "type", NET_TYPES)
        net = _price(form, "price") if kind in ("debit", "credit") else None
        ticker = ticker_of(form.get("symbol", ""), "symbol")
        legs = tuple(_net_leg(form, ticker, at, cls) for at in range(_count(form, cls)))
        return Asked(cls, kind, duration, net, tag, preview, legs)
    leg = _leg(form, "", option=cls == "option")
    return Asked(cls, leg.type, duration, leg.price, tag, preview, (leg,))


def read_change(form: Form) -> AskedChange:
    """What an order is to become (tradier.md, 6.5). Raises TradierError."""
    for name in ("quantity", "side", "symbol", "option_symbol", "class"):
        if name in form:
            raise invalid(name, "can not be changed.")
    return AskedChange(
        _one_of(form, "type", (*TYPES, *NET_TYPES[1:])) if "type" in form else None,
        _one_of(form, "duration", DURATIONS) if "duration" in form else None,
        _price(form, "price") if form.get("price") else None,
        _price(form, "stop") if form.get("stop") else None,
    )


def ticker_of(text: str, name: str) -> str:
    """Our symbol for a ticker on the wire, where class shares have a slash: BRK/B is BRK.B. Raises TradierError."""
    upper = text.strip().upper()
    ours = upper.replace("/", ".")
    if "." in upper or not SYMBOL_PATTERN.match(ours):
        raise invalid(name)
    return ours


def boolean(text: str | None, name: str) -> bool:
    """A flag of a query or form; nothing is false. Raises TradierError."""
    if text is None or text == "" or text.lower() == "false":
        return False
    if text.lower() == "true":
        return True
    raise invalid(name)


def whole(text: str | None, name: str, default: int, most: int) -> int:
    """A whole number of a query, from 1 on. Raises TradierError."""
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= most:
        raise invalid(name)
    return int(text)


def _leg(form: Form, at: str, *, option: bool) -> AskedLeg:
    """One order; `at` is the index that its fields have, such as `[0]`."""
    kind = _one_of(form, "type" + at, TYPES)
    if option:
        symbol, underlying = _contract(form, at, _underlying(form, at))
        side = _one_of(form, "side" + at, OPTION_SIDES)
    else:
        symbol = underlying = ticker_of(form.get("symbol" + at, ""), "symbol" + at)
        side = _one_of(form, "side" + at, EQUITY_SIDES)
    return AskedLeg(
        symbol, underlying, side, _quantity(form, "quantity" + at), kind,
        _price(form, "price" + at) if kind in ("limit", "stop_limit") else None,
        _price(form, "stop" + at) if kind in ("stop", "stop_limit") else None,
    )  # fmt: skip


def _group_leg(form: Form, index: int) -> AskedLeg:
    at = f"[{index}]"
    return _leg(form, at, option=bool(form.get("option_symbol" + at)))


def _net_leg(form: Form, ticker: str, index: int, cls: OrderClass) -> AskedLeg:
    at = f"[{index}]"
    quantity = _quantity(form, "quantity" + at)
    if cls == "combo" and index == 0:
        if form.get("option_symbol" + at):
            raise invalid("option_symbol" + at)
        return AskedLeg(
            ticker, ticker, _one_of(form, "side" + at, EQUITY_SIDES), quantity, "market", None, None
        )
    symbol, _ = _contract(form, at, ticker)
    return AskedLeg(symbol, ticker, _one_of(form, "side" + at, OPTION_SIDES), quantity, "market", None, None)


def _underlying(form: Form, at: str) -> str | None:
    """The ticker of an option; a leg of a group may leave it away."""
    text = form.get("symbol" + at)
    return None if text is None and at else ticker_of(text or "", "symbol" + at)


def _contract(form: Form, at: str, ticker: str | None) -> tuple[str, str]:
    """OCC symbol and underlying, which must go together."""
    name = "option_symbol" + at
    text = form.get(name, "")
    contract = find_contract(text.strip().upper()) if text.isascii() else None
    if contract is None or contract.symbol != text.strip().upper():
        raise invalid(name)
    if ticker not in (None, contract.underlying):
        raise invalid(name)
    return contract.symbol, contract.underlying


def _count(form: Form, cls: OrderClass) -> int:
    """How many legs a form has: their indices begin at 0 and have no hole."""
    found = {int(match[1]) for name in form if (match := _INDEX.match(name))}
    least, most = _LEGS[cls]
    if found != set(range(len(found))) or not least <= len(found) <= most:
        raise invalid("leg", f"{least} to {most} legs are needed, with indices from 0.")
    return len(found)


def _group_duration(form: Form, legs: int) -> str:
    """One for all, or one for each leg; not both."""
    each = [f"duration[{at}]" for at in range(legs) if f"duration[{at}]" in form]
    if each and "duration" in form:
        raise invalid("duration")
    if not each:
        return _one_of(form, "duration", DURATIONS)
    if len(each) != legs:
        raise invalid("duration")
    found = [_one_of(form, name, DURATIONS) for name in each]
    return found[0] if len(set(found)) == 1 else ",".join(found)


def _tag(text: str | None) -> str | None:
    if not text:
        return None
    if len(text) > MAX_TAG:
        raise invalid("tag", f"contains more than {MAX_TAG} characters.")
    if not _TAG.match(text):
        raise invalid("tag", "contains invalid characters.")
    return text


def _one_of(form: Form, name: str, allowed: Sequence[str]) -> str:
    text = form.get(name, "").strip().lower()
    if text not in allowed:
        raise invalid(name)
    return text


def _quantity(form: Form, name: str) -> Decimal:
    text = form.get(name, "").strip()
    if not _WHOLE.match(text) or not 1 <= Decimal(text) <= MAX_QUANTITY:
        raise invalid(name)
    return Decimal(int(Decimal(text)))


def _price(form: Form, name: str) -> Decimal:
    text = form.get(name, "").strip()
    if not _PRICE.match(text) or Decimal(text) <= 0:
        raise invalid(name)
    return Decimal(text)
