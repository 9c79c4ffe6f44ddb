"""What the hub counts is what went to its clients, to the byte."""

from paiid.core.figures import Tally
from paiid.stream.delivery import BEHIND_BYTES
from paiid.stream.hub import BEHIND_S, Hub
from tests.fake_clock import FakeClock
from tests.stream_world import FakeProvider, FakeSink


def _counted(tally: Tally) -> dict[str, float]:
    return {labels[0]: count for labels, count in tally.items()}


async def test_messages_bytes_merged_values_resets_and_slow_clients_are_counted() -> None:
    clock = FakeClock()
    hub = Hub(clock)
    quotes, accounts = FakeProvider("value", "quotes"), FakeProvider("log", "account")
    hub.register("quotes", quotes)
    hub.register("account", accounts)
    quick, slow, other = FakeSink(), FakeSink(), FakeSink("sse")
    for sink in (quick, slow, other):
        subscriber = hub.attach(sink)
        for channel in ("quotes:A", "account:a"):
            await hub.subscribe(subscriber, channel, None)
    hub.flush()
    hub.flush()
    assert hub.slowest_s() == 0.0

    for _ in range(3):
        hub.put(quotes.event("A"))
    hub.append([accounts.event("a"), accounts.event("a")])
    hub.flush()
    slow.stalled = True
    hub.append([accounts.event("a", text="x" * BEHIND_BYTES)])
    hub.flush()
    hub.append([accounts.event("a"), accounts.event("a")])
    for _ in range(2):
        hub.put(quotes.event("A"))
        hub.flush()
    hub.sweep()
    clock.advance(BEHIND_S / 2)
    assert hub.slowest_s() == BEHIND_S / 2
    slow.stalled = False
    slow.read()
    hub.flush()
    slow.stalled = True
    hub.reset("quotes", quotes.begin("A"), "epoch")
    hub.put(quotes.event("A"))
    hub.flush()
    hub.sweep()
    clock.advance(BEHIND_S)
    hub.sweep()
    assert slow.closed is not None

    sinks = {"frames": [quick, slow], "sse": [other]}
    for sink in (quick, slow, other):
        sink.read()
    figures = hub.figures
    assert _counted(figures.bytes) == {
        style: sum(len(one.taken) for one in has) for style, has in sinks.items()
    }
    assert _counted(figures.events) == {
        style: sum(len(one.messages) for one in has) for style, has in sinks.items()
    }
    told = [message.get("merged", 0) for one in (quick, slow, other) for message in one.messages]
    assert figures.merged.of() == sum(told) > 0
    assert _counted(figures.closed) == {"4408": 1}
    assert _counted(figures.resets) == {"quotes": 1}
