"""Alpaca's own Python client, unchanged, against the simulated data host: over the whole simulated market, on real sockets."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from paiid.core.clock import SystemClock
from paiid.core.migrate import migrate
from paiid.sim.alpaca.accounts import DEFAULT_KEY_ID, DEFAULT_SECRET
from paiid.sim.alpaca.marketdata.side import DataOptions
from paiid.sim.alpaca.world import SimWish, database_url, opened
from paiid.sim.engine.serve import running

CLIENT = """
import asyncio, json, sys
from datetime import datetime, timezone
from alpaca.data.historical import OptionHistoricalDataClient, StockHistoricalDataClient
from alpaca.data.historical.corporate_actions import CorporateActionsClient
from alpaca.data.live import OptionDataStream, StockDataStream
from alpaca.data.requests import *
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import GetOptionContractsRequest

key, secret, url = sys.argv[1:]
ws = url.replace("http", "ws")
stocks = StockHistoricalDataClient(key, secret, url_override=url)
both = ["AAPL", "SPY"]
quotes = stocks.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols=both))
trades = stocks.get_stock_latest_trade(StockLatestTradeRequest(symbol_or_symbols=both))
shots = stocks.get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols=both))
bars = stocks.get_stock_bars(StockBarsRequest(symbol_or_symbols=both, timeframe=TimeFrame.Day,
    start=datetime(2026, 1, 5, tzinfo=timezone.utc), end=datetime(2026, 1, 16, tzinfo=timezone.utc)))
trading = TradingClient(key, secret, url_override=url)
contracts = trading.get_option_contracts(GetOptionContractsRequest(underlying_symbols=["SPY"], limit=3,
    expiration_date_lte="2035-01-01")).option_contracts
names = [one.symbol for one in contracts]
options = OptionHistoricalDataClient(key, secret, url_override=url)
chain = options.get_option_chain(OptionChainRequest(underlying_symbol="SPY", expiration_date=contracts[0].expiration_date))
free = options.get_option_chain(OptionChainRequest(underlying_symbol="SPY", feed="indicative",
    expiration_date=contracts[0].expiration_date))
whole = options.get_option_chain(OptionChainRequest(underlying_symbol="SPY"))
some = options.get_option_snapshot(OptionSnapshotRequest(symbol_or_symbols=names))
actions = CorporateActionsClient(key, secret, url_override=url).get_corporate_actions(CorporateActionsRequest(
    symbols=["KO"], start=datetime(2026, 1, 1).date(), end=datetime(2026, 12, 31).date()))

heard = {"quotes": [], "trades": [], "bars": [], "options": []}

async def main():
    live = StockDataStream(key, secret, url_override=ws + "/v2/iex")
    contract = OptionDataStream(key, secret, url_override=ws + "/v1beta1/indicative")

    def into(kind):
        async def handler(told):
            heard[kind].append([told.symbol, told.timestamp.isoformat()])
        return handler

    live.subscribe_quotes(into("quotes"), "AAPL", "SPY")
    live.subscribe_trades(into("trades"), "AAPL", "SPY")
    live.subscribe_bars(into("bars"), "*")
    contract.subscribe_quotes(into("options"), *names)
    tasks = [asyncio.create_task(one._run_forever()) for one in (live, contract)]
    while not all(heard.values()):
        await asyncio.sleep(0.01)
    for one in (live, contract):
        await one.stop_ws()
        await one.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

asyncio.run(asyncio.wait_for(main(), 150))
print(json.dumps({
    "spread": quotes["AAPL"].ask_price - quotes["AAPL"].bid_price,
    "trade": trades["SPY"].price,
    "days": [shots["AAPL"].previous_daily_bar.timestamp < shots["AAPL"].daily_bar.timestamp,
             shots["AAPL"].minute_bar.low > 0],
    "bars": [len(bars["AAPL"]), len(bars["SPY"]), bars["AAPL"][0].timestamp < bars["AAPL"][1].timestamp],
    "chain": [len(chain), len(some)],
    "greeks": [(one.latest_quote.bid_price > 0, one.greeks is not None and -1 <= one.greeks.delta <= 1,
                one.implied_volatility is not None and 0 < one.implied_volatility < 2) for one in chain.values()],
    "free": [one.greeks is None for one in free.values()],
    "whole": len(whole),
    "interest": [int(one.open_interest) for one in contracts],
    "asks": all(one.latest_quote.ask_price > 0 for one in some.values()),
    "dividends": len(actions["cash_dividends"]),
    "heard": {kind: len(told) for kind, told in heard.items()},
}))
"""


@pytest.mark.timeout(300)
async def test_the_vendors_client_reads_and_hears_the_whole_simulated_market(tmp_path: Path) -> None:
    migrate(database_url(tmp_path))
    wish = SimWish(tmp_path, rate_limit=0, data=DataOptions(minute_s=1.0))
    async with opened(wish, SystemClock()) as sim, running(sim) as url:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "ignore", "-c", CLIENT, DEFAULT_KEY_ID, DEFAULT_SECRET, url,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, errors = await asyncio.wait_for(process.communicate(), 240)
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == 0, errors.decode()[-3000:]
    told: dict[str, Any] = json.loads(out)
    assert 0 < told["spread"] < 1
    assert told["trade"] > 0
    assert told["days"] == [True, True]
    assert told["bars"][0] == told["bars"][1] > 5
    assert told["bars"][2]
    assert told["chain"][0] > 10
    assert told["chain"][1] == 3
    assert all(has_bid == greeks == volatility for has_bid, greeks, volatility in told["greeks"])
    assert any(has_bid for has_bid, _, _ in told["greeks"])
    assert all(told["free"])
    assert told["whole"] > 2000, "more than two pages"
    assert all(one >= 0 for one in told["interest"])
    assert told["asks"]
    assert told["dividends"] >= 3
    assert all(told["heard"].values())
