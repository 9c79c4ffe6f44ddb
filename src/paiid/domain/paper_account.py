"""The books of one paper account: cash, holdings, reservations, and whether an order or a fill can be paid."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_FLOOR, Decimal

from paiid.domain.instruments import multiplier_of
from paiid.domain.margin import Combo, Exposure, Uncovered, buying_power, equity, excess
from paiid.domain.money import ZERO, round_money
from paiid.domain.orders import OrderStatus, PositionIntent, Side
from paiid.domain.paper import IMMEDIATE, SHARE, PaperRefused, Step, Working, applied, patience_us
from paiid.domain.paper_fees import fees_of
from paiid.domain.paper_positions import check_position
from paiid.domain.terms import PLAIN, AccountTerms

_SPREADS_FROM_LEVEL = 3

MarkOf = Callable[[str, Decimal], Decimal | None]
"""Symbol and signed quantity held: dollars a share that closing it would bring or cost, None unknown."""


@dataclass(frozen=True, slots=True)
class Holding:
    """One symbol: signed shares or contracts, signed cost in dollars, and what open orders still may buy and sell."""

    qty: Decimal = ZERO
    cost_basis: Decimal = ZERO
    open_buy_qty: Decimal = ZERO
    open_buy_value: Decimal = ZERO
    open_sell_qty: Decimal = ZERO
    open_sell_value: Decimal = ZERO

    def avg_entry_price(self, multiplier: int = 1) -> Decimal:
        """Dollars a share, rounded to the millionth; 0 without a position."""
        return round_money(self.cost_basis / self.qty / multiplier) if self.qty else ZERO


EMPTY = Holding()


def reserve(
    holding: Holding, side: Side, before: Decimal, after: Decimal, price: Decimal, multiplier: int = 1
) -> Holding:
    """The holding with one open order that has `after` left to fill where it had `before`."""
    qty = after - before
    value = round_money(after * price * multiplier) - round_money(before * price * multiplier)
    if side == "buy":
        return replace(
            holding,
            open_buy_qty=holding.open_buy_qty + qty,
            open_buy_value=holding.open_buy_value + value,
        )
    return replace(
        holding,
        open_sell_qty=holding.open_sell_qty + qty,
        open_sell_value=holding.open_sell_value + value,
    )


def trade(holding: Holding, side: Side, qty: Decimal, price: Decimal, multiplier: int = 1) -> Holding:
    """The holding after a fill, at average cost; a trade through zero starts afresh at its own price."""
    signed = qty if side == "buy" else -qty
    new_qty = holding.qty + signed
    if holding.qty == 0 or (holding.qty > 0) == (signed > 0):
        cost = holding.cost_basis + round_money(signed * price) * multiplier
    elif new_qty == 0:
        cost = ZERO
    elif (new_qty > 0) == (holding.qty > 0):
        cost = round_money(holding.cost_basis * new_qty / holding.qty)
    else:
        cost = round_money(new_qty * price) * multiplier
    return replace(holding, qty=new_qty, cost_basis=cost)


def exposure_of(symbol: str, holding: Holding, mark: Decimal | None) -> Exposure:
    """The holding as the margin rules look at it."""
    return Exposure(
        symbol,
        holding.qty,
        holding.open_buy_qty,
        holding.open_buy_value,
        holding.open_sell_qty,
        holding.open_sell_value,
        mark,
    )


def closes(order: Working, holding: Holding) -> Decimal:
    """How much of what the order buys or sells would only close this holding."""
    return max(ZERO, holding.qty if order.side == "sell" else -holding.qty)


@dataclass(slots=True)
class PaperAccount:
    """One account while a transaction works on it. `mark_of` gives what closing a share would bring or cost, or None.

    Not a value: `place`, `settle` and `put` change it. `combos` are the open spreads by the id of their order.
    """

    cash: Decimal
    holdings: dict[str, Holding]
    mark_of: MarkOf
    open_orders: int = 0
    terms: AccountTerms = PLAIN
    combos: dict[str, Combo] = field(default_factory=dict)

    def holding(self, symbol: str) -> Holding:
        """The holding of a symbol, or an empty one."""
        return self.holdings.get(symbol, EMPTY)

    def exposures(self, changed: Mapping[str, Exposure] | None = None) -> list[Exposure]:
        """All holdings that are not empty, with those of `changed` in their place."""
        others = changed or {}
        mine = [
            exposure_of(symbol, holding, self.mark_of(symbol, holding.qty))
            for symbol, holding in self.holdings.items()
            if symbol not in others and holding != EMPTY
        ]
        return [*mine, *others.values()]

    def excess(self, changed: Mapping[str, Exposure] | None = None, cash: Decimal | None = None) -> Decimal:
        """Dollars free for initial margin (`domain/margin.py`). Raises ValueError for a short without a mark, Uncovered
        for a short option without cover."""
        return excess(
            self.cash if cash is None else cash,
            self.exposures(changed),
            tuple(self.combos.values()),
            margin=self.terms.margin,
            spreads=self.terms.options_level >= _SPREADS_FROM_LEVEL,
        )

    def buying_power(self) -> Decimal:
        """Dollars for new orders (`domain/margin.py`). Raises as `excess` does."""
        return buying_power(
            self.cash,
            self.exposures(),
            tuple(self.combos.values()),
            margin=self.terms.margin,
            spreads=self.terms.options_level >= _SPREADS_FROM_LEVEL,
        )

    def equity(self) -> Decimal:
        """Cash and the value of all holdings; a long one without a mark counts nothing.

        Raises ValueError for a short without a mark.
        """
        return equity(self.cash, self.exposures())

    def place(
        self,
        order: Working,
        reserve_price: Decimal,
        intent: PositionIntent | None = None,
        *,
        counts: bool = True,
    ) -> None:
        """Take a new order in and reserve for it, if it `counts`.

        Raises PaperRefused: what `check_position` refuses; insufficient_buying_power; uncovered_option; no_quote when
        a short elsewhere cannot be valued. What only closes needs nothing and is always taken.
        """
        symbol = order.symbol
        before = self.holding(symbol)
        check_position(order, before, self.terms, intent, self._equity_for_short)
        if counts:
            multiplier = multiplier_of(symbol)
            after = reserve(before, order.side, ZERO, order.left, reserve_price, multiplier)
            self._check_payable(order, before, after)
            self.holdings[symbol] = after
        self.open_orders += 1

    def _equity_for_short(self) -> Decimal:
        try:
            return self.equity()
        except ValueError as error:
            raise PaperRefused("no_quote", f"The account cannot be valued: {error}.") from error

    def _check_payable(self, order: Working, before: Holding, after: Holding) -> None:
        reserved = before.open_sell_qty if order.side == "sell" else before.open_buy_qty
        only_closes = order.left <= closes(order, before) - reserved
        mark = self.mark_of(order.symbol, before.qty)
        try:
            left = self.excess({order.symbol: exposure_of(order.symbol, after, mark)})
            if left >= 0:
                return
            free = self.excess()
        except Uncovered as error:
            # Buying back uncovers nothing; a sale may take the cover of a short contract away.
            if only_closes and order.side == "buy":
                return
            raise PaperRefused(
                "uncovered_option", f"The account is not approved for uncovered options: {error}."
            ) from error
        except ValueError as error:
            if only_closes:
                return
            raise PaperRefused("no_quote", f"The account cannot be valued: {error}.") from error
        if left < free:
            raise PaperRefused(
                "insufficient_buying_power",
                f"The order needs {_cents(free - left)} dollars of margin; {_cents(free)} are free.",
            )

    def put(self, symbol: str, side: Side, before: Decimal, after: Decimal, reserve_price: Decimal) -> None:
        """What an open order still may fill has changed without a fill (or it begins or ceases to count)."""
        held = self.holding(symbol)
        self.holdings[symbol] = reserve(held, side, before, after, reserve_price, multiplier_of(symbol))

    def fee(self, order: Working, qty: Decimal, price: Decimal) -> Decimal:
        """The fees that this print adds to those of the order so far, in dollars."""
        if not self.terms.fees or qty == 0:
            return ZERO
        multiplier = multiplier_of(order.symbol)
        value = order.filled_value + round_money(qty * price)
        now = fees_of(order.symbol, order.side, order.filled_qty + qty, value * multiplier)
        return now - fees_of(order.symbol, order.side, order.filled_qty, order.filled_value * multiplier)

    def within_means(self, order: Working, step: Step, reserve_price: Decimal, now_us: int) -> Step:
        """The step cut down to what the account can pay for; the rest of the order is then canceled (fok: all).

        A fill may not leave the free margin below zero, unless it was there and the fill makes it no worse; the
        symbol is valued at the price of the fill, and what stays open of the order counts with its reserve
        price. What only closes always fills, and a fraction of a share is never sold that is not held. While a short
        elsewhere has no mark nothing is guessed: the order waits, an immediate one no longer than its patience.
        """
        symbol, side = order.symbol, order.side
        before = self.holding(symbol)
        closing = closes(order, before)
        if step.qty <= closing:
            return step
        if side == "sell" and order.unit != SHARE:
            return _cut(step, closing, "insufficient_qty")
        multiplier = multiplier_of(symbol)
        try:
            free = self.excess({symbol: exposure_of(symbol, before, step.price)})
        except Uncovered:
            return _cut(step, closing, "uncovered_option")
        except ValueError:
            late = now_us >= order.live_at_us + patience_us(order)
            if order.time_in_force in IMMEDIATE and late:
                return Step(ends=OrderStatus.CANCELED, reason="no_fresh_quote")
            return Step(triggers=step.triggers)
        floor = min(ZERO, free)

        def pays(part: Decimal, stays_open: Decimal) -> bool:
            released = reserve(before, side, order.left, stays_open, reserve_price, multiplier)
            after = trade(released, side, part, step.price, multiplier)
            value = round_money(part * step.price) * multiplier
            cash = self.cash + (-value if side == "buy" else value) - self.fee(order, part, step.price)
            try:
                return self.excess({symbol: exposure_of(symbol, after, step.price)}, cash) >= floor
            except Uncovered:
                return False

        rest = applied(order, step, reserve_price).left if step.ends is None else ZERO
        if pays(step.qty, rest):
            return step
        if order.time_in_force == "fok":
            part = ZERO
        elif pays(step.qty, ZERO):
            part = step.qty
        else:
            part = self._most(closing, step.qty, order.unit, pays)
        return _cut(step, part, "insufficient_buying_power")

    @staticmethod
    def _most(
        part: Decimal, too_many: Decimal, unit: Decimal, pays: Callable[[Decimal, Decimal], bool]
    ) -> Decimal:
        """The largest quantity between the two that can be paid, `part` being one."""
        while too_many - part > unit:
            middle = ((part + too_many) / 2 / unit).to_integral_value(ROUND_FLOOR) * unit
            if middle <= part:
                break
            part, too_many = (middle, too_many) if pays(middle, ZERO) else (part, middle)
        return part

    def settle(self, order: Working, step: Step, reserve_price: Decimal, *, counts: bool = True) -> Decimal:
        """Book what a step of this order does to cash, holding and reservations; the fees that it owes for it.

        `counts` says whether the order has reserved anything. An end of any kind gives back what is left.
        """
        symbol, side = order.symbol, order.side
        multiplier = multiplier_of(symbol)
        held, fee = self.holding(symbol), ZERO
        if counts:
            after = applied(order, step, reserve_price)
            left = ZERO if step.ends is not None else after.left
            held = reserve(held, side, order.left, left, reserve_price, multiplier)
        if step.qty > 0:
            fee = self.fee(order, step.qty, step.price)
            held = trade(held, side, step.qty, step.price, multiplier)
            value = round_money(step.qty * step.price) * multiplier
            self.cash += (-value if side == "buy" else value) - fee
        self.holdings[symbol] = held
        if step.ends is not None:
            self.open_orders -= 1
        return fee


def _cut(step: Step, part: Decimal, reason: str) -> Step:
    price = step.price if part > 0 else ZERO
    return replace(step, qty=part, price=price, ends=OrderStatus.CANCELED, reason=reason)


def _cents(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.01"))
