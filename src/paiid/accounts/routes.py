"""The routes of user settings and of the owner's grants on accounts."""

from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import Field

from paiid.accounts.records import SETTING_FIELDS, Grant, UserSettings
from paiid.accounts.service import AccountService
from paiid.auth.access import CurrentUser, OwnerSignedIn, may, request_id_of, require_scope
from paiid.core.instants import instant
from paiid.core.json import JsonDecimal, StrictModel, StrictRoute, encode
from paiid.domain.errors import not_found
from paiid.domain.identity import Principal, Right
from paiid.domain.money import plain

router = APIRouter(tags=["accounts"], route_class=StrictRoute)
Id = Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9._:-]+$")]
Reader = Annotated[Principal, Depends(may("read"))]


async def _chooser(user: CurrentUser) -> Principal:
    """Viewers choose for themselves too; a token needs the scope trade, for settings change its user's orders."""
    require_scope(user, "trade")
    return user


Chooser = Annotated[Principal, Depends(_chooser)]

Dollars = Annotated[JsonDecimal, Field(gt=0, le=Decimal("1e9"), decimal_places=6)]
Shares = Annotated[JsonDecimal, Field(gt=0, le=Decimal("1e9"), decimal_places=9)]
Count = Annotated[int, Field(ge=1, le=10_000)]


class SettingsBody(StrictModel):
    """A merge: what is named changes, null takes a choice back, the rest stays."""

    position_size: Annotated[
        Dollars | None, Field(description="Dollars of an order that names neither qty nor notional.")
    ] = None
    stop_loss: Annotated[
        Annotated[JsonDecimal, Field(gt=0, lt=100, decimal_places=4)] | None,
        Field(description="Percent below the reference price, for bracket orders without prices."),
    ] = None
    take_profit: Annotated[
        Annotated[JsonDecimal, Field(gt=0, le=1000, decimal_places=4)] | None,
        Field(description="Percent above the reference price, for bracket orders without prices."),
    ] = None
    max_positions: Annotated[Count | None, Field(description="Positions held at once, at most.")] = None
    default_account: Annotated[
        Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:-]+$")] | None,
        Field(description="The account of requests that name none; never a live one."),
    ] = None
    max_order_qty: Annotated[Shares | None, Field(description="Shares of one order, at most.")] = None
    max_order_notional: Annotated[Dollars | None, Field(description="Dollars of one order, at most.")] = None
    max_position_value: Annotated[Dollars | None, Field(description="Dollars of one position, at most.")] = (
        None
    )
    max_open_orders: Annotated[Count | None, Field(description="Open orders at once, at most.")] = None
    price_collar_pct: Annotated[
        Annotated[JsonDecimal, Field(gt=0, le=100, decimal_places=4)] | None,
        Field(description="Percent a limit price may be away from the market, at most."),
    ] = None


class GrantBody(StrictModel):
    """The right to give."""

    access: Right


def _service(request: Request) -> AccountService:
    service: AccountService = request.app.state.accounts
    return service


def _json(value: Any) -> Response:
    return Response(encode(value), 200, {"cache-control": "no-store"}, media_type="application/json")


def _settings(settings: UserSettings) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name in SETTING_FIELDS:
        value = getattr(settings, name)
        shown[name] = plain(value) if isinstance(value, Decimal) else value
    return shown


@router.get("/api/settings", summary="Your settings")
async def get_settings(request: Request, user: Reader) -> Response:
    """null: not chosen. Limits tighten those of the deployment and never loosen them."""
    return _json(_settings(await _service(request).settings_of(user.user_id)))


@router.post("/api/settings", summary="Change some of your settings")
async def change_settings(request: Request, user: Chooser, body: SettingsBody) -> Response:
    """The answer has all of them. A token needs the scope trade."""
    changes = {name: getattr(body, name) for name in body.model_fields_set}
    changed = await _service(request).change_settings(user, changes, request_id_of(request))
    return _json(_settings(changed))


# -- grants -----------------------------------------------------------------------------------------


def _grant(grant: Grant) -> dict[str, Any]:
    return {
        "user_id": grant.user_id,
        "account_id": grant.account_id,
        "access": grant.access,
        "created_at": instant(grant.created_at),
        "created_by": grant.created_by,
    }


@router.get("/api/accounts/{account_id}/grants", summary="Who may use an account")
async def list_grants(request: Request, owner: OwnerSignedIn, account_id: Id) -> Response:
    """A bare array by user id."""
    return _json([_grant(one) for one in await _service(request).list_grants(account_id)])


@router.get("/api/accounts/{account_id}/grants/{user_id}", summary="One user's right on an account")
async def get_grant(request: Request, owner: OwnerSignedIn, account_id: Id, user_id: Id) -> Response:
    """404 when he has none."""
    for one in await _service(request).list_grants(account_id):
        if one.user_id == user_id:
            return _json(_grant(one))
    raise not_found("grant")


@router.put("/api/accounts/{account_id}/grants/{user_id}", summary="Give a user a right on an account")
async def put_grant(
    request: Request, owner: OwnerSignedIn, account_id: Id, user_id: Id, body: GrantBody
) -> Response:
    """view: look; trade: look and trade. From the answer on it counts for every order."""
    made = await _service(request).put_grant(
        owner.actor, account_id, user_id, body.access, request_id_of(request)
    )
    return _json(_grant(made))


@router.delete(
    "/api/accounts/{account_id}/grants/{user_id}", status_code=204, summary="Take a right on an account away"
)
async def drop_grant(request: Request, owner: OwnerSignedIn, account_id: Id, user_id: Id) -> Response:
    """From the answer on no order of his is taken there; those that rest go on working."""
    await _service(request).drop_grant(owner.actor, account_id, user_id, request_id_of(request))
    return Response(status_code=204)
