"""How market data come to this replica at the moment, in words for users and for the health page (contract S5)."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["up", "degraded", "down"]


@dataclass(frozen=True, slots=True)
class FeedState:
    """`up`: by the upstream, here or over the bus. `degraded`: this replica asks by itself every few seconds. `down`: nothing new comes.
    `reason` is safe to show, empty when up; `leads`: this replica holds the upstream."""

    status: Status
    reason: str
    source: str
    since_us: int
    leads: bool
    epoch: int
