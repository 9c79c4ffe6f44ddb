"""docs/tradier.md is true where it names numbers, codes and types: they are those of the code."""

import re
from pathlib import Path

import pytest

from paiid.brokers import ORDER_WAIT_S
from paiid.brokers.tradier import TradierTimings
from paiid.brokers.tradier.capabilities import CAPABILITIES
from paiid.brokers.tradier.past_orders import _DAYS
from paiid.brokers.tradier.reasons import code_of
from paiid.brokers.tradier.requests import _MOST_QTY
from paiid.core.clock import SystemClock
from paiid.feeds.tradier import StreamTimings, TradierFeed
from paiid.trading.forgotten import FORGOTTEN_WORDS
from paiid.wires.governor import Governors, Priority
from paiid.wires.tradier.keys import LIVE_API_URL, SANDBOX_API_URL, TradierKeys
from paiid.wires.tradier.wire import Bucket, TradierWire

TEXT = (Path(__file__).parents[2] / "docs" / "tradier.md").read_text(encoding="utf-8")
LOOKS, STREAM = TradierTimings(), StreamTimings()


def wire(url: str = LIVE_API_URL) -> TradierWire:
    """Never connected."""
    clock = SystemClock()
    return TradierWire(clock, TradierKeys("test-token-0001", url), Governors(clock))


def limit(bucket: Bucket, url: str = LIVE_API_URL) -> int:
    return wire(url).governor(bucket).limit


@pytest.mark.parametrize(
    "told",
    [
        f"`{LIVE_API_URL}`, the default",
        f"`{SANDBOX_API_URL}`",
        f"read again after {', '.join(f'{one:g}' for one in LOOKS.again_s)} s",
        f"every {LOOKS.working_s:g} s while an order works, every {LOOKS.woken_working_s:g} s while the account stream says",
        f"every {LOOKS.idle_s:g} s otherwise",
        f"at most {_MOST_QTY:,} shares or contracts",
        f"at the latest after {STREAM.longest_s / 3600:g} hours",
        f"{limit('standard')} reads, {limit('market')} questions for market data, and {limit('trading')} orders",
        f"in the sandbox {limit('standard', SANDBOX_API_URL)} of each",
        f"its place at most {ORDER_WAIT_S:g} s",
        f"about {wire().governor('trading').left_for(Priority.ENTRY)} opening orders",
    ],
)
def test_the_document_names_the_numbers_of_the_code(told: str) -> None:
    assert " ".join(told.split()) in " ".join(TEXT.split())


def test_a_sandbox_has_the_same_limit_in_every_bucket() -> None:
    buckets: tuple[Bucket, ...] = ("standard", "market", "trading")
    assert {limit(one, SANDBOX_API_URL) for one in buckets} == {60}


def test_the_past_month_is_a_month() -> None:
    assert _DAYS == 30
    assert "the past month" in TEXT


def test_the_document_says_what_tradier_cannot_hold() -> None:
    assert CAPABILITIES.order_types == {"market", "limit", "stop", "stop_limit"}
    assert CAPABILITIES.times_in_force == {"day", "gtc"}
    assert CAPABILITIES.replaceable == {"simple"}
    can = (
        CAPABILITIES.own_stop,
        CAPABILITIES.cancels_all,
        CAPABILITIES.fractional,
        CAPABILITIES.replaces_qty,
    )
    assert can == (False, False, False, False)
    assert TradierFeed.source == "tradier"


def test_a_forgotten_order_says_so() -> None:
    assert "forgot" in FORGOTTEN_WORDS


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("DayTradingBuyingPowerExceeded", "insufficient_buying_power"),
        ("ShortTradingDeniedForSecurity", "not_shortable"),
        ("OptionLevelRestriction", "options_level"),
        ("WashTradeAttempt", "wash_trade"),
    ],
)
def test_a_reason_that_the_document_names_is_one_of_ours(reason: str, code: str) -> None:
    assert code_of([reason]) == code
    assert f"`{code}`" in TEXT


def test_every_link_leads_to_a_document() -> None:
    docs = Path(__file__).parents[2] / "docs"
    links = re.findall(r"\]\(([a-z./-]+\.md)", TEXT) + re.findall(r"docs/(adr/\d{4})", TEXT)
    assert len(links) > 5
    for one in links:
        assert list(docs.glob(f"{one}*")), one
