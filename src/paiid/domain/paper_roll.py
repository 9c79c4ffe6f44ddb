"""The rules of the paper venue's day roll: what expires, who is exercised or assigned, dividends and splits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, Decimal
from typing import Literal

from paiid.domain.instruments import CONTRACT_SIZE, is_option
from paiid.domain.margin import Uncovered
from paiid.domain.money import CENT, ZERO, round_money
from paiid.domain.occ import OptionContract
from paiid.domain.orders import Side
from paiid.domain.paper_account import Holding, PaperAccount, trade

IN_THE_MONEY = CENT
"""A contract is exercised from this much on (OCC rule 805, exercise by exception)."""
_QTY_UNIT = Decimal("1e-9")

Kind = Literal["expiration", "exercise", "assignment", "dividend", "split"]


@dataclass(frozen=True, slots=True)
class Booking:
    """One change of an account that is no trade of its own: as `brokers.BrokerActivity`, without ids and time."""

    kind: Kind
    symbol: str
    qty: Decimal
    price: Decimal
    cash: Decimal
    description: str


def expires_worthless(symbol: str, qty: Decimal) -> Booking:
    """The position (signed contracts) is gone for nothing."""
    return Booking("expiration", symbol, -qty, ZERO, ZERO, f"{abs(qty)} {symbol} expired worthless")


def settled_in_shares(contract: OptionContract, qty: Decimal) -> tuple[Booking, Booking]:
    """Long contracts (`qty` above zero) are exercised, short ones assigned: the contract goes, and 100 shares for each
    come or go at the strike."""
    kind: Kind = "exercise" if qty > 0 else "assignment"
    buys = (contract.option_type == "call") == (qty > 0)
    shares = abs(qty) * CONTRACT_SIZE * (1 if buys else -1)
    word = "exercised" if qty > 0 else "assigned"
    described = f"{abs(qty)} {contract.symbol} {word}"
    return (
        Booking(kind, contract.symbol, -qty, ZERO, ZERO, described),
        Booking(
            kind,
            contract.underlying,
            shares,
            contract.strike,
            round_money(-shares * contract.strike),
            f"{abs(shares)} {contract.underlying} {'bought' if buys else 'sold'} at {contract.strike}: {described}",
        ),
    )


def settled_in_cash(contract: OptionContract, qty: Decimal, close: Decimal) -> Booking:
    """Long contracts in the money that the account cannot exercise are closed at their intrinsic value."""
    price = contract.intrinsic(close)
    return Booking(
        "expiration",
        contract.symbol,
        -qty,
        round_money(price),
        round_money(qty * price * CONTRACT_SIZE),
        f"{qty} {contract.symbol} closed at the intrinsic value {price}: the account could not carry the shares",
    )


def dividend(symbol: str, qty: Decimal, amount: Decimal, words: str) -> Booking:
    """`amount` dollars for each share held: a long position gets it, a short one pays it."""
    return Booking("dividend", symbol, ZERO, amount, round_money(qty * amount), words)


def split(symbol: str, qty: Decimal, ratio: Decimal, words: str) -> Booking:
    """`ratio` new shares for each one held; fractions stay, down to a billionth of a share."""
    after = (qty * ratio).quantize(_QTY_UNIT, ROUND_DOWN)
    return Booking("split", symbol, after - qty, ZERO, ZERO, words)


def enter(book: PaperAccount, booking: Booking) -> None:
    """Change the account by a booking; its open orders are left alone."""
    book.holdings[booking.symbol] = _booked(book.holding(booking.symbol), booking)
    book.cash += booking.cash


def _booked(holding: Holding, booking: Booking) -> Holding:
    if booking.qty == 0:
        return holding
    if booking.kind == "split":
        return replace(holding, qty=holding.qty + booking.qty)
    if is_option(booking.symbol):
        # A contract goes whole: nothing is left to have a cost.
        return replace(holding, qty=holding.qty + booking.qty, cost_basis=ZERO)
    side: Side = "buy" if booking.qty > 0 else "sell"
    return trade(holding, side, abs(booking.qty), booking.price)


def expire(book: PaperAccount, due: Sequence[tuple[OptionContract, Decimal]]) -> list[Booking]:
    """Settle contracts whose last trading day is over, each with its underlying's close; the account is changed.

    Short contracts in the money are assigned before long ones are exercised, so that the two legs of a spread meet.
    Raises ValueError where an exercise would have to be weighed and the account cannot be valued.
    """
    closes = {contract.underlying: close for contract, close in due}
    mark_of = book.mark_of
    book.mark_of = lambda symbol, qty: closes.get(symbol) or mark_of(symbol, qty)
    try:
        return [
            booking
            for contract, close in sorted(
                due, key=lambda one: (book.holding(one[0].symbol).qty > 0, one[0].symbol)
            )
            for booking in _expire_one(book, contract, close)
        ]
    finally:
        book.mark_of = mark_of


def _expire_one(book: PaperAccount, contract: OptionContract, close: Decimal) -> tuple[Booking, ...]:
    qty = book.holding(contract.symbol).qty
    if qty == 0:
        return ()
    made: tuple[Booking, ...]
    if contract.intrinsic(close) < IN_THE_MONEY:
        made = (expires_worthless(contract.symbol, qty),)
    else:
        made = settled_in_shares(contract, qty)
        if qty > 0 and not _can_carry(book, made):
            made = (settled_in_cash(contract, qty, close),)
    for booking in made:
        enter(book, booking)
    return made


def _can_carry(book: PaperAccount, bookings: Sequence[Booking]) -> bool:
    """Whether the free margin is not below zero after them, or no lower than before. Raises ValueError for an account
    without a value."""
    trial = replace(book, holdings=dict(book.holdings))
    for booking in bookings:
        enter(trial, booking)
    try:
        after = trial.excess()
    except Uncovered:
        return False
    return after >= 0 or after >= book.excess()
