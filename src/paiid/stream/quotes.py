"""The channels `quotes:SYMBOL`: what the board shows, to whoever subscribes; and what is subscribed, to the demand."""

from collections.abc import Callable
from typing import Literal

from paiid.core.json import encode
from paiid.market.board import Board, Shown
from paiid.market.demand import Demand
from paiid.market.views import quote_view
from paiid.stream.events import CatchUp, Event, Place
from paiid.stream.hub import Hub

PREFIX = "quotes"


class QuoteChannels:
    """Provider of `quotes`; registers itself. A symbol's epoch and sequence are those the leader gave (docs/adr/0018)."""

    kind: Literal["log", "value"] = "value"

    def __init__(self, hub: Hub, board: Board, demand: Demand, *, delayed: Callable[[], bool]) -> None:
        self._hub = hub
        self._board = board
        self._demand = demand
        self._delayed = delayed
        self._open: set[str] = set()
        self._epoch = 0
        """Of the leader that is heard; 0 before the first."""
        hub.register(PREFIX, self)
        board.watch(self._on_shown)

    def begin_epoch(self, epoch: int, reason: str) -> None:
        """Another leader numbers the quotes: everybody's places are void. To be told once the board was cleared."""
        self._epoch = epoch
        self._hub.reset(PREFIX, Place(epoch, 0), reason)

    async def open(self, name: str) -> None:
        """Somebody wants this symbol."""
        self._open.add(name)
        self._demand.add([name])

    def close(self, name: str) -> None:
        """Nobody does any more."""
        self._open.discard(name)
        self._demand.drop([name])

    async def catch_up(self, name: str, since: Place | None) -> CatchUp:
        """The newest quote there is, if it is newer than what he has."""
        shown = self._board.find(name)
        if shown is None:
            lost = since is not None and since != Place(self._epoch, 0)
            return CatchUp(Place(self._epoch, 0), reset="no_quote_yet" if lost else None)
        place = Place(shown.epoch, shown.sequence)
        if since == place:
            return CatchUp(place)
        reset = None
        if since is not None and since.epoch != place.epoch:
            reset = "epoch"
        elif since is not None and not 0 <= since.sequence < place.sequence:
            reset = "unknown_place"
        return CatchUp(place, reset=reset, events=(self._event(shown),))

    def _on_shown(self, shown: Shown) -> None:
        self._epoch = shown.epoch
        if shown.quote.symbol in self._open:
            self._hub.put(self._event(shown))

    def _event(self, shown: Shown) -> Event:
        quote = shown.quote
        return Event(
            f"{PREFIX}:{quote.symbol}",
            "market_data",
            shown.epoch,
            shown.sequence,
            quote.as_of_us,
            quote.source,
            encode(quote_view(quote, self._delayed())),
        )
