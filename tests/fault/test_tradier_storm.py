"""Hundreds of orders of every kind (a thousand with STORM_ORDERS=1000) while three requests in ten fail at a broker that
knows no idempotency: none doubled, none lost, all equal."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from paiid.brokers import BrokerOrder, BrokerOrderView, OutcomeUnknown
from paiid.brokers.tradier import TradierBroker
from tests.fault.storms import prepare
from tests.fault.tradier_storm import SHARE, WEATHER, storm

ORDERS = int(os.environ.get("STORM_ORDERS", "250"))
KINDS_OF_ORDERS = {
    "market", "limit", "stop", "stop_limit", "option market", "spread", "bracket", "oto", "oco",
}  # fmt: skip


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    return prepare(tmp_path)


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_E11_hundreds_of_orders_at_tradier_with_faults_are_none_doubled_and_none_lost(
    tmp_path: Path, ledger_url: str
) -> None:
    tally, differences = await storm(tmp_path, ledger_url, ORDERS)
    print("\n".join(tally.lines()))
    assert differences == []
    assert tally.orders == ORDERS
    assert set(tally.kinds) == KINDS_OF_ORDERS
    # Most of them were placed, or the storm has proved little.
    assert tally.states["ACCEPTED"] > ORDERS / 2
    assert tally.doubts > ORDERS / 20
    assert sum(tally.played.values()) > ORDERS / 2
    if ORDERS >= 1000:
        assert set(tally.played) == WEATHER.played


@pytest.mark.timeout(300)
async def test_E11_nor_are_they_where_the_broker_counts_its_requests(tmp_path: Path, ledger_url: str) -> None:
    # Less than a slow machine asks for as well.
    scarce = {"rate_limit": 30, "rate_window_s": 8.0}
    tally, differences = await storm(tmp_path, ledger_url, 56, share=0.1, limits=scarce, seed=3)
    print("\n".join(tally.lines()))
    assert differences == []
    assert tally.states["ACCEPTED"] > 8
    assert tally.put_off + tally.codes["not_sent"] > 0, "there was always a place"


class Resending(TradierBroker):
    """Planted: sends what is in doubt once more, under another tag."""

    async def submit(self, order: BrokerOrder, timeout_s: float) -> BrokerOrderView:
        try:
            return await super().submit(order, timeout_s)
        except OutcomeUnknown:
            again = replace(order, client_order_id=f"{order.client_order_id[:-1]}x")
            return replace(await super().submit(again, timeout_s), client_order_id=order.client_order_id)


class Repeating(TradierBroker):
    """Planted: sends what is in doubt once more, under the same tag, which Tradier takes."""

    async def submit(self, order: BrokerOrder, timeout_s: float) -> BrokerOrderView:
        try:
            return await super().submit(order, timeout_s)
        except OutcomeUnknown:
            return await super().submit(order, timeout_s)


@pytest.mark.parametrize(
    ("adapter", "rule"),
    [(Resending, "nothing lost"), (Repeating, "accepted once")],
    ids=["resends", "repeats"],
)
async def test_an_adapter_that_sends_again_what_is_in_doubt_is_found_out(
    adapter: type[TradierBroker], rule: str, tmp_path: Path, ledger_url: str
) -> None:
    _, differences = await storm(tmp_path, ledger_url, 24, share=0.6, adapter=adapter, patience_s=1.0)
    assert any(rule in one for one in differences), differences


def test_the_faults_of_each_operation_add_up_to_the_share_in_every_spell_and_name_every_kind() -> None:
    wishes = [WEATHER.faults(SHARE, 1, spell) for spell in range(WEATHER.spells)]
    assert {wish["kind"] for spell in wishes for wish in spell} == WEATHER.played
    assert WEATHER.spared == WEATHER.kinds.keys() - WEATHER.played
    for spell in wishes:
        for operation in ("submit", "replace", "cancel", "lookup", "list", "stream"):
            spared = 1.0
            for wish in spell:
                if wish["on"] == operation:
                    spared *= 1 - wish["rate"]
            assert spared == pytest.approx(1 - SHARE)


def test_a_storm_at_tradier_can_be_played_by_a_command() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fault.tradier_storm", "--orders", "16", "--seed", "5"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.startswith("16 orders, ")
    assert ran.stdout.endswith("differences between ledger and broker: 0\n"), ran.stdout
