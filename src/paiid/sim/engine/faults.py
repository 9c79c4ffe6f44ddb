"""The faults in force: which of them is played on which occasion, the same way every time under a seed."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from paiid.brokers import BrokerOrderView
from paiid.core.clock import Clock
from paiid.sim.engine.fault_kinds import BadFault, Catalogue, Kind, parse_params

__all__ = ["Fault", "FaultBook", "Told"]

MAX_FAULTS = 100
_MAX_NEXT = 1_000_000
_FIELDS = frozenset({"kind", "on", "next", "rate", "seed", "params", "account", "symbol", "event"})


class Told(Protocol):
    """Where a played fault is written down."""

    def append(self, kind: str, **fields: Any) -> None:
        """Write one entry."""
        ...


@dataclass(slots=True)
class Fault:
    """One fault in force. Exactly one of `left` (occasions still to be played) and `rate` is set."""

    id: int
    kind: Kind
    on: str
    left: int | None
    rate: float | None
    seed: int
    params: dict[str, Any]
    account: str | None
    symbol: str | None
    event: str | None
    dice: random.Random
    played: int = 0
    drawn: dict[str, bool] = field(default_factory=dict)
    """What was drawn for an order, for kinds that are drawn once for each."""

    @property
    def is_spent(self) -> bool:
        """Nothing is left of it for new occasions."""
        return self.left == 0

    def as_json(self) -> dict[str, Any]:
        """As the control endpoint shows it."""
        return {
            "id": self.id,
            "kind": self.kind.name,
            "on": self.on,
            "next": self.left,
            "rate": self.rate,
            "seed": self.seed,
            "params": self.params,
            "account": self.account,
            "symbol": self.symbol,
            "event": self.event,
            "played": self.played,
        }

    def roll(self) -> bool:
        """Whether it is played on this occasion, which it has been found to fit."""
        if self.left is not None:
            if self.left == 0:
                return False
            self.left -= 1
            return True
        return self.dice.random() < (self.rate or 0.0)

    def roll_for(self, order: str) -> bool:
        """Whether it is played for this order: drawn at the first question, and then the same for ever. A rate goes by
        the name of the order and not by who asks first."""
        if order not in self.drawn:
            if self.rate is None:
                self.drawn[order] = self.roll()
            else:
                digest = hashlib.blake2b(f"{self.seed}:{order}".encode(), digest_size=8).digest()
                self.drawn[order] = int.from_bytes(digest) / 2**64 < self.rate
        return self.drawn[order]


class FaultBook:
    """All faults in force, oldest first. Lost at a restart: a script sets them anew."""

    def __init__(
        self,
        clock: Clock,
        ledger: Told,
        catalogue: Catalogue,
        *,
        seed: int = 0,
        cancel_latency_s: float = 0.01,
    ) -> None:
        self.catalogue = catalogue
        self._kinds = catalogue.kinds
        self._symbolic = ", ".join(name for name, kind in self._kinds.items() if kind.knows_symbol)
        self._clock = clock
        self._ledger = ledger
        self._seed = seed
        self._cancel_latency_s = cancel_latency_s
        self._faults: list[Fault] = []
        self._next_id = 1
        self._played: dict[str, int] = {}

    @property
    def played(self) -> dict[str, int]:
        """How often each kind has been played since the start."""
        return dict(sorted(self._played.items()))

    def all(self) -> Sequence[Fault]:
        """Those in force, and those that are spent and still shown."""
        return tuple(self._faults)

    def add(self, wish: Any) -> Fault:
        """Put a fault in force. Raises BadFault, naming the field."""
        fault = self._parse(wish)
        if len(self._faults) >= MAX_FAULTS:
            self._faults = [one for one in self._faults if not one.is_spent]
        if len(self._faults) >= MAX_FAULTS:
            raise BadFault("kind", f"{MAX_FAULTS} faults are in force already; delete some")
        self._faults.append(fault)
        self._next_id += 1
        return fault

    def remove(self, fault_id: int | None = None) -> int:
        """Take one fault (or all) out of force; how many that were."""
        before = len(self._faults)
        self._faults = [] if fault_id is None else [one for one in self._faults if one.id != fault_id]
        return before - len(self._faults)

    # -- occasions ----------------------------------------------------------------------------------

    def draw(
        self, operation: str, account: str | None, *, symbol: str | None = None, event: str | None = None
    ) -> Fault | None:
        """The fault that is played on this occasion: the oldest that fits and whose dice say so."""
        for fault in self._faults:
            if fault.kind.is_asked:
                continue
            fits = fault.on == operation or (
                fault.on == "any" and operation not in self.catalogue.no_requests
            )
            if fits and _fits(fault, account, symbol, event) and fault.roll():
                return fault
        return None

    def draw_not_found(self, order: str, account: str | None) -> Fault | None:
        """The fault by which this very first look-up of an order finds nothing. `order` is how it was asked for."""
        for fault in self._faults:
            if fault.kind.name != "not_found_once" or order in fault.drawn:
                continue
            if _fits(fault, account, None, None) and fault.roll_for(order):
                return fault
        return None

    def tell(self, fault: Fault, **what: Any) -> None:
        """Write down that a fault is played now."""
        fault.played += 1
        name = fault.kind.name
        self._played[name] = self._played.get(name, 0) + 1
        self._ledger.append("fault", fault=fault.id, fault_kind=name, on=fault.on, **what)

    # -- what reaches into the handling (`exchange.Faults`) -------------------------------------------

    def hides(self, order_id: str, submitted_at_us: int) -> bool:
        """Whether an order is too young to be found."""
        return self._holds("lookup_lag", order_id, submitted_at_us)

    def hides_price(self, order_id: str, filled_at_us: int) -> bool:
        """Whether an order that is filled must not show yet for how much, nor how many: `avg_fill_price` and
        `exec_quantity` are still 0."""
        return self._holds("filled_without_price", order_id, filled_at_us)

    def _holds(self, kind: str, order_id: str, since_us: int) -> bool:
        """Whether such a fault, drawn once for each order, is still at work on this one."""
        age_us = self._clock.now_us() - since_us
        for fault in self._faults:
            if fault.kind.name != kind or age_us >= fault.params["lag_ms"] * 1000:
                continue
            first = order_id not in fault.drawn
            if fault.roll_for(order_id):
                if first:
                    self.tell(fault, order_id=order_id)
                return True
        return False

    def cancel_delay_s(self, order: BrokerOrderView) -> float:
        """How long the venue takes to cancel this order."""
        for fault in self._faults:
            if (
                fault.kind.name == "cancel_slow"
                and _fits(fault, order.account_number, order.symbol, None)
                and fault.roll()
            ):
                self.tell(fault, order_id=order.broker_order_id, account=order.account_number)
                return float(fault.params["delay_ms"]) / 1000
        return self._cancel_latency_s

    # -- reading a wish -----------------------------------------------------------------------------

    def _parse(self, wish: Any) -> Fault:
        if not isinstance(wish, dict):
            raise BadFault("body", "must be an object")
        for name in wish:
            if name not in _FIELDS:
                raise BadFault(str(name), f"no such field; there are: {', '.join(sorted(_FIELDS))}")
        kind = self._kinds.get(wish["kind"]) if isinstance(wish.get("kind"), str) else None
        if kind is None:
            raise BadFault("kind", f"must be one of: {', '.join(self._kinds)}")
        on = wish.get("on", kind.default_on)
        if on not in kind.on:
            raise BadFault("on", f"{kind.name} can be played on: {', '.join(kind.on)}")
        left, rate = _how_often(wish)
        seed = wish.get("seed", self._seed)
        if isinstance(seed, bool) or not isinstance(seed, int) or abs(seed) >= 2**63:
            raise BadFault("seed", "must be a whole number of 64 bits")
        event = _text(wish, "event")
        told = self.catalogue.told
        if event is not None and on not in told:
            raise BadFault("event", "names a kind of update or message, so `on` must be stream or ticks")
        if kind.event is not None and event not in (None, kind.event):
            raise BadFault("event", f"{kind.name} is about the event {kind.event} only")
        symbol = _text(wish, "symbol")
        if symbol is not None and on not in ("submit", *told) and not kind.knows_symbol:
            raise BadFault(
                "symbol", f"is known where `on` is submit, stream or ticks, and for {self._symbolic}"
            )
        return Fault(
            id=self._next_id,
            kind=kind,
            on=on,
            left=left,
            rate=rate,
            seed=seed,
            params=parse_params(kind, wish.get("params")),
            account=_text(wish, "account"),
            symbol=symbol,
            event=event or kind.event,
            dice=random.Random(f"{seed}:{kind.name}:{on}"),  # noqa: S311 - a script, not a secret
        )


def _how_often(wish: dict[str, Any]) -> tuple[int | None, float | None]:
    count, rate = wish.get("next"), wish.get("rate")
    if count is not None and rate is not None:
        raise BadFault("rate", "either `next` or `rate`, not both")
    if rate is not None:
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
            raise BadFault("rate", "must be a number from 0 to 1")
        return None, float(rate)
    if count is None:
        return 1, None
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MAX_NEXT:
        raise BadFault("next", f"must be a whole number from 1 to {_MAX_NEXT}")
    return count, None


def _text(wish: dict[str, Any], name: str) -> str | None:
    value = wish.get(name)
    if value is not None and (not isinstance(value, str) or not 1 <= len(value) <= 64):
        raise BadFault(name, "must be a text of 1 to 64 characters")
    return value


def _fits(fault: Fault, account: str | None, symbol: str | None, event: str | None) -> bool:
    return (
        (fault.account is None or fault.account == account)
        and (fault.symbol is None or fault.symbol == symbol)
        and (fault.event is None or fault.event == event)
    )
