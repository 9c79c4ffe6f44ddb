"""The words of an order: what may be asked, the states it goes through, and which step may follow which."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Literal

Side = Literal["buy", "sell"]
OrderType = Literal["market", "limit", "stop", "stop_limit", "trailing_stop"]
TimeInForce = Literal["day", "gtc", "ioc", "fok", "opg", "cls"]
OrderClass = Literal["simple", "bracket", "oto", "oco", "mleg"]
GroupRole = Literal["entry", "take_profit", "stop_loss", "leg"]
"""What an order is within its class: the entry of a bracket or oto, an exit, one leg of a spread."""
PositionIntent = Literal["buy_to_open", "buy_to_close", "sell_to_open", "sell_to_close"]


class Submission(StrEnum):
    """What became of handing the order to the broker (contract E7)."""

    QUEUED = "QUEUED"
    REFUSED = "REFUSED"
    SKIPPED = "SKIPPED"
    DISPATCHING = "DISPATCHING"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    UNKNOWN = "UNKNOWN"
    NOT_PLACED = "NOT_PLACED"


class OrderStatus(StrEnum):
    """The order's own life, as the broker tells it (contract E7)."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REPLACED = "REPLACED"
    REJECTED = "REJECTED"
    HELD = "HELD"


class CancelState(StrEnum):
    """What became of a wish to cancel; separate from the order's status (contract E0)."""

    REQUESTED = "REQUESTED"
    UNKNOWN = "UNKNOWN"
    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"


class ReplaceState(StrEnum):
    """What became of a wish to replace an order, kept on the order that was to be replaced (contract E0)."""

    REQUESTED = "REQUESTED"
    UNKNOWN = "UNKNOWN"
    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"


SUBMISSION_STEPS: dict[Submission, frozenset[Submission]] = {
    Submission.QUEUED: frozenset({Submission.REFUSED, Submission.SKIPPED, Submission.DISPATCHING}),
    # Definitely not sent is REJECTED too, with the reason `not_sent`: the broker never saw it.
    Submission.DISPATCHING: frozenset({Submission.ACCEPTED, Submission.REJECTED, Submission.UNKNOWN}),
    Submission.UNKNOWN: frozenset({Submission.ACCEPTED, Submission.REJECTED, Submission.NOT_PLACED}),
    Submission.REFUSED: frozenset(),
    Submission.SKIPPED: frozenset(),
    Submission.ACCEPTED: frozenset(),
    Submission.REJECTED: frozenset(),
    # The loud correction: the broker shows an order that we had declared not placed.
    Submission.NOT_PLACED: frozenset({Submission.ACCEPTED}),
}

FINAL_SUBMISSIONS = frozenset(
    {Submission.REFUSED, Submission.SKIPPED, Submission.ACCEPTED, Submission.REJECTED, Submission.NOT_PLACED}
)
TERMINAL_STATUSES = frozenset(
    {
        OrderStatus.FILLED,
        OrderStatus.CANCELED,
        OrderStatus.EXPIRED,
        OrderStatus.REPLACED,
        OrderStatus.REJECTED,
    }
)


def may_step(current: Submission, wanted: Submission) -> bool:
    """Whether the submission table allows this step."""
    return wanted in SUBMISSION_STEPS[current]


@dataclass(frozen=True, slots=True)
class TakeProfit:
    """The exit with a profit: a limit order at this price, in dollars."""

    limit_price: Decimal


@dataclass(frozen=True, slots=True)
class StopLoss:
    """The exit with a loss: a stop, a stop-limit (both prices), or a trailing stop (exactly one of the trails).

    Prices in dollars, `trail_percent` in percent (5 is five percent).
    """

    stop_price: Decimal | None = None
    limit_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None

    @property
    def type(self) -> OrderType:
        """The type of the order that this exit is."""
        if self.stop_price is None:
            return "trailing_stop"
        return "stop" if self.limit_price is None else "stop_limit"


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg of a spread: `ratio_qty` contracts of `symbol` (OCC) for each unit of the spread."""

    symbol: str
    side: Side
    ratio_qty: int
    position_intent: PositionIntent


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """One order as the caller asked for it, with nothing resolved.

    `qty` and `notional` None: sized by the user's setting. Quantities in shares or contracts, prices and notional
    in dollars. For `mleg`, `symbol` is the underlying, `side` is "buy", `qty` counts units of the spread, and
    `limit_price` is the net of one unit a share: a debit paid is positive, a credit received negative.
    `default_exits`: a bracket whose prices come from the user's settings and the reference price at the claim.
    """

    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    qty: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    notional: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    extended_hours: bool = False
    order_class: OrderClass = "simple"
    take_profit: TakeProfit | None = None
    stop_loss: StopLoss | None = None
    default_exits: bool = False
    legs: tuple[Leg, ...] = ()
    position_intent: PositionIntent | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an order was refused, skipped or rejected: stable code, one sentence, measured value and limit."""

    code: str
    message: str
    measured: Decimal | str | None = None
    limit: Decimal | str | None = None
    field: str | None = None
