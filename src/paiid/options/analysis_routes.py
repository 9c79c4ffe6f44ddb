"""The routes beyond one chain: the volatility surface, what-if and strategies."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from paiid.auth.access import may
from paiid.core.json import StrictRoute
from paiid.domain.errors import invalid_field
from paiid.domain.identity import Principal
from paiid.domain.instruments import parse_symbol
from paiid.domain.pricing.terms import Accuracy
from paiid.options.asked import parse_expirations
from paiid.options.routes import MAX_EXPIRATIONS_TEXT
from paiid.options.surface import SurfaceReader
from paiid.options.surface_view import By
from paiid.options.what_if import WhatIfService
from paiid.options.what_if_bodies import PriceBody, StrategyBody

router = APIRouter(prefix="/api/options", tags=["options"], route_class=StrictRoute)
Reader = Annotated[Principal, Depends(may("read"))]


def _what_if(request: Request) -> WhatIfService:
    service: WhatIfService = request.app.state.what_if
    return service


@router.get("/surface/{symbol}", summary="The volatility surface of a symbol")
async def get_surface(
    request: Request,
    user: Reader,
    symbol: Annotated[str, Path(max_length=16, description="The underlying, such as AAPL.")],
    expiration: Annotated[
        str | None,
        Query(
            max_length=MAX_EXPIRATIONS_TEXT,
            description="One or several, comma separated; all that are listed unless said.",
        ),
    ] = None,
    by: Annotated[By, Query(description="Columns of the grid: strike over forward, or delta.")] = "moneyness",
    accuracy: Annotated[Accuracy, Query()] = "fast",
) -> Response:
    """For each expiration a smile drawn through the quotes that are good (SVI), with its at-the-money volatility, skew, convexity and
    expected move, how well it fits, and what arbitrage is in it. Volatilities are fractions a year. Nothing is told beyond
    the strikes and expirations that are quoted: it is null."""
    surfaces: SurfaceReader = request.app.state.surfaces
    days = None if expiration is None else parse_expirations(expiration)
    return await surfaces.answer(request, _ticker(symbol), days, accuracy, by)


@router.post("/price", summary="What if: the value and Greeks of any legs in any market")
async def price_legs(request: Request, user: Reader, body: PriceBody) -> Response:
    """One to twenty legs, now and in a world that is otherwise (`spot_to` or `spot_change_pct`, `volatility_change`, `rate_change`,
    `days_forward` or `at`), and over a grid. What is not said is taken from the market, and each default names its source; without
    market data it prices from what is given alone."""
    return _json(await _what_if(request).price(body.to_asked()))


@router.post("/strategy", summary="Pay-off, break-evens and odds of one to four options")
async def analyse_strategy(request: Request, user: Reader, body: StrategyBody) -> Response:
    """What the legs, with shares or without, cost and pay at their first expiration; options that go on are valued by the model.
    Gains and losses without limit are null, with a flag."""
    return _json(await _what_if(request).strategy(body.to_asked()))


def _json(body: bytes) -> Response:
    return Response(body, headers={"cache-control": "no-store"}, media_type="application/json")


def _ticker(text: str) -> str:
    try:
        return parse_symbol(text)
    except ValueError as error:
        raise invalid_field("symbol", "symbol", str(error)) from None
