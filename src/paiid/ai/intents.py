"""What a question is about, by its words: so that the rules can answer where there is no model."""

import re
from dataclasses import dataclass
from typing import Literal

from paiid.domain.instruments import parse_any_symbol
from paiid.domain.occ import find_contract

Topic = Literal[
    "halts",
    "order",
    "orders",
    "chain",
    "limits",
    "position",
    "positions",
    "portfolio",
    "quotes",
    "clock",
    "fills",
    "trade",
]

_ORDER_ID = re.compile(r"\bord_[0-9a-z]{10,40}\b")
_OCC = re.compile(r"\b[A-Z]{1,6}[1-9]?[0-9]{6}[CP][0-9]{8}\b")
_TICKER = re.compile(r"\$?\b[A-Z]{1,5}(?:\.[A-Z])?\b")
_NO_TICKERS = frozenset(
    {"A", "I", "AI", "OK", "USD", "PL", "PNL", "ETF", "IV", "CALL", "PUT", "DTE", "ID", "AND", "OR", "THE", "WHY", "IS", "MY", "API", "US", "ITM", "OTM", "ATM", "GTC", "DAY"}
)  # fmt: skip
_WORDS: tuple[tuple[Topic, str], ...] = (
    ("halts", "halt|kill switch|suspend|resum|stopped trading|trading stopped"),
    ("orders", r"orders?\b|refus|reject|cancel|unknown|pending|not placed|working"),
    ("fills", r"fills?\b|filled|execut"),
    ("chain", r"chain|options?\b|strikes?\b|calls?\b|puts?\b|expir|implied vol|greeks"),
    ("limits", r"risk|limits?\b|settings?\b|stop loss|take profit|collar"),
    ("clock", r"market (?:is )?(?:open|closed?)|is the market|opening|trading hours|hours"),
    ("positions", r"positions?\b|holdings?\b|hold\b|own\b"),
    (
        "portfolio",
        "portfolio|account|balance|cash|equity|profit|loss|p&l|pnl|worth|performance|exposure|margin|buying power",
    ),
    ("quotes", r"price|quotes?\b|trading at|bid|ask\b"),
)
_TOPICS = tuple((topic, re.compile(rf"\b(?:{words})", re.IGNORECASE)) for topic, words in _WORDS)
_TRADE = re.compile(
    r"^\W*(?:please |can you |could you |i want to |i'd like to )*(?:buy|sell|short|close|place|cancel|liquidate|flatten|replace)\b",
    re.IGNORECASE,
)


_TRADES = re.compile(
    r"\b(?:buy|sell|short|place|submit|cancel|close|liquidate|flatten|replace|halt|resume)\b", re.IGNORECASE
)


def names_trade(text: str) -> bool:
    """Whether something that changes anything is spoken of, whoever is to do it."""
    return _TRADES.search(text) is not None


@dataclass(frozen=True, slots=True)
class Intent:
    """What is asked: the topics in order of weight, the order and the symbols that are named."""

    topics: tuple[Topic, ...]
    order_id: str | None
    symbols: tuple[str, ...]
    wants_trade: bool


def intent_of(text: str) -> Intent:
    """By keywords; nothing is guessed beyond them."""
    order = _ORDER_ID.search(text)
    symbols: dict[str, None] = dict.fromkeys(
        one for one in _OCC.findall(text) if find_contract(one) is not None
    )
    for found in _TICKER.findall(text):
        name = found.removeprefix("$")
        if found.startswith("$") or name not in _NO_TICKERS:
            try:
                symbols[parse_any_symbol(name)] = None
            except ValueError:
                continue
    topics = tuple(topic for topic, words in _TOPICS if words.search(text))
    if order is not None:
        topics = ("order", *topics)
    return Intent(
        topics, order[0] if order is not None else None, tuple(symbols)[:5], _TRADE.match(text) is not None
    )
