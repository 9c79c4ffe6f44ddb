"""The words of an order: what may be asked, the states it goes through, and which step may follow which."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Literal

Side = Literal["buy", "sell"]
OrderType = Literal["market", "limit", "stop"]
TimeInForce = Literal["day", "gtc", "ioc", "fok"]


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
class OrderRequest:
    """One order as the caller asked for it, with nothing resolved. `qty` None: sized by the user's setting."""

    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    qty: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an order was refused, skipped or rejected: stable code, one sentence, measured value and limit."""

    code: str
    message: str
    measured: Decimal | str | None = None
    limit: Decimal | str | None = None
    field: str | None = None
