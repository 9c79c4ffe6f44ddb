"""The stream over HTTP: an answer without an end, one JSON object behind the other (tradier.md, section 9.3)."""

import asyncio
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse

from paiid.sim.engine.connection import taken
from paiid.sim.tradier.markets.listener import End, Listener
from paiid.sim.tradier.markets.side import MarketSide
from paiid.sim.tradier.markets.socket import Places
from paiid.sim.tradier.markets.wanted import Payload

__all__ = ["streamed"]


def streamed(places: Places, side: MarketSide, listener: Listener, payload: Payload) -> Response:
    """What this client wants, until it goes, or until nothing has come for long enough. A session that is not good is told as the
    stream's only message."""
    return StreamingResponse(_parts(places, side, listener, payload), media_type="application/json")


async def _parts(
    places: Places, side: MarketSide, listener: Listener, payload: Payload
) -> AsyncIterator[bytes]:
    places.join(listener, "http")
    try:
        places.admit(listener, payload)
        async for part in _heard(side, listener):
            yield part
    finally:
        places.leave(listener)


async def _heard(side: MarketSide, listener: Listener) -> AsyncIterator[bytes]:
    """Messages, and blank lines in silence where lines were asked for: these keep the connection, but are no messages."""
    loop, options = asyncio.get_running_loop(), side.options
    idle_at_s = loop.time() + options.idle_s
    while True:
        blank_at_s = loop.time() + options.blank_s if listener.wanted.linebreak else idle_at_s
        try:
            async with asyncio.timeout_at(min(blank_at_s, idle_at_s)):
                item = await listener.next()
        except TimeoutError:
            if loop.time() >= idle_at_s:
                return
            yield b"\n"
            continue
        if isinstance(item, End):
            if item.cut:
                await taken(listener.connection, side.exchange.clock)
                listener.reset()
            return
        idle_at_s = loop.time() + options.idle_s
        yield item
