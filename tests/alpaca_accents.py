"""How Alpaca may word what its reference does not settle: one accent for each thing that is unconfirmed."""

import re
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import uuid4

from tests.alpaca_dialects import Accent, Json, everywhere

_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z\Z", re.ASCII)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?\Z", re.ASCII)
_TEXTS = frozenset({"account_number", "client_order_id", "id", "order_id", "symbol"})
_NEW_YORK_IN_SUMMER = timezone(timedelta(hours=-4))


class Older(Accent):
    """Before the newest fields: none of those that may be left out, and the day trading fields of before July 2026."""

    def order(self, told: Json) -> Json:
        gone = {
            "group_id",
            "group_role",
            "position_intent",
            "source",
            "subtag",
            "order_type",
            "hwm",
            "expires_at",
        }
        kept = {name: value for name, value in told.items() if name not in gone and value is not None}
        return {"legs": None, **kept}

    def account(self, told: Json) -> Json:
        old = {"pattern_day_trader": False, "daytrade_count": 0, "daytrading_buying_power": "0"}
        names = ("account_number", "id", "status", "cash", "equity", "buying_power", "multiplier")
        return {name: told[name] for name in names} | old

    def activity(self, told: Json) -> Json:
        return {
            name: value for name, value in told.items() if name not in ("order_status", "leaves_qty", "type")
        }


class Newer(Accent):
    """Fields that nobody knows yet, and "simple" where no class was said before."""

    def order(self, told: Json) -> Json:
        more = {
            "commission": "0.01",
            "advice": {"legs": [1, {"id": None}]},
            "venues": ["A", None],
            "asset_2": 7,
        }
        return {**told, "order_class": told["order_class"] or "simple", **more}

    def account(self, told: Json) -> Json:
        return {**told, "crypto_tier": 9, "limits": [{"cash": "1"}], "cash_2": "12"}

    def position(self, told: Json) -> Json:
        return {**told, "usd": {"qty": "7"}, "swap_rate": "1"}

    def activity(self, told: Json) -> Json:
        return {**told, "execution_id": str(uuid4()), "usd": {"price": "1"}}

    def events(self, told: Json) -> list[Json]:
        return [{**told, "event_id": "01J", "at": told["timestamp"]}]


class Numbers(Accent):
    """Decimals as JSON numbers, flags as texts, a short position's quantity without its sign."""

    def position(self, told: Json) -> Json:
        return {**told, "qty": told["qty"].removeprefix("-")}

    def anything(self, told: Any) -> Any:
        def change(name: str, value: Any) -> Any:
            if isinstance(value, bool):
                return str(value).lower()
            if name in _TEXTS or not isinstance(value, str) or not _NUMBER.match(value):
                return value
            return float(value) if "." in value else int(value)

        return everywhere(told, change)


class ShortIsNegative(Accent):
    """A short's figures with their sign, and digits that are none."""

    def position(self, told: Json) -> Json:
        figures = {name: Decimal(told[name]) for name in ("qty", "market_value", "cost_basis") if told[name]}
        sign = -1 if told["side"] == "short" else 1
        return {**told, **{name: f"{sign * abs(value):.4f}" for name, value in figures.items()}}


class OtherClocks(Accent):
    """Instants with New York's offset and nanoseconds."""

    def anything(self, told: Any) -> Any:
        def change(name: str, value: Any) -> Any:
            found = _INSTANT.match(value) if isinstance(value, str) else None
            if found is None:
                return value
            at = datetime.fromisoformat(found[1] + "+00:00").astimezone(_NEW_YORK_IN_SUMMER)
            return f"{at:%Y-%m-%dT%H:%M:%S}.{(found[2] or '').ljust(9, '0')}-04:00"

        return everywhere(told, change)


class OtherNamesForPrints(Accent):
    """The stream's execution ids are not the activities' ids; text frames, as on live."""

    text_frames = True

    def events(self, told: Json) -> list[Json]:
        return [{**told, "execution_id": str(uuid4())}]

    def activity(self, told: Json) -> Json:
        return {**told, "id": told["id"].partition("::")[0] + "::" + told["id"].partition("::")[2].upper()}


class NoNamesForPrints(Accent):
    """No execution ids, no position after the print, and activities without what had filled by then."""

    def events(self, told: Json) -> list[Json]:
        return [{name: value for name, value in told.items() if name not in ("execution_id", "position_qty")}]

    def activity(self, told: Json) -> Json:
        return {name: value for name, value in told.items() if name != "cum_qty"}


class StopsAreStopLimits(Accent):
    """A stop to buy is told as the stop-limit that it is turned into (4 % above a stop under $50, else 2.5 %)."""

    def order(self, told: Json) -> Json:
        if (told["type"], told["side"]) != ("stop", "buy"):
            return told
        stop = Decimal(told["stop_price"])
        limit = stop * (Decimal("1.04") if stop < 50 else Decimal("1.025"))
        return {**told, "type": "stop_limit", "order_type": "stop_limit", "limit_price": f"{limit:.2f}"}


class DaysEndInCancels(Accent):
    """A day order that nothing filled is told as canceled at the close."""

    def order(self, told: Json) -> Json:
        if told["status"] != "expired":
            return told
        return {**told, "status": "canceled", "canceled_at": told["expired_at"], "expired_at": None}

    def events(self, told: Json) -> list[Json]:
        return [{**told, "event": "canceled" if told["event"] == "expired" else told["event"]}]


class SecondCancelsSucceed(Accent):
    """Canceling what is canceled already is a success."""

    def answer(self, method: str, status: int, body: Any) -> tuple[int, Any]:
        again = method == "DELETE" and status == 422 and 'already in "canceled"' in body["message"]
        return (204, None) if again else (status, body)


class OlderRefusals(Accent):
    """A wash trade as it was refused in 2024."""

    def answer(self, method: str, status: int, body: Any) -> tuple[int, Any]:
        if status == 403 and "wash trade" in body["message"]:
            return 422, {"code": 42210000, "message": body["message"]}
        return status, body


class EveryStep(Accent):
    """Orders are `accepted` at first; pending states are told, too, and every update twice."""

    def answer(self, method: str, status: int, body: Any) -> tuple[int, Any]:
        if method == "POST" and status == 200:
            return status, {**body, "status": "accepted"}
        return status, body

    def events(self, told: Json) -> list[Json]:
        before = {"new": "pending_new", "canceled": "pending_cancel", "replaced": "pending_replace"}
        step = before.get(told["event"])
        order = told["order"]
        early = [{**told, "event": step, "order": {**order, "status": step}}] if step else []
        return [*early, told, told]


class PlainSpreads(Accent):
    """A spread's empty texts as null, its legs with a type and a ratio that is a number."""

    def order(self, told: Json) -> Json:
        if told["order_class"] != "mleg":
            return told
        leg = {"ratio_qty": int(told["ratio_qty"]), "type": "limit"} if "ratio_qty" in told else {}
        return {name: None if value == "" else value for name, value in told.items()} | leg


class CarriesOver(Accent):
    """A replacement counts what the order before it had filled: in its quantity, in what has filled, in its prints."""

    def __init__(self) -> None:
        self._filled: dict[str, tuple[Decimal, Decimal]] = {}
        self._before: dict[str, str] = {}

    def order(self, told: Json) -> Json:
        if told["replaces"] is not None:
            self._before[told["id"]] = told["replaces"]
        own = Decimal(told["filled_qty"])
        carried, value = self._carried(told["id"])
        filled, value = carried + own, value + own * Decimal(told["filled_avg_price"] or 0)
        self._filled[told["id"]] = max(
            self._filled.get(told["id"], (Decimal(0), Decimal(0))), (filled, value)
        )
        if not carried:
            return told
        average = f"{value / filled:.6f}"
        qty = str(Decimal(told["qty"]) + carried)
        return {**told, "qty": qty, "filled_qty": str(filled), "filled_avg_price": average}

    def _carried(self, order_id: str) -> tuple[Decimal, Decimal]:
        before = self._before.get(order_id)
        return (Decimal(0), Decimal(0)) if before is None else self._filled[before]

    def activity(self, told: Json) -> Json:
        if told["activity_type"] != "FILL":
            return told
        return {**told, "cum_qty": str(Decimal(told["cum_qty"]) + self._carried(told["order_id"])[0])}
