"""The options routes: expirations and chains."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from paiid.auth.access import may
from paiid.domain.errors import invalid_field
from paiid.domain.identity import Principal
from paiid.domain.instruments import parse_symbol
from paiid.domain.pricing.terms import Accuracy
from paiid.options.asked import (
    HIGHEST_STRIKE,
    MOST_ROWS,
    MOST_STRIKES,
    Asked,
    Moneyness,
    check_ranges,
    parse_after,
    parse_day,
    parse_expirations,
)
from paiid.options.described import answered
from paiid.options.service import OptionsService
from paiid.options.shapes import ChainView, ExpirationView

router = APIRouter(prefix="/api/options", tags=["options"])
Reader = Annotated[Principal, Depends(may("read"))]
Ticker = Annotated[str, Path(max_length=16, description="The underlying, such as AAPL.")]
MAX_EXPIRATIONS_TEXT = 600
"""Characters of a list of expirations."""

Day = Annotated[str | None, Query(max_length=10, description="Such as 2026-12-18.")]
Strike = Annotated[
    float | None, Query(ge=0, le=HIGHEST_STRIKE, allow_inf_nan=False, description="Dollars, included.")
]
Delta = Annotated[
    float | None,
    Query(
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Without its sign, included: 0.2 to 0.4 is calls and puts.",
    ),
]


def _options(request: Request) -> OptionsService:
    options: OptionsService = request.app.state.options
    return options


@router.get(
    "/expirations/{symbol}",
    summary="When the options on a ticker expire",
    responses=answered(list[ExpirationView], "By date; empty where nothing is listed."),
)
async def get_expirations(request: Request, user: Reader, symbol: Ticker) -> Response:
    """A bare array by date: `date, days_to_expiry` (calendar days, Eastern), `strikes` (how many), `kind` (monthly, quarterly, weekly,
    daily), `source`. Empty for a ticker without options, 404 for one that does not exist."""
    return await _options(request).expirations(request, _ticker(symbol))


@router.get(
    "/chains/{symbol}",
    summary="The options on a ticker, priced",
    responses=answered(ChainView, "The chain, or a page of it."),
)
@router.get("/chain/{symbol}", include_in_schema=False)
async def get_chain(
    request: Request,
    user: Reader,
    symbol: Ticker,
    expiration: Annotated[
        str | None,
        Query(
            max_length=MAX_EXPIRATIONS_TEXT,
            description="One expiration or several with commas between them, such as 2026-12-18; without it all that are listed.",
        ),
    ] = None,
    first: Annotated[
        str | None, Query(alias="from", max_length=10, description="Expirations from this day on.")
    ] = None,
    last: Annotated[
        str | None, Query(alias="to", max_length=10, description="Expirations up to this day.")
    ] = None,
    strike_min: Strike = None,
    strike_max: Strike = None,
    strikes: Annotated[
        int | None,
        Query(
            ge=1,
            le=MOST_STRIKES,
            description="So many strikes on each side of the underlying's price, of each expiration.",
        ),
    ] = None,
    option_type: Annotated[
        Literal["call", "put"] | None, Query(alias="type", description="Only calls, or only puts.")
    ] = None,
    moneyness: Annotated[
        Moneyness | None,
        Query(
            description="`itm`: exercising is worth something; `otm`: it is not; `atm`: the strike nearest to the price."
        ),
    ] = None,
    delta_min: Delta = None,
    delta_max: Delta = None,
    accuracy: Annotated[
        Accuracy,
        Query(
            description="`fast` is within 1e-3 dollars where the underlying is at 100, `accurate` within 1e-5."
        ),
    ] = "fast",
    limit: Annotated[int, Query(ge=1, le=MOST_ROWS, description="Contracts of one answer.")] = MOST_ROWS,
    after: Annotated[
        str | None, Query(max_length=24, description="The `next` of the page before: an OCC symbol.")
    ] = None,
) -> Response:
    """`calls` and `puts` by expiration and strike; null where nobody quotes or nothing can be computed.

    `implied_volatility` (a fraction) is implied from the middle of the contract's own bid and ask, and the Greeks are taken there:
    American contracts as American, with the cash dividends in `assumptions`. `delta` and `gamma` a dollar, `theta` a calendar day, `vega` and `rho` a
    percentage point. `greeks_source`: `computed`, the source's name where only it tells them, or null. `quality` lists what is wrong with the quote: no_quote,
    no_bid, no_ask, crossed, below_intrinsic, out_of_bounds, iv_not_identifiable, adjusted, expired, no_underlying (no number then), locked,
    stale, wide, parity_broken; empty is a good quote. `iv_uncertainty` is what half the spread moves the volatility by.

    `assumptions` tells rate, dividends and yield with the source of each: setting, curve_file, dividends_file, announced, parity (implied from this
    chain's calls and puts) or none. `total_contracts` counts what meets the conditions; where `next` is not null ask again with `after`.
    `stale` is true with `age_s` where the source is silent and this is the last that it told. The answer has an ETag, and comes compressed
    by zstd or gzip to who accepts that."""
    for name in request.query_params:
        if len(request.query_params.getlist(name)) > 1:
            raise invalid_field(
                name[:24], "doubled", "name it once; several expirations go with commas between them"
            )
    asked = Asked(
        expirations=None if expiration is None else parse_expirations(expiration),
        first=None if first is None else parse_day("from", first),
        last=None if last is None else parse_day("to", last),
        strike_min=strike_min,
        strike_max=strike_max,
        strikes=strikes,
        option_type=option_type,
        moneyness=moneyness,
        delta_min=delta_min,
        delta_max=delta_max,
        accuracy=accuracy,
        limit=limit,
        after=None if after is None else parse_after(after),
    )
    check_ranges(asked)
    return await _options(request).chain(request, _ticker(symbol), asked)


def _ticker(text: str) -> str:
    try:
        return parse_symbol(text)
    except ValueError as error:
        raise invalid_field("symbol", "symbol", str(error)) from None
