"""Spreads at the venue: how one is taken, filled leg by leg in one transaction, and ended."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import ROUND_FLOOR, Decimal

from paiid.brokers import BrokerExecution
from paiid.brokers.paper.group_store import combo, ratios
from paiid.brokers.paper.records import PaperOrder, stepped
from paiid.brokers.paper.store import Change
from paiid.core.clock import Clock, new_id
from paiid.domain.instruments import CONTRACT_SIZE
from paiid.domain.margin import Combo, Exposure, Uncovered
from paiid.domain.money import ZERO, round_money
from paiid.domain.occ import find_contract
from paiid.domain.orders import Leg, OrderRequest, OrderStatus
from paiid.domain.paper import Hours, Moment, PaperRefused, Step, Taken, Working, moment_of
from paiid.domain.paper_account import PaperAccount, exposure_of, trade
from paiid.domain.paper_checks import day_end_us, last_trade_us
from paiid.domain.paper_spreads import (
    QuoteOf,
    SpreadStep,
    check_intent,
    check_legs,
    check_spread,
    combo_of,
    decide_spread,
    leg_prices,
    net_of,
)
from paiid.domain.quotes import Quote


def accept_spread(
    account_number: str,
    client_order_id: str,
    order: OrderRequest,
    book: PaperAccount,
    quote_of: QuoteOf,
    hours: Hours,
    clock: Clock,
    now_us: int,
    latency_us: int,
) -> list[PaperOrder]:
    """The spread as a whole and its legs, entered in the account's books. Raises PaperRefused."""
    check_spread(order)
    check_legs(order.symbol, order.legs, book.terms.options_level)
    qty = order.qty or ZERO
    ends = _check_contracts(order.legs, quote_of, hours, now_us)
    _check_intents(order.legs, qty, book)
    net = _net_to_reserve(order, quote_of, moment_of(hours, now_us))
    opened = combo_of(order.legs, qty, net)
    parent_id = new_id(clock, "po")
    _check_means(book, parent_id, opened)
    day_end = day_end_us(order.time_in_force, False, hours, now_us)
    parent = PaperOrder(
        id=parent_id,
        account_number=account_number,
        client_order_id=client_order_id,
        working=Working(
            symbol=order.symbol,
            side="buy",
            type=order.type,
            time_in_force=order.time_in_force,
            qty=qty,
            limit_price=order.limit_price,
            stop_price=None,
            live_at_us=now_us + latency_us,
            expires_at_us=ends if day_end is None else min(ends, day_end),
        ),
        reserve_price=net,
        filled_value=ZERO,
        status=OrderStatus.NEW,
        reason=None,
        triggered_at_us=None,
        version=1,
        accepted_seq=0,
        event_seq=0,
        submitted_at_us=now_us,
        updated_at_us=now_us,
        order_class="mleg",
    )
    book.combos[parent_id] = opened
    book.open_orders += 1 + len(order.legs)
    return [parent, *(leg_of(parent, leg, at, new_id(clock, "po")) for at, leg in enumerate(order.legs, 1))]


def leg_of(parent: PaperOrder, leg: Leg, number: int, order_id: str) -> PaperOrder:
    """A leg as an order of its own: it works and ends with its spread."""
    return replace(
        parent,
        id=order_id,
        client_order_id=f"{parent.client_order_id}.leg{number}",
        working=replace(
            parent.working,
            symbol=leg.symbol,
            side=leg.side,
            qty=leg.ratio_qty * parent.working.qty,
            limit_price=None,
        ),
        reserve_price=ZERO,
        group_role="leg",
        parent_id=parent.id,
        position_intent=leg.position_intent,
        ratio_qty=leg.ratio_qty,
    )


def _check_contracts(legs: Sequence[Leg], quote_of: QuoteOf, hours: Hours, now_us: int) -> int:
    """The first end of a last trading day among the legs. Raises PaperRefused."""
    ends = []
    for at, leg in enumerate(legs):
        contract = find_contract(leg.symbol)
        if contract is None or contract.symbol != leg.symbol:
            raise PaperRefused(
                "unknown_contract", f"legs.{at}.symbol: there is no option contract {leg.symbol}."
            )
        end = last_trade_us(contract, hours)
        if now_us >= end:
            raise PaperRefused("expired_contract", f"legs.{at}.symbol: {leg.symbol} has expired.")
        if quote_of(leg.symbol) is None:
            raise PaperRefused("unknown_contract", f"legs.{at}.symbol: {leg.symbol} is not listed.")
        ends.append(end)
    return min(ends)


def _check_intents(legs: Sequence[Leg], qty: Decimal, book: PaperAccount) -> None:
    for at, leg in enumerate(legs):
        held = book.holding(leg.symbol)
        sells = leg.side == "sell"
        signs = [
            contracts
            for one in book.combos.values()
            for symbol, contracts in one.legs
            if symbol == leg.symbol and (contracts < 0) == sells
        ]
        closing = (held.open_sell_qty if sells else held.open_buy_qty) + abs(sum(signs, ZERO))
        check_intent(at, leg, held.qty, closing, leg.ratio_qty * qty)
        if held.qty == 0 and (held.open_buy_qty if sells else held.open_sell_qty) > 0:
            raise PaperRefused(
                "opposite_order_open",
                f"legs.{at}: an open order would take the other side of {leg.symbol}: cancel it first.",
            )


def _net_to_reserve(order: OrderRequest, quote_of: QuoteOf, moment: Moment) -> Decimal:
    """Dollars a share that one unit costs as far as is known. Raises PaperRefused where a market order cannot be had."""
    if order.limit_price is not None:
        return order.limit_price
    if not moment.is_open:
        raise PaperRefused("market_closed", "The market is closed; market orders need it open.")
    prices = leg_prices(order.legs, quote_of)
    if prices is not None:
        return net_of(order.legs, prices)
    if any((quote := quote_of(leg.symbol)) is not None and quote.stale for leg in order.legs):
        raise PaperRefused("stale_quote", "The newest quote of a leg is too old to trade on.")
    raise PaperRefused("no_quote", "A leg has no quote that it could trade on.")


def _check_means(book: PaperAccount, spread_id: str, opened: Combo) -> None:
    with_it = replace(book, combos={**book.combos, spread_id: opened})
    try:
        left = with_it.excess()
        if left >= 0:
            return
        free = book.excess()
    except Uncovered as error:
        raise PaperRefused(
            "uncovered_option", f"The account is not approved for uncovered options: {error}."
        ) from error
    except ValueError as error:
        raise PaperRefused("no_quote", f"The account cannot be valued: {error}.") from error
    if left < free:
        cents = Decimal("0.01")
        raise PaperRefused(
            "insufficient_buying_power",
            f"The spread needs {(free - left).quantize(cents)} dollars of margin; {free.quantize(cents)} are free.",
        )


def fill_spread(
    parent: PaperOrder,
    legs: Sequence[PaperOrder],
    book: PaperAccount,
    quotes: Mapping[str, Quote | None],
    taken: Mapping[str, Taken],
    moment: Moment,
    clock: Clock,
) -> list[Change]:
    """What the market does to a spread now: the parent first, then its legs; all of that or nothing."""
    step = decide_spread(parent.working, ratios(legs), quotes, taken, moment)
    step = _within_means(step, parent, legs, book)
    if not step.changes:
        return []
    now = moment.at_us
    after = stepped(parent, Step(qty=step.units, price=step.net, ends=step.ends, reason=step.reason), now)
    changes = [Change(parent, after)]
    _keep_combo(after, legs, book)
    for at, leg in enumerate(legs):
        qty = (leg.ratio_qty or 1) * step.units
        price = step.prices[at] if step.units > 0 else ZERO
        part = Step(qty=qty, price=price, ends=step.ends, reason=step.reason)
        fee = book.settle(leg.working, part, ZERO, counts=False)
        execution, number = None, 0
        if qty > 0:
            quote = quotes[leg.working.symbol]
            number = 0 if quote is None else quote.sequence
            execution = BrokerExecution(
                account_number=leg.account_number,
                execution_id=new_id(clock, "px"),
                broker_order_id=leg.id,
                symbol=leg.working.symbol,
                side=leg.working.side,
                qty=qty,
                price=price,
                fee=fee,
                executed_at_us=now,
            )
        changes.append(Change(leg, stepped(leg, part, now, fee), execution, number))
    return changes


def end_legs(parent: PaperOrder, legs: Sequence[PaperOrder], book: PaperAccount, now_us: int) -> list[Change]:
    """A spread that has ended takes its legs with it."""
    book.combos.pop(parent.id, None)
    step = Step(ends=parent.status, reason=parent.reason)
    made = []
    for leg in legs:
        if not leg.is_over:
            book.settle(leg.working, step, ZERO, counts=False)
            made.append(Change(leg, stepped(leg, step, now_us)))
    return made


def _keep_combo(after: PaperOrder, legs: Sequence[PaperOrder], book: PaperAccount) -> None:
    if after.is_over:
        book.combos.pop(after.id, None)
        book.open_orders -= 1
    else:
        book.combos[after.id] = combo(after, legs)


def _within_means(
    step: SpreadStep, parent: PaperOrder, legs: Sequence[PaperOrder], book: PaperAccount
) -> SpreadStep:
    """The step cut down to the units that the account can pay for; the rest of the spread is then canceled.

    As for single orders: the free margin may not fall below zero, or lower than it was, with every leg valued at the
    price of the fill. A spread of which every leg closes always fills. While the account cannot be valued it waits.
    """
    if step.units <= 0 or all(leg.position_intent in ("buy_to_close", "sell_to_close") for leg in legs):
        return step
    trial = _Trial(parent, legs, book, step)
    try:
        floor = min(ZERO, trial.free(ZERO, parent.working.left))
        stays = parent.working.left - step.units
        if trial.pays(step.units, stays, floor):
            return step
        units = step.units
        if stays == 0 or not trial.pays(units, ZERO, floor):
            units, too_many = ZERO, step.units
            while too_many - units > 1:
                middle = ((units + too_many) / 2).to_integral_value(ROUND_FLOOR)
                if trial.pays(middle, ZERO, floor):
                    units = middle
                else:
                    too_many = middle
    except Uncovered:
        return SpreadStep(ends=OrderStatus.CANCELED, reason="uncovered_option")
    except ValueError:
        return SpreadStep()
    return replace(step, units=units, ends=OrderStatus.CANCELED, reason="insufficient_buying_power")


class _Trial:
    """What the account would have free after some units of a spread."""

    def __init__(
        self, parent: PaperOrder, legs: Sequence[PaperOrder], book: PaperAccount, step: SpreadStep
    ) -> None:
        self._parent, self._legs, self._book, self._step = parent, legs, book, step

    def free(self, units: Decimal, stays_open: Decimal) -> Decimal:
        """Free margin. Raises ValueError for an account without a value, Uncovered."""
        book, cash = self._book, self._book.cash
        changed: dict[str, Exposure] = {}
        for leg, price in zip(self._legs, self._step.prices, strict=True):
            working = leg.working
            qty = (leg.ratio_qty or 1) * units
            held = (
                trade(book.holding(working.symbol), working.side, qty, price, int(CONTRACT_SIZE))
                if qty
                else (book.holding(working.symbol))
            )
            value = round_money(qty * price) * CONTRACT_SIZE
            cash += (-value if working.side == "buy" else value) - book.fee(working, qty, price)
            changed[working.symbol] = exposure_of(working.symbol, held, price)
        combos = {one: kept for one, kept in book.combos.items() if one != self._parent.id}
        if stays_open > 0:
            combos[self._parent.id] = combo(self._parent, self._legs, stays_open)
        return replace(book, combos=combos).excess(changed, cash)

    def pays(self, units: Decimal, stays_open: Decimal, floor: Decimal) -> bool:
        """Whether the account can carry it."""
        try:
            return self.free(units, stays_open) >= floor
        except Uncovered:
            return False
