"""The words of the halt: what can be halted, how hard, and which of several halts wins (contract K1)."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from paiid.domain.instruments import parse_symbol

ScopeKind = Literal["global", "account", "user", "symbol"]
FenceOutcome = Literal["fenced", "already", "failed", "unknown", "lifted", "left"]
"""What became of the broker's own stop in one account: `fenced` by us, `already` set before us, `failed` (it is not set
by us), `unknown` (it may be), `lifted` by a resume, `left` set by a resume."""
MAX_REASON = 500
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z", re.ASCII)


class Mode(StrEnum):
    """How hard: nothing, only orders that reduce a position, or no order at all."""

    ACTIVE = "active"
    REDUCE_ONLY = "reduce_only"
    HALTED = "halted"

    @property
    def severity(self) -> int:
        """Grows from active to halted."""
        return _SEVERITY[self]


_SEVERITY = {Mode.ACTIVE: 0, Mode.REDUCE_ONLY: 1, Mode.HALTED: 2}


class Level(StrEnum):
    """How far an arming has come (contract K4); each includes those before it."""

    EFFECTIVE = "effective"
    """Committed: no claim after it is decided without it."""
    DRAINED = "drained"
    """No order claimed before it can still be on the wire."""
    BROKER_FENCED = "broker_fenced"
    """The broker's own stop is set as well."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is halted. `id` is empty for the global scope, a canonical ticker for a symbol."""

    kind: ScopeKind
    id: str = ""

    def __str__(self) -> str:
        return self.kind if self.kind == "global" else f"{self.kind}:{self.id}"

    @classmethod
    def parse(cls, text: str) -> "Scope":
        """`global`, `account:ID`, `user:ID` or `symbol:AAPL`. Raises ValueError for anything else."""
        if text == "global":
            return GLOBAL
        kind, colon, ident = text.partition(":")
        if colon and kind == "symbol":
            return cls("symbol", parse_symbol(ident))
        if colon and kind in ("account", "user"):
            if not _ID.match(ident):
                raise ValueError(f"the id of a scope {kind}:ID has 1 to 64 letters, digits or . _ -")
            return cls("account" if kind == "account" else "user", ident)
        raise ValueError("a scope is global, account:ID, user:ID or symbol:TICKER")


GLOBAL = Scope("global")


@dataclass(frozen=True, slots=True)
class Halt:
    """One scope's halt as the table holds it. `epoch` is the number of the change that made it so."""

    scope: Scope
    mode: Mode
    epoch: int
    reason: str
    set_by: str
    set_at_us: int


@dataclass(frozen=True, slots=True)
class HaltSet:
    """All halts in force at one moment; never changed, read anew by every claim (contract K3)."""

    halts: Mapping[str, Halt] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, halts: Iterable[Halt]) -> "HaltSet":
        """A set of these; one halt a scope."""
        return cls(MappingProxyType({str(halt.scope): halt for halt in halts}))

    @property
    def stops_an_account(self) -> bool:
        """Whether a global or account scope is halted."""
        return any(
            one.mode is Mode.HALTED and one.scope.kind in ("global", "account") for one in self.halts.values()
        )

    def severest(
        self, account_id: str, user_id: str | None, symbols: Iterable[str]
    ) -> tuple[Mode, Halt | None]:
        """The severest mode of all scopes that match, and the halt it comes from; the widest where they tie.

        `symbols` are those of every leg, options by underlying. (ACTIVE, None) where nothing matches.
        """
        if not self.halts:
            return Mode.ACTIVE, None
        names = ["global", f"account:{account_id}"]
        if user_id is not None:
            names.append(f"user:{user_id}")
        names.extend(f"symbol:{symbol}" for symbol in symbols)
        worst: Halt | None = None
        for name in names:
            halt = self.halts.get(name)
            if halt is not None and (worst is None or halt.mode.severity > worst.mode.severity):
                worst = halt
        return (Mode.ACTIVE, None) if worst is None else (worst.mode, worst)


@dataclass(frozen=True, slots=True)
class InFlight:
    """An order that a halt did not stop: on the wire (DISPATCHING), or in doubt (UNKNOWN)."""

    id: str
    account_id: str
    symbol: str
    side: str
    state: str


@dataclass(frozen=True, slots=True)
class SweptOrder:
    """What became of one order that a halt asked to cancel or to close."""

    account_id: str
    symbol: str
    order_id: str | None
    broker_order_id: str | None
    outcome: str
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Fence:
    """The broker's own stop in one account, as a halt or a resume has left it; `at_us` is when it was written down."""

    account_id: str
    broker: str
    outcome: FenceOutcome
    message: str | None = None
    at_us: int = 0

    @property
    def is_set(self) -> bool:
        """Whether the broker has confirmed that its stop is set."""
        return self.outcome in ("fenced", "already")

    @property
    def is_ours(self) -> bool:
        """Whether we have set it, or may have: a resume lifts it."""
        return self.outcome in ("fenced", "unknown")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an arming or a resume has reached so far; never more than was reached (contract K4).

    `pending` names the steps that still go on: drain, cancel, flatten, fence. `on_wire` are ids of orders that were
    being sent when the halt was committed. `wishes` is what was asked for beside the halt itself.
    """

    epoch: int
    scope: Scope
    mode: Mode
    level: Level
    pending: tuple[str, ...]
    on_wire: tuple[str, ...]
    wishes: frozenset[str]
    cancels: tuple[SweptOrder, ...]
    closes: tuple[SweptOrder, ...]
    actor: Mapping[str, object]
    started_at_us: int
    updated_at_us: int
    problem: str | None = None
    fences: tuple[Fence, ...] = ()

    def fence_of(self, account_id: str) -> Fence | None:
        """What is known of the broker's own stop in this account."""
        return next((one for one in self.fences if one.account_id == account_id), None)
