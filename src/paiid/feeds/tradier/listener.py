"""Keeps one connection to the market stream alive, one after the other, and has everything asked for while there is none."""

import structlog

from paiid.core.clock import Clock
from paiid.feeds.outbox import Outbox
from paiid.feeds.tradier.connection import Transport, open_channel
from paiid.feeds.tradier.conversation import Conversation, Parts
from paiid.feeds.tradier.faults import StreamFault
from paiid.feeds.tradier.hearing import Tally
from paiid.feeds.tradier.session import Sessions
from paiid.feeds.tradier.symbols import to_wire
from paiid.wires.tradier.keys import TradierKeys

_COMPLAIN_S = 60.0
_log = structlog.get_logger("paiid.feeds.tradier")


class Listener:
    """`run` never ends by itself. `connections` counts those that were opened."""

    def __init__(
        self, clock: Clock, keys: TradierKeys, parts: Parts, sessions: Sessions, transport: Transport
    ) -> None:
        self._clock = clock
        self._keys = keys
        self._parts = parts
        self._sessions = sessions
        self._transport = transport
        self._timings = parts.timings
        self._pause_s = self._crowded_s = 0.0
        self._gave_up_own = False
        """The last connection was ended by us, and the other side may take a moment to see that its session is free."""
        self._complained_s = -_COMPLAIN_S
        self._tally = Tally(mute_s=parts.timings.mute_s)
        self.connections = 0

    @property
    def dropped(self) -> int:
        """Messages of the stream that could not be used."""
        return self._tally.dropped

    async def run(self, outbox: Outbox) -> None:
        """Connect, listen, connect again, until cancelled. While there is no stream everything followed is asked for, which counts as
        a connection too: quotes are as new as the last round."""
        while True:
            began_s, opened = self._clock.monotonic_s(), self.connections
            try:
                fault = await self._connect_once(outbox)
            except Exception as error:  # noqa: BLE001 - the feed loop: a defect costs a connection, never the feed
                _log.error("tradier_data_defect", error=type(error).__name__, exc_info=error)
                fault = StreamFault("the reader of Tradier's stream broke")
            self._complain()
            own, self._gave_up_own = self._gave_up_own, fault.pause == "now"
            if fault.pause == "now":
                _log.info("tradier_data_stream_renewed", keys=self._keys.label, reason=str(fault))
                continue
            if own and fault.pause == "crowded":
                fault = StreamFault(str(fault), "moment")
            elif self.connections != opened or not self._parts.poller.answered:
                outbox.lost(str(fault))
                self._parts.poller.answered = False
            pause_s = self._next_pause_s(fault, self._clock.monotonic_s() - began_s)
            _log.warning(
                "tradier_data_stream_lost",
                keys=self._keys.label,
                reason=str(fault),
                pause_s=round(pause_s, 2),
            )
            if pause_s < self._timings.poll_s:
                await self._clock.sleep(pause_s)
            else:
                await self._parts.poller.run(outbox, pause_s)

    async def _connect_once(self, outbox: Outbox) -> StreamFault:
        """One connection from its beginning to its end; why it ended."""
        self._parts.wanted.refused.clear()
        streamed = self._parts.wanted.streamed()
        try:
            session = await self._sessions.fetch()
        except StreamFault as fault:
            return fault
        try:
            channel = await open_channel(
                self._transport, self._keys, self._timings, session[0], [to_wire(one) for one in streamed]
            )
        except StreamFault as fault:
            if self._transport == "http":
                # It was told with the request; by WebSocket a refused handshake has not seen it.
                self._sessions.used()
            return fault
        # Whatever becomes of it: an id opens one connection (section 9.1).
        self._sessions.used()
        self.connections += 1
        _log.info("tradier_data_stream_connected", keys=self._keys.label, symbols=len(streamed))
        try:
            outbox.heard()
            return await Conversation(self._parts, channel, session, streamed, outbox, self._tally).run()
        finally:
            # Before another session is asked for: there is one at a time.
            await channel.close()

    def _next_pause_s(self, fault: StreamFault, held_s: float) -> float:
        """Growing, and between half of it and all of it by chance: not all come at once."""
        timings = self._timings
        chance = int.from_bytes(self._clock.random_bytes(2), "big") / 65_536
        if fault.pause == "crowded":
            self._crowded_s = min(timings.slow_pause_s, max(timings.crowded_pause_s, self._crowded_s * 2))
            return self._crowded_s * (1 + chance / 4)
        self._crowded_s = 0.0
        if fault.pause == "moment":
            return timings.moment_s
        if fault.pause == "slow":
            return timings.slow_pause_s * (1 + chance / 2)
        if held_s >= timings.stable_s or not self._pause_s:
            self._pause_s = timings.first_pause_s
        elif fault.pause == "grown":
            self._pause_s = min(timings.longest_pause_s, self._pause_s * 2)
        return self._pause_s * (0.5 + chance / 2)

    def _complain(self) -> None:
        """Say now and then that there was something that could not be used."""
        now_s = self._clock.monotonic_s()
        if self._tally.dropped and now_s - self._complained_s >= _COMPLAIN_S:
            self._complained_s = now_s
            _log.warning("tradier_data_messages_dropped", dropped=self._tally.dropped)
