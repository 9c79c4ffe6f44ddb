"""Asks for the ids that open the market stream, each for one connection (tradier.md, section 9.1)."""

from paiid.core.clock import Clock
from paiid.feeds.tradier.faults import StreamFault, fault_of_status, fault_of_words
from paiid.wires.deadline import Deadline
from paiid.wires.governor import Priority, Spent
from paiid.wires.outbound import Broken, NotBegun
from paiid.wires.tradier.wire import TradierWire
from paiid.wires.values import fields_of, text_of

_LONGEST_ID = 128


class Sessions:
    """An id that was not used while it was good is kept for the next try: sessions are counted, and so are requests."""

    def __init__(self, clock: Clock, wire: TradierWire, *, reply_s: float, good_s: float) -> None:
        self._clock = clock
        self._wire = wire
        self._reply_s = reply_s
        self._good_s = good_s
        self._kept: tuple[str, float] | None = None

    async def fetch(self) -> tuple[str, float]:
        """The id, and the monotonic instant up to which it is good. Raises StreamFault."""
        if self._kept is None or self._clock.monotonic_s() >= self._kept[1]:
            # Counted from before the question: Tradier's five minutes begin no earlier.
            until_s = self._clock.monotonic_s() + self._good_s
            self._kept = (await self._ask(), until_s)
        return self._kept

    def used(self) -> None:
        """A connection was opened with it, or it was refused."""
        self._kept = None

    async def _ask(self) -> str:
        deadline = Deadline(self._clock, self._reply_s)
        try:
            answer = await self._wire.send(
                "POST", "/markets/events/session", deadline, priority=Priority.READ, wait_s=0.0
            )
        except Spent as spent:
            raise StreamFault(f"no session could be asked for: {spent}") from None
        except (NotBegun, Broken) as problem:
            raise StreamFault(f"Tradier gave no session: {problem}") from None
        fault = fault_of_words(" ".join(answer.words))
        if fault is not None:
            raise fault
        if not answer.ok:
            raise fault_of_status("Tradier's question for a session", answer.status)
        session_id = text_of(fields_of(fields_of(answer.data).get("stream")).get("sessionid"))
        if session_id is None or len(session_id) > _LONGEST_ID:
            raise StreamFault("Tradier told no session")
        # The address beside it is not used: a session goes to nobody but who the settings name.
        return session_id
