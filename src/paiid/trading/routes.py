"""The order routes: execute, orders, fills, intents, cancel and close."""

from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from paiid.auth.access import may, request_id_of
from paiid.core.json import StrictRoute
from paiid.domain.errors import Code, Problem, invalid_field
from paiid.domain.identity import Principal
from paiid.domain.instruments import parse_any_symbol
from paiid.trading.commands import Asked, CloseRequest
from paiid.trading.if_match import seen_version
from paiid.trading.ledger import LedgerService
from paiid.trading.requests import ExecuteBody, ReplaceBody, idempotency_key
from paiid.trading.service import Reply, TradingService

router = APIRouter(prefix="/api/trading", tags=["trading"], route_class=StrictRoute)
close_router = APIRouter(tags=["portfolio"], route_class=StrictRoute)

Trader = Annotated[Principal, Depends(may("trade"))]
Reader = Annotated[Principal, Depends(may("read"))]
# A viewer and a token that only reads may ask for a dry run; `require_trade` keeps them from the rest.
Asker = Annotated[Principal, Depends(may("read", "trade"))]
Account = Annotated[str | None, Query(max_length=64, description="An account's id; default: yours.")]
Cursor = Annotated[str | None, Query(max_length=64, description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=200)]
Key = Annotated[str | None, Header(alias="Idempotency-Key", description="8 to 128 of A-Z a-z 0-9 . _ : -")]


def _service(request: Request) -> TradingService:
    service: TradingService = request.app.state.trading
    return service


def _ledger(request: Request) -> LedgerService:
    ledger: LedgerService = request.app.state.ledger
    return ledger


def _answer(reply: Reply) -> Response:
    return Response(reply.body, reply.status, dict(reply.headers), media_type="application/json")


@router.post("/execute", summary="Place 1 to 10 orders, once, under your key")
async def execute(
    request: Request, body: ExecuteBody, user: Asker, idempotency_key_header: Key = None
) -> Response:
    """200 is final: `accepted` says whether every order was accepted, each order says why not. 202: an outcome is
    being looked up, follow `Location`. 409: the same key is being executed now. 422 `idempotency-key-reused`:
    the key belongs to another request. 423: trading is halted. A retry under the same key never buys twice."""
    asked = body.to_asked()
    headers = request.headers.getlist("idempotency-key")
    if body.dryRun:
        return _answer(await _service(request).dry_run(user, asked))
    key = idempotency_key(headers, body.requestId)
    require_trade(user)
    return _answer(await _service(request).execute(user, asked, key, request_id_of(request)))


@router.get("/orders", summary="Orders of one account, newest first")
async def list_orders(
    request: Request,
    user: Reader,
    account: Account = None,
    status: Annotated[Literal["open", "closed", "all"], Query()] = "all",
    symbol: Annotated[str | None, Query(max_length=24)] = None,
    after: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """`next` is null on the last page."""
    return _answer(await _ledger(request).orders(user, account, status, _symbol(symbol), after, limit))


@router.get("/orders/{order_id}", summary="One order")
async def get_order(
    request: Request, user: Reader, order_id: Annotated[str, Path(max_length=64)]
) -> Response:
    """404 for an order of an account you may not see."""
    return _answer(await _ledger(request).order(user, order_id))


@router.patch("/orders/{order_id}", summary="Replace one order")
async def replace_order(
    request: Request,
    body: ReplaceBody,
    user: Trader,
    order_id: Annotated[str, Path(max_length=64)],
    if_match: Annotated[
        str | None, Header(description='The version you have seen, such as "3", or * for any.')
    ] = None,
    idempotency_key_header: Key = None,
) -> Response:
    """A new order takes the old one's place at the broker; the answer is that of an execute, and the new order names the
    old one in `replaces`. `qty` is the new total, what has filled included. 412: the order has moved on, look again.
    Without a key one is made of the order and its version, so that a retry replaces once. 200 with `accepted: false`:
    refused, and the old order goes on."""
    headers = request.headers.getlist("idempotency-key")
    versions = request.headers.getlist("if-match")
    if not versions:
        raise Problem(
            Code.PRECONDITION_REQUIRED,
            "Send If-Match with the order's version that you have seen, or * for any.",
        )
    version = seen_version(versions)
    key = (
        idempotency_key(headers, body.requestId)
        if headers or body.requestId is not None
        else await _ledger(request).replace_key(user, order_id, version)
    )
    asked = body.to_asked(order_id, version)
    return _answer(await _service(request).execute(user, asked, key, request_id_of(request)))


@router.delete("/orders/{order_id}", summary="Cancel one order")
async def cancel_order(
    request: Request, user: Trader, order_id: Annotated[str, Path(max_length=64)]
) -> Response:
    """200: it no longer works, or the broker refused (`outcome`); 202: it was asked for. Never halted."""
    return _answer(await _ledger(request).cancel_order(user, order_id, request_id_of(request)))


@router.delete("/orders", summary="Cancel all open orders of one account, or all orders of one key")
async def cancel_orders(
    request: Request,
    user: Trader,
    account: Account = None,
    key: Annotated[str | None, Query(max_length=130)] = None,
) -> Response:
    """One outcome an order. Never halted."""
    if account is not None and key is not None:
        raise invalid_field("key", "exclusive", "Name an account or a key, not both.")
    return _answer(await _ledger(request).cancel_all(user, account, key, request_id_of(request)))


@router.get("/fills", summary="Executions of one account, newest first")
async def list_fills(
    request: Request,
    user: Reader,
    account: Account = None,
    order: Annotated[str | None, Query(max_length=64)] = None,
    after: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """Price in dollars, quantity in shares, fee in dollars; busts and corrections are rows of their own."""
    return _answer(await _ledger(request).fills(user, account, order, after, limit))


@router.get("/activities", summary="What changed one account and was no order, newest first")
async def list_activities(
    request: Request, user: Reader, account: Account = None, after: Cursor = None, limit: Limit = 50
) -> Response:
    """Expirations, exercises, assignments, dividends, splits: `qty` is what was added to the position in `symbol`, at
    `price` dollars a share, `cash` what the account got; all three may be negative or 0."""
    return _answer(await _ledger(request).activities(user, account, after, limit))


@router.get("/intents", summary="What became of a key")
async def get_intent_by_key(
    request: Request, user: Reader, key: Annotated[str, Query(max_length=130)]
) -> Response:
    """For a client in doubt: 404 means the key has never claimed anything."""
    return _answer(await _ledger(request).intent_by_key(user, key))


@router.get("/intents/{intent_id}", summary="What became of a call")
async def get_intent(
    request: Request, user: Reader, intent_id: Annotated[str, Path(max_length=64)]
) -> Response:
    """`status` is in_flight, unknown or final."""
    return _answer(await _ledger(request).intent(user, intent_id))


@close_router.delete("/api/portfolio/positions/{symbol}", summary="Close a position")
@close_router.delete("/api/positions/{symbol}", include_in_schema=False)
async def close_position(
    request: Request,
    user: Trader,
    symbol: Annotated[str, Path(max_length=24)],
    account: Account = None,
    qty: Annotated[str | None, Query(max_length=32, description="Shares; default: all that is left.")] = None,
    idempotency_key_header: Key = None,
) -> Response:
    """A market order for what is left to close, never more. Without a key one is derived from the position's
    version, so a retry closes once."""
    named = _symbol(symbol)
    amount = _quantity(qty)
    headers = request.headers.getlist("idempotency-key")
    asked = Asked("close", account, (), CloseRequest(named or "", amount))
    key = (
        idempotency_key(headers, None)
        if headers
        else await _ledger(request).close_key(user, account, named or "")
    )
    return _answer(await _service(request).execute(user, asked, key, request_id_of(request)))


def require_trade(user: Principal) -> None:
    """Raises Problem (403) for a viewer or a token without the scope `trade`."""
    if user.role == "viewer":
        raise Problem(Code.FORBIDDEN, "A viewer may ask for a dry run only; ask the owner for another role.")
    if "trade" not in user.scopes:
        raise Problem(Code.SCOPE_MISSING, "This token lacks the scope trade.")


def _symbol(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return parse_any_symbol(text)
    except ValueError as error:
        raise invalid_field("symbol", "symbol", str(error)) from None


def _quantity(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value <= 0 or value > Decimal("1e9") or value != round(value, 9):
        raise invalid_field("qty", "number", "qty is a number of shares greater than 0, such as 10.")
    return value
