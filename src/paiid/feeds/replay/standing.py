"""What of a replay stands still: the recorded chains, whose contracts have one quote each, and the closes of their underlyings."""

from collections.abc import Iterator, Sequence
from datetime import date, time, timedelta
from decimal import Decimal

from paiid.domain.calendar import ExchangeHours, eastern_us
from paiid.domain.instruments import CONTRACT_SIZE, Instrument, option_tick
from paiid.domain.occ import OptionContract
from paiid.domain.option_chain import ChainRow
from paiid.domain.quotes import Quote
from paiid.feeds.replay.chain_recording import RecordedChain, RecordedContract, RecordedDays

_NONE = Decimal(0)
_CLOSE = time(16, 0)
_LONGEST_BREAK = timedelta(days=10)


class Standing:
    """The chains as if they were told at `start_us`. Each quote says when it really was: at the close of the recorded day, which is
    also the instant for all that counts time to an expiration.

    The recordings tell no last prices and no volume of contracts; of an underlying the daily bars tell the close of that day, which is
    its `last` without bid and ask, and the close before. An underlying without daily bars has no quote at all.
    """

    def __init__(
        self, chains: Sequence[RecordedChain], days: Sequence[RecordedDays], start_us: int, source: str
    ) -> None:
        self._start_us = start_us
        self._source = source
        self._hours = ExchangeHours()
        self.symbols = tuple(chain.symbol for chain in chains)
        self.quotes: dict[str, Quote] = {}
        """Of contracts and underlyings."""
        self._rows: dict[str, dict[date, list[ChainRow]]] = {}
        self._contracts: dict[str, OptionContract] = {}
        for chain in chains:
            self._take(chain)
        closes = {one.symbol: one for one in days}
        for chain in chains:
            close = closes[chain.symbol].at(chain.day) if chain.symbol in closes else None
            if close is not None:
                self.quotes[chain.symbol] = self._quote(
                    chain.symbol, chain.at_us, last=close[0], before=close[1]
                )

    def _take(self, chain: RecordedChain) -> None:
        by_day = self._rows[chain.symbol] = {}
        for recorded in chain.rows:
            contract = recorded.contract
            symbol = contract.symbol
            quote = self.quotes[symbol] = self._quote(symbol, chain.at_us, recorded)
            self._contracts[symbol] = contract
            # The file does not say at the end of which day the open interest was counted.
            row = ChainRow(contract, quote, None, recorded.open_interest, None, int(CONTRACT_SIZE))
            by_day.setdefault(contract.expiration, []).append(row)

    def _quote(
        self,
        symbol: str,
        recorded_at_us: int,
        sides: RecordedContract | None = None,
        last: Decimal = _NONE,
        before: Decimal = _NONE,
    ) -> Quote:
        return Quote(
            symbol=symbol,
            bid=_NONE if sides is None else sides.bid,
            ask=_NONE if sides is None else sides.ask,
            bid_size=_NONE if sides is None else sides.bid_size,
            ask_size=_NONE if sides is None else sides.ask_size,
            last=last,
            prev_close=before,
            as_of_us=self._start_us,
            sequence=self._start_us,
            source=self._source,
            recorded_at_us=recorded_at_us,
        )

    def instrument(self, symbol: str) -> Instrument | None:
        """A recorded contract; it cannot be traded: its quote stands still, and the day of its expiration is over."""
        contract = self._contracts.get(symbol)
        if contract is None:
            return None
        return Instrument(
            symbol,
            contract.name,
            "option",
            tradable=False,
            tick=option_tick(symbol, Decimal(3)),
            contract=contract,
            last_trade_us=self._last_trade_us(contract.expiration),
        )

    def _last_trade_us(self, expiration: date) -> int:
        near = self._hours.sessions(expiration - _LONGEST_BREAK, expiration)
        return near[-1].close_us if near else eastern_us(expiration, _CLOSE)

    def expirations(self, symbol: str) -> Sequence[date]:
        """As they were listed that day, in order."""
        return tuple(self._rows.get(symbol, ()))

    def contracts(self, symbol: str, expiration: date) -> Sequence[OptionContract]:
        """By strike and the call first."""
        return tuple(row.contract for row in self._rows.get(symbol, {}).get(expiration, ()))

    def rows(self, symbol: str, first: date, last: date) -> Iterator[ChainRow]:
        """In the order of a chain."""
        for day, rows in self._rows.get(symbol, {}).items():
            if first <= day <= last:
                yield from rows
