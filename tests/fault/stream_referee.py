"""Judges what one client of the streams was told, message by message, and what it ends up believing (contracts S1 to S4).

It knows nothing of the service but docs/streams.md: a log goes on by one, a value by one and what it stands for, or there is a `reset`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

Place = tuple[int, int | None]
"""Epoch and sequence; None after a reset of many channels, which names no sequence."""
Message = Mapping[str, Any]

_TOLD = ("id", "state", "status", "filled_qty")
_QUOTED = ("bid", "ask", "last", "as_of")


def is_log(channel: str) -> bool:
    """Told whole."""
    return channel.startswith("account:")


class Referee:
    """One client over all its connections. `faults` says in words what may not be."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.faults: list[str] = []
        self.places: dict[str, Place] = {}
        self.orders: dict[str, dict[str, Any]] = {}
        self.positions: dict[str, Any] = {}
        self.quotes: dict[str, dict[str, Any]] = {}
        self.feed: dict[str, Any] = {}
        self.halts: dict[str, Any] = {}
        self.resets: list[tuple[str, str]] = []
        """Channel and reason."""
        self.merged = 0
        self.counts: Counter[str] = Counter()
        self.confirmed: set[str] = set()
        """Channels of this connection."""
        self._anew: set[str] = set()
        """Channels that were reset on this connection."""
        self._begun = False

    # -- what is heard ----------------------------------------------------------------------------------

    def resume(self) -> dict[str, str]:
        """What a client would give to go on from here."""
        kept = ("account:", "quotes:", "portfolio:")
        return {
            channel: f"{epoch}:{sequence}"
            for channel, (epoch, sequence) in self.places.items()
            if channel.startswith(kept) and sequence is not None
        }

    def connected(self, resume: Iterable[str]) -> None:
        """A new connection, which was asked to go on with these channels. A log that is not among them has lost its thread, which
        only a client can be guilty of."""
        going_on = set(resume)
        for channel in [one for one in self.places if is_log(one) and one not in going_on]:
            self._fault(f"the client did not go on with {channel}")
        self.places = {channel: place for channel, place in self.places.items() if channel in going_on}
        self.confirmed = set()
        self._anew = set()
        self._begun = False
        self.counts["connections"] += 1

    def take(self, message: Message) -> None:
        """The next message."""
        kind = message["type"]
        self.counts[kind] += 1
        if not self._begun and kind != "connection":
            self._fault(f"{kind} before `connection`")
        self._begun = True
        if kind == "subscription_confirmed":
            self._confirm(message["channels"])
        elif kind == "heartbeat":
            self._heartbeat(message["channels"])
        elif kind == "reset":
            self._reset(message)
        elif kind == "error":
            self._fault(f"an error: {message['code']} {message['message']}")
        elif "channel" in message:
            self._event(message)

    def _confirm(self, channels: Mapping[str, tuple[int, int]]) -> None:
        for channel, (epoch, sequence) in channels.items():
            if channel in self.confirmed:
                continue
            self.confirmed.add(channel)
            known = self.places.setdefault(channel, (epoch, sequence))
            if known[0] != epoch and self._anew & {channel, channel.partition(":")[0] + ":*"}:
                # It began there and has begun anew since, perhaps with an older epoch: a replica that was alone follows again.
                continue
            # What was missed has been told by now, and perhaps something newer.
            if known[0] != epoch or (known[1] is not None and known[1] < sequence):
                self._fault(f"{channel} begins at {epoch}:{sequence}, but only {known} was told")

    def _heartbeat(self, channels: Mapping[str, tuple[int, int]]) -> None:
        for channel, (epoch, sequence) in channels.items():
            known = self.places.get(channel)
            if known is not None and known not in ((epoch, sequence), (epoch, None)):
                self._fault(f"heartbeat: {channel} at {epoch}:{sequence}, but {known} was told")
        for channel in self.confirmed - channels.keys():
            # After a reset of many channels there is no place to tell until something has come.
            if self.places[channel][1] is not None:
                self._fault(f"heartbeat: nothing of {channel}")

    def _reset(self, message: Message) -> None:
        named, epoch, sequence = message["channel"], message["epoch"], message["sequence"]
        self.resets.append((named, message["reason"]))
        self._anew.add(named)
        if not named.endswith(":*"):
            self.places[named] = (epoch, sequence)
        else:
            for channel in [one for one in self.places if one.startswith(named[:-1])]:
                self.places[channel] = (epoch, None)
        if is_log(named):
            self._begin_from(named, message["data"])
        elif named.startswith("quotes:"):
            symbol = named.partition(":")[2]
            for one in list(self.quotes) if symbol == "*" else [symbol]:
                self.quotes.pop(one, None)

    def _begin_from(self, channel: str, state: Any) -> None:
        if not isinstance(state, dict):
            self._fault(f"reset of {channel} without a state")
            return
        self.orders, self.positions = {}, {one["symbol"]: one["qty"] for one in state["positions"]}
        for order in state["orders"]:
            for one in (order, *order.get("legs", ())):
                self.orders[one["id"]] = {name: one[name] for name in _TOLD}

    def _event(self, message: Message) -> None:
        channel, epoch, sequence = message["channel"], message["epoch"], message["sequence"]
        if is_log(channel) and "merged" in message:
            self._fault(f"{channel} has merged something")
        merged = message.get("merged", 0)
        if merged < 0:
            self._fault(f"{channel} {epoch}:{sequence} stands for {merged}")
        known = self.places.get(channel)
        if known is not None:
            if known[0] != epoch:
                self._fault(f"{channel}: epoch {epoch} after {known[0]} without a reset")
            elif known[1] is not None and sequence != known[1] + 1 + merged:
                self._fault(f"{channel}: {sequence} with {merged} merged after {known[1]}")
        elif is_log(channel) and channel not in self.confirmed:
            self._fault(f"{channel} {epoch}:{sequence} comes from nowhere")
        self.merged += merged
        self.places[channel] = (epoch, sequence)
        self._believe(channel.partition(":")[0], message)

    def _believe(self, prefix: str, message: Message) -> None:
        data = message["data"]
        if prefix == "quotes":
            self.quotes[data["symbol"]] = data
        elif prefix == "feed":
            self.feed = data
        elif prefix == "halts":
            self.halts = data
        elif message["type"] == "order_update" and data["event"] == "order":
            self.orders[data["id"]] = {name: data[name] for name in _TOLD}
        elif message["type"] == "position_update":
            self.positions[data["symbol"]] = data["qty"]

    # -- what is true -----------------------------------------------------------------------------------

    def differences(self, orders: Iterable[Message], positions: Iterable[Message]) -> list[str]:
        """Where what it believes of the account differs from what the service answers."""
        found = []
        answered = {one["id"]: {name: one[name] for name in _TOLD} for one in orders}
        for id in sorted(answered.keys() | self.orders.keys()):
            if answered.get(id) != self.orders.get(id):
                found.append(f"order {id}: told {self.orders.get(id)}, answered {answered.get(id)}")
        held = {one["symbol"]: one["qty"] for one in positions if one["qty"] != 0}
        believed = {symbol: qty for symbol, qty in self.positions.items() if qty != 0}
        if held != believed:
            found.append(f"positions: told {believed}, answered {held}")
        return found

    def stale_quotes(self, quotes: Mapping[str, Message]) -> list[str]:
        """Symbols of which the newest that it was told is not this."""
        return [
            symbol
            for symbol, quote in quotes.items()
            if {name: quote[name] for name in _QUOTED}
            != {name: self.quotes.get(symbol, {}).get(name) for name in _QUOTED}
        ]

    def log_resets(self) -> list[tuple[str, str]]:
        """Resets of logs, none of which there should be for whoever is back in time."""
        return [one for one in self.resets if is_log(one[0])]

    def _fault(self, words: str) -> None:
        self.faults.append(f"{self.name}: {words}")
