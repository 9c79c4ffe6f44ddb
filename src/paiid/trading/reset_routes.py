"""The route that starts a paper account afresh."""

from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import Field

from paiid.auth.access import may, request_id_of
from paiid.core.instants import instant
from paiid.core.json import JsonDecimal, StrictModel, StrictRoute, encode
from paiid.domain.identity import Principal
from paiid.domain.money import plain
from paiid.trading.reset import ResetService, ResetWish

router = APIRouter(tags=["accounts"], route_class=StrictRoute)

Trader = Annotated[Principal, Depends(may("trade"))]
Id = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9._:-]+$")]


class ResetBody(StrictModel):
    """On which terms the account starts; what is left out stays as the account has it."""

    cash: Annotated[JsonDecimal, Field(ge=1, le=10_000_000, decimal_places=2)] | None = Field(
        default=None, description="Dollars to start with; default: what it started with the last time."
    )
    margin: bool | None = Field(default=None, description="false: a cash account.")
    options_level: Annotated[int, Field(ge=0, le=3)] | None = Field(
        default=None, description="0 none, 1 covered, 2 long as well, 3 spreads as well."
    )
    fees: bool | None = Field(default=None, description="Whether regulatory fees are charged.")
    impact: bool | None = Field(
        default=None, description="Whether what goes beyond the quoted size moves the price."
    )
    price_improvement_pct: Annotated[JsonDecimal, Field(ge=0, le=50, decimal_places=4)] | None = Field(
        default=None, description="Percent of the spread by which market orders fill better than the quote."
    )


@router.post("/api/accounts/{account_id}/reset", summary="Start a paper account afresh")
async def reset_account(
    request: Request, user: Trader, account_id: Id, body: ResetBody | None = None
) -> Response:
    """Open orders are cancelled, positions are gone, cash is what it starts with; orders and fills of the past can
    still be read and count for nothing. It makes no order and takes no key: two resets in a row are two resets, of
    which the second finds an account that is fresh already. 409 while an order is being sent or looked up, and for
    accounts that are not at the built-in venue."""
    service: ResetService = request.app.state.resets
    wish = ResetWish() if body is None else ResetWish(**body.model_dump())
    done = await service.reset(user, account_id, wish, request_id_of(request))
    terms = done.terms
    shown = {
        "account": done.account.id,
        "number": done.account.number,
        "cash": plain(terms.starting_cash),
        "margin": terms.margin,
        "options_level": terms.options_level,
        "fees": terms.fees,
        "impact": terms.impact,
        "price_improvement_pct": plain(Decimal(terms.price_improvement_pct)),
        "canceled": done.canceled,
        "reset_at": instant(done.account.reset_at),
    }
    return Response(encode(shown), 200, {"cache-control": "no-store"}, media_type="application/json")
