"""All REST routes of market data."""

from starlette.routing import Route

from paiid.sim.alpaca.marketdata import chains, corporate, history, latest
from paiid.sim.alpaca.marketdata.gate import DataHandler, opened
from paiid.sim.alpaca.marketdata.side import DataSide

__all__ = ["data_routes"]


def data_routes(side: DataSide) -> list[Route]:
    """`/v2/stocks`, `/v1beta1/options` and `/v1/corporate-actions`."""
    quotes, trades = latest.quote_of, latest.trade_of
    table: list[tuple[str, DataHandler]] = [
        ("/v2/stocks/quotes/latest", latest.newest_of("quotes", quotes)),
        ("/v2/stocks/trades/latest", latest.newest_of("trades", trades)),
        ("/v2/stocks/bars/latest", latest.latest_bars),
        ("/v2/stocks/snapshots", latest.snapshots),
        ("/v2/stocks/bars", history.stock_bars),
        ("/v2/stocks/{symbol}/quotes/latest", latest.one_newest("quote", quotes)),
        ("/v2/stocks/{symbol}/trades/latest", latest.one_newest("trade", trades)),
        ("/v2/stocks/{symbol}/bars/latest", latest.latest_bar),
        ("/v2/stocks/{symbol}/snapshot", latest.snapshot),
        ("/v2/stocks/{symbol}/bars", history.symbol_bars),
        ("/v1beta1/options/quotes/latest", latest.newest_of("quotes", quotes, options=True)),
        ("/v1beta1/options/trades/latest", latest.newest_of("trades", trades, options=True)),
        ("/v1beta1/options/bars", history.option_bars),
        ("/v1beta1/options/snapshots", chains.contract_snapshots),
        ("/v1beta1/options/snapshots/{underlying}", chains.chain_snapshots),
        ("/v1/corporate-actions", corporate.corporate_actions),
        ("/v1beta1/corporate-actions", corporate.corporate_actions),
    ]
    return [Route(path, opened(side, handler), methods=["GET"]) for path, handler in table]
