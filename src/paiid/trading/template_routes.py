"""The routes of order templates: keep an order for later, and place it."""

from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from paiid.auth.access import may, request_id_of
from paiid.core.instants import instant
from paiid.core.json import JsonDecimal, StrictModel, StrictRoute, encode
from paiid.domain.identity import Principal
from paiid.domain.instruments import is_option, parse_any_symbol
from paiid.domain.money import plain
from paiid.trading.commands import Asked, TemplateUse
from paiid.trading.if_match import etag, seen_version
from paiid.trading.order_shapes import wrong
from paiid.trading.requests import idempotency_key
from paiid.trading.service import Reply, TradingService
from paiid.trading.template_store import Draft, Template
from paiid.trading.templates import TemplateService

router = APIRouter(prefix="/api/order-templates", tags=["trading"], route_class=StrictRoute)

Trader = Annotated[Principal, Depends(may("trade"))]
Reader = Annotated[Principal, Depends(may("read"))]
Id = Annotated[str, Path(max_length=64)]
Key = Annotated[str | None, Header(alias="Idempotency-Key", description="8 to 128 of A-Z a-z 0-9 . _ : -")]
IfMatch = Annotated[
    str | None, Header(alias="If-Match", description="The version you have seen; without it any.")
]
Quantity = Annotated[JsonDecimal, Field(gt=0, le=Decimal("1e9"), decimal_places=9)]
Price = Annotated[JsonDecimal, Field(gt=0, le=Decimal("1e9"), decimal_places=6)]


class _Amount(StrictModel):
    """Templates and their use say the quantity alike."""

    quantity: Quantity | None = Field(
        default=None,
        description="Shares or contracts; without it your settings size the order when it is placed.",
    )

    @field_validator("quantity", mode="before")
    @classmethod
    def _not_null(cls, value: Any) -> Any:
        if value is None:
            # A quantity of null is a number that got lost: it must be heard.
            raise ValueError("null is not a quantity; leave the field out")
        return value


class TemplateBody(_Amount):
    """A template, whole."""

    name: str = Field(min_length=1, max_length=80, description="Yours, and stands once.")
    description: str | None = Field(default=None, max_length=500)
    symbol: str = Field(max_length=24, description="Ticker or OCC symbol.", examples=["AAPL"])
    side: Literal["buy", "sell"]
    order_type: Literal["market", "limit"] = "market"
    limit_price: Price | None = Field(
        default=None, validate_default=True, description="In dollars; for limit orders, and for them only."
    )

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if value != value.strip() or not value.isprintable():
            raise ValueError("a name has no blanks around it and no control characters")
        return value

    @field_validator("symbol")
    @classmethod
    def _symbol(cls, value: str) -> str:
        return parse_any_symbol(value)

    @field_validator("limit_price")
    @classmethod
    def _of_its_type(cls, value: Decimal | None, info: ValidationInfo) -> Decimal | None:
        kind = info.data.get("order_type")
        if kind == "limit" and value is None:
            raise PydanticCustomError("missing", "a limit order needs limit_price")
        if kind == "market" and value is not None:
            raise PydanticCustomError("not_of_this_type", "a market order takes no limit_price")
        return value

    @model_validator(mode="after")
    def _whole_contracts(self) -> "TemplateBody":
        if self.quantity is not None and is_option(self.symbol) and self.quantity % 1:
            wrong(
                "quantity", "whole_contracts", f"Options are ordered in whole contracts, not {self.quantity}."
            )
        return self

    def to_draft(self) -> Draft:
        """What is to be kept."""
        return Draft(
            self.name,
            self.description,
            self.symbol,
            self.side,
            self.quantity,
            self.order_type,
            self.limit_price,
        )


class UseBody(_Amount):
    """What is to be otherwise this time; all of it may be left out."""

    requestId: str | None = Field(
        default=None, description="The idempotency key, if not in the header Idempotency-Key."
    )
    dryRun: bool = Field(default=False, description="Say what would happen, do nothing.")
    account: str | None = Field(default=None, max_length=64, description="An account's id; default: yours.")
    limit_price: Price | None = Field(default=None, description="Instead of the template's, in dollars.")


def _templates(request: Request) -> TemplateService:
    service: TemplateService = request.app.state.templates
    return service


def _view(template: Template) -> dict[str, Any]:
    draft = template.draft
    return {
        "id": template.id,
        "name": draft.name,
        "description": draft.description,
        "symbol": draft.symbol,
        "side": draft.side,
        "quantity": None if draft.qty is None else plain(draft.qty),
        "order_type": draft.order_type,
        "limit_price": None if draft.limit_price is None else plain(draft.limit_price),
        "version": template.version,
        "created_at": instant(template.created_at),
        "updated_at": instant(template.updated_at),
    }


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    shown = {"cache-control": "no-store", **(headers or {})}
    return Response(encode(value), status, shown, media_type="application/json")


def _one(template: Template, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return _json(_view(template), status, {**etag(template.version), **(headers or {})})


@router.get("", summary="Your order templates, newest first")
async def list_templates(
    request: Request,
    user: Reader,
    after: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """`next` is null on the last page."""
    shown, following = await _templates(request).list_templates(user.user_id, after, limit)
    return _json({"data": [_view(one) for one in shown], "next": following})


@router.post("", status_code=201, summary="Keep an order as a template")
async def make_template(request: Request, user: Trader, body: TemplateBody) -> Response:
    """409 for a name that you have already."""
    made = await _templates(request).make(user, body.to_draft(), request_id_of(request))
    return _one(made, 201, {"Location": f"/api/order-templates/{made.id}"})


@router.get("/{template_id}", summary="One of your templates")
async def get_template(request: Request, user: Reader, template_id: Id) -> Response:
    """`ETag` is its version, for If-Match."""
    return _one(await _templates(request).find(user.user_id, template_id))


@router.put("/{template_id}", summary="Replace a template")
async def change_template(
    request: Request, user: Trader, template_id: Id, body: TemplateBody, if_match: IfMatch = None
) -> Response:
    """Whole: what is left out is gone. 412 where If-Match names a version that is over."""
    seen = seen_version(request.headers.getlist("if-match"))
    changed = await _templates(request).change(
        user, template_id, body.to_draft(), seen, request_id_of(request)
    )
    return _one(changed)


@router.delete("/{template_id}", status_code=204, summary="Delete a template")
async def drop_template(request: Request, user: Trader, template_id: Id) -> Response:
    """Orders made with it stay, and their keys go on telling what became of them."""
    await _templates(request).drop(user, template_id, request_id_of(request))
    return Response(status_code=204)


@router.post("/{template_id}/use", summary="Place the order of a template, once, under your key")
async def use_template(
    request: Request,
    user: Trader,
    template_id: Id,
    body: UseBody | None = None,
    idempotency_key_header: Key = None,
) -> Response:
    """Answers like `POST /api/trading/execute`. The key stands for the template and what is named here: a retry tells
    what became of the first call, whatever has become of the template since."""
    wish = body or UseBody()
    asked = Asked(
        "template", wish.account, (), template=TemplateUse(template_id, wish.quantity, wish.limit_price)
    )
    trading: TradingService = request.app.state.trading
    if wish.dryRun:
        return _reply(await trading.dry_run(user, asked))
    key = idempotency_key(request.headers.getlist("idempotency-key"), wish.requestId)
    return _reply(await trading.execute(user, asked, key, request_id_of(request)))


def _reply(reply: Reply) -> Response:
    return Response(reply.body, reply.status, dict(reply.headers), media_type="application/json")
