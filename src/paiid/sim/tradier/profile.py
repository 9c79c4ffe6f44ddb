"""Who holds a token, and which accounts it reaches (`/v1/user/profile`, tradier.md, section 5.1)."""

from starlette.requests import Request

from paiid.sim.tradier.accounts import SimUser
from paiid.sim.tradier.exchange import TradierExchange
from paiid.sim.tradier.render import stamp
from paiid.sim.tradier.shapes import Told, some

__all__ = ["get_profile"]


async def get_profile(exchange: TradierExchange, user: SimUser, request: Request) -> Told:
    """`GET /v1/user/profile`: one account is an object, several are an array."""
    accounts = [
        {
            "account_number": one.number,
            "classification": "individual",
            "date_created": stamp(one.created_at_us),
            "day_trader": False,
            "option_level": one.terms.options_level,
            "status": "active",
            "type": "margin" if one.terms.margin else "cash",
            "last_update_date": stamp(one.created_at_us),
        }
        for one in user.accounts
    ]
    return Told({"profile": {"id": user.id, "name": "Simulated Trader", "account": some(accounts)}})
