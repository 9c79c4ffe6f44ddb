"""Placing and cancelling orders (`/v1/accounts/{id}/orders`, tradier.md, sections 6.1 to 6.5)."""

import uuid
from typing import Any

import msgspec
from starlette.requests import Request

from paiid.brokers import BrokerRejected
from paiid.domain.orders import TERMINAL_STATUSES
from paiid.sim.tradier.accounts import SimAccount, SimUser
from paiid.sim.tradier.asked import Asked
from paiid.sim.tradier.books import load_book
from paiid.sim.tradier.exchange import CALL_S, TradierExchange
from paiid.sim.tradier.families import Family
from paiid.sim.tradier.gate import TradierError, account_of, params_of
from paiid.sim.tradier.ids import GROUPS, Placed, parse_name
from paiid.sim.tradier.order_reads import find_family
from paiid.sim.tradier.order_rules import worded
from paiid.sim.tradier.parse import read_order
from paiid.sim.tradier.placing import check, placed_of, venue_order
from paiid.sim.tradier.preview import preview
from paiid.sim.tradier.render import FINAL, state_of
from paiid.sim.tradier.shapes import Told

__all__ = ["acknowledged", "cancel", "check_open", "submit"]

_PARTNERS = uuid.UUID("b6f5a0a6-8b0e-5d7e-9d0c-6a8a4f6d2c11")


async def submit(exchange: TradierExchange, user: SimUser, request: Request) -> Told:
    """`POST /v1/accounts/{id}/orders`."""
    account = account_of(exchange, user, request)
    asked = read_order(await params_of(request))
    if asked.preview:
        return await preview(exchange, account, asked)
    async with exchange.turns.of(account.number, asked.legs[0].underlying):
        placed = await _place(exchange, account, asked)
    exchange.ledger.append(
        "order_accepted",
        order_id=placed.id,
        account=account.number,
        tag=placed.tag,
        symbol=placed.legs[0].symbol if len(placed.legs) == 1 else placed.symbol,
        side=placed.legs[0].side,
        qty=str(placed.quantity),
        order_class=placed.cls,
    )
    return acknowledged(user, placed.id)


def acknowledged(user: SimUser, order_id: int) -> Told:
    """The answer to a request that was received, which says nothing else."""
    partner = uuid.uuid5(_PARTNERS, user.id)
    return Told({"order": {"id": order_id, "status": "ok", "partner_id": str(partner)}})


async def _place(exchange: TradierExchange, account: SimAccount, asked: Asked) -> Placed:
    async with exchange.db.read() as tx:
        book = await load_book(tx, exchange, account)
    await check(exchange, account, asked, book)
    members = 0 if asked.cls in ("equity", "option") else len(asked.legs)
    placed = placed_of(asked, account, exchange.register.next_id(members), exchange.clock.now_us())
    fault = exchange.faults.draw("accepted", account.number, symbol=asked.legs[0].symbol)
    if fault is not None:
        exchange.faults.tell(fault, account=account.number, order_id=placed.id, tag=placed.tag)
        return _reject_later(exchange, placed, fault.params)
    exchange.register.add(placed)
    try:
        view = await exchange.venue.submit(venue_order(account, asked, placed.id), CALL_S)
    except BrokerRejected as refused:
        exchange.register.remove(placed)
        raise worded(refused, asked, book) from refused
    exchange.register.bind(placed.id, view.broker_order_id)
    for leg in (view, *view.legs):
        name = parse_name(leg.client_order_id)
        index = None if name is None else _index_of(placed, name.role)
        if index is not None and placed.has_members:
            exchange.register.bind(placed.leg_id(index), leg.broker_order_id)
    return placed


def _index_of(placed: Placed, role: str) -> int | None:
    return next((at for at, leg in enumerate(placed.legs) if leg.role == role), None)


def _reject_later(exchange: TradierExchange, placed: Placed, params: dict[str, Any]) -> Placed:
    """Accepted, and rejected in a moment: the venue never hears of it, for there it might trade."""
    at_us = placed.at_us + int(params["delay_ms"]) * 1000
    placed = msgspec.structs.replace(placed, rejected_at_us=at_us, reason=str(params["reason"]))
    exchange.register.add(placed)
    exchange.rejections.put_nowait(placed)
    return placed


async def cancel(exchange: TradierExchange, user: SimUser, request: Request) -> Told:
    """`DELETE /v1/accounts/{id}/orders/{order_id}`: a request is acknowledged; the venue cancels a moment later."""
    account = account_of(exchange, user, request)
    order_id = request.path_params["order_id"]
    family, _ = await find_family(exchange, account, order_id)
    # A change that is under way would leave the cancel to an order that is no more.
    async with exchange.turns.of(account.number, family.placed.symbol):
        family, index = await find_family(exchange, account, order_id)
        number = _promise(exchange, account, family, index)
    exchange.ledger.append("cancel_accepted", order_id=number, account=account.number, tag=family.placed.tag)
    return Told({"order": {"id": number, "status": "ok"}})


def _promise(exchange: TradierExchange, account: SimAccount, family: Family, index: int | None) -> int:
    """Let the venue cancel in a moment; the number on the wire. Raises TradierError."""
    check_open(exchange, family, index)
    if index is not None and family.placed.cls not in GROUPS:
        raise TradierError(400, "a leg of a multileg order can not be canceled by itself")
    whole = index is None and family.placed.cls in GROUPS
    for view in family.working if whole else family.chain(index)[-1:]:
        if view.status not in TERMINAL_STATUSES:
            delay_s = exchange.faults.cancel_delay_s(view)
            exchange.cancels.promise(account.number, view.broker_order_id, delay_s)
    return family.placed.id if index is None else family.placed.leg_id(index)


def check_open(exchange: TradierExchange, family: Family, index: int | None) -> None:
    """Raises TradierError with the text for an order that has ended."""
    status = state_of(exchange, family, index)
    if status in FINAL:
        raise TradierError(400, f"order already in finalized state: {status}")
