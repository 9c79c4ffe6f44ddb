"""`python -m bench accuracy`: how far our option prices, Greeks and volatilities are from the converged reference; writes the tables of
docs/pricing.md."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.figures import Say
from bench.reference import NAMES, Array, Mask, Reference, imply_all, load, value_all
from paiid.domain.pricing.terms import IMPLIED, STATUS_NAMES, Accuracy, Implied, Values

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "pricing.md"
BEGINS, ENDS = "<!-- accuracy: written by `python -m bench accuracy` -->", "<!-- accuracy: end -->"
MODES: tuple[Accuracy, Accuracy] = ("fast", "accurate")
PROMISED = {"fast": 1e-3, "accurate": 1e-5}
"""Dollars at a spot of 100, American prices."""
PROMISED_EUROPEAN = 1e-10
PROMISED_ROUND_TRIP = 1e-6
TELLING_VEGA = 1e-4
"""Dollars a point of volatility from which a price tells a volatility: a float's last digits no longer matter."""

FURTHEST = 5

KINDS = {
    "European": ("european",),
    "European, cash dividends": ("european dividends",),
    "American, yield": ("yield",),
    "American, two boundaries": ("two boundaries",),
    "American, cash dividends": ("dividends",),
}
TERMS = (("to 30 days", 0.0, 30.0), ("to a year", 30.0, 365.0), ("to 3 years", 365.0, 1e9))
LEVELS = (("below 10 %", 0.0, 0.10), ("10 to 60 %", 0.10, 0.60), ("above 60 %", 0.60, 1e9))


@dataclass(frozen=True, slots=True)
class Measured:
    """Ours in one mode: values at the reference's volatility, what they imply in turn, and what the reference's prices imply."""

    values: Values
    again: Implied
    told: Implied


def measure(reference: Reference, accuracy: Accuracy) -> Measured:
    """One mode, through the door everything else uses."""
    values = value_all(reference, accuracy)
    return Measured(
        values,
        imply_all(reference, values.price, accuracy),
        imply_all(reference, reference.values.price, accuracy),
    )


def regions(reference: Reference) -> Iterator[tuple[tuple[str, str, str], Mask]]:
    """(kind, maturity, volatility) and its cases, where there are any."""
    for kind, groups in KINDS.items():
        for term, after, until in TERMS:
            for level, above, below in LEVELS:
                chosen = np.isin(reference.group, groups)
                chosen &= (reference.days > after) & (reference.days <= until)
                chosen &= (reference.volatility >= above) & (reference.volatility < below)
                if chosen.any():
                    yield (kind, term, level), chosen


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    return [
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _figure(value: float) -> str:
    return f"{value:.1e}"


def _rms(errors: Array) -> float:
    return float(np.sqrt(np.mean(errors**2)))


def price_table(reference: Reference, measured: dict[Accuracy, Measured]) -> list[str]:
    """Dollars apart, by region."""
    apart = {mode: np.abs(found.values.price - reference.values.price) for mode, found in measured.items()}
    rows = []
    for names, chosen in regions(reference):
        figures = [
            _figure(one) for mode in MODES for one in (apart[mode][chosen].max(), _rms(apart[mode][chosen]))
        ]
        rows.append([*names, str(chosen.sum()), *figures])
    heads = ["style", "maturity", "volatility", "cases", "fast: max", "rms", "accurate: max", "rms"]
    return _table(heads, rows)


def greeks_table(reference: Reference, measured: dict[Accuracy, Measured]) -> list[str]:
    """The largest and the rms difference of each Greek, by kind, where the reference tells one."""
    rows = []
    for kind, groups in KINDS.items():
        chosen = np.isin(reference.group, groups) & np.isfinite(reference.values.delta)
        if not chosen.any():
            continue
        for mode in MODES:
            figures = []
            for name in NAMES[1:]:
                theirs = getattr(reference.values, name)
                apart = np.abs(getattr(measured[mode].values, name) - theirs)[chosen & np.isfinite(theirs)]
                figures.append(f"{_figure(apart.max())} ({_figure(_rms(apart))})")
            rows.append([kind, mode, str(chosen.sum()), *figures])
    return _table(["style", "mode", "cases", *NAMES[1:]], rows)


def volatility_table(reference: Reference, measured: dict[Accuracy, Measured]) -> list[str]:
    """What prices imply: our own (the round trip) and the reference's, and how many imply nothing."""
    rows = []
    for kind, groups in KINDS.items():
        chosen = np.isin(reference.group, groups)
        if not chosen.any():
            continue
        for mode in MODES:
            found = measured[mode]
            telling = chosen & (found.values.vega >= TELLING_VEGA)
            again = telling & (found.again.status == IMPLIED)
            told = telling & (found.told.status == IMPLIED)
            others = [
                f"{(found.again.status[chosen] == status).sum()} {name.replace('_', ' ')}"
                for status, name in STATUS_NAMES.items()
                if status != IMPLIED and (found.again.status[chosen] == status).any()
            ]
            rows.append(
                [
                    kind,
                    mode,
                    f"{again.sum()} of {telling.sum()}",
                    _most(found.again.volatility, reference, again),
                    _most(found.told.volatility, reference, told),
                    ", ".join(others) or "none",
                ]
            )
    heads = ["style", "mode", "implied, of telling", "round trip: max", "from the reference's price: max"]
    return _table([*heads, "of all, implied nothing"], rows)


def _most(volatility: Array, reference: Reference, chosen: Mask) -> str:
    if not chosen.any():
        return "none"
    return _figure(np.abs(volatility - reference.volatility)[chosen].max())


def tables(reference: Reference, measured: dict[Accuracy, Measured]) -> list[str]:
    """What stands between the marks of the document."""
    return [
        f"Of {len(reference)} cases, reference `{reference.fingerprint}`.",
        "",
        "Prices, dollars at a spot of 100:",
        "",
        *price_table(reference, measured),
        "",
        "Greeks, in their units, where the reference tells them: the largest difference and, in brackets, the root of the mean square:",
        "",
        *greeks_table(reference, measured),
        "",
        f"Implied volatility, of contracts whose vega is at least {TELLING_VEGA:g} dollars a point, as fractions a year:",
        "",
        *volatility_table(reference, measured),
    ]


def write(lines: list[str], document: Path = DOCUMENT) -> None:
    """Put the lines between the marks. Raises ValueError where a mark is missing."""
    text = document.read_text()
    if text.count(BEGINS) != 1 or text.count(ENDS) != 1:
        raise ValueError(f"{document.name} does not have each mark once")
    before, _, rest = text.partition(BEGINS)
    after = rest.partition(ENDS)[2]
    document.write_text(before + BEGINS + "\n\n" + "\n".join(lines) + "\n\n" + ENDS + after)


def _verdict(say: Say, words: str, reached: float, promised: float) -> bool:
    met = reached <= promised
    say(f"  goal   {words}: {_figure(reached)}, at most {promised:.0e}: {'reached' if met else 'missed'}")
    return met


def in_words(reference: Reference, place: int) -> str:
    """One case."""
    paid = ", ".join(f"{one.amount:g} on day {one.years * 365:.0f}" for one in reference.dividends[place])
    right = "call" if reference.call[place] else "put"
    return (
        f"{reference.group[place]} {right} {reference.strike[place]:g}, {reference.days[place]:.0f} days, "
        f"volatility {reference.volatility[place]:g}, rate {reference.rate[place]:g}, "
        f"yield {reference.dividend_yield[place]:g}" + (f", {paid}" if paid else "")
    )


def _furthest(say: Say, words: str, reference: Reference, apart: Array) -> None:
    say(f"  furthest, {words}:")
    for place in np.argsort(-apart)[:FURTHEST]:
        say(f"    {_figure(apart[place])}  {in_words(reference, int(place))}")


def run(say: Say, _directory: Path, _seconds: float, _rounds: int) -> bool:
    """Print and write the tables; whether every promise is kept."""
    say("accuracy of option prices, against tests/data/american_reference.json")
    reference = load()
    measured = {mode: measure(reference, mode) for mode in MODES}
    lines = tables(reference, measured)
    for line in lines:
        say(f"  {line}" if line else "")
    met = True
    european = reference.group == "european"
    for mode in MODES:
        found = measured[mode]
        apart = np.abs(found.values.price - reference.values.price)
        implied = (found.again.status == IMPLIED) & (found.values.vega >= TELLING_VEGA)
        trip = np.where(implied, np.abs(found.again.volatility - reference.volatility), 0.0)
        _furthest(say, f"{mode}, price", reference, apart)
        _furthest(say, f"{mode}, round trip of volatility", reference, trip)
        met &= _verdict(say, f"{mode}, prices", float(apart[~european].max()), PROMISED[mode])
        met &= _verdict(say, f"{mode}, European prices", float(apart[european].max()), PROMISED_EUROPEAN)
        met &= _verdict(say, f"{mode}, round trip of volatility", float(trip.max()), PROMISED_ROUND_TRIP)
    if DOCUMENT.exists():
        write(lines)
        say(f"  written to docs/{DOCUMENT.name}")
    return met
