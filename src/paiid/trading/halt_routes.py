"""The kill switch over HTTP: `POST /api/admin/kill` in its three forms, and what it has come to."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field, ValidationError

from paiid.auth.access import may, request_id_of
from paiid.core.instants import instant
from paiid.core.json import StrictModel, decode, encode
from paiid.domain.errors import Code, FieldError, Problem, invalid_field
from paiid.domain.halts import GLOBAL, MAX_REASON, Fence, Mode, Receipt, Scope, SweptOrder
from paiid.domain.identity import Actor, Principal
from paiid.trading.halt import HaltService, HaltView
from paiid.trading.halt_change import Arm, Resume

router = APIRouter(prefix="/api/admin", tags=["halt"])

Armer = Annotated[Principal, Depends(may("halt"))]
Reader = Annotated[Principal, Depends(may("read"))]
ScopeText = Annotated[
    str | None,
    Query(
        max_length=80,
        description="global, account:ID, user:ID or symbol:TICKER; default: the widest you may arm.",
    ),
]
_SHOWN = 200
_LARGEST_BODY = 65_536


class KillBody(StrictModel):
    """The full form. A resume names the epoch it was decided on, and a reason."""

    halt: bool = Field(description="true halts, false resumes.")
    reason: str | None = Field(default=None, max_length=MAX_REASON)
    scope: str | None = Field(default=None, max_length=80)
    mode: Literal["active", "reduce_only", "halted"] | None = Field(
        default=None, description="Default: halted, or active for a resume."
    )
    cancel: bool = Field(default=False, description="Cancel what rests at the broker in this scope.")
    flatten: bool = Field(default=False, description="Close the positions of this scope, then halt it.")
    epoch: int | None = Field(default=None, ge=0, le=2**63 - 1)


def _halts(request: Request) -> HaltService:
    service: HaltService = request.app.state.halts
    return service


@router.post("/kill", summary="Halt trading, or resume it")
async def kill(
    request: Request,
    user: Armer,
    state: Annotated[Literal["true", "false"] | None, Query(description="The short form.")] = None,
    scope: ScopeText = None,
    reason: Annotated[str | None, Query(max_length=MAX_REASON)] = None,
) -> Response:
    """`level` says what was reached: `effective` (no claim is decided without it), `drained` (no order claimed
    before can still be on the wire), `broker_fenced` (the brokers' own stops are set as well, one entry in `fences`
    for each account). Whatever goes on after 10 s is told by GET. 503 with `latched`: the database did not take it
    yet; this process sends nothing and keeps trying. A resume is refused (409) while orders of the scope are in doubt
    or its positions do not reconcile, or when the epoch has moved on; 503 where a broker does not confirm that its
    stop is lifted: then the halt stays."""
    service = _halts(request)
    wish, short = await _wish(request, state, scope, reason)
    found = _scope(wish.scope, user)
    actor = user.actor
    request_id = request_id_of(request)
    if wish.halt:
        if wish.mode == "active":
            raise invalid_field(
                "mode", "contradiction", "halt true with mode active says two things; send halt false."
            )
        if wish.flatten and wish.mode == "reduce_only":
            raise invalid_field("mode", "contradiction", "flatten ends halted; leave mode out.")
        view = await service.arm(
            Arm(
                found,
                Mode(wish.mode or "halted"),
                wish.reason or "no reason given",
                actor,
                user,
                request_id,
                wish.cancel,
                wish.flatten,
            )
        )
        return _answer(view, details=True)
    if short and wish.epoch is None:
        # The short forms mean the epoch current on arrival (contract K7).
        seen = (await service.view(found)).halt
        wish = wish.model_copy(update={"epoch": 0 if seen is None else seen.epoch})
    return _answer(await _resume(service, wish, found, user, actor, request_id), details=True)


@router.get("/kill", summary="Whether trading is halted, and how far the latest change has come")
async def kill_state(
    request: Request,
    user: Reader,
    scope: ScopeText = None,
    epoch: Annotated[int | None, Query(ge=0, le=2**63 - 1, description="The receipt of this change.")] = None,
) -> Response:
    """Everybody may see whether he is halted and why; the orders are shown to those who may halt the scope."""
    if scope is not None and epoch is not None:
        raise invalid_field("epoch", "exclusive", "Name a scope or an epoch, not both.")
    service = _halts(request)
    view = await service.view(_scope(scope, user), epoch)
    refusal = await service.refuse(user, view.scope)
    # A global or symbol halt stops everyone, so everyone may know of it; another's account or user is not his to see.
    hidden = refusal is not None and refusal.code is Code.NOT_FOUND and view.scope.kind in ("account", "user")
    if hidden and refusal is not None and view.scope != Scope("user", user.user_id):
        raise refusal
    return _answer(view, details=refusal is None)


async def _resume(
    service: HaltService, wish: KillBody, scope: Scope, user: Principal, actor: Actor, request_id: str | None
) -> HaltView:
    if wish.cancel or wish.flatten:
        raise invalid_field(
            "cancel", "contradiction", "cancel and flatten belong to a halt, not to a resume."
        )
    if wish.mode == "halted":
        raise invalid_field("mode", "contradiction", "halt false with mode halted says two things.")
    if wish.epoch is None:
        raise invalid_field(
            "epoch",
            "missing",
            "Name the epoch you resume, as GET /api/admin/kill shows it, so that you cannot "
            "lift a halt you have not seen.",
        )
    reason = (wish.reason or "").strip()
    if not reason and scope.kind in ("global", "account"):
        raise invalid_field(
            "reason", "missing", f"A reason is needed to resume {scope}; send it in `reason`."
        )
    return await service.resume(
        Resume(
            scope,
            Mode(wish.mode or "active"),
            reason or "no reason given",
            wish.epoch,
            actor,
            user,
            request_id,
        )
    )


async def _wish(
    request: Request, state: str | None, scope: str | None, reason: str | None
) -> tuple[KillBody, bool]:
    """One wish out of query and body, and whether it came in a short form; saying two different things is
    refused, never guessed."""
    body = await request.body()
    told: KillBody | None = None
    short = True
    if body.strip():
        if len(body) > _LARGEST_BODY:
            raise Problem(Code.PAYLOAD_TOO_LARGE, "The body is larger than any halt needs.")
        if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            raise Problem(
                Code.UNSUPPORTED_MEDIA_TYPE, "Send the body as JSON with content-type: application/json."
            )
        value = decode(body)
        short = isinstance(value, bool)
        told = _parse(value)
    if state is not None:
        if told is not None and told.halt != (state == "true"):
            raise Problem(
                Code.INVALID_REQUEST, "The query and the body say different things; send one of them."
            )
        told = told or KillBody(halt=state == "true")
    if told is None:
        raise Problem(
            Code.INVALID_REQUEST,
            'Say what you want: ?state=true, a body of true or false, or {"halt": true, …}.',
        )
    for name, value in (("scope", scope), ("reason", reason)):
        if value is not None:
            in_body = getattr(told, name)
            if in_body is not None and in_body != value:
                raise Problem(Code.INVALID_REQUEST, f"The query and the body name a different {name}.")
            told = told.model_copy(update={name: value})
    return told, short


def _parse(value: Any) -> KillBody:
    if isinstance(value, bool):
        return KillBody(halt=value)
    try:
        return KillBody.model_validate(value)
    except ValidationError as error:
        fields = [
            FieldError(".".join(str(part) for part in one["loc"]) or "body", one["type"], one["msg"])
            for one in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise Problem(Code.VALIDATION, "Some fields are not valid.", errors=fields) from None


def _scope(text: str | None, user: Principal) -> Scope:
    """The scope named, else the widest the caller may arm."""
    if text is None:
        return GLOBAL if user.role == "owner" else Scope("user", user.user_id)
    try:
        return Scope.parse(text)
    except ValueError as error:
        raise invalid_field("scope", "scope", f"{error}.") from None


def _answer(view: HaltView, *, details: bool) -> Response:
    return Response(encode(kill_view(view, details=details)), media_type="application/json")


def kill_view(view: HaltView, *, details: bool) -> dict[str, Any]:
    """The answer of both routes and of the command line; `details` false leaves the orders out."""
    halt, receipt = view.halt, view.receipt
    shown = receipt if details else None
    return {
        "tradingHalted": view.mode is not Mode.ACTIVE or view.latch is not None,
        "scope": str(view.scope),
        "mode": (halt.mode if halt is not None else Mode.ACTIVE).value,
        "effective_mode": Mode.HALTED.value if view.latch is not None else view.mode.value,
        "epoch": halt.epoch if halt is not None else 0,
        "level": None if receipt is None else receipt.level.value,
        "in_flight": [
            {"id": o.id, "account": o.account_id, "symbol": o.symbol, "side": o.side, "state": o.state}
            for o in (view.in_flight[:_SHOWN] if details else ())
        ],
        "in_flight_count": len(view.in_flight) if details else None,
        "cancels": _swept(shown.cancels if shown is not None else ()),
        "closes": _swept(shown.closes if shown is not None else ()),
        "fences": _fences(shown.fences if shown is not None else ()),
        "receipt": None if receipt is None else _receipt(receipt),
        "reason": None if halt is None else halt.reason,
        "updatedAt": None if halt is None else instant(halt.set_at_us),
        "updatedBy": None if halt is None else halt.set_by,
        "latch": view.latch,
    }


def _receipt(receipt: Receipt) -> dict[str, Any]:
    return {
        "epoch": receipt.epoch,
        "mode": receipt.mode.value,
        "pending": list(receipt.pending),
        "problem": receipt.problem,
        "started_at": instant(receipt.started_at_us),
    }


def _fences(fences: tuple[Fence, ...]) -> list[dict[str, Any]]:
    return [
        {"account": one.account_id, "broker": one.broker, "outcome": one.outcome, "message": one.message}
        for one in fences[:_SHOWN]
    ]


def _swept(orders: tuple[SweptOrder, ...]) -> list[dict[str, Any]]:
    return [
        {
            "account": one.account_id,
            "symbol": one.symbol,
            "id": one.order_id,
            "broker_order_id": one.broker_order_id,
            "outcome": one.outcome,
            "message": one.message,
        }
        for one in orders[:_SHOWN]
    ]
