"""Answers what-if questions: asks the market only for what was not said, and computes off the event loop."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from paiid.core.clock import Clock
from paiid.core.json import encode
from paiid.domain.errors import Problem, invalid_field
from paiid.domain.pricing.strategy import between_two_prices
from paiid.domain.pricing.terms import IMPLIED
from paiid.domain.rate_curve import RateCurve
from paiid.options.chains import ChainReader
from paiid.options.pool import PricingPool
from paiid.options.records import Assumed, PricedChain
from paiid.options.strategy import strategy_view
from paiid.options.surface import SurfaceReader
from paiid.options.what_if_legs import Known, row_of
from paiid.options.what_if_terms import Asked, LegAsked
from paiid.options.what_if_view import what_if_view
from paiid.options.what_if_world import Made, make

MOST_COSTLY = 4
"""Options of one question whose valuing takes a good part of a second each."""

View = Callable[[Asked, Made], dict[str, Any]]


class WhatIfService:
    """`rate` is what the owner says of it (`options/given`). Answers are encoded JSON; raises Problem: 422 for what is missing or cannot
    be, 503 where the market would have to tell it and is silent."""

    def __init__(
        self,
        chains: ChainReader,
        surfaces: SurfaceReader,
        pool: PricingPool,
        clock: Clock,
        rate: Assumed | RateCurve | None,
    ) -> None:
        self._chains = chains
        self._surfaces = surfaces
        self._pool = pool
        self._clock = clock
        self._rate = rate

    async def price(self, asked: Asked) -> bytes:
        """What the legs are worth, now and in the scenario."""
        return await self._answer(asked, what_if_view, smile=False)

    async def strategy(self, asked: Asked) -> bytes:
        """What the legs pay at their first expiration."""
        return await self._answer(asked, strategy_view, smile=True)

    async def _answer(self, asked: Asked, view: View, *, smile: bool) -> bytes:
        known, silent = await self._known(asked, smile)
        try:
            return await self._pool.run(_computed, asked, known, view)
        except Problem as problem:
            if silent is not None and any(one.code == "missing" for one in problem.errors):
                # It is not the caller's mistake that he relied on a market that says nothing now.
                raise silent from None
            raise

    async def _known(self, asked: Asked, smile: bool) -> tuple[Known, Problem | None]:
        """What the market tells, and the 503 of one that was asked and is silent."""
        now_us, symbol = self._clock.now_us(), asked.market.symbol
        if symbol is None or (is_all_said(asked) and not smile):
            return Known(now_us, None, None, None, self._rate), None
        try:
            chain = await self._chain(symbol, asked)
        except Problem as problem:
            silent = problem if problem.code.status >= 500 else None
            return Known(now_us, None, None, problem.detail.rstrip("."), self._rate), silent
        why = None if chain.rows else f"there are no options on {symbol}"
        surface = None
        if chain.rows and (smile or any(_lacks(chain, leg) for leg in asked.legs)):
            surface = await self._surfaces.draw(chain)
        return Known(chain.assumptions.priced_at_us, chain, surface, why, self._rate), None

    async def _chain(self, symbol: str, asked: Asked) -> PricedChain:
        """With the expirations of the legs; with all where one is not listed, for only between others can its volatility be found."""
        listed = await self._chains.expirations(symbol)
        return await self._chains.load(symbol, days_for(asked.legs, listed), asked.market.accuracy)


def days_for(legs: Sequence[LegAsked], listed: Sequence[date]) -> list[date] | None:
    """The expirations to look at; None for all."""
    options = [leg for leg in legs if leg.kind != "shares"]
    if any(_is_open(leg) and leg.expiration not in listed for leg in options):
        return None
    wanted = {leg.expiration for leg in options if leg.expiration in listed}
    return sorted(day for day in wanted if day is not None) or list(listed[:1])


def is_all_said(asked: Asked) -> bool:
    """Whether nothing is left for the market to tell."""
    market = asked.market
    if market.spot is None:
        return False
    options = [leg for leg in asked.legs if leg.kind != "shares"]
    said = None not in (market.rate, market.dividend_yield, market.dividends)
    return not options or (said and not any(_is_open(leg) for leg in options))


def _is_open(leg: LegAsked) -> bool:
    return leg.volatility is None and leg.price is None


def _lacks(chain: PricedChain, leg: LegAsked) -> bool:
    """Whether an option has neither a volatility that was given nor one that its quote implies."""
    if leg.kind == "shares" or not _is_open(leg):
        return False
    row = row_of(chain, leg)
    return row is None or int(chain.implied.status[row]) != IMPLIED


def _computed(asked: Asked, known: Known, view: View) -> bytes:
    made = make(asked, known)
    _refuse_costly(asked, made)
    return encode(view(asked, made))


def _refuse_costly(asked: Asked, made: Made) -> None:
    """What would keep a thread busy for longer than a caller waits. Raises Problem (422)."""
    position = made.position
    if position.style == "american":
        many = asked.grid is not None or asked.range is not None
        shifts = {0.0, asked.scenario.rate_change / 100}
        between = max(between_two_prices(position, shift) for shift in shifts)
        if between > (0 if many else MOST_COSTLY):
            raise invalid_field(
                "dividend_yield",
                "costly",
                "Rate and yield are both below zero, and an option is exercised between two prices then, which is slow to value: "
                f"ask for at most {MOST_COSTLY} such options without a grid or a pay-off, or set style to european.",
            )
    cash = sum(
        any(one.years < years for one in made.world.dividends) for years in position.contracts.years.tolist()
    )
    if position.accuracy == "accurate" and cash > MOST_COSTLY:
        raise invalid_field(
            "accuracy",
            "costly",
            f"At most {MOST_COSTLY} options with cash dividends are valued accurately at once; ask for fast.",
        )
