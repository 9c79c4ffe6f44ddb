"""`python -m bench PICTURE`: draws `docs/aapl-2014-06-06.svg`, the smiles of the recorded chain of Apple as our service computes them.

Dots are implied volatilities of single contracts (out of the money, good quotes), the line is the smoothed smile. Needs the folder of
recorded data (PAIID_RECORDED_DATA).
"""

import asyncio
import os
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np

from bench.figures import Say
from paiid.core.clock import SystemClock
from paiid.domain.corporate import CorporateAction
from paiid.domain.pricing.surface import Slice
from paiid.feeds.replay import ReplayFeed
from paiid.market.service import MarketService
from paiid.options.chains import ChainReader
from paiid.options.given import Given
from paiid.options.pool import PricingPool
from paiid.options.records import Assumed, PricedChain
from paiid.options.surface import draw

PICTURE = Path("docs/aapl-2014-06-06.svg")
BILLS = Assumed(0.0004, "setting")
EX_DATES = ("2014-08-07", "2014-11-06", "2015-02-05", "2015-05-07", "2015-08-06", "2015-11-05")
DIVIDEND = Decimal("3.29")
"""The last one that was paid before that day, a quarter; later ones were not known yet."""
_COLUMNS, _WIDTH, _HEIGHT, _MARGIN, _GAP = 4, 250, 170, 46, 34
_INK, _LINE, _GRID = "#1a1a1a", "#0b62a4", "#d8d8d8"


def run(say: Say, directory: Path, seconds: float, rounds: int) -> bool:
    """Draw it. True when it could be."""
    folder = os.environ.get("PAIID_RECORDED_DATA")
    if folder is None:
        say("PAIID_RECORDED_DATA does not name the folder of recorded data")
        return False
    chain = asyncio.run(_load(Path(folder)))
    surface = draw(chain)
    shown = [
        (one.terms.day, slice_)
        for one, slice_ in zip(surface.chosen, surface.slices, strict=True)
        if slice_.smile
    ]
    PICTURE.write_text(_svg(shown), encoding="utf-8")
    solved = int(np.count_nonzero(chain.implied.status == 0))
    say(f"{PICTURE}: {len(shown)} expirations, {solved} of {len(chain)} contracts have a volatility")
    for day, slice_ in shown:
        if slice_.fit is not None:
            say(
                f"  {day}: {len(slice_.quotes)} quotes, fit {slice_.fit.rms * 100:.2f} points rms, "
                f"butterfly {slice_.butterfly}, calendar {slice_.calendar}, mended {slice_.mended}"
            )
    return True


async def _load(folder: Path) -> PricedChain:
    clock = SystemClock()
    files = f"{folder / 'chain_aapl_20140606.csv.gz'},{folder / 'daily_aapl.csv.gz'}"
    feed = ReplayFeed(clock, Path(files), 1.0)
    actions = tuple(
        CorporateAction("AAPL", date.fromisoformat(day), "dividend", DIVIDEND) for day in EX_DATES
    )
    pool = PricingPool()
    try:
        reader = ChainReader(
            MarketService(feed, clock, feed.hours), clock, Given(BILLS, {"AAPL": actions}), pool
        )
        return await reader.load("AAPL", accuracy="accurate")
    finally:
        await pool.stop()


def _svg(shown: list[tuple[date, Slice]]) -> str:
    rows = -(-len(shown) // _COLUMNS)
    width = _COLUMNS * (_WIDTH + _GAP) + _MARGIN
    height = rows * (_HEIGHT + _GAP + 14) + 54
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_MARGIN}" y="22" font-size="15" fill="{_INK}">AAPL at the close of 2014-06-06: implied volatility (%) over '
        "log(strike / forward), American with cash dividends</text>",
    ]
    for number, (day, slice_) in enumerate(shown):
        x = _MARGIN + number % _COLUMNS * (_WIDTH + _GAP)
        y = 46 + number // _COLUMNS * (_HEIGHT + _GAP + 14)
        parts += _panel(day, slice_, x, y)
    return "\n".join([*parts, "</svg>", ""])


def _panel(day: date, slice_: Slice, left: float, top: float) -> Iterable[str]:
    smile, quotes = slice_.smile, slice_.quotes
    if smile is None:
        return
    k = np.linspace(smile.lowest, smile.highest, 80)
    curve = np.sqrt(smile.curve.total_variance(k) / slice_.years) * 100
    dots = quotes.volatility * 100
    low, high = np.floor(min(curve.min(), dots.min()) / 5) * 5, np.ceil(max(curve.max(), dots.max()) / 5) * 5

    def across(value: float) -> float:
        return left + (value - smile.lowest) / (smile.highest - smile.lowest) * _WIDTH

    def down(value: float) -> float:
        return top + (high - value) / (high - low) * _HEIGHT

    yield f'<rect x="{left}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="{_GRID}"/>'
    yield f'<text x="{left}" y="{top - 5}" fill="{_INK}">{day} ({slice_.years * 365:.0f} days)</text>'
    for level in (low, (low + high) / 2, high):
        yield f'<line x1="{left}" x2="{left + _WIDTH}" y1="{down(level):.1f}" y2="{down(level):.1f}" stroke="{_GRID}"/>'
        yield f'<text x="{left - 5}" y="{down(level) + 4:.1f}" text-anchor="end" fill="{_INK}">{level:g}</text>'
    for level in (smile.lowest, 0.0, smile.highest):
        if smile.lowest <= level <= smile.highest:
            yield f'<text x="{across(level):.1f}" y="{top + _HEIGHT + 13}" text-anchor="middle" fill="{_INK}">{level:.2f}</text>'
    for at, value in zip(quotes.k, dots, strict=True):
        yield f'<circle cx="{across(float(at)):.1f}" cy="{down(float(value)):.1f}" r="1.9" fill="{_INK}" fill-opacity="0.55"/>'
    points = " ".join(f"{across(float(a)):.1f},{down(float(b)):.1f}" for a, b in zip(k, curve, strict=True))
    yield f'<polyline points="{points}" fill="none" stroke="{_LINE}" stroke-width="1.6"/>'
