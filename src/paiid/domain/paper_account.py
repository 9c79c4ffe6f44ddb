"""The books of one paper account: cash, holdings, reservations, and whether an order or a fill can be paid."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import ROUND_FLOOR, Decimal

from paiid.domain.margin import Exposure, requirement
from paiid.domain.money import ZERO, round_money
from paiid.domain.orders import OrderStatus, Side
from paiid.domain.paper import IMMEDIATE, IMMEDIATE_PATIENCE_US, PaperRefused, Step, Working


@dataclass(frozen=True, slots=True)
class Holding:
    """One symbol: signed shares, signed cost in dollars, and what open orders still may buy and sell."""

    qty: Decimal = ZERO
    cost_basis: Decimal = ZERO
    open_buy_qty: Decimal = ZERO
    open_buy_value: Decimal = ZERO
    open_sell_qty: Decimal = ZERO
    open_sell_value: Decimal = ZERO

    @property
    def avg_entry_price(self) -> Decimal:
        """Dollars a share, rounded to the millionth; 0 without a position."""
        return round_money(self.cost_basis / self.qty) if self.qty else ZERO


EMPTY = Holding()


def reserve(holding: Holding, side: Side, qty: Decimal, price: Decimal) -> Holding:
    """The holding with one more open order (or, with a negative quantity, with so much less of one)."""
    if side == "buy":
        return replace(
            holding,
            open_buy_qty=holding.open_buy_qty + qty,
            open_buy_value=holding.open_buy_value + qty * price,
        )
    return replace(
        holding,
        open_sell_qty=holding.open_sell_qty + qty,
        open_sell_value=holding.open_sell_value + qty * price,
    )


def trade(holding: Holding, side: Side, qty: Decimal, price: Decimal) -> Holding:
    """The holding after a fill, at average cost; a trade through zero starts afresh at its own price."""
    signed = qty if side == "buy" else -qty
    new_qty = holding.qty + signed
    if holding.qty == 0 or (holding.qty > 0) == (signed > 0):
        cost = holding.cost_basis + round_money(signed * price)
    elif new_qty == 0:
        cost = ZERO
    elif (new_qty > 0) == (holding.qty > 0):
        cost = round_money(holding.cost_basis * new_qty / holding.qty)
    else:
        cost = round_money(new_qty * price)
    return replace(holding, qty=new_qty, cost_basis=cost)


def _required(symbol: str, holding: Holding, mark: Decimal | None) -> Decimal:
    return requirement(
        Exposure(
            symbol,
            holding.qty,
            holding.open_buy_qty,
            holding.open_buy_value,
            holding.open_sell_qty,
            holding.open_sell_value,
            mark,
        )
    )


@dataclass(slots=True)
class PaperAccount:
    """One account while a transaction works on it. `mark_of` gives what covering a share would cost, or None.

    Not a value: `place`, `release` and `fill` change it. The dollars tied up are summed once and then kept up.
    """

    cash: Decimal
    holdings: dict[str, Holding]
    mark_of: Callable[[str], Decimal | None]
    open_orders: int = 0
    _tied_up: Decimal | None = field(default=None, init=False)

    def buying_power(self) -> Decimal:
        """Dollars for new orders (`domain/margin.py`). Raises ValueError for a short without a mark."""
        if self._tied_up is None:
            self._tied_up = sum(
                (
                    _required(symbol, holding, self.mark_of(symbol))
                    for symbol, holding in self.holdings.items()
                ),
                ZERO,
            )
        return self.cash - self._tied_up

    def _put(self, symbol: str, holding: Holding) -> None:
        if self._tied_up is not None:
            mark = self.mark_of(symbol)
            self._tied_up += _required(symbol, holding, mark) - _required(
                symbol, self.holdings.get(symbol, EMPTY), mark
            )
        self.holdings[symbol] = holding

    def place(self, symbol: str, side: Side, qty: Decimal, reserve_price: Decimal) -> None:
        """Reserve for a new order.

        Raises PaperRefused: insufficient_buying_power; no_quote when a short elsewhere cannot be valued. What
        only closes needs nothing and is always taken.
        """
        before = self.holdings.get(symbol, EMPTY)
        after = reserve(before, side, qty, reserve_price)
        mark = self.mark_of(symbol)
        needed = _required(symbol, after, mark) - _required(symbol, before, mark)
        if needed > 0:
            try:
                free = self.buying_power()
            except ValueError as error:
                raise PaperRefused("no_quote", f"The account cannot be valued: {error}.") from error
            if needed > free:
                raise PaperRefused(
                    "insufficient_buying_power",
                    f"The order needs {_cents(needed)} dollars of buying power; {_cents(free)} are there.",
                )
        self._put(symbol, after)
        self.open_orders += 1

    def release(self, symbol: str, side: Side, qty: Decimal, reserve_price: Decimal) -> None:
        """Give back what an order that ends still had reserved."""
        self._put(symbol, reserve(self.holdings[symbol], side, -qty, reserve_price))
        self.open_orders -= 1

    def within_means(self, order: Working, step: Step, reserve_price: Decimal, now_us: int) -> Step:
        """The step cut down to what the account can pay for; the rest of the order is then canceled (fok: all).

        A fill may not leave buying power below zero, unless it was there and the fill makes it no worse; the
        symbol is valued at the price of the fill, and what stays open of the order counts with its reserve
        price. What only closes always fills. While a short elsewhere has no mark nothing is guessed: the order
        waits, an ioc or fok order no longer than its patience.
        """
        symbol, side = order.symbol, order.side
        before = self.holdings.get(symbol, EMPTY)
        closing = max(ZERO, before.qty if side == "sell" else -before.qty)
        if step.qty <= closing:
            return step
        try:
            free = self.buying_power() + _required(symbol, before, self.mark_of(symbol))
        except ValueError:
            late = now_us >= order.live_at_us + IMMEDIATE_PATIENCE_US
            if order.time_in_force in IMMEDIATE and late:
                return Step(ends=OrderStatus.CANCELED, reason="no_fresh_quote")
            return Step(triggers=step.triggers)
        signed_price = step.price if side == "buy" else -step.price
        floor = min(ZERO, free - _required(symbol, before, step.price))

        def pays(part: Decimal, stays_open: Decimal) -> bool:
            released = reserve(before, side, stays_open - order.left, reserve_price)
            after = trade(released, side, part, step.price)
            return free - signed_price * part - _required(symbol, after, step.price) >= floor

        if pays(step.qty, order.left - step.qty if step.ends is None else ZERO):
            return step
        if order.time_in_force == "fok":
            part = ZERO
        elif pays(step.qty, ZERO):
            part = step.qty
        else:
            part, too_many = closing, step.qty
            while too_many - part > 1:
                middle = ((part + too_many) / 2).to_integral_value(ROUND_FLOOR)
                part, too_many = (middle, too_many) if pays(middle, ZERO) else (part, middle)
        price = step.price if part > 0 else ZERO
        return Step(step.triggers, part, price, OrderStatus.CANCELED, "insufficient_buying_power")

    def fill(self, symbol: str, side: Side, qty: Decimal, price: Decimal, reserve_price: Decimal) -> None:
        """Book an execution and free what it had reserved. No fees."""
        reserved = reserve(self.holdings.get(symbol, EMPTY), side, -qty, reserve_price)
        self._put(symbol, trade(reserved, side, qty, price))
        value = round_money(qty * price)
        self.cash += -value if side == "buy" else value


def _cents(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.01"))
