"""Whether a quote is still good (contract S5)."""

from dataclasses import replace

from paiid.core.clock import Clock
from paiid.domain.calendar import MarketHours
from paiid.domain.instruments import is_option
from paiid.domain.quotes import Quote


class Freshness:
    """Judges the quotes of a feed that confirms each at least every `resend_interval_s` in a session."""

    def __init__(self, clock: Clock, hours: MarketHours, resend_interval_s: float) -> None:
        self._clock = clock
        self._hours = hours
        self._resend_us = int(resend_interval_s * 1_000_000)

    def is_stale(self, quote: Quote) -> bool:
        """While its market trades: not confirmed within the feed's re-send interval. Otherwise the last quote of its hours
        counts as reference, and is stale only where the feed had fallen silent before they ended. Shares trade in
        extended hours too, options in the regular session only."""
        now_us, hours = self._clock.now_us(), self._hours
        if is_option(quote.symbol):
            wanted_us = now_us if hours.is_open(now_us) else hours.previous_roll_us(now_us)
        else:
            wanted_us = now_us if hours.is_extended(now_us) else hours.previous_extended_end_us(now_us)
        return wanted_us - max(quote.as_of_us, quote.confirmed_us) > self._resend_us

    def judged(self, quote: Quote) -> Quote:
        """The quote with its `stale` flag right."""
        stale = self.is_stale(quote)
        return quote if stale == quote.stale else replace(quote, stale=stale)
