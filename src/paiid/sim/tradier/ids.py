"""Whole numbers for orders, the same after a restart, and what was asked of each: the register of orders.

The venue knows an order by a name that is made of its number here. A change gives the venue another order under the
same number in a new generation (`t000000228175~2`), so that the chain of generations is one order on the wire. The
members of a group bear the venue's endings (`.tp`, `.sl`, `.leg1`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from io import BufferedWriter
from pathlib import Path
from typing import Literal

import msgspec
import structlog

__all__ = [
    "MemberName",
    "OrderClass",
    "Placed",
    "PlacedLeg",
    "Register",
    "name_of",
    "parse_name",
    "prefix_of",
]

OrderClass = Literal["equity", "option", "multileg", "combo", "oto", "oco", "otoco"]
FIRST_ID = 228_175
FILE = "orders.jsonl"
GROUPS = frozenset({"oto", "oco", "otoco"})
"""Classes whose parent is an order on the wire alone: the venue has only the members."""
_NAME = re.compile(
    r"t(?P<id>[0-9]{12})(?:~(?P<all>[0-9]+))?(?:\.(?P<role>tp|sl|leg[0-9]+))?(?:~(?P<one>[0-9]+))?\Z",
    re.ASCII,
)
_ENCODER = msgspec.json.Encoder(decimal_format="string")
_log = structlog.get_logger("paiid.sim")


class PlacedLeg(msgspec.Struct, frozen=True, kw_only=True):
    """One order as it was asked for. `role` is its ending at the venue, empty for the order itself (or the entry of a
    group). `symbol` is ours: a ticker, or an OCC symbol; `side` and `type` are Tradier's words."""

    role: str
    symbol: str
    underlying: str
    side: str
    quantity: Decimal
    type: str
    price: Decimal | None = None
    stop: Decimal | None = None


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted request. `legs` has one element for a plain order; the members of a group or spread have the
    numbers that follow `id`, in their order. An order that is rejected after it was accepted is at no venue:
    `rejected_at_us` says when, `reason` why."""

    id: int
    account: str
    cls: OrderClass
    tag: str | None
    at_us: int
    type: str
    duration: str
    price: Decimal | None
    quantity: Decimal
    symbol: str
    legs: tuple[PlacedLeg, ...]
    rejected_at_us: int | None = None
    reason: str | None = None

    @property
    def has_members(self) -> bool:
        """Whether its legs are orders with numbers of their own."""
        return self.cls not in ("equity", "option")

    def leg_id(self, index: int) -> int:
        """The number of a member."""
        return self.id + 1 + index


class _Gone(msgspec.Struct, frozen=True, kw_only=True):
    """A request that the venue has refused after all: its number stands for nothing."""

    gone: int


@dataclass(frozen=True, slots=True)
class MemberName:
    """What a name at the venue says: which accepted request, which member of it, in which generation."""

    id: int
    role: str
    generation: int


def prefix_of(order_id: int) -> str:
    """What all names of an accepted request begin with."""
    return f"t{order_id:012}"


def name_of(order_id: int, role: str = "", generation: int = 1) -> str:
    """The name that the venue gets. A member that hangs on another one is named by the venue itself in its first
    generation, in the same way."""
    later = f"~{generation}" if generation > 1 else ""
    return prefix_of(order_id) + (f".{role}" if role else "") + later


def parse_name(name: str | None) -> MemberName | None:
    """The other way; None for a name that is not of this making."""
    found = None if name is None else _NAME.match(name)
    if found is None:
        return None
    return MemberName(int(found["id"]), found["role"] or "", int(found["one"] or found["all"] or 1))


class Register:
    """Every request that was ever accepted, in a file that only grows: a line is in it before the venue hears of the
    order. A line whose order the venue does not have was never accepted."""

    def __init__(self, data_dir: Path) -> None:
        """Read the file. A line that cannot be read (the last one of a process that was killed) counts as none."""
        self._path = data_dir / FILE
        self._by_id: dict[int, Placed] = {}
        self._of_account: dict[str, list[Placed]] = {}
        self._venue_ids: dict[int, str] = {}
        self._next = FIRST_ID
        self._file: BufferedWriter | None = None
        if self._path.exists():
            for line in self._path.read_bytes().splitlines():
                try:
                    if line.startswith(b'{"gone"'):
                        self._drop(msgspec.json.decode(line, type=_Gone).gone)
                    else:
                        self._take(msgspec.json.decode(line, type=Placed))
                except msgspec.MsgspecError as error:
                    _log.warning("sim_order_line_unreadable", error=str(error))

    def next_id(self, legs: int) -> int:
        """A number, with as many behind it as there are members."""
        number = self._next
        self._next += 1 + legs
        return number

    def add(self, placed: Placed) -> None:
        """Write it down. Raises OSError."""
        self._write(placed)
        self._take(placed)

    def remove(self, placed: Placed) -> None:
        """The venue has refused it. Raises OSError."""
        self._write(_Gone(gone=placed.id))
        self._drop(placed.id)

    def bind(self, order_id: int, venue_id: str) -> None:
        """Under which id the venue has this order now."""
        self._venue_ids[order_id] = venue_id

    def venue_id(self, order_id: int) -> str | None:
        """The venue's id of an order that was taken or changed since the start."""
        return self._venue_ids.get(order_id)

    def find(self, order_id: int) -> tuple[Placed, int | None] | None:
        """The request behind a number, and which of its members that is (None: the whole)."""
        placed = self._by_id.get(order_id)
        if placed is None:
            return None
        return placed, None if placed.id == order_id else order_id - placed.id - 1

    def of_account(self, account: str) -> Sequence[Placed]:
        """All requests of an account, oldest first."""
        return tuple(self._of_account.get(account, ()))

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, line: Placed | _Gone) -> None:
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            before = self._path.read_bytes() if self._path.exists() else b""
            self._file = self._path.open("ab")
            if before and not before.endswith(b"\n"):
                self._file.write(b"\n")
        self._file.write(_ENCODER.encode(line) + b"\n")
        self._file.flush()

    def _drop(self, order_id: int) -> None:
        placed = self._by_id.get(order_id)
        if placed is None:
            return
        for number in (placed.id, *map(placed.leg_id, range(len(placed.legs)))):
            if self._by_id.get(number) is placed:
                del self._by_id[number]
        self._of_account[placed.account].remove(placed)

    def _take(self, placed: Placed) -> None:
        self._by_id[placed.id] = placed
        members = len(placed.legs) if placed.has_members else 0
        for index in range(members):
            self._by_id[placed.leg_id(index)] = placed
        self._of_account.setdefault(placed.account, []).append(placed)
        self._next = max(self._next, placed.id + 1 + members)
