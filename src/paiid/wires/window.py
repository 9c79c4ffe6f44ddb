"""What is left of a minute at a broker: our own requests, what other replicas have sent, and what the broker's headers say.

Alpaca counts a minute and tells its limit, what remains, and the second at which the quota changes; Tradier's minute begins with its first
request and the headers tell its end (tradier.md, section 2). Where nothing is told, a minute is any sixty seconds, which is stricter than either.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from paiid.core.clock import Clock

__all__ = ["WINDOW_S", "Window"]

WINDOW_S = 60.0
MOST_REPLICAS = 64
"""Whose requests are remembered; the one heard longest ago goes."""
_SECOND_S = 1.0
"""Own requests are told to others in seconds, not one by one."""
_SAME_RESET_US = 500_000
"""Two resets that differ by less are the same: a broker may round what it tells."""


@dataclass(slots=True)
class _Second:
    """Own requests within a second: the first and the last of them, and how many."""

    first_s: float
    last_s: float
    count: int


class Window:
    """One budget of `limit` requests a minute. No waiting and no order: `Governor` has these."""

    def __init__(self, clock: Clock, limit: int) -> None:
        self.limit = limit
        self._clock = clock
        self._sent: deque[float] = deque()
        self._seconds: deque[_Second] = deque()
        self._forgotten_s = float("-inf")
        self._elsewhere: OrderedDict[str, deque[tuple[float, int]]] = OrderedDict()
        self._told_left: int | None = None
        self._told_until_s = 0.0
        self._told_reset_us: int | None = None
        self._ends = False
        """Whether the end of the told window is the broker's word, after which what was sent before counts no more."""
        self._closed_until_s = 0.0
        self._refused_in_a_row = 0

    @property
    def left(self) -> int:
        """Requests that may still be made now, never below 0."""
        self._forget_old()
        if self.closed_s > 0:
            return 0
        left = self.limit - len(self._sent) - self._sent_elsewhere()
        if self._told_left is not None:
            left = min(left, self._told_left)
        return max(0, left)

    @property
    def closed_s(self) -> float:
        """For how long the broker takes nothing at all, after a 429."""
        return max(0.0, self._closed_until_s - self._clock.monotonic_s())

    def spend(self) -> float:
        """A request goes out; the instant by which it can be given back."""
        at_s = self._clock.monotonic_s()
        self._sent.append(at_s)
        if self._seconds and at_s - self._seconds[-1].first_s < _SECOND_S:
            self._seconds[-1].last_s = at_s
            self._seconds[-1].count += 1
        else:
            self._seconds.append(_Second(at_s, at_s, 1))
        if self._told_left is not None:
            self._told_left = max(0, self._told_left - 1)
        return at_s

    def give_back(self, at_s: float) -> None:
        """The request of this instant was never made."""
        if at_s not in self._sent:
            return
        self._sent.remove(at_s)
        for second in self._seconds:
            if second.first_s <= at_s <= second.last_s:
                second.count -= 1
                break
        if self._told_left is not None:
            self._told_left += 1

    def learn(self, limit: int | None, left: int | None, resets_at_us: int | None, *, refused: bool) -> None:
        """What an answer says. Answers overtake each other, so within one window only less is news."""
        self._forget_old()
        raised = limit is not None and limit > self.limit
        self.limit = limit or self.limit
        if refused:
            self._refuse(resets_at_us)
            return
        if self._clock.monotonic_s() >= self._closed_until_s:
            self._refused_in_a_row = 0
        if left is None:
            return
        later = self._is_later(resets_at_us)
        if later is not None and later < 0:
            # Of a window that is over.
            return
        if self._told_left is not None and not later:
            # A larger limit leaves more of the same window.
            self._told_left = left if raised else min(left, self._told_left)
            return
        self._begin(left, resets_at_us)
        if later and left > 0:
            # What was answered before the 429 may come after it; what is of a later window cannot.
            self._closed_until_s = 0.0

    def _is_later(self, resets_at_us: int | None) -> int | None:
        """Whether this reset is another window's than the one that is known: 1, later; 0, the same; -1, earlier; None: unknown."""
        if resets_at_us is None or self._told_reset_us is None or self._told_left is None:
            return None
        difference = resets_at_us - self._told_reset_us
        return 0 if abs(difference) < _SAME_RESET_US else 1 if difference > 0 else -1

    def _begin(self, left: int, resets_at_us: int | None) -> None:
        now_s = self._clock.monotonic_s()
        until_s = self._until_s(resets_at_us)
        # A reset that is over on our clock says that the clocks differ: what is left is believed for a moment.
        self._ends = until_s is not None and until_s >= 1.0
        self._told_left, self._told_reset_us = left, resets_at_us
        self._told_until_s = now_s + (WINDOW_S if until_s is None else max(1.0, until_s))
        if self._ends:
            # The window began a minute before its end; a second for the way there.
            self._forget_before(self._told_until_s - WINDOW_S - 1.0)

    def _refuse(self, resets_at_us: int | None) -> None:
        """Nothing until the reset, or for a minute where none is told; where it is over and we are refused again, for longer and longer."""
        now_s = self._clock.monotonic_s()
        if now_s >= self._closed_until_s:
            # Others that were on their way at the same time say nothing new.
            self._refused_in_a_row += 1
        again_s = min(WINDOW_S, 2.0 ** min(10, self._refused_in_a_row - 1))
        until_s = self._until_s(resets_at_us)
        if until_s is None and self._told_left is not None and self._ends:
            until_s = self._told_until_s - now_s
        if until_s is None:
            pause_s = WINDOW_S
        elif until_s > 0:
            pause_s = max(until_s, again_s - 1.0)
            self._told_left, self._ends = 0, True
            self._told_reset_us = resets_at_us if resets_at_us is not None else self._told_reset_us
            self._told_until_s = now_s + pause_s
        else:
            pause_s = again_s
        self._closed_until_s = max(self._closed_until_s, now_s + pause_s)

    def _until_s(self, resets_at_us: int | None) -> float | None:
        """Never longer than the minute: the two clocks may differ."""
        if resets_at_us is None:
            return None
        return min(WINDOW_S, (resets_at_us - self._clock.now_us()) / 1e6)

    # -- other replicas -------------------------------------------------------------------------------

    def spent(self) -> list[tuple[float, int]]:
        """Our own requests that still count: (seconds ago, how many), for other replicas."""
        self._forget_old()
        now_s = self._clock.monotonic_s()
        return [(max(0.0, now_s - one.last_s), one.count) for one in self._seconds if one.count > 0]

    def hear(self, replica: str, spent: Iterable[tuple[float, int]], closed_s: float) -> None:
        """All that another replica has sent in this minute, as it tells it itself; it takes the place of what it told before."""
        now_s = self._clock.monotonic_s()
        self._forget_old()
        told = sorted((now_s - ago_s, count) for ago_s, count in spent)
        self._elsewhere[replica] = deque(one for one in told if one[0] > self._forgotten_s)
        self._elsewhere.move_to_end(replica)
        while len(self._elsewhere) > MOST_REPLICAS:
            self._elsewhere.popitem(last=False)
        if closed_s > 0:
            self._closed_until_s = max(self._closed_until_s, now_s + min(WINDOW_S, closed_s))

    def _sent_elsewhere(self) -> int:
        return sum(count for told in self._elsewhere.values() for _, count in told)

    # -- time -----------------------------------------------------------------------------------------

    def free_in_s(self, places: int) -> float:
        """Seconds until this many places are free, by what is known now; 0 where they are. More than the limit never are."""
        if self.left >= places:
            return 0.0
        now_s = self._clock.monotonic_s()
        ends_s = self._told_until_s if self._told_left is not None and self._ends else None
        free_s = self._own_free_s(places)
        if ends_s is not None:
            # With the window all that was sent in it is forgotten.
            free_s = min(free_s, ends_s)
        if self._told_left is not None and self._told_left < places:
            free_s = max(free_s, self._told_until_s)
        return max(0.0, max(free_s, self._closed_until_s) - now_s)

    def _own_free_s(self, places: int) -> float:
        """When enough of all that was sent, here and elsewhere, is a minute old."""
        now_s = self._clock.monotonic_s()
        sent = [(at_s, 1) for at_s in self._sent]
        sent += [one for told in self._elsewhere.values() for one in told]
        too_many = sum(count for _, count in sent) + places - self.limit
        at = now_s
        for at_s, count in sorted(sent):
            if too_many <= 0:
                break
            too_many -= count
            at = at_s + WINDOW_S
        return at if too_many <= 0 else now_s + WINDOW_S

    def _forget_old(self) -> None:
        now_s = self._clock.monotonic_s()
        self._forget_before(now_s - WINDOW_S)
        if self._told_left is not None and now_s >= self._told_until_s:
            self._told_left = None
            if self._ends:
                self._forget_before(self._told_until_s)

    def _forget_before(self, at_s: float) -> None:
        self._forgotten_s = max(self._forgotten_s, at_s)
        while self._sent and self._sent[0] <= at_s:
            self._sent.popleft()
        while self._seconds and self._seconds[0].last_s <= at_s:
            self._seconds.popleft()
        for replica in [one for one, told in self._elsewhere.items() if told and told[0][0] <= at_s]:
            told = self._elsewhere[replica]
            while told and told[0][0] <= at_s:
                told.popleft()
            if not told:
                del self._elsewhere[replica]
