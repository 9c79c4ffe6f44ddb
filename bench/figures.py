"""Figures of interleaved rounds: medians with their spread, ratios round by round, and whether a goal is met.

Two runs on a shared machine may differ by a factor of two, two neighbours of one round hardly do. So a ratio is
taken within each round, and what is told is the median of these ratios with the smallest and the largest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

Say = Callable[[str], None]


@dataclass
class Series:
    """One figure of one contender, a value a round."""

    name: str
    unit: str
    values: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        """The next round's value."""
        self.values.append(value)

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return median(self.values)

    def __str__(self) -> str:
        return (
            f"{_number(self.median)} {self.unit} ({_number(min(self.values))}..{_number(max(self.values))})"
        )


def ratio(name: str, above: Sequence[float], below: Sequence[float]) -> Series:
    """above / below, round by round."""
    return Series(name, "x", [a / b if b else 0.0 for a, b in zip(above, below, strict=True)])


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def row(say: Say, role: str, name: str, *figures: Series) -> None:
    """One contender's line."""
    say(f"  {role:<6} {name:<46} " + " · ".join(str(figure) for figure in figures))


def ratio_row(say: Say, figure: Series) -> None:
    """One ratio's line."""
    say(f"  ratio  {figure.name:<46} {figure}")


def goal(say: Say, words: str, reached: Series, wanted: float, *, at_most: bool = False) -> bool:
    """One goal's line, judged by the median; whether it is reached."""
    value = reached.median
    met = value <= wanted if at_most else value >= wanted
    bound = "at most" if at_most else "at least"
    if met:
        verdict = "reached"
    else:
        missed = value / wanted - 1 if at_most else 1 - value / wanted
        verdict = f"missed by {missed:.0%}"
    say(f"  goal   {words}: {_number(value)} {reached.unit}, {bound} {_number(wanted)}: {verdict}")
    return met
