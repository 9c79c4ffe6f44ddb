"""Answers by the rules: reads what the question is about, and explains it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

from paiid.ai.asked import Asked, Chat, Explain
from paiid.ai.facts import Reading
from paiid.ai.guard import Passed
from paiid.ai.intents import Intent, Topic, intent_of
from paiid.ai.reader import Reader
from paiid.ai.rules import CAN, CANNOT_TRADE, explained, plainly
from paiid.domain.errors import Problem
from paiid.domain.instruments import underlying_of

_TOPICS_AT_ONCE = 2
_SYMBOLS_AT_ONCE = 3


async def subject_of(asked: Explain, reader: Reader) -> list[Reading]:
    """What is to be explained. Raises Problem (404, 422, 503), DatabaseUnavailable."""
    if asked.kind == "position":
        return [await reader.position(asked.symbol or "")]
    if asked.kind == "order":
        return [await reader.order(asked.order or "")]
    if asked.kind == "chain":
        return [await reader.chain(underlying_of(asked.symbol or ""), asked.expiration)]
    if asked.kind == "portfolio":
        return [await reader.portfolio(), await reader.positions()]
    if asked.kind == "risk":
        return [await reader.limits(), await reader.account()]
    return [await reader.halts()]


async def by_rules(asked: Asked, readings: Sequence[Reading], reader: Reader) -> AsyncIterator[Passed]:
    """The sentences. Raises DatabaseUnavailable; what there is not is said."""
    if isinstance(asked, Explain):
        for reading in readings:
            for sentence in explained(reading):
                yield sentence
        return
    async for sentence in _chat(asked, reader):
        yield sentence


async def _chat(asked: Chat, reader: Reader) -> AsyncIterator[Passed]:
    intent = intent_of(asked.question)
    if intent.wants_trade:
        yield plainly(CANNOT_TRADE)
    said = False
    for read in _reads(intent, reader):
        try:
            reading = await read()
        except Problem as problem:
            yield plainly(problem.detail)
        else:
            for sentence in explained(reading):
                yield sentence
        said = True
    if not said:
        yield plainly(CAN)


def _reads(intent: Intent, reader: Reader) -> Iterable[Callable[[], Awaitable[Reading]]]:
    """What to read for it, at most a few."""
    if not intent.topics:
        for symbol in intent.symbols[:_SYMBOLS_AT_ONCE]:
            yield lambda symbol=symbol: reader.position(symbol)  # type: ignore[misc]
        return
    for topic in intent.topics[:_TOPICS_AT_ONCE]:
        yield from _of_topic(topic, intent, reader)


def _of_topic(topic: Topic, intent: Intent, reader: Reader) -> Iterable[Callable[[], Awaitable[Reading]]]:
    symbols = intent.symbols[:_SYMBOLS_AT_ONCE]
    if topic == "order":
        yield lambda: reader.order(intent.order_id or "")
    elif topic == "orders":
        if intent.order_id is None:
            yield lambda: reader.orders(None, "all", symbols[0] if symbols else None)
    elif topic == "chain":
        if symbols:
            yield lambda: reader.chain(underlying_of(symbols[0]))
    elif topic == "positions" and symbols:
        for symbol in symbols:
            yield lambda symbol=symbol: reader.position(symbol)  # type: ignore[misc]
    elif topic == "quotes":
        if symbols:
            yield lambda: reader.quotes(list(symbols))
    else:
        plain: dict[str, Callable[[], Awaitable[Reading]]] = {
            "halts": reader.halts,
            "fills": reader.fills,
            "limits": reader.limits,
            "clock": reader.clock,
            "positions": reader.positions,
            "portfolio": reader.portfolio,
        }
        yield plain[topic]
