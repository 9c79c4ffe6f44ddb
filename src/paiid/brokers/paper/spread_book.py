"""The matching process's memory of open spreads: one is worth a transaction when a quote of a leg has changed."""

from collections.abc import Iterable

from paiid.brokers.paper.group_store import ratios
from paiid.brokers.paper.records import PaperOrder
from paiid.domain.paper import Moment
from paiid.domain.paper_spreads import QuoteOf, wants_look

_Key = tuple[object, ...]


class SpreadBook:
    """Open spreads with their legs. The database decides; this only spares it questions with the answer no."""

    def __init__(self, quote_of: QuoteOf) -> None:
        self._quote_of = quote_of
        self._spreads: dict[str, PaperOrder] = {}
        self._legs: dict[str, dict[str, PaperOrder]] = {}
        self._seen: dict[str, _Key] = {}
        """The quotes of the legs, and whether the market was open, when a spread was last looked at."""

    def __len__(self) -> int:
        return len(self._spreads)

    def put(self, order: PaperOrder) -> None:
        """Remember a spread or a leg as it is; what is over goes."""
        if order.parent_id is not None:
            if not order.is_over:
                self._legs.setdefault(order.parent_id, {})[order.id] = order
        elif order.is_over:
            self.forget(order)
        else:
            self._spreads[order.id] = order

    def forget(self, order: PaperOrder) -> None:
        """A spread that is over goes with its legs."""
        self._spreads.pop(order.id, None)
        self._legs.pop(order.id, None)
        self._seen.pop(order.id, None)

    def look_again(self, orders: Iterable[PaperOrder]) -> None:
        """They count as not looked at."""
        for order in orders:
            self._seen.pop(order.id, None)

    def candidates(self, moment: Moment) -> list[PaperOrder]:
        """Spreads that the market as it stands may change."""
        found: list[PaperOrder] = []
        for order in self._spreads.values():
            legs = list(self._legs.get(order.id, {}).values())
            expires = order.working.expires_at_us
            if expires is None or moment.at_us < expires:
                key = self._key(legs, moment)
                if moment.at_us < order.working.live_at_us or key == self._seen.get(order.id):
                    continue
                self._seen[order.id] = key
            if wants_look(order.working, ratios(legs), self._quote_of, moment):
                found.append(order)
        return found

    def _key(self, legs: Iterable[PaperOrder], moment: Moment) -> _Key:
        parts: list[object] = [moment.is_open]
        for leg in legs:
            quote = self._quote_of(leg.working.symbol)
            parts.append(
                None if quote is None else (quote.source, quote.sequence, quote.as_of_us, quote.stale)
            )
        return tuple(parts)
