"""A bot of a few lines: buys once, whatever happens to the line or to the bot, and follows its order and the price.

.venv/bin/python examples/bot.py http://127.0.0.1:8000 owner@localhost "$(cat data/owner-password)" AAPL
"""

import asyncio
import contextlib
import sys

from paiid.client import NewOrder, PaiidClient


async def main(service: str, email: str, password: str, symbol: str) -> None:
    async with PaiidClient(service, key_file="bot-keys.jsonl") as paiid:
        await paiid.sign_in(email, password)
        # What an earlier run sent and never heard of: asked for again under its key, so it is never done twice.
        done = await paiid.recover() or [
            await paiid.execute([NewOrder(symbol=symbol, side="buy", qty=1)], key=f"bot-buys-{symbol}-once")
        ]
        for one in done[-1].orders:
            print(one.symbol, one.state, one.reason or "")
        async for event in paiid.stream(["account", f"quotes:{symbol}"]):
            if event.type == "market_data":
                print(
                    symbol,
                    event.data["bid"],
                    event.data["ask"],
                    "stale" if event.data["stale"] else "",
                    flush=True,
                )
            else:
                print(event.type, event.channel, event.sequence, flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(*sys.argv[1:5]))
