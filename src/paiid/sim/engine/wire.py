"""What the layers around a simulated broker must know of the wire that it speaks: how to read a request, how to word a no."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

from starlette.datastructures import Headers
from starlette.types import Scope

from paiid.brokers import BrokerOrderView
from paiid.domain.orders import Side
from paiid.sim.engine.faults import Fault
from paiid.sim.engine.held_answer import Answer

__all__ = ["AskedOrder", "Reader", "Wire", "number_of"]


@dataclass(frozen=True, slots=True)
class AskedOrder:
    """What a submission asks for, as far as it can be read at all; `symbol` is ours. No `side` and `qty` where the order
    is not one for a single symbol."""

    symbol: str | None = None
    side: Side | None = None
    qty: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None


class Reader(Protocol):
    """What the recorder must know."""

    def account_of(self, headers: Headers, path: str) -> str | None:
        """The number of the account whose credentials a request carries; None for none or wrong ones."""
        ...

    def said(self, scope: Scope, raw: bytes) -> Any:
        """What a request's body says, or its text where it says nothing that can be understood."""
        ...

    def too_large(self) -> Answer:
        """The answer to a body that is longer than any."""
        ...


class Wire(Reader, Protocol):
    """What the faults must know. Bodies are as `said` gives them."""

    html: bytes
    """A page that nobody asked for."""
    garbage: bytes
    """What looks like the broker's JSON and is none."""

    def streams(self, path: str) -> bool:
        """Whether an answer there has no end, so that it cannot be held."""
        ...

    def operation_of(self, scope: Scope, body: Any) -> str:
        """What a request is about, as the catalogue names it."""
        ...

    def naming(self, body: Any) -> dict[str, Any]:
        """What the client calls the order that a submission asks for, under the field's name; empty for nothing."""
        ...

    def asked(self, body: Any) -> AskedOrder:
        """What a submission asks for."""
        ...

    def failure(self, status: int) -> Answer:
        """A 5xx."""
        ...

    def too_many(self, operation: str, reset_s: int) -> Answer:
        """A 429 whose limit is free again so many seconds from now."""
        ...

    def not_found(self, path: str) -> Answer:
        """The answer about an order that there is not."""
        ...

    def canceled(self, path: str) -> Answer:
        """The answer to a cancel that was taken."""
        ...

    def order_in(self, answer: Answer) -> str | None:
        """The venue's id of the order that an answer to a submission is about; None for none."""
        ...

    async def order_at(self, path: str, account: str | None) -> BrokerOrderView | None:
        """The order that a path is about, as the venue has it; None where there is none."""
        ...

    def spoiled(self, fault: Fault, value: Any) -> Any:
        """The JSON of an answer with every order in it worded as no client expects it."""
        ...


def number_of(body: Any, name: str) -> Decimal | None:
    """A positive number of a body that says it as a text or a number; None for anything else."""
    value = body.get(name) if isinstance(body, dict) else None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and number > 0 else None
