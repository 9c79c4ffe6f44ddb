"""Explains without a model: fixed sentences around our own figures, of the same shape as a model's answer."""

from collections.abc import Iterator, Mapping
from typing import Any

from paiid.ai.facts import Fact, Item, Reading
from paiid.ai.guard import Passed
from paiid.ai.order_words import order_sentences, quoted

CAN = (
    "I can explain a position, an order and why it was refused, your portfolio, the option chain of a ticker, your limits of risk, "
    "quotes, and whether trading is halted. Name the symbol or the order's id."
)
CANNOT_TRADE = "This assistant only reads: it places, changes and cancels nothing."
_MOST = 10
"""Things of a list that are told one by one."""


class Say:
    """A sentence that is put together; it remembers its figures."""

    def __init__(self) -> None:
        self._facts: list[Fact] = []

    def __call__(self, fact: Fact) -> str:
        """The figure with its unit; whether it is stale."""
        self._facts.append(fact)
        return f"{fact.amount}{' (stale)' if fact.stale else ''}"

    def done(self, text: str) -> Passed:
        """The sentence."""
        facts, self._facts = tuple(self._facts), []
        return Passed(text + "\n", facts)


def explained(reading: Reading) -> Iterator[Passed]:
    """The sentences about what was read."""
    say = Say()
    teller = _TELLERS[reading.kind]
    for item in reading.items[:_MOST]:
        for text in teller(item, say):
            yield say.done(text)
    if len(reading.items) > _MOST:
        yield say.done("There are more; these are the first.")
    if reading.note is not None:
        yield say.done(reading.note)


def plainly(text: str) -> Passed:
    """A sentence without figures."""
    return Passed(text + "\n", ())


def _sum(item: Item, say: Say, names: Mapping[str, str]) -> str:
    """`what value; what value` of the figures that there are."""
    return "; ".join(f"{what} {say(item.facts[name])}" for name, what in names.items() if name in item.facts)


def _portfolio(item: Item, say: Say) -> Iterator[str]:
    facts = item.facts
    worth = _sum(item, say, {"total_value": "worth", "cash": "cash", "buying_power": "buying power"})
    yield f"Your portfolio: {worth}."
    if "total_value" not in facts:
        yield "Its total value is not known, for a price is missing."
    results = _sum(
        item,
        say,
        {"day_pl": "profit of the day", "day_pl_percent": "that is", "total_pl": "profit since the start"},
    )
    if results:
        yield f"{results[0].upper()}{results[1:]}. Negative is a loss."
    held = _sum(
        item, say, {"num_positions": "positions", "num_winning": "with a profit", "num_losing": "with a loss"}
    )
    yield f"It holds: {held}."
    exposure = _sum(item, say, {"gross": "gross", "net": "net", "long": "long", "short": "short"})
    if exposure:
        yield f"Exposure: {exposure}."
    for name, what in (("largest_winner", "Largest winner"), ("largest_loser", "Largest loser")):
        if name in facts:
            yield f"{what}: {facts[name].label}, {say(facts[name])}."
    if item.words.get("missing_prices"):
        yield f"There is no price for {', '.join(item.words['missing_prices'])}."
    yield from _stale(item)


def _account(item: Item, say: Say) -> Iterator[str]:
    words = item.words
    yield f"Account {words['id']} ({words['mode']}, at {words['broker']}) is {words['status']}."
    yield _sum(
        item, say, {"cash": "Cash", "equity": "equity", "buying_power": "buying power", "maintenance_margin": "maintenance margin"}
    ) + "."  # fmt: skip
    if words.get("reconcile_problem"):
        problem = quoted(words["reconcile_problem"])
        yield f"Its books do not agree with the broker's: {problem}. Nothing is opened in it until they do."
    elif words.get("only_reduces"):
        yield "Its state lets no order open anything; orders that reduce are taken."


def _position(item: Item, say: Say) -> Iterator[str]:
    words, facts = item.words, item.facts
    what = words["symbol"]
    if words.get("option_type"):
        terms = _sum(item, say, {"strike_price": "strike", "expiration_date": "expiration"})
        what += f" (a {words['option_type']} on {words['underlying']}, {terms})"
    yield f"{what}: {words['side']}, {say(facts['qty'])}."
    if "avg_entry_price" in facts:
        yield f"Bought or sold at {say(facts['avg_entry_price'])} on average."
    if "current_price" not in facts:
        yield "There is no price of it now, so its value and result are not known."
        return
    yield f"{_sum(item, say, {'current_price': 'The price is', 'market_value': 'the position is worth'})}."
    if "unrealized_pl" in facts:
        result = facts["unrealized_pl"].value
        word = "loss" if str(result).startswith("-") else "profit"
        share = f", {say(facts['unrealized_plpc'])}" if "unrealized_plpc" in facts else ""
        yield f"That is an unrealized {word}: {say(facts['unrealized_pl'])}{share}."
    if "change_today" in facts:
        yield f"Change of the day: {say(facts['change_today'])}."
    greeks = _sum(
        item,
        say,
        {"implied_volatility": "implied volatility", "delta": "delta", "theta": "theta", "vega": "vega"},
    )
    if greeks:
        yield f"Of one contract, a share: {greeks}."
    yield from _stale(item)


def _fill(item: Item, say: Say) -> Iterator[str]:
    words, facts = item.words, item.facts
    yield f"{words['symbol']} {words['side']}: {say(facts['qty'])} at {say(facts['price'])}, {say(facts['time'])}."


def _quote(item: Item, say: Say) -> Iterator[str]:
    figures = _sum(
        item,
        say,
        {"last": "last", "bid": "bid", "ask": "ask", "change": "change of the day", "change_pct": "that is"},
    )
    source = next((f", from {fact.source}" for fact in item.facts.values()), "")
    yield f"{item.words['symbol']}{source}: {figures}."
    yield from _stale(item)


def _bars(item: Item, say: Say) -> Iterator[str]:
    figures = _sum(
        item, say, {"begin": "from", "open": "open", "close": "close", "high": "highest", "low": "lowest", "change": "change"}
    )  # fmt: skip
    yield f"{item.words['symbol']}, bars of {item.words['timeframe']}: {figures}."


def _chain(item: Item, say: Say) -> Iterator[str]:
    words = item.words
    if "option_type" in words:
        figures = _sum(
            item, say,
            {"strike_price": "strike", "bid": "bid", "ask": "ask", "implied_volatility": "implied volatility", "delta": "delta"},
        )  # fmt: skip
        quality = f" Its quote: {', '.join(words['quality'])}." if words.get("quality") else ""
        yield f"- {words['option_type']} {words['symbol']}: {figures}.{quality}"
        return
    yield f"Options on {words['symbol']}: {_sum(item, say, {'underlying_price': 'underlying at', 'expiration_date': 'expiration'})}."
    dates = [
        say(fact)
        for name, fact in item.facts.items()
        if name.startswith("expiration_") and name != "expiration_date"
    ]
    if dates:
        yield f"The next expirations: {', '.join(dates)}."
    yield (
        "A call gains when the price rises above its strike, a put when it falls below; the buyer can lose what he paid, "
        "and implied volatility says how much movement the price of the option expects."
    )
    yield from _stale(item)


def _limits(item: Item, say: Say) -> Iterator[str]:
    for fact in item.facts.values():
        yield f"- {fact.label}: {say(fact)}."


def _halts(item: Item, say: Say) -> Iterator[str]:
    words = item.words
    who = words["scope"]
    if not words["halted"]:
        yield f"Trading is not halted for {who}."
    else:
        since = f" since {say(item.facts['since'])}" if "since" in item.facts else ""
        how = "takes only orders that reduce a position" if words["mode"] == "reduce_only" else "is halted"
        yield f"Trading {how} for {who}{since}; the reason given: {quoted(words['reason_words'])}."
    if words.get("this_process") and who == "everybody":
        yield "This process is halted by its latch file."


def _clock(item: Item, say: Say) -> Iterator[str]:
    yield "The market is open." if item.words.get("is_open") else "The market is closed."
    following = _sum(
        item,
        say,
        {"next_open": "next opening", "next_close": "next close", "next_roll": "end of the trading day"},
    )
    if following:
        yield f"{following[0].upper()}{following[1:]}."


def _order(item: Item, say: Say) -> Iterator[str]:
    yield from order_sentences(item.words, item.facts, say)


def _stale(item: Item) -> Iterator[str]:
    if item.words.get("stale"):
        yield "These prices are stale: the market data are silent or old."


_TELLERS: Mapping[str, Any] = {
    "portfolio": _portfolio,
    "account": _account,
    "positions": _position,
    "position": _position,
    "orders": _order,
    "order": _order,
    "fills": _fill,
    "quotes": _quote,
    "bars": _bars,
    "chain": _chain,
    "limits": _limits,
    "halts": _halts,
    "clock": _clock,
}
