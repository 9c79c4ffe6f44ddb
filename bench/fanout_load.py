"""The clients of a fan-out, in a process of their own: they count messages and take the latency of a sample, nothing more.

`python -m bench.fanout_load KIND PORT CLIENTS`. KIND `ours`, `limit` or `batches` speaks our protocol, `nats` that
of nats-server over its WebSocket. Prints what came since the last time, a line of JSON, for each word on stdin.
"""

import asyncio
import json
import os
import re
import sys
import time
from typing import Any

import uvloop

_STAMP = re.compile(rb'"ts_event":(?:"[^T"]+T(\d\d):(\d\d):(\d\d)\.(\d{6})Z"|(\d{16}))')
_SAMPLE = 20
"""One client in so many takes latencies, of the first message in each piece that arrives."""
SERVED_S = 15.0
"""Until all clients have what they asked for; a server that is flooded may be late with that."""
_DAY_US = 86_400_000_000


def late_us(piece: bytes, now_us: int) -> int | None:
    """How old the newest complete stamp in a piece is; None where there is none."""
    stamps = list(_STAMP.finditer(piece, max(0, len(piece) - 2000)))
    if not stamps:
        return None
    found = stamps[-1]
    if found[5]:
        return now_us - int(found[5])
    seconds = int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3])
    return (now_us - (seconds * 1_000_000 + int(found[4]))) % _DAY_US


class Client(asyncio.Protocol):
    """Counts the stamps in what it reads: one a message, whichever way they are framed."""

    def __init__(self, load: "Load", kind: str, number: int) -> None:
        self._load = load
        self._kind = kind
        self._sampled = number % _SAMPLE == 0
        self._head = b""
        self.ready = False
        self.served = False
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        path = "/?batch=1" if self._kind == "batches" else "/"
        transport.write(
            f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )

    def connection_lost(self, error: Exception | None) -> None:
        self._load.lost += 1

    def say(self, opcode: int, text: bytes) -> None:
        size = len(text)
        head = (
            bytes([0x80 | opcode, 0x80 | size])
            if size < 126
            else bytes([0x80 | opcode, 0xFE]) + size.to_bytes(2, "big")
        )
        self.transport.write(head + b"\0\0\0\0" + text)

    def begin(self) -> None:
        """Ask for everything."""
        if self._kind == "nats":
            self.say(2, b'CONNECT {"verbose":false,"pedantic":false,"lang":"bench","version":"1"}\r\n')
            self.say(2, b"SUB quotes.* 1\r\nPING\r\n")
        else:
            self.say(1, b"go")

    def data_received(self, data: bytes) -> None:
        if not self.ready:
            self._head += data
            if b"\r\n\r\n" in self._head:
                self.ready = True
            return
        load = self._load
        if not self.served and (b'"ready"' in data or b"PONG\r\n" in data):
            self.served = True
        load.messages += data.count(b'"ts_event"')
        load.bytes += len(data)
        if self._kind == "nats" and b"PING\r\n" in data[-16:]:
            self.say(2, b"PONG\r\n")
        if self._sampled:
            late = late_us(data, time.time_ns() // 1000)
            if late is not None:
                load.late_us.append(late)


class Load:
    """What all clients of this process got."""

    def __init__(self) -> None:
        self.messages = 0
        self.bytes = 0
        self.lost = 0
        self.late_us: list[int] = []

    def told(self) -> str:
        """Since the last time, as JSON."""
        late = sorted(self.late_us)
        found = {
            "messages": self.messages,
            "bytes": self.bytes,
            "lost": self.lost,
            "p50_ms": late[len(late) // 2] / 1000 if late else 0.0,
            "p99_ms": late[int(len(late) * 0.99)] / 1000 if late else 0.0,
        }
        self.messages = self.bytes = 0
        self.late_us = []
        return json.dumps(found)


async def run(kind: str, port: int, count: int) -> None:
    """Obey the words on stdin: connect, begin, stall N, count, end."""
    loop = asyncio.get_running_loop()
    load = Load()
    clients: list[Client] = []
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(0, "rb"))
    while word := (await reader.readline()).decode().strip():
        name, _, rest = word.partition(" ")
        if name == "connect":
            for number in range(count):
                _, client = await loop.create_connection(
                    lambda number=number: Client(load, kind, number),  # type: ignore[misc]
                    "127.0.0.1",
                    port,
                )
                clients.append(client)
            while not all(client.ready for client in clients):
                await asyncio.sleep(0.01)
        elif name == "begin":
            for client in clients:
                client.begin()
            until = loop.time() + SERVED_S
            while not all(client.served for client in clients) and loop.time() < until:
                await asyncio.sleep(0.01)
        elif name == "stall":
            for client in clients[: int(rest)]:
                client.transport.pause_reading()
        elif name == "end":
            return
        print(load.told(), flush=True)


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
