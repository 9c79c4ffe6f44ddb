"""What the prints of an account add up to: open positions with the day they began, and what was closed at what gain."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from paiid.brokers import BrokerActivity, BrokerExecution
from paiid.domain.instruments import multiplier_of
from paiid.domain.money import ZERO, round_money

__all__ = ["Closed", "Lot", "Trades"]


@dataclass(frozen=True, slots=True)
class Closed:
    """A closing in part or whole: `qty` is signed as the position was, money in dollars for all of it."""

    symbol: str
    qty: Decimal
    cost: Decimal
    proceeds: Decimal
    opened_us: int
    closed_us: int

    @property
    def gain(self) -> Decimal:
        """What was earned: of a short position what it brought when it was opened, less what it cost to close."""
        return self.proceeds - self.cost


@dataclass(slots=True)
class Lot:
    """An open position at average cost; signed."""

    qty: Decimal = ZERO
    cost: Decimal = ZERO
    opened_us: int = 0


@dataclass(slots=True)
class Trades:
    """Positions by symbol, and what was closed, oldest first."""

    lots: dict[str, Lot] = field(default_factory=dict)
    closed: list[Closed] = field(default_factory=list)

    @classmethod
    def of(cls, prints: Iterable[BrokerExecution], activities: Iterable[BrokerActivity]) -> "Trades":
        """From everything that was booked. A split changes a quantity at no cost, an expiration closes at its price."""
        moves: list[tuple[int, str, str, Decimal, Decimal, bool]] = [
            (
                one.executed_at_us, one.execution_id, one.symbol,
                one.qty if one.side == "buy" else -one.qty, one.price, False,
            )
            for one in prints
        ]  # fmt: skip
        moves += [
            (one.at_us, one.activity_id, one.symbol, one.qty, one.price, one.kind == "split")
            for one in activities
            if one.qty
        ]
        made = cls()
        for at_us, _, symbol, qty, price, splits in sorted(moves, key=lambda move: move[:2]):
            if splits:
                made.lots.setdefault(symbol, Lot(opened_us=at_us)).qty += qty
            else:
                made.take(at_us, symbol, qty, price)
        return made

    def take(self, at_us: int, symbol: str, qty: Decimal, price: Decimal) -> None:
        """Book a signed quantity at a price; through zero it closes one position and opens another."""
        lot, size = self.lots.setdefault(symbol, Lot()), multiplier_of(symbol)
        if lot.qty and (lot.qty > 0) != (qty > 0):
            part = min(abs(qty), abs(lot.qty))
            self._close(lot, symbol, part, price * size, at_us)
            qty = (abs(qty) - part) * (1 if qty > 0 else -1)
        if qty:
            if not lot.qty:
                lot.opened_us, lot.cost = at_us, ZERO
            lot.qty += qty
            lot.cost += round_money(qty * price) * size

    def _close(self, lot: Lot, symbol: str, part: Decimal, each: Decimal, at_us: int) -> None:
        sign = 1 if lot.qty > 0 else -1
        basis = round_money(lot.cost * part / abs(lot.qty))
        value = round_money(part * each)
        cost, proceeds = (basis, value) if sign > 0 else (value, -basis)
        self.closed.append(Closed(symbol, part * sign, cost, proceeds, lot.opened_us, at_us))
        lot.qty -= part * sign
        lot.cost -= basis
