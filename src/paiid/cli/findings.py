"""What one probe of `paiid doctor` has found."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of the second table. `down` makes the command fail."""

    name: str
    status: Literal["up", "warning", "down"]
    detail: str
