"""The options routes: expirations and chains."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from paiid.auth.access import may
from paiid.domain.errors import invalid_field
from paiid.domain.identity import Principal
from paiid.domain.instruments import parse_symbol
from paiid.options.service import OptionsService

router = APIRouter(prefix="/api/options", tags=["options"])
Reader = Annotated[Principal, Depends(may("read"))]
Ticker = Annotated[str, Path(max_length=16, description="The underlying, such as AAPL.")]


def _options(request: Request) -> OptionsService:
    options: OptionsService = request.app.state.options
    return options


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


@router.get("/expirations/{symbol}", summary="When the options on a ticker expire")
async def get_expirations(request: Request, user: Reader, symbol: Ticker) -> Response:
    """A bare array by date; `strikes` is how many there are. 404 for a ticker without options."""
    return _json(await _options(request).expirations(_ticker(symbol)))


@router.get("/chains/{symbol}", summary="All options of one expiration")
@router.get("/chain/{symbol}", include_in_schema=False)
async def get_chain(
    request: Request,
    user: Reader,
    symbol: Ticker,
    expiration: Annotated[
        str, Query(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="Such as 2026-12-18.")
    ],
) -> Response:
    """`calls` and `puts` by strike with bid, ask and sizes in contracts; null where nobody quotes."""
    try:
        day = date.fromisoformat(expiration)
    except ValueError:
        raise invalid_field("expiration", "date", f"There is no day {expiration}.") from None
    return _json(await _options(request).chain(_ticker(symbol), day))


def _ticker(text: str) -> str:
    try:
        return parse_symbol(text)
    except ValueError as error:
        raise invalid_field("symbol", "symbol", str(error)) from None
