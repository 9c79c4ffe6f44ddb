"""A stand-in of Anthropic's Messages API on a socket: it answers what a test has scripted, and keeps what it was asked."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

KEY = "test-anthropic-key"


@dataclass
class Say:
    """One answer that is streamed: texts, each in pieces of so many characters, then calls of tools (name, arguments)."""

    text: str = ""
    calls: tuple[tuple[str, Any], ...] = ()
    pieces: int = 1000
    stop_reason: str | None = None
    input_tokens: int = 100
    output_tokens: int = 20
    thinking: str = ""

    def events(self) -> list[dict[str, Any]]:
        """As the API streams them."""
        usage = {"input_tokens": self.input_tokens, "output_tokens": 1}
        message = {
            "id": "msg_test", "type": "message", "role": "assistant", "model": "test", "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": usage,
        }  # fmt: skip
        told: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
        blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
        if self.thinking:
            deltas = [
                {"type": "thinking_delta", "thinking": self.thinking},
                {"type": "signature_delta", "signature": "test-signature"},
            ]
            blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, deltas))
        if self.text:
            cut = [self.text[at : at + self.pieces] for at in range(0, len(self.text), self.pieces)]
            blocks.append(
                ({"type": "text", "text": ""}, [{"type": "text_delta", "text": one} for one in cut])
            )
        for number, (name, arguments) in enumerate(self.calls):
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            half = len(text) // 2
            deltas = [{"type": "input_json_delta", "partial_json": one} for one in (text[:half], text[half:])]
            blocks.append(({"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": {}}, deltas))
        for index, (block, deltas) in enumerate(blocks):
            told.append({"type": "content_block_start", "index": index, "content_block": block})
            told += [{"type": "content_block_delta", "index": index, "delta": one} for one in deltas]
            told.append({"type": "content_block_stop", "index": index})
        reason = self.stop_reason or ("tool_use" if self.calls else "end_turn")
        told.append(
            {
                "type": "message_delta",
                "delta": {"stop_reason": reason, "stop_sequence": None},
                "usage": {"output_tokens": self.output_tokens},
            }
        )
        told.append({"type": "message_stop"})
        return told


@dataclass
class Refuse:
    """An answer with an error's status."""

    status: int
    kind: str = "api_error"


@dataclass
class Raw:
    """Bytes of a stream, as they are; `hold` keeps it open after them."""

    body: bytes
    hold: bool = False


@dataclass
class Drip:
    """A stream that begins, and then gives a little again and again."""

    body: bytes
    again: bytes


@dataclass
class Hang:
    """No answer at all."""


Scripted = Say | Refuse | Raw | Drip | Hang | Callable[[dict[str, Any]], Any]


@dataclass
class StandIn:
    """The API: `script` is used up from its front; its last entry answers for ever."""

    script: list[Any] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    left: int = 0
    """Requests whose client went away before the end."""
    holding: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once a request is held open."""
    url: str = ""

    _open: set[asyncio.Task[None]] = field(default_factory=set)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection; it is waited for at the end."""
        task = asyncio.create_task(self.serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def ended(self) -> None:
        """Every connection is closed."""
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            headers = {name.lower(): value for name, value in lines.items()}
            body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))))
            self.asked.append(body)
            self.keys.append(
                headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
            )
            step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            if callable(step):
                step = step(body)
            await self._answer(step, reader, writer)
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def _answer(self, step: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(step, Refuse):
            body = json.dumps({"type": "error", "error": {"type": step.kind, "message": "test"}}).encode()
            # Where a redirect would lead: back here, and it would be seen.
            head = _head(step.status, b"application/json").replace(
                b"connection", b"location: /v1/messages\r\nconnection"
            )
            writer.write(head + body)
            await writer.drain()
            return
        if isinstance(step, Say):
            writer.write(_head(200, b"text/event-stream"))
            for event in step.events():
                writer.write(
                    b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode())
                )
                await writer.drain()
            return
        if isinstance(step, Drip):
            writer.write(_head(200, b"text/event-stream") + step.body)
            while not writer.is_closing():
                writer.write(step.again)
                await writer.drain()
                await asyncio.sleep(0.05)
            return
        if isinstance(step, Raw):
            writer.write(_head(200, b"text/event-stream") + step.body)
            await writer.drain()
        if not isinstance(step, Raw) or step.hold:
            self.holding.set()
            await reader.read()
            self.left += 1


def _head(status: int, kind: bytes) -> bytes:
    return b"HTTP/1.1 %d Test\r\ncontent-type: %b\r\nconnection: close\r\n\r\n" % (status, kind)


def streamed(*events: dict[str, Any]) -> bytes:
    """Events as bytes of the stream."""
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode()) for event in events
    )


@asynccontextmanager
async def stand_in(*script: Scripted) -> AsyncIterator[StandIn]:
    """The API on a free port, for as long as the block lasts."""
    one = StandIn(list(script))
    server = await asyncio.start_server(one.accept, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield one
    finally:
        server.close()
        await one.ended()
