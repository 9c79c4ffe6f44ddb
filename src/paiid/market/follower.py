"""Shows what the leader publishes, and knows whether there is one (docs/adr/0018)."""

from collections import Counter
from collections.abc import Callable

from paiid.core.clock import Clock
from paiid.market.board import Board
from paiid.market.ticks import Lead, Ticks, quote_of


class Follower:
    """The leader as this replica hears it. `found` is called when another epoch than before is heard, before anything of it is
    shown; `missed` when something of it was lost on the way."""

    def __init__(
        self,
        clock: Clock,
        board: Board,
        counts: Counter[str],
        silent_s: float,
        found: Callable[[], None],
        missed: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._board = board
        self._counts = counts
        self._silent_s = silent_s
        self._found = found
        self._missed = missed
        self._heard_s: float | None = None
        self.lead: Lead | None = None
        """The leader's last word."""
        self.newest_epoch = 0
        """Of all leaders ever heard; nothing older is believed."""
        self.showing = False
        """Whether this replica lives on what the leader says."""

    @property
    def leaving(self) -> bool:
        """Whether the leader's last word was that it gives up the lease."""
        return self.lead is not None and self.lead.leaving

    @property
    def heard_ago_s(self) -> float | None:
        """Seconds since the leader last said that it is there; None if nobody leads."""
        return None if self._heard_s is None else self._clock.monotonic_s() - self._heard_s

    @property
    def hears(self) -> bool:
        """Whether there is a leader."""
        ago_s = self.heard_ago_s
        return ago_s is not None and ago_s <= self._silent_s

    def hear_lead(self, lead: Lead) -> None:
        """The leader's heartbeat, or somebody's who thinks that it is."""
        if lead.epoch < self.newest_epoch:
            self._counts["old_epoch"] += 1
            return
        another = lead.epoch != self.newest_epoch or self.lead is None or not self.showing
        self.newest_epoch = lead.epoch
        self.lead = lead
        self._heard_s = self._clock.monotonic_s()
        if another:
            self._found()

    def hear_ticks(self, batch: Ticks) -> None:
        """Show those that are newer than what is shown. Raises BadMessage, with nothing shown."""
        quotes = [quote_of(tick) for tick in batch.ticks]
        if not self.showing or batch.epoch != self.newest_epoch:
            if batch.epoch < self.newest_epoch:
                self._counts["old_epoch"] += 1
            return
        for tick, quote in zip(batch.ticks, quotes, strict=True):
            shown = self._board.find(tick.symbol)
            if shown is not None and shown.epoch == batch.epoch and shown.sequence >= tick.sequence:
                continue
            self._board.show(quote, batch.epoch, tick.sequence)
        holes = False
        for word in batch.confirmed:
            shown = self._board.find(word.symbol)
            if shown is not None and shown.sequence == word.sequence:
                self._board.confirm(word.symbol, word.confirmed_us)
            else:
                holes = holes or shown is None or shown.sequence < word.sequence
        for symbol in batch.gone:
            self._board.forget(symbol)
        if holes:
            self._missed()

    def lose(self) -> None:
        """Nobody can be heard any more: the bus is gone."""
        self._heard_s = None
