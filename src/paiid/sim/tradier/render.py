"""Orders as Tradier's JSON has them (tradier.md, sections 6.6 and 7)."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from paiid.brokers import BrokerOrderView
from paiid.core.instants import instant
from paiid.domain.instruments import is_option
from paiid.domain.money import ZERO, round_money
from paiid.domain.occ import find_contract
from paiid.domain.orders import OrderStatus
from paiid.sim.tradier.exchange import TradierExchange
from paiid.sim.tradier.families import Family
from paiid.sim.tradier.ids import GROUPS, Placed, PlacedLeg
from paiid.sim.tradier.night import pre_ends_us
from paiid.sim.tradier.shapes import number, some
from paiid.sim.tradier.strategies import strategy_of

__all__ = [
    "FINAL",
    "Figures",
    "figures_of",
    "order_json",
    "parent_status",
    "stamp",
    "state_of",
    "wire_symbol",
]

FINAL = frozenset({"filled", "expired", "canceled", "rejected", "error"})
_ENDS = {
    OrderStatus.FILLED: "filled",
    OrderStatus.CANCELED: "canceled",
    OrderStatus.EXPIRED: "expired",
    OrderStatus.REJECTED: "rejected",
}
_OWN_WISH = "canceled_by_user"


@dataclass(frozen=True, slots=True)
class Figures:
    """How an order stands: quantities in shares, contracts or units, prices in dollars; a net credit is negative."""

    status: str
    quantity: Decimal
    filled: Decimal
    average: Decimal
    last_quantity: Decimal
    last_price: Decimal
    created_us: int
    changed_us: int
    reason: str | None = None

    @property
    def remaining(self) -> Decimal:
        """What can still fill: nothing of an order that has ended."""
        return ZERO if self.status in FINAL else self.quantity - self.filled


def stamp(at_us: int) -> str:
    """ISO 8601 in UTC with milliseconds."""
    return f"{str(instant(at_us))[:-4]}Z"


def wire_symbol(symbol: str) -> str:
    """A ticker as Tradier writes it: BRK/B."""
    return symbol.replace(".", "/")


def order_json(
    exchange: TradierExchange, family: Family, index: int | None = None, *, tags: bool, detail: bool = False
) -> dict[str, Any]:
    """The order object of a request, or of one of its members; `detail` as for one order alone."""
    placed = family.placed
    if not placed.has_members:
        body = _order(exchange, family, placed.legs[0], 0, placed.id, detail=detail)
    elif index is not None:
        body = _member(exchange, family, index, detail=detail)
    elif placed.cls in GROUPS:
        body = _group(exchange, family, detail=detail)
    else:
        body = _net(exchange, family, detail=detail)
    if tags and placed.tag is not None:
        body["tag"] = placed.tag
    return body


def state_of(exchange: TradierExchange, family: Family, index: int | None) -> str:
    """The status of a request or of one of its members, whatever a fault hides of it."""
    if index is None and family.placed.cls in GROUPS:
        placed = family.placed
        return parent_status(placed.cls, [state_of(exchange, family, at) for at in range(len(placed.legs))])
    return figures_of(exchange, family, index).status


def figures_of(
    exchange: TradierExchange,
    family: Family,
    index: int | None,
    chain: Sequence[BrokerOrderView] | None = None,
) -> Figures:
    """How a member stands, or (None) the order that is the whole; `chain`: as it stood with these generations."""
    placed = family.placed
    chain = family.chain(index) if chain is None else chain
    if not chain:
        return _rejected(exchange, placed, index)
    newest = chain[-1]
    filled = sum((one.filled_qty for one in chain), ZERO)
    value = sum((one.filled_qty * (one.filled_avg_price or ZERO) for one in chain), ZERO)
    last_quantity, last_price = _last_print(family, index, chain)
    status = _status(exchange, placed, newest, filled)
    reason = None if newest.reason == _OWN_WISH else newest.reason
    return Figures(
        status=status,
        quantity=filled - newest.filled_qty + (newest.qty or ZERO),
        filled=filled,
        average=round_money(value / filled) if filled else ZERO,
        last_quantity=last_quantity,
        last_price=last_price,
        created_us=chain[0].submitted_at_us,
        changed_us=newest.updated_at_us,
        reason=reason if status in ("rejected", "canceled") else None,
    )


def parent_status(cls: str, members: Sequence[str]) -> str:
    """The status of a group, from those of its members: it works while any of them does."""
    working = next((one for one in members if one not in FINAL), None)
    if working is not None:
        return working
    # An oco has no entry: either leg ends it. Elsewhere a filled entry is not the end of the matter.
    ends = members if cls == "oco" or members[0] != "filled" else members[1:]
    return "filled" if "filled" in ends else ends[0]


def _rejected(exchange: TradierExchange, placed: Placed, index: int | None) -> Figures:
    """An order that was accepted and never reached the venue."""
    over = placed.rejected_at_us is not None and exchange.clock.now_us() >= placed.rejected_at_us
    leg = placed.legs[0 if index is None else index]
    whole = index is None and placed.has_members
    return Figures(
        status="rejected" if over else _waiting(exchange, placed),
        quantity=placed.quantity if whole else leg.quantity,
        filled=ZERO,
        average=ZERO,
        last_quantity=ZERO,
        last_price=ZERO,
        created_us=placed.at_us,
        changed_us=(placed.rejected_at_us or placed.at_us) if over else placed.at_us,
        reason=placed.reason if over else None,
    )


def _status(exchange: TradierExchange, placed: Placed, view: BrokerOrderView, filled: Decimal) -> str:
    ended = _ENDS.get(view.status)
    if ended == "canceled" and placed.duration == "pre" and not exchange.hours.never_closes:
        return "expired" if view.updated_at_us >= pre_ends_us(exchange.hours, placed.at_us) else ended
    if ended is not None:
        return ended
    if filled > 0:
        return "partially_filled"
    return "pending" if view.status is OrderStatus.HELD else _waiting(exchange, placed)


def _waiting(exchange: TradierExchange, placed: Placed) -> str:
    """Of an order of which nothing has filled: `open` while its market is, `pending` outside."""
    now_us = exchange.clock.now_us()
    early_or_late = placed.duration in ("pre", "post") and exchange.hours.is_extended(now_us)
    return "open" if early_or_late or exchange.hours.is_open(now_us) else "pending"


def _last_print(
    family: Family, index: int | None, chain: Sequence[BrokerOrderView]
) -> tuple[Decimal, Decimal]:
    """Quantity and price of the newest print. A spread has none of its own: its units and net are made of its legs'."""
    placed = family.placed
    if index is not None or not placed.has_members:
        found = [family.prints[one.broker_order_id] for one in chain if one.broker_order_id in family.prints]
        return (found[-1].qty, found[-1].price) if found else (ZERO, ZERO)
    units, net = ZERO, ZERO
    for at, leg in enumerate(placed.legs):
        qty, price = _last_print(family, at, family.chain(at))
        ratio = leg.quantity / placed.quantity
        units = qty / ratio
        net += price * ratio * (1 if leg.side.startswith("buy") else -1)
    return units, round_money(net)


def _order(
    exchange: TradierExchange, family: Family, leg: PlacedLeg, index: int, order_id: int, *, detail: bool
) -> dict[str, Any]:
    """One order for one instrument."""
    placed = family.placed
    stands = _shown(exchange, order_id, figures_of(exchange, family, index))
    option = is_option(leg.symbol)
    body: dict[str, Any] = {
        "id": order_id,
        "type": leg.type,
        "symbol": wire_symbol(leg.underlying if option else leg.symbol),
        "side": leg.side,
        **_numbers(stands),
        "duration": _duration(placed, family.chain(index)),
        **_prices(leg, family.chain(index)),
        "class": "option" if option else "equity",
    }
    if option:
        body["option_symbol"] = leg.symbol
    if stands.reason is not None:
        body["reason_description"] = stands.reason
    if detail:
        body |= _details(leg.symbol, stands)
    return body


def _member(exchange: TradierExchange, family: Family, index: int, *, detail: bool) -> dict[str, Any]:
    placed = family.placed
    body = _order(exchange, family, placed.legs[index], index, placed.leg_id(index), detail=detail)
    if placed.cls not in GROUPS:
        # The legs of a spread work at the spread's price.
        body["type"] = placed.type
        body["duration"] = _duration(placed, family.chain(None))
    return body


def _net(exchange: TradierExchange, family: Family, *, detail: bool) -> dict[str, Any]:
    """A spread: it shows `buy` whatever its legs do, its price has no sign, its fills have one."""
    placed, chain = family.placed, family.chain(None)
    stands = _shown(exchange, placed.id, figures_of(exchange, family, None))
    net = chain[-1].limit_price if chain else placed.price
    body: dict[str, Any] = {
        "id": placed.id,
        "type": placed.type,
        "symbol": wire_symbol(placed.symbol),
        "side": "buy",
        **_numbers(stands),
        "duration": _duration(placed, chain),
    }
    if net is not None and placed.type in ("debit", "credit"):
        body["price"] = number(abs(net))
    if stands.reason is not None:
        body["reason_description"] = stands.reason
    return body | _legs(exchange, family, detail=detail)


def _group(exchange: TradierExchange, family: Family, *, detail: bool) -> dict[str, Any]:
    """The parent of oto, oco and otoco: what it is about, and how it stands, is told by its legs alone."""
    placed = family.placed
    members = [figures_of(exchange, family, at) for at in range(len(placed.legs))]
    return {
        "id": placed.id,
        "status": parent_status(placed.cls, [one.status for one in members]),
        "duration": _duration(placed, family.chain(0)),
        "create_date": stamp(placed.at_us),
        "transaction_date": stamp(max(one.changed_us for one in members)),
        **_legs(exchange, family, detail=detail),
    }


def _legs(exchange: TradierExchange, family: Family, *, detail: bool) -> dict[str, Any]:
    placed = family.placed
    legs = [_member(exchange, family, at, detail=detail) for at in range(len(placed.legs))]
    return {
        "class": placed.cls,
        "strategy": strategy_of([leg.symbol for leg in placed.legs]),
        "num_legs": len(legs),
        "leg": some(legs),
    }


def _shown(exchange: TradierExchange, order_id: int, stands: Figures) -> Figures:
    """A fill may be visible before its numbers are (tradier.md, section 7)."""
    hidden = stands.status == "filled" and exchange.faults.hides_price(str(order_id), stands.changed_us)
    if not hidden:
        return stands
    return Figures(
        stands.status, stands.quantity, ZERO, ZERO, ZERO, ZERO, stands.created_us, stands.changed_us
    )


def _numbers(stands: Figures) -> dict[str, Any]:
    return {
        "quantity": number(stands.quantity),
        "status": stands.status,
        "avg_fill_price": number(stands.average),
        "exec_quantity": number(stands.filled),
        "last_fill_price": number(stands.last_price),
        "last_fill_quantity": number(stands.last_quantity),
        "remaining_quantity": number(stands.remaining),
        "create_date": stamp(stands.created_us),
        "transaction_date": stamp(stands.changed_us),
    }


def _prices(leg: PlacedLeg, chain: Sequence[BrokerOrderView]) -> dict[str, Any]:
    """Limit and stop as they are by now; the request says `stop`, the order `stop_price`."""
    limit = chain[-1].limit_price if chain else leg.price
    stop = chain[-1].stop_price if chain else leg.stop
    body: dict[str, Any] = {}
    if leg.type in ("limit", "stop_limit"):
        body["price"] = number(limit)
    if leg.type in ("stop", "stop_limit"):
        body["stop_price"] = number(stop)
    return body


def _duration(placed: Placed, chain: Sequence[BrokerOrderView]) -> str:
    if placed.duration in ("pre", "post") or not chain:
        return placed.duration
    return chain[-1].time_in_force


def _details(symbol: str, stands: Figures) -> dict[str, Any]:
    """What only the view of one order has."""
    body: dict[str, Any] = {"exch": "Q"}
    if stands.filled:
        body["exec_exch"] = "Q"
    contract = find_contract(symbol) if is_option(symbol) else None
    if contract is not None:
        body["option_type"] = contract.option_type
        body["expiration_date"] = contract.expiration.isoformat()
    return body
