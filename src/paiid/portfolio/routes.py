"""The portfolio routes: positions, summary, and the figures of accounts. Closing a position is trading's."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from paiid.auth.access import may
from paiid.core.json import StrictRoute
from paiid.domain.errors import invalid_field
from paiid.domain.identity import Principal
from paiid.domain.instruments import parse_any_symbol
from paiid.portfolio.service import PortfolioService

router = APIRouter(tags=["portfolio"], route_class=StrictRoute)

Reader = Annotated[Principal, Depends(may("read"))]
Account = Annotated[str | None, Query(max_length=64, description="An account's id; default: yours.")]


def _service(request: Request) -> PortfolioService:
    service: PortfolioService = request.app.state.portfolio
    return service


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


@router.get("/api/portfolio/positions", summary="Positions of one account")
@router.get("/api/positions", include_in_schema=False)
async def list_positions(request: Request, user: Reader, account: Account = None) -> Response:
    """A bare array by symbol. Quantity, cost and value are negative for a short. A position without a price
    has `current_price` null and says `stale`; no price is ever made up."""
    return _json(await _service(request).positions(user, account))


@router.get("/api/portfolio/positions/{symbol}", summary="One position")
@router.get("/api/positions/{symbol}", include_in_schema=False)
async def get_position(
    request: Request, user: Reader, symbol: Annotated[str, Path(max_length=24)], account: Account = None
) -> Response:
    """404 when flat."""
    try:
        canonical = parse_any_symbol(symbol)
    except ValueError as error:
        raise invalid_field("symbol", "symbol", str(error)) from None
    return _json(await _service(request).position(user, account, canonical))


@router.get("/api/portfolio/summary", summary="What one account is worth, and how it does")
async def get_summary(request: Request, user: Reader, account: Account = None) -> Response:
    """Day figures count from the equity kept at the last roll of the day (`day_since`), the total from the
    starting cash. What needs a missing price is null; `missing_prices` names the symbols."""
    return _json(await _service(request).summary(user, account))


@router.get("/api/account", summary="One account's figures and what its broker can hold")
async def get_account(request: Request, user: Reader, account: Account = None) -> Response:
    """Your default account, unless one is named."""
    return _json(await _service(request).account(user, account))


@router.get("/api/accounts", summary="Every account you may see")
async def list_accounts(request: Request, user: Reader) -> Response:
    """A bare array by id."""
    return _json(await _service(request).list_accounts(user))


@router.get("/api/accounts/{account_id}", summary="One account by id")
async def get_account_by_id(
    request: Request, user: Reader, account_id: Annotated[str, Path(max_length=64)]
) -> Response:
    """404 for an account outside your grants."""
    return _json(await _service(request).account(user, account_id))
