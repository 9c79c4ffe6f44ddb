"""The volatility surface of a symbol: drawn once for each newest chain, off the event loop, and kept while the chain is the newest."""

from collections import OrderedDict
from datetime import date

from fastapi import Request, Response

from paiid.core.json import encode
from paiid.domain.pricing.surface import Slice, build
from paiid.domain.pricing.terms import Accuracy
from paiid.options.answers import Answer, Answers
from paiid.options.chains import ChainReader
from paiid.options.pool import PricingPool
from paiid.options.records import PricedChain
from paiid.options.surface_quotes import choose
from paiid.options.surface_view import By, Surface, surface_view

MOST_KEPT = 32
"""Surfaces that are remembered."""
MOST_EXPIRATIONS = 80
"""Expirations that are drawn; the later ones of more are left out, and told."""

Key = tuple[str, Accuracy, tuple[date, ...]]
Stamp = tuple[int, int, bool]


def draw(chain: PricedChain) -> Surface:
    """A smile for each expiration of a chain. Takes some milliseconds for each: not for the event loop."""
    chosen = [choose(chain, number) for number in range(len(chain.assumptions.expirations))]
    alive = [one for one in chosen if one.terms.forward and one.terms.forward > 0 and one.terms.years > 0]
    slices = build([(one.terms.years, float(one.terms.forward or 0), one.quotes) for one in alive])
    made = {one.terms.day: slice_ for one, slice_ in zip(alive, slices, strict=True)}
    return Surface(
        tuple(
            made.get(one.terms.day) or Slice(one.terms.years, one.terms.forward or 0.0, one.quotes, None)
            for one in chosen
        ),
        tuple(chosen),
    )


class SurfaceReader:
    """Surfaces by symbol. Two callers who come at once may draw the same one twice; nobody waits for another."""

    def __init__(self, chains: ChainReader, pool: PricingPool, answers: Answers) -> None:
        self._chains = chains
        self._pool = pool
        self._answers = answers
        self._kept: OrderedDict[Key, tuple[Stamp, Surface]] = OrderedDict()

    async def answer(
        self, request: Request, symbol: str, expirations: tuple[date, ...] | None, accuracy: Accuracy, by: By
    ) -> Response:
        """The newest surface as JSON, or 304. Raises Problem: 404 for an unknown symbol, 422 for a day on which nothing expires, 503 where
        there are no data."""
        chain = await self._chains.load(symbol, expirations, accuracy)
        key = ("surface", symbol, expirations, accuracy, by)
        kept = self._answers.find(key, chain)
        if kept is None:
            drawn = chain.only(chain.days[:MOST_EXPIRATIONS])
            surface = await self.draw(drawn)
            body = await self._pool.run(_encoded, drawn, surface, by)
            kept = Answer(body, chain)
            self._answers.keep(key, kept)
        return await self._answers.reply(request, kept)

    async def draw(self, chain: PricedChain) -> Surface:
        """The surface of a chain, from memory where it was drawn before."""
        key = (chain.symbol, chain.accuracy, chain.days)
        stamp = (chain.fetched_us, chain.assumptions.priced_at_us, chain.stale)
        kept = self._kept.get(key)
        if kept is not None and kept[0] == stamp:
            self._kept.move_to_end(key)
            return kept[1]
        surface = await self._pool.run(draw, chain)
        self._kept[key] = (stamp, surface)
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return surface


def _encoded(chain: PricedChain, surface: Surface, by: By) -> bytes:
    return encode(surface_view(chain, surface, by))
