"""The tools a model may use: each reads, none changes anything. What they hand over is data, whatever stands in it."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from paiid.ai.facts import Item, Reading
from paiid.ai.limits import ID, ITEMS, READ_BYTES, SYMBOL
from paiid.ai.reader import BARS, Reader
from paiid.core.json import encode
from paiid.domain.bars import Timeframe
from paiid.domain.errors import Problem, invalid_field
from paiid.domain.instruments import parse_any_symbol, parse_symbol

_SYMBOLS = 10
_TEXT = {"type": "string"}
_ACCOUNT = {
    "account": {"type": "string", "description": "An account's id; left out: the one the question is about."}
}
_ID = re.compile(r"[A-Za-z0-9._:-]+\Z", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z", re.ASCII)

Args = Mapping[str, Any]
Call = Callable[[Reader, Args], Awaitable[Reading]]


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool: what it is for, its arguments as JSON Schema, and the read behind it."""

    name: str
    description: str
    properties: Mapping[str, Any]
    required: tuple[str, ...]
    call: Call

    def described(self) -> dict[str, Any]:
        """As the model's interface wants it."""
        schema = {
            "type": "object",
            "properties": dict(self.properties),
            "required": list(self.required),
            "additionalProperties": False,
        }
        return {"name": self.name, "description": self.description, "input_schema": schema}


def _text(args: Args, name: str, longest: int = ID) -> str | None:
    value = args.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= longest or not _ID.match(value):
        raise invalid_field(name, "text", f"{name} is a short text")
    return value


def _named(args: Args, name: str) -> str:
    found = _text(args, name)
    if found is None:
        raise invalid_field(name, "missing", f"{name} is required")
    return found


def _symbol(args: Args, *, option: bool = True) -> str:
    value = args.get("symbol")
    if not isinstance(value, str) or len(value) > SYMBOL:
        raise invalid_field("symbol", "symbol", "symbol is a ticker or an option's OCC symbol")
    return _parsed(value, option=option)


def _parsed(text: str, *, option: bool = True) -> str:
    try:
        return parse_any_symbol(text) if option else parse_symbol(text)
    except ValueError as error:
        raise invalid_field("symbol", "symbol", str(error)) from None


async def _orders(reader: Reader, args: Args) -> Reading:
    status = args.get("status", "all")
    if status not in ("open", "closed", "all"):
        raise invalid_field("status", "choice", "status is open, closed or all")
    symbol = None if args.get("symbol") is None else _symbol(args)
    return await reader.orders(_text(args, "account"), status, symbol)


async def _quotes(reader: Reader, args: Args) -> Reading:
    symbols = args.get("symbols")
    if not isinstance(symbols, list) or not 0 < len(symbols) <= _SYMBOLS:
        raise invalid_field("symbols", "list", f"symbols is a list of at most {_SYMBOLS} symbols")
    if not all(isinstance(one, str) and len(one) <= SYMBOL for one in symbols):
        raise invalid_field("symbols", "symbol", "each is a ticker or an option's OCC symbol")
    return await reader.quotes(list(dict.fromkeys(_parsed(one) for one in symbols)))


async def _bars(reader: Reader, args: Args) -> Reading:
    timeframe, count = args.get("timeframe", "1Day"), args.get("count", 20)
    if timeframe not in list(Timeframe):
        raise invalid_field("timeframe", "choice", f"timeframe is one of {', '.join(Timeframe)}")
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= BARS:
        raise invalid_field("count", "range", f"count is 1 to {BARS}")
    return await reader.bars(_symbol(args), Timeframe(timeframe), count)


async def _chain(reader: Reader, args: Args) -> Reading:
    day = args.get("expiration")
    if day is not None and (not isinstance(day, str) or not _DAY.match(day)):
        raise invalid_field("expiration", "date", "expiration is a day such as 2026-12-18")
    return await reader.chain(_symbol(args, option=False), day)


_SYMBOL_ARG = {"symbol": {**_TEXT, "description": "A ticker, or an option's OCC symbol."}}
TOOLS: Mapping[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool("read_portfolio", "What the account is worth, its profit, exposure and Greeks.", _ACCOUNT, (),
             lambda reader, args: reader.portfolio(_text(args, "account"))),
        Tool("read_account", "Cash, buying power, margin and state of the account.", _ACCOUNT, (),
             lambda reader, args: reader.account(_text(args, "account"))),
        Tool("read_positions", "All positions of the account.", _ACCOUNT, (),
             lambda reader, args: reader.positions(_text(args, "account"))),
        Tool("read_position", "One position.", {**_SYMBOL_ARG, **_ACCOUNT}, ("symbol",),
             lambda reader, args: reader.position(_symbol(args), _text(args, "account"))),
        Tool("read_orders", "The newest orders of the account.",
             {"status": {"enum": ["open", "closed", "all"]}, **_SYMBOL_ARG, **_ACCOUNT}, (), _orders),
        Tool("read_order", "One order by its id, with what hangs on it.", {"order_id": _TEXT}, ("order_id",),
             lambda reader, args: reader.order(_named(args, "order_id"))),
        Tool("read_fills", "The newest executions of the account, or of one order.", {"order_id": _TEXT, **_ACCOUNT}, (),
             lambda reader, args: reader.fills(_text(args, "account"), _text(args, "order_id"))),
        Tool("read_quotes", "The newest quotes.",
             {"symbols": {"type": "array", "items": _TEXT, "maxItems": _SYMBOLS}}, ("symbols",), _quotes),
        Tool("read_bars", "What a symbol did over the newest bars, in sum.",
             {**_SYMBOL_ARG, "timeframe": {"enum": [str(one) for one in Timeframe]}, "count": {"type": "integer"}},
             ("symbol",), _bars),
        Tool("read_chain", "Options near the money of one expiration; the nearest one unless it is named.",
             {**_SYMBOL_ARG, "expiration": {**_TEXT, "description": "Such as 2026-12-18."}}, ("symbol",), _chain),
        Tool("read_limits", "The user's settings and the limits of risk in force.", {}, (),
             lambda reader, args: reader.limits()),
        Tool("read_halts", "Whether trading is halted, and since when.", _ACCOUNT, (),
             lambda reader, args: reader.halts(_text(args, "account"))),
        Tool("read_clock", "Whether the market is open.", {}, (), lambda reader, args: reader.clock()),
    )
}  # fmt: skip
DESCRIBED: list[dict[str, Any]] = [tool.described() for tool in TOOLS.values()]


@dataclass(frozen=True, slots=True)
class Told:
    """What the model is told of one call of a tool."""

    text: str
    failed: bool


async def use(reader: Reader, name: str, args: object) -> Told:
    """Carry out one call. What is refused is told, never raised; DatabaseUnavailable is."""
    tool = TOOLS.get(name)
    if tool is None:
        return Told(
            "There is no such tool. The tools here only read; nothing can be traded or changed.", True
        )
    if not isinstance(args, Mapping) or not set(args) <= set(tool.properties):
        return Told("These arguments do not fit the tool.", True)
    try:
        reading = await tool.call(reader, args)
    except Problem as problem:
        return Told(marked({"problem": problem.detail}), True)
    return Told(marked(shown(reading)), False)


def marked(value: object) -> str:
    """A block of data. Nothing inside can end it: what could is escaped."""
    text = encode(value).decode().replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f"<data>{text}</data>"


def shown(reading: Reading, most: int = READ_BYTES) -> dict[str, Any]:
    """A reading as data, cut to what one tool may hand over."""
    items: list[dict[str, Any]] = []
    left = most
    for item in reading.items[:ITEMS]:
        one = _shown(item)
        left -= len(encode(one))
        if left < 0:
            break
        items.append(one)
    told: dict[str, Any] = {"read": reading.kind, "items": items}
    if reading.note is not None:
        told["note"] = reading.note
    if len(items) < len(reading.items):
        told["cut"] = "There is more than fits here."
    return told


def _shown(item: Item) -> dict[str, Any]:
    figures = []
    for fact in item.facts.values():
        one: dict[str, Any] = {"id": fact.id, "label": fact.label, "value": fact.value}
        if fact.unit is not None:
            one["unit"] = fact.unit
        if fact.stale:
            one["stale"] = True
        figures.append(one)
    return {**item.words, "figures": figures}
