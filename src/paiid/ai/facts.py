"""The figures of one answer: each has an id, our own label, and where it comes from. The model refers to them and writes none."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from paiid.ai.limits import FACTS
from paiid.domain.money import plain

LEDGER = "ledger"
"""The source of what we have booked ourselves."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure. `label` says what it is, whatever a sentence around it claims; `value` is exact, or a text of ours such as a
    date; `unit` None where there is none; `as_of` RFC 3339."""

    id: str
    label: str
    value: Decimal | str
    unit: str | None
    source: str
    as_of: str | None
    stale: bool

    @property
    def amount(self) -> str:
        """The value with its unit, for a sentence of ours."""
        number = f"{plain(self.value):,f}" if isinstance(self.value, Decimal) else self.value
        return number if self.unit is None else f"{number} {self.unit}"

    @property
    def phrase(self) -> str:
        """The value and what it is, for a sentence that may claim anything of it."""
        return f"{self.amount} ({self.label}{', stale' if self.stale else ''})"

    def told(self) -> dict[str, Any]:
        """As an answer lists it."""
        return {
            "id": self.id,
            "label": self.label,
            "value": self.value,
            "unit": self.unit,
            "source": self.source,
            "as_of": self.as_of,
            "stale": self.stale,
        }


class FactBook:
    """All figures that one answer may refer to, and the symbols they are about."""

    def __init__(self) -> None:
        self._by_id: dict[str, Fact] = {}
        self._same: dict[tuple[object, ...], Fact] = {}
        self.symbols: set[str] = set()

    def find(self, fact_id: str) -> Fact | None:
        """The figure with this id."""
        return self._by_id.get(fact_id)

    def add(
        self,
        label: str,
        value: Decimal | int | str | None,
        unit: str | None = None,
        *,
        source: str = LEDGER,
        as_of: str | None = None,
        stale: bool = False,
    ) -> Fact | None:
        """Note a figure; the same one again is the same fact. None where there is no value, or where there are too many facts."""
        if value is None or isinstance(value, bool):
            return None
        exact = Decimal(value) if isinstance(value, int) else value
        key = (label, exact, unit, source, as_of, stale)
        found = self._same.get(key)
        if found is not None:
            return found
        if len(self._by_id) >= FACTS:
            return None
        fact = Fact(f"f{len(self._by_id) + 1}", label, exact, unit, source, as_of, stale)
        self._by_id[fact.id] = self._same[key] = fact
        return fact


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was read: `words` are its names and states, `facts` its figures by the name of the field."""

    words: Mapping[str, Any]
    facts: Mapping[str, Fact]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one read gave: `kind` says of what; `note` what the figures do not say."""

    kind: str
    items: tuple[Item, ...]
    note: str | None = None
