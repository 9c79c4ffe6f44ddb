"""The symbols of the simulated market: their names, levels, volatility, spreads, dividends and betas.

Levels are round figures near those of late 2026 and mean nothing more: this market is invented, and says so.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Listing:
    """A symbol: level in dollars, volatility in percent a year, spread in basis points, dividends in percent of the
    level a year (0: it pays none), beta to the market factor."""

    symbol: str
    name: str
    level: float
    volatility_pct: float
    spread_bps: float
    dividend_pct: float
    beta: float = 0.0

    @property
    def round_lot(self) -> int:
        """Shares of a round lot at this level (Regulation NMS, rule 600(b)(93))."""
        if self.level <= 250:
            return 100
        if self.level <= 1000:
            return 40
        return 10 if self.level <= 10_000 else 1


_TABLE = """
AAPL  | Apple Inc.                                  | 265 | 27 | 0.8 | 0.4  | 1.2
MSFT  | Microsoft Corporation                       | 510 | 24 | 0.8 | 0.7  | 1.1
NVDA  | NVIDIA Corporation                          | 190 | 45 | 0.9 | 0.02 | 1.9
AMZN  | Amazon.com, Inc.                            | 230 | 32 | 0.9 | 0    | 1.35
GOOGL | Alphabet Inc. Class A                       | 280 | 29 | 0.9 | 0.3  | 1.15
GOOG  | Alphabet Inc. Class C                       | 281 | 29 | 1.0 | 0.3  | 1.15
META  | Meta Platforms, Inc.                        | 640 | 36 | 1.0 | 0.3  | 1.4
TSLA  | Tesla, Inc.                                 | 410 | 58 | 1.1 | 0    | 2.1
AVGO  | Broadcom Inc.                               | 345 | 42 | 1.3 | 0.8  | 1.7
BRK.B | Berkshire Hathaway Class B                  | 505 | 16 | 1.2 | 0    | 0.65
JPM   | JPMorgan Chase & Co.                        | 305 | 22 | 1.0 | 1.9  | 1.0
V     | Visa Inc.                                   | 335 | 20 | 1.1 | 0.8  | 0.85
MA    | Mastercard Incorporated                     | 545 | 21 | 1.4 | 0.6  | 0.9
UNH   | UnitedHealth Group                          | 325 | 35 | 1.6 | 2.7  | 0.75
XOM   | Exxon Mobil Corporation                     | 117 | 24 | 1.0 | 3.4  | 0.7
JNJ   | Johnson & Johnson                           | 200 | 16 | 1.0 | 2.6  | 0.45
WMT   | Walmart Inc.                                | 105 | 20 | 1.0 | 0.9  | 0.6
PG    | Procter & Gamble                            | 148 | 16 | 1.1 | 2.8  | 0.45
HD    | The Home Depot                              | 345 | 22 | 1.5 | 2.7  | 0.95
COST  | Costco Wholesale                            | 900 | 21 | 1.8 | 0.6  | 0.85
KO    | The Coca-Cola Company                       | 72  | 14 | 1.4 | 2.9  | 0.4
PEP   | PepsiCo, Inc.                               | 147 | 17 | 1.3 | 3.9  | 0.45
ORCL  | Oracle Corporation                          | 210 | 44 | 1.3 | 0.9  | 1.4
CRM   | Salesforce, Inc.                            | 235 | 33 | 1.4 | 0.7  | 1.3
AMD   | Advanced Micro Devices                      | 215 | 52 | 1.1 | 0    | 2.0
INTC  | Intel Corporation                           | 36  | 50 | 2.8 | 0    | 1.6
NFLX  | Netflix, Inc.                               | 108 | 34 | 1.3 | 0    | 1.2
DIS   | The Walt Disney Company                     | 104 | 27 | 1.3 | 1    | 1.05
BAC   | Bank of America                             | 52  | 25 | 1.9 | 2.1  | 1.1
CSCO  | Cisco Systems                               | 77  | 22 | 1.3 | 2.1  | 0.95
PFE   | Pfizer Inc.                                 | 25  | 24 | 4.0 | 6.9  | 0.6
T     | AT&T Inc.                                   | 26  | 20 | 3.9 | 4.3  | 0.5
F     | Ford Motor Company                          | 13  | 34 | 7.7 | 4.6  | 1.3
GE    | GE Aerospace                                | 300 | 30 | 1.6 | 0.5  | 1.2
BA    | The Boeing Company                          | 190 | 34 | 1.6 | 0    | 1.3
PLTR  | Palantir Technologies                       | 170 | 62 | 1.2 | 0    | 2.1
SPY   | SPDR S&P 500 ETF Trust                      | 670 | 15 | 0.3 | 1.1  | 1.0
QQQ   | Invesco QQQ Trust                           | 600 | 20 | 0.4 | 0.5  | 1.27
DIA   | SPDR Dow Jones Industrial Average ETF Trust | 470 | 14 | 0.5 | 1.5  | 0.88
IWM   | iShares Russell 2000 ETF                    | 240 | 23 | 0.6 | 1    | 1.3
TLT   | iShares 20+ Year Treasury ETF               | 89  | 14 | 1.1 | 4.3  | -0.2
"""


def _parse(line: str) -> Listing:
    symbol, name, *figures = (part.strip() for part in line.split("|"))
    return Listing(symbol, name, *map(float, figures))


LISTINGS: dict[str, Listing] = {
    listing.symbol: listing for listing in map(_parse, _TABLE.strip().splitlines())
}
