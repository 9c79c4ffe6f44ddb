"""What every request for market data passes: keys, a rate limit of its own, and Alpaca's shape of a no."""

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response

from paiid.feeds import FeedUnavailable
from paiid.sim.alpaca.errors import INTERNAL, INVALID, TOO_MANY, AlpacaError
from paiid.sim.alpaca.gate import Answer, keys_of, refusal
from paiid.sim.alpaca.marketdata.side import DataSide

__all__ = ["DataHandler", "bad", "opened"]

DataHandler = Callable[[DataSide, Request], Awaitable[Response]]
_log = structlog.get_logger("paiid.sim")


def bad(message: str) -> AlpacaError:
    """400 for a query that cannot be understood."""
    return AlpacaError(400, INVALID, message)


def opened(side: DataSide, handler: DataHandler) -> Callable[..., Any]:
    """An endpoint for a route. Without good keys the data host answers 403, where the trading host answers 401."""

    async def endpoint(request: Request) -> Response:
        keys = keys_of(request.headers)
        account = None if keys is None else side.exchange.accounts.find(*keys)
        if account is None:
            return Answer({"message": "forbidden."}, 403)
        quota = side.rate.count(account.number)
        if quota is not None and quota.exceeded:
            response = refusal(AlpacaError(429, TOO_MANY, "too many requests."))
        else:
            response = await _handled(side, request, handler)
        if quota is not None:
            response.headers.update(quota.headers)
        return response

    return endpoint


async def _handled(side: DataSide, request: Request, handler: DataHandler) -> Response:
    try:
        return await handler(side, request)
    except AlpacaError as error:
        # The readers of values are those of the trading host, which says 422 for what is 400 here.
        return refusal(bad(error.message) if error.status == 422 else error)
    except FeedUnavailable as error:
        _log.warning("sim_data_unavailable", path=request.url.path, error=str(error))
        return refusal(AlpacaError(500, INTERNAL, "internal server error occurred"))
