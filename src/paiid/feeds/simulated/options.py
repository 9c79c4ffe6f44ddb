"""The quotes of the simulated market's options, each made from the quote of its underlying when it is asked for."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import islice
from math import ceil, floor, log

from paiid.domain.calendar import MarketHours
from paiid.domain.instruments import Instrument, has_penny_ticks, option_tick
from paiid.domain.occ import OptionContract, find_contract
from paiid.domain.option_chain import ChainRow
from paiid.domain.quotes import Quote
from paiid.feeds.simulated.activity import Activity, TradingDay, activity_of, trading_day_at
from paiid.feeds.simulated.chain import Chain
from paiid.feeds.simulated.expirations import Expiration, Expirations
from paiid.feeds.simulated.listing import Listing
from paiid.feeds.simulated.surface import implied_volatility, value
from paiid.feeds.simulated.walk import Line, hash64

MOST_KEPT = 8192
"""Contracts that are remembered: more than any symbol has."""
_ROWS_IN_A_ROW = 100
_YEAR_US = 365.25 * 86_400_000_000
_NICKEL_FROM_CENTS = 300
_NICKEL = 5
_FEWEST_CONTRACTS = 5
_MOST_CONTRACTS = 120
# Half the spread: a cent and this share of the value, but no more than this share of the price of the underlying.
_LEAST_HALF_SPREAD = 0.01
_HALF_SPREAD_OF_VALUE = 0.015
_HALF_SPREAD_OF_SPOT = 0.0006


@dataclass(slots=True)
class _Listed:
    """A contract that is listed, and the newest quote made of it."""

    contract: OptionContract
    since_us: int
    expiration: Expiration
    seed: int
    penny: bool
    newest: Quote | None = None
    close_of_us: int = -1
    close: Decimal = Decimal(0)

    @property
    def until_us(self) -> int:
        """The end of its last trading day."""
        return self.expiration.until_us


@dataclass(frozen=True, slots=True)
class Model:
    """What the market makes the quotes of a contract from: dollars of the underlying, years to expiration, and a volatility (a
    fraction a year) over neither interest nor dividends (`surface`)."""

    spot: float
    years: float
    volatility: float


class Options:
    """Contracts and their quotes. `quote_of` shows an underlying at this moment, `close_of` its last quote of the
    regular session that a roll ended."""

    def __init__(
        self,
        hours: MarketHours,
        seed: int,
        listings: Mapping[str, Listing],
        quote_of: Callable[[str], Quote | None],
        close_of: Callable[[str, int], Quote],
        factor: Line | None = None,
    ) -> None:
        self._factor = factor
        self._hours = hours
        self._seed = seed
        self._quote_of = quote_of
        self._close_of = close_of
        self._expirations = Expirations(hours)
        self._listings = listings
        self._chains: dict[str, Chain] = {}
        self._known: dict[str, _Listed] = {}

    def expirations(self, symbol: str, at_us: int) -> list[date]:
        """In order; empty for a symbol without options."""
        return list(self._expirations.listed(at_us)) if symbol in self._listings else []

    def contracts(self, symbol: str, expiration: date, at_us: int) -> list[OptionContract]:
        """By strike and the call first; empty where nothing expires then."""
        chain, listed = self._find_chain(symbol), self._expirations.listed(at_us).get(expiration)
        return [] if chain is None or listed is None else list(chain.contracts(listed, at_us))

    def instrument(self, symbol: str, at_us: int) -> Instrument | None:
        """The contract as something to trade, None where it is not listed, not yet or no more."""
        known = self._find(symbol, at_us)
        if known is None:
            return None
        contract = known.contract
        return Instrument(
            symbol,
            contract.name,
            "option",
            tick=option_tick(symbol, Decimal(3)),
            contract=contract,
            last_trade_us=known.until_us,
        )

    def quote(self, symbol: str, at_us: int) -> Quote | None:
        """The quote in force, or the last one of the regular session: options trade in no other hours. `sequence` and
        `as_of_us` are those of the underlying. A bid of 0 is no bid."""
        known = self._find(symbol, at_us)
        if known is None:
            return None
        underlying, roll_us = known.contract.underlying, self._hours.previous_roll_us(at_us)
        spot = self._spot(underlying, at_us, roll_us)
        return None if spot is None else self._quoted(known, spot, roll_us)

    def rows(self, symbol: str, first: date, last: date, at_us: int) -> Iterator[list[ChainRow]]:
        """All contracts on a symbol that expire from the first to the last day, by expiration and strike, the call first, in parts that
        take some milliseconds each. All are of one instant, however long it takes to draw them."""
        chain, roll_us = self._find_chain(symbol), self._hours.previous_roll_us(at_us)
        spot = self._spot(symbol, at_us, roll_us) if chain is not None else None
        if chain is None or spot is None:
            return
        day = self._day(symbol, at_us, roll_us)
        for expiration in list(self._expirations.listed(at_us).values()):
            if not first <= expiration.day <= last or at_us >= expiration.until_us:
                continue
            listed = chain.listed(expiration, at_us)
            while some := list(islice(listed, _ROWS_IN_A_ROW)):
                known = [self._remembered(contract, since_us, expiration) for contract, since_us in some]
                yield [self._row(one, spot, roll_us, day) for one in known]

    def _row(self, known: _Listed, spot: Quote, roll_us: int, day: TradingDay) -> ChainRow:
        told = self._activity(known, day)
        quote = self._quoted(known, spot, roll_us)
        return ChainRow(known.contract, quote, told.volume, told.open_interest, told.open_interest_day)

    def activity(self, symbol: str, at_us: int) -> Activity | None:
        """How much of a contract is traded and held; None where it is not listed."""
        known = self._find(symbol, at_us)
        if known is None:
            return None
        roll_us = self._hours.previous_roll_us(at_us)
        return self._activity(known, self._day(known.contract.underlying, at_us, roll_us))

    def model(self, symbol: str, at_us: int) -> Model | None:
        """What the quote of this instant is made from; None where the contract is not listed."""
        known = self._find(symbol, at_us)
        if known is None:
            return None
        contract = known.contract
        spot = self._spot(contract.underlying, at_us, self._hours.previous_roll_us(at_us))
        if spot is None:
            return None
        price, years = float(spot.mid), _years(known, spot)
        volatility = self._listings[contract.underlying].volatility_pct / 100
        moneyness = log(float(contract.strike) / price)
        return Model(price, years, implied_volatility(volatility, moneyness, years))

    def _spot(self, underlying: str, at_us: int, roll_us: int) -> Quote | None:
        """What options are quoted by: the underlying's quote in the session, its last one out of it."""
        if self._hours.is_open(at_us):
            return self._quote_of(underlying)
        return self._close_of(underlying, roll_us)

    def _day(self, underlying: str, at_us: int, roll_us: int) -> TradingDay:
        close = float(self._close_of(underlying, roll_us).mid)
        return trading_day_at(self._hours, at_us, roll_us, close)

    def _activity(self, known: _Listed, day: TradingDay) -> Activity:
        return activity_of(
            self._listings[known.contract.underlying],
            known.contract,
            known.seed,
            known.since_us,
            known.until_us,
            day,
            monthly=known.expiration.monthly,
        )

    def _quoted(self, known: _Listed, spot: Quote, roll_us: int) -> Quote:
        if known.close_of_us != roll_us:
            underlying = known.contract.underlying
            known.close = _last_cents(*self._sides(known, self._close_of(underlying, roll_us)), known.penny)
            known.close_of_us, known.newest = roll_us, None
        if known.newest is None or known.newest.sequence != spot.sequence:
            known.newest = self._made(known.contract.symbol, known, spot)
        return known.newest

    def _made(self, symbol: str, known: _Listed, spot: Quote) -> Quote:
        bid, ask, worth = self._sides(known, spot)
        dice = hash64(known.seed, spot.sequence)
        return Quote(
            symbol=symbol,
            bid=Decimal(bid).scaleb(-2),
            ask=Decimal(ask).scaleb(-2),
            bid_size=_size(dice >> 1 & 0xFFFF) if bid > 0 else Decimal(0),
            ask_size=_size(dice >> 17 & 0xFFFF),
            last=_last_cents(bid, ask, worth, known.penny),
            prev_close=known.close,
            as_of_us=spot.as_of_us,
            sequence=spot.sequence,
            source=spot.source,
        )

    def _sides(self, known: _Listed, spot: Quote) -> tuple[int, int, float]:
        """Bid and ask in whole cents on the tick, rounded outwards so that they never meet, and the value between."""
        contract, price = known.contract, float(spot.mid)
        volatility = self._listings[contract.underlying].volatility_pct / 100
        worth = value(contract.option_type, price, float(contract.strike), _years(known, spot), volatility)
        half = min(
            _LEAST_HALF_SPREAD + _HALF_SPREAD_OF_VALUE * worth,
            _LEAST_HALF_SPREAD + _HALF_SPREAD_OF_SPOT * price,
        )
        bid, ask = max(0, floor((worth - half) * 100)), ceil((worth + half) * 100)
        if not known.penny and bid >= _NICKEL_FROM_CENTS:
            bid -= bid % _NICKEL
        if not known.penny and ask >= _NICKEL_FROM_CENTS:
            ask += -ask % _NICKEL
        return bid, ask, worth

    def _find_chain(self, symbol: str) -> Chain | None:
        chain, listing = self._chains.get(symbol), self._listings.get(symbol)
        if chain is None and listing is not None:
            chain = self._chains[symbol] = Chain(self._seed, listing, self._expirations, self._factor)
        return chain

    def _find(self, symbol: str, at_us: int) -> _Listed | None:
        known = self._known.get(symbol) or self._look_up(symbol, at_us)
        if known is None or not known.since_us <= at_us < known.until_us:
            return None
        return known

    def _look_up(self, symbol: str, at_us: int) -> _Listed | None:
        contract = find_contract(symbol)
        if contract is None or contract.symbol != symbol:
            return None
        chain = self._find_chain(contract.underlying)
        if chain is None or chain.root != contract.root:
            return None
        expiration = self._expirations.listed(at_us).get(contract.expiration)
        since_us = None if expiration is None else chain.strikes(expiration, at_us).get(contract.strike)
        if expiration is None or since_us is None:
            return None
        return self._remembered(contract, since_us, expiration)

    def _remembered(self, contract: OptionContract, since_us: int, expiration: Expiration) -> _Listed:
        symbol = contract.symbol
        known = self._known.get(symbol)
        if known is None:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            seed = hash64(self._seed, *symbol.encode())
            penny = has_penny_ticks(contract.underlying)
            known = self._known[symbol] = _Listed(contract, since_us, expiration, seed, penny)
        return known


def _years(known: _Listed, spot: Quote) -> float:
    return max(0, known.until_us - spot.as_of_us) / _YEAR_US


def _last_cents(bid: int, ask: int, worth: float, penny: bool) -> Decimal:
    """The last trade met in the middle, on the tick, at no less than a cent."""
    cents = max(1, round(worth * 100))
    if not penny and cents >= _NICKEL_FROM_CENTS:
        cents = _NICKEL * round(cents / _NICKEL)
    return Decimal(min(max(cents, bid), ask)).scaleb(-2)


def _size(dice: int) -> Decimal:
    return Decimal(_FEWEST_CONTRACTS + dice % (_MOST_CONTRACTS - _FEWEST_CONTRACTS + 1))
