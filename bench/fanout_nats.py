"""The peer of the fan-out: nats-server over its WebSocket, and a publisher that feeds it the same messages.

`python -m bench.fanout_nats PORT SYMBOLS PER_S` publishes over plain TCP until SIGTERM.
"""

import asyncio
import sys
import time
from pathlib import Path

import uvloop

from bench.fanout_server import TICK_S, symbols_of

PAD = b"x" * 390
"""So that a message is as long as one of ours."""


def configuration(port: int, ws_port: int, directory: Path) -> Path:
    """The file of settings for a server without TLS, on loopback."""
    path = directory / f"nats-{port}.conf"
    path.write_text(
        f"listen: 127.0.0.1:{port}\n"
        f'websocket {{ listen: "127.0.0.1:{ws_port}", no_tls: true, compression: false }}\n'
        "max_connections: 4096\nwrite_deadline: 10s\n"
    )
    return path


async def publish(port: int, symbols: int, per_s: float) -> None:
    """So many messages a second, every ten milliseconds those that are due."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b'CONNECT {"verbose":false,"pedantic":false,"lang":"bench","version":"1"}\r\n')
    subjects = [f"quotes.{one}".encode() for one in symbols_of(symbols)]
    loop = asyncio.get_running_loop()
    began, count = loop.time(), 0
    while True:
        due = int((loop.time() - began) * per_s)
        count = max(count, due - int(per_s))
        while count < due:
            count += 1
            body = b'{"type":"market_data","sequence":%d,"ts_event":%d,"data":"%b"}' % (
                count,
                time.time_ns() // 1000,
                PAD,
            )
            writer.write(b"PUB %b %d\r\n%b\r\n" % (subjects[count % symbols], len(body), body))
        await writer.drain()
        await asyncio.sleep(min(TICK_S, 1 / per_s))


if __name__ == "__main__":
    uvloop.run(publish(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
