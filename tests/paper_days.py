"""Random days at the paper venue: what may happen in them, and how often."""

from dataclasses import dataclass, replace
from typing import Literal

from hypothesis import strategies as st

ACCOUNTS = ("me", "bob")
SYMBOLS = ("AAPL", "MSFT")
DAY_US = 60_000_000
"""A short day, so that a sequence of a few dozen steps sees several of them."""
EVENING_US = 7_000_000
"""What the extended day is longer."""


@dataclass(frozen=True)
class Show:
    """A new quote: bid and spread in cents, sizes in tenths of a share, so that some are not whole."""

    symbol: str
    bid: int
    spread: int
    bid_size: int
    ask_size: int
    condition: Literal["good", "stale", "no ask", "older"]


@dataclass(frozen=True)
class Ask:
    """An order; `cents` is its limit or stop price, `more` the cents from a stop to its limit, or the trail. A size of
    `parts` is in thousandths of a share, one of `dollars` an amount."""

    account: str
    symbol: str
    side: Literal["buy", "sell"]
    qty: int
    type: Literal["market", "limit", "stop", "stop_limit", "trailing_stop"]
    tif: Literal["day", "gtc", "ioc", "fok", "opg"]
    cents: int
    more: int = 0
    size: Literal["shares", "parts", "dollars"] = "shares"
    extended: bool = False


@dataclass(frozen=True)
class Cancel:
    """Of the n-th order from the end."""

    back: int


@dataclass(frozen=True)
class Wait:
    """Time passes, perhaps over the end of a day."""

    ms: int


@dataclass(frozen=True)
class Doors:
    """The market opens or closes, and so do the extended hours around it."""

    open: bool
    extended: bool = False


Action = Show | Ask | Cancel | Wait | Doors

_cents = st.one_of(st.integers(9_700, 10_300), st.integers(5_000, 20_000))
_sizes = st.one_of(st.integers(0, 500), st.integers(0, 30_000))
shows = st.builds(
    Show,
    st.sampled_from(SYMBOLS),
    _cents,
    st.one_of(st.integers(0, 20), st.just(-5)),
    _sizes,
    _sizes,
    st.sampled_from(["good"] * 9 + ["stale", "no ask", "older"]),
)
asks = st.builds(
    Ask,
    st.sampled_from(ACCOUNTS),
    st.sampled_from(SYMBOLS),
    st.sampled_from(["buy", "sell"]),
    st.one_of(st.integers(1, 60), st.integers(200, 1_100)),
    st.sampled_from(["market", "limit", "stop", "stop_limit", "trailing_stop"]),
    st.sampled_from(["day", "day", "gtc", "gtc", "ioc", "fok", "opg"]),
    _cents,
    st.integers(-150, 150),
    st.sampled_from(["shares"] * 4 + ["parts", "dollars"]),
    st.sampled_from([False, False, True]),
)
waits = st.builds(Wait, st.sampled_from([1, 19, 20, 21, 300, 1_000, 1_020, 59_000]))


@st.composite
def _squeezes(draw: st.DrawFn) -> list[Action]:
    """All the money in one order, and the price runs away before it is live."""
    symbol, account = draw(st.sampled_from(SYMBOLS)), draw(st.sampled_from(ACCOUNTS))
    side: Literal["buy", "sell"] = draw(st.sampled_from(["buy", "sell"]))
    level = draw(st.integers(9_900, 10_100))
    tif = draw(st.sampled_from(["day", "gtc", "ioc", "fok"]))
    size = draw(st.sampled_from([500, 5_000, 20_000]))
    return [
        Show(symbol, level, 0, 20_000, 20_000, "good"),
        Ask(account, symbol, side, draw(st.integers(850, 1_010)), "market", tif, 0),
        Show(symbol, level + draw(st.integers(-200, 4_000)), 2, size, size, "good"),
        Wait(20),
    ]


@st.composite
def _oversells(draw: st.DrawFn) -> list[Action]:
    """A fraction of a holding is offered, and before it fills all of the holding is sold, and more."""
    symbol, account = draw(st.sampled_from(SYMBOLS)), draw(st.sampled_from(ACCOUNTS))
    size: Literal["parts", "dollars"] = draw(st.sampled_from(["parts", "dollars"]))
    offered = draw(st.integers(1_001, 9_999)) if size == "parts" else draw(st.integers(10, 99))
    return [
        Show(symbol, 10_000, 0, 20_000, 20_000, "good"),
        Ask(account, symbol, "buy", 10, "market", "day", 0),
        Wait(20),
        Ask(
            account, symbol, "sell", offered, "limit" if size == "parts" else "market", "day", 10_100, 0, size
        ),
        Ask(account, symbol, "sell", draw(st.integers(10, 30)), "market", "day", 0),
        Show(symbol, draw(st.integers(9_000, 10_000)), 0, 20_000, 20_000, "good"),
        Wait(20),
        Show(symbol, 10_200, 0, 20_000, 20_000, "good"),
    ]


@st.composite
def _trails(draw: st.DrawFn) -> list[Action]:
    """A trailing stop, a market that goes its way, and one that comes back a little."""
    symbol, account = draw(st.sampled_from(SYMBOLS)), draw(st.sampled_from(ACCOUNTS))
    side: Literal["buy", "sell"] = draw(st.sampled_from(["buy", "sell"]))
    way = 1 if side == "sell" else -1
    there = 10_000 + way * draw(st.integers(50, 300))
    back = there - way * draw(st.integers(1, 40))
    return [
        Show(symbol, 10_000, 0, 20_000, 20_000, "good"),
        Ask(account, symbol, side, 10, "trailing_stop", "gtc", 0, draw(st.integers(51, 150))),
        Wait(20),
        *(Show(symbol, cents, 0, 20_000, 20_000, "good") for cents in (there, back)),
    ]


_single = st.one_of(
    shows,
    asks,
    shows,
    asks,
    waits,
    st.builds(Cancel, st.integers(1, 4)),
    st.builds(Doors, st.sampled_from([True, True, False]), st.booleans()),
)
_phrases = st.one_of(
    _single.map(lambda one: [one]), _single.map(lambda one: [one]), _squeezes(), _oversells(), _trails()
)
days = st.lists(_phrases, min_size=12, max_size=40).map(
    lambda phrases: [one for phrase in phrases for one in phrase]
)


@st.composite
def _stale(draw: st.DrawFn) -> list[Action]:
    """An order that would trade, and by the time it is live the quote is old."""
    symbol, account = draw(st.sampled_from(SYMBOLS)), draw(st.sampled_from(ACCOUNTS))
    level = draw(st.integers(9_900, 10_100))
    return [
        Show(symbol, level, 2, 20_000, 20_000, "good"),
        Ask(account, symbol, "buy", draw(st.integers(1, 20)), "limit", "gtc", level + 50),
        Show(symbol, level, 2, 20_000, 20_000, "stale"),
        Wait(20),
    ]


@st.composite
def _overnight(draw: st.DrawFn) -> list[Action]:
    """An order for the day that finds its price a day later."""
    symbol, account = draw(st.sampled_from(SYMBOLS)), draw(st.sampled_from(ACCOUNTS))
    level = draw(st.integers(9_900, 10_100))
    return [
        Show(symbol, level, 2, 20_000, 20_000, "good"),
        Ask(account, symbol, "buy", draw(st.integers(1, 20)), "limit", "day", level - 50),
        Wait(59_000),
        Wait(1_020),
        Show(symbol, level - 100, 2, 20_000, 20_000, "good"),
    ]


@st.composite
def _runs_away(draw: st.DrawFn) -> list[Action]:
    """All that an account can borrow in one order, and a price of which it can only pay a part of it."""
    symbol, account = draw(st.sampled_from(SYMBOLS)), draw(st.sampled_from(ACCOUNTS))
    return [
        Show(symbol, 10_000, 2, 30_000, 30_000, "good"),
        Ask(account, symbol, "buy", draw(st.integers(1_850, 1_950)), "market", "gtc", 0),
        Show(symbol, 10_000 + draw(st.integers(1_200, 2_000)), 2, 30_000, 30_000, "good"),
        Wait(20),
    ]


@st.composite
def _swept(draw: st.DrawFn) -> list[Action]:
    """An order that takes all that is shown, again and again."""
    symbol, account = draw(st.sampled_from(SYMBOLS)), draw(st.sampled_from(ACCOUNTS))
    level = draw(st.integers(9_900, 10_100))
    shown = Show(symbol, level, 2, 100, 100, "good")
    return [
        shown,
        Ask(account, symbol, "buy", draw(st.integers(31, 60)), "market", "gtc", 0),
        Wait(20),
        *(replace(shown, bid=level + step) for step in (1, 2, 3)),
    ]


provoking = st.lists(
    st.one_of(_squeezes(), _oversells(), _trails(), _stale(), _overnight(), _swept(), _runs_away()),
    min_size=1,
    max_size=6,
).map(lambda phrases: [one for phrase in phrases for one in phrase])
"""Days on which much goes wrong where a rule is forgotten, and little else happens."""
