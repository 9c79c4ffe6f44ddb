"""Where Alpaca's keys may be sent: to https, or to this machine, and never live ones to a simulator."""

from typing import Any

import pytest

from paiid.brokers.alpaca import AlpacaBroker, AlpacaKeys
from paiid.core.clock import SystemClock
from tests.alpaca_wire import (
    SECRET,
)


@pytest.mark.parametrize(
    ("mode", "api_url", "stream_url"),
    [
        ("paper", "http://paper-api.alpaca.markets", "wss://paper-api.alpaca.markets/stream"),
        ("paper", "https://paper-api.alpaca.markets", "ws://paper-api.alpaca.markets/stream"),
        ("paper", "http://127.0.0.1.example.com", "wss://x.example/stream"),
        ("paper", "http://10.0.0.1", "wss://x.example/stream"),
        ("paper", "ftp://127.0.0.1", "wss://x.example/stream"),
        ("paper", "paper-api.alpaca.markets", "wss://x.example/stream"),
        ("paper", "https://user:pass@x.example", "wss://x.example/stream"),
        ("paper", "https://x.example?a=b", "wss://x.example/stream"),
        ("paper", "https://x.example:port", "wss://x.example/stream"),
        ("paper", "", "wss://x.example/stream"),
        ("live", "http://127.0.0.1:9", "wss://x.example/stream"),
        ("live", "https://x.example", "ws://localhost:9"),
    ],
)
def test_keys_go_to_https_or_this_machine_only(mode: Any, api_url: str, stream_url: str) -> None:
    with pytest.raises(ValueError) as caught:
        AlpacaKeys(mode, "PKTEST", SECRET, api_url, stream_url)
    assert SECRET not in str(caught.value)


def test_loopback_and_https_are_good_and_only_loopback_is_simulated() -> None:
    here = AlpacaKeys("paper", "PKTEST", SECRET, "http://localhost:1/", "ws://[::1]:1/stream")
    there = AlpacaKeys("paper", "PKTEST", SECRET, "https://x.example", "wss://x.example/stream")
    assert AlpacaBroker(SystemClock(), [here]).simulated
    assert not AlpacaBroker(SystemClock(), [here, there]).simulated
    assert not AlpacaBroker(SystemClock(), []).simulated
    with pytest.raises(ValueError):
        AlpacaKeys("paper", "PKTEST\r\nx: y", SECRET, "https://x.example", "wss://x.example/stream")
    with pytest.raises(ValueError):
        AlpacaKeys("paper", "", SECRET, "https://x.example", "wss://x.example/stream")
