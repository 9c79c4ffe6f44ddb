"""Random days of everything the venue takes: groups, spreads, options, replacements, and the ends of days."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from hypothesis import strategies as st

from paiid.domain.orders import Side

DAY_US = 86_400_000_000
CENT = Decimal("0.01")
# The market's clock begins on the Friday on which the first of these have their last trading day.
NEAR_100, NEAR_105, NEAR_PUT = "AAPL270115C00100000", "AAPL270115C00105000", "AAPL270115P00095000"
LATE_105, LATE_110 = "AAPL270319C00105000", "AAPL270319C00110000"
OPTIONS = (NEAR_100, NEAR_105, NEAR_PUT, LATE_105, LATE_110)
SPREADS = (
    f"+{NEAR_100} -{NEAR_105}",
    f"+{LATE_105} -{LATE_110}",
    f"-{LATE_105} +{LATE_110}",
    f"+{LATE_105} -{NEAR_100}",
    f"+{NEAR_PUT} +{NEAR_105}",
    f"-{LATE_105}! +{LATE_110}!",
    f"-{NEAR_100}! +{NEAR_105}!",
    f"+{LATE_105} -2{LATE_110}",
)
STOCK_KINDS = ("market", "limit", "stop", "stop_limit", "trail_price", "trail_percent", "parts", "dollars")
GROUP_KINDS = ("bracket", "bracket_trail", "oto", "oco")


@dataclass(frozen=True)
class Move:
    """AAPL goes to so many cents, and its options with it; sizes in shares and in contracts."""

    cents: int
    spread: int = 2
    size: int = 3_000
    contracts: int = 40


@dataclass(frozen=True)
class Ask:
    """An order; `off` and `more` are cents off the market, away from it where that is what its type wants."""

    kind: str
    side: Side
    qty: int
    off: int
    more: int = 20
    tif: Literal["day", "gtc", "ioc", "fok"] = "gtc"


@dataclass(frozen=True)
class Spread:
    """One of `SPREADS`; `cents` is its net limit, None for a market order."""

    which: int
    qty: int
    cents: int | None


@dataclass(frozen=True)
class Option:
    """One of `OPTIONS`, by the market or with a limit `off` cents from it."""

    which: int
    side: Side
    qty: int
    off: int | None


@dataclass(frozen=True)
class Replace:
    """Of the n-th order from the end: another total, and prices moved by cents."""

    back: int
    qty: int | None
    off: int


@dataclass(frozen=True)
class Cancel:
    """Of the n-th order from the end; exits and legs count."""

    back: int


@dataclass(frozen=True)
class Wait:
    ms: int


@dataclass(frozen=True)
class DayEnds:
    """The clock goes over the close; the next morning a company may do something."""

    brings: Literal["nothing", "dividend", "split", "reverse split"]


Action = Move | Ask | Spread | Option | Replace | Cancel | Wait | DayEnds

_sides: st.SearchStrategy[Side] = st.sampled_from(["buy", "buy", "sell"])
moves = st.builds(
    Move,
    st.one_of(st.integers(9_900, 10_100), st.integers(9_000, 11_500)),
    st.integers(0, 10),
    st.one_of(st.just(3_000), st.integers(0, 60)),
    st.sampled_from([0, 1, 3, 40]),
)
_qty = st.one_of(st.integers(1, 60), st.integers(200, 2_500))
_tifs = st.sampled_from(["gtc", "gtc", "day", "ioc", "fok"])
asks = st.builds(
    Ask, st.sampled_from(STOCK_KINDS), _sides, _qty, st.integers(-150, 150), st.integers(1, 150), _tifs
)
groups = st.builds(
    Ask, st.sampled_from(GROUP_KINDS), _sides, st.integers(1, 120), st.integers(-20, 20), st.integers(2, 150)
)
spreads = st.builds(
    Spread,
    st.integers(0, len(SPREADS) - 1),
    st.sampled_from([1, 2, 5, 60]),
    st.one_of(st.none(), st.integers(-300, 700)),
)
options = st.builds(
    Option,
    st.integers(0, len(OPTIONS) - 1),
    _sides,
    st.sampled_from([1, 2, 10, 300]),
    st.one_of(st.none(), st.integers(-30, 30)),
)
replaces = st.builds(
    Replace, st.integers(1, 5), st.one_of(st.none(), st.integers(1, 150)), st.integers(-60, 60)
)
_ends = st.builds(DayEnds, st.sampled_from(["nothing", "dividend", "split", "reverse split"]))


@st.composite
def round_trips(draw: st.DrawFn) -> list[Action]:
    """An entry of which a part fills, the rest, and exits that are met in parts: perhaps replaced on the way."""
    qty = draw(st.integers(20, 120))
    part = draw(st.integers(1, qty - 1))
    kind = draw(st.sampled_from(["bracket", "bracket_trail", "oto", "oco"]))
    away = draw(st.integers(30, 150))
    before: list[Action] = [Ask("market", "buy", qty, 0), Wait(20)] if kind == "oco" else []
    entered: list[Action] = [] if kind == "oco" else [Move(10_000, 0, part), Wait(20), Move(10_000, 0, qty)]
    changed: list[Action] = draw(
        st.sampled_from([[], [], [Replace(1, None, 15)], [Replace(2, qty + 5, 0)], [Replace(3, qty + 9, 0)]])
    )
    up = draw(st.booleans())
    there = 10_000 + (away + 60 if up else -away - 60)
    side: Side = "sell" if kind == "oco" else "buy"
    return [
        Move(10_000, 0),
        *before,
        Ask(kind, side, qty, 0, away),
        *changed,
        *entered,
        Wait(20),
        Move(there, 0, draw(st.integers(1, qty))),
        *(draw(st.sampled_from([[], [Replace(1, None, -9)], [Replace(2, qty + 3, 5)], [Cancel(1)]]))),
        Move(there + (1 if up else -1), 0, draw(st.integers(1, qty))),
        Move(10_000 - (there - 10_000), 0, 3_000),
    ]


@st.composite
def replaced_groups(draw: st.DrawFn) -> list[Action]:
    """A group of which one after the other is replaced, while the entry fills in parts and the exits are met."""
    kind, qty = (
        draw(st.sampled_from(["bracket", "bracket", "bracket_trail", "oco"])),
        draw(st.integers(2, 60)),
    )
    before: list[Action] = [Ask("market", "buy", qty, 0), Wait(20)] if kind == "oco" else []
    change = st.builds(
        Replace, st.integers(1, 6), st.one_of(st.none(), st.integers(1, 80)), st.sampled_from([0, 1, -1, 5])
    )
    meets = st.builds(Move, st.sampled_from([10_000, 10_000, 9_800, 10_200]), st.just(0), st.integers(1, 60))
    then = st.one_of(change, change, meets, st.just(Wait(20)), st.builds(Cancel, st.integers(1, 6)))
    return [
        Move(10_000, 0),
        *before,
        Ask(kind, "sell" if kind == "oco" else "buy", qty, draw(st.sampled_from([0, -15])), 60),
        *draw(st.lists(then, min_size=2, max_size=8)),
        Wait(20),
    ]


@st.composite
def in_parts(draw: st.DrawFn) -> list[Action]:
    """A limit order that fills a little and is replaced, and replaced again."""
    qty, part = draw(st.integers(20, 90)), draw(st.integers(1, 15))
    return [
        Move(10_000, 0, part),
        Ask("limit", draw(_sides), qty, 0),
        Wait(20),
        Replace(1, draw(st.one_of(st.none(), st.integers(10, 150))), draw(st.integers(-3, 3))),
        Wait(20),
        Move(10_000, 0, part),
        Replace(1, draw(st.integers(10, 150)), 1),
        Wait(20),
        Move(10_000, 0),
    ]


@st.composite
def followed(draw: st.DrawFn) -> list[Action]:
    """A trailing stop, a market that goes its way for a while and comes back a little."""
    side: Side = draw(st.sampled_from(["sell", "buy"]))
    way = 1 if side == "sell" else -1
    kind = draw(st.sampled_from(["trail_price", "trail_percent"]))
    return [
        Move(10_000, 0),
        Ask(kind, side, draw(st.integers(1, 50)), 0, draw(st.integers(100, 150))),
        Wait(20),
        Move(10_000 + way * 80, 0),
        Wait(6_000),
        Move(10_000 + way * draw(st.integers(10, 79)), 0),
    ]


@st.composite
def spread_in_parts(draw: st.DrawFn) -> list[Action]:
    """A spread that finds less size than it wants, and perhaps another price."""
    which = draw(st.integers(0, 3))
    return [
        Move(10_200, 0, 3_000, 3),
        Spread(which, draw(st.integers(4, 9)), draw(st.integers(0, 600))),
        Wait(20),
        *(draw(st.sampled_from([[], [Replace(3, None, 40)], [Replace(3, 12, 0)], [Cancel(3)]]))),
        Wait(20),
        Move(10_200, 0, 3_000, draw(st.sampled_from([1, 40]))),
    ]


@st.composite
def squeezed(draw: st.DrawFn) -> list[Action]:
    """All the money, or nearly, in one order or two: in shares, in dollars, in contracts."""
    much: Action = draw(
        st.one_of(
            st.builds(Ask, st.sampled_from(["market", "limit"]), _sides, st.integers(900, 2_100), st.just(5)),
            st.builds(Option, st.integers(3, 4), st.just("buy"), st.integers(200, 500), st.just(5)),
            st.builds(Spread, st.integers(1, 2), st.integers(150, 300), st.sampled_from([-290, 410])),
        )
    )
    dollars = Ask("dollars", "buy", draw(st.integers(20, 9_000)), 0)
    orders = draw(st.sampled_from([[much], [much, much], [dollars], [dollars, much], [much, dollars]]))
    return [
        Move(10_000, 0, 3_000, 500),
        *orders,
        Wait(20),
        Move(10_000, 0, draw(st.sampled_from([30, 3_000])), 500),
        Wait(20),
    ]


@st.composite
def legged_out(draw: st.DrawFn) -> list[Action]:
    """What covers a short call is to go, and the call stays."""
    qty = draw(st.integers(1, 5))
    covered: list[Action] = [Spread(2, qty, None), Wait(20)]
    leaves: Action = Option(4, "sell", qty, draw(st.sampled_from([None, 0])))
    if draw(st.booleans()):
        covered = [Ask("market", "buy", 100 * qty, 0), Wait(20), Option(3, "sell", qty, None), Wait(20)]
        leaves = Ask(draw(st.sampled_from(["market", "limit"])), "sell", 100 * qty, 0)
    return [Move(10_000, 0, 3_000, 40), *covered, leaves, Wait(20)]


_single = st.one_of(
    moves, moves, asks, groups, spreads, options, replaces, replaces,
    st.builds(Cancel, st.integers(1, 6)), st.builds(Wait, st.sampled_from([19, 20, 1_020, 6_000])),
)  # fmt: skip
_phrases = st.one_of(
    _single.map(lambda one: [one]), _single.map(lambda one: [one]), _single.map(lambda one: [one]),
    round_trips(), in_parts(), followed(), spread_in_parts(), squeezed(), legged_out(),
)  # fmt: skip
_stretches = st.lists(_phrases, min_size=4, max_size=10)


def only(phrases: st.SearchStrategy[list[Action]]) -> st.SearchStrategy[list[Action]]:
    """Days of one kind of phrase."""
    said = st.lists(phrases, min_size=1, max_size=3)
    return said.map(lambda some: [one for phrase in some for one in phrase])


@st.composite
def days(draw: st.DrawFn) -> list[Action]:
    """Two days, or three, each with an end."""
    actions: list[Action] = []
    for _ in range(draw(st.integers(1, 2))):
        actions += [one for phrase in draw(_stretches) for one in phrase]
        actions.append(draw(_ends))
    return actions + [one for phrase in draw(st.lists(_phrases, max_size=4)) for one in phrase]
