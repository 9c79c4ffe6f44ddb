"""One exchange with the model: a request to the Messages API, and what it streams, taken apart strictly.

The SDK is imported in a thread while a process starts that will want it: that takes seconds, and holds the event loop up again and again
for some of them. Nothing of what is said is ever logged.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, Protocol

from paiid.ai.limits import BLOCK_CHARS, MOST_TOKENS, OUTPUT_TOKENS, TOLD_BYTES, AiTimings
from paiid.core.json import encode

Why = Literal[
    "wrong_key",
    "limited",
    "overloaded",
    "unreachable",
    "timeout",
    "malformed",
    "refused",
    "too_many_rounds",
]
"""Why the model gave no answer."""
WORDS: dict[Why, str] = {
    "wrong_key": "the model's provider does not take the key",
    "limited": "the model's provider allows no more requests for now",
    "overloaded": "the model is overloaded",
    "unreachable": "the model cannot be reached",
    "timeout": "the model took too long",
    "malformed": "the model's answer could not be read",
    "refused": "the model's provider refused the request",
    "too_many_rounds": "the model asked for data again and again",
}
_CHARS_A_TOKEN = 3


async def load_sdk() -> None:
    """Import what an exchange needs; before anything trades, for the import holds the event loop up. A broken installation is told
    by the first question, which the rules answer."""
    with suppress(ImportError):
        await asyncio.to_thread(_import_sdk)


def _import_sdk() -> None:
    for name in ("anthropic.resources.messages", "httpx2"):
        import_module(name)


class ModelFailed(Exception):
    """There is no answer of the model."""

    def __init__(self, why: Why, *, of_question: bool = False) -> None:
        super().__init__(why)
        self.why: Why = why
        self.of_question = of_question
        """Whoever asks can bring it about."""


@dataclass(slots=True)
class Meter:
    """What an exchange has used so far; right also when it was broken off. `begun`: the model may have begun to work."""

    begun: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    said_chars: int = 0

    def used(self, estimate: int) -> tuple[int, int]:
        """Tokens in and out; what was not told is estimated."""
        if not self.begun:
            return 0, 0
        told = estimate if self.input_tokens is None else self.input_tokens
        return told, max(self.output_tokens or 0, -(-self.said_chars // _CHARS_A_TOKEN))


@dataclass(slots=True)
class Turn:
    """What the model said, as blocks that can be sent back to it, and why it stopped."""

    blocks: list[dict[str, Any]] = field(default_factory=list)
    stop_reason: str | None = None


class Model(Protocol):
    """Somebody who answers."""

    async def turn(
        self,
        system: str,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]],
        meter: Meter,
        say: Callable[[str], None],
    ) -> Turn:
        """One exchange; `say` gets the text as it comes. Raises ModelFailed."""
        ...

    async def stop(self) -> None:
        """Close what is open."""
        ...


class AnthropicModel:
    """The model of the settings."""

    def __init__(self, api_key: str, base_url: str, name: str, timings: AiTimings) -> None:
        self._api_key = api_key
        self._base_url = base_url
        self._name = name
        self._timings = timings
        self._client: Any = None
        self._opening = asyncio.Lock()

    async def turn(
        self,
        system: str,
        messages: Sequence[dict[str, Any]],
        tools: Sequence[dict[str, Any]],
        meter: Meter,
        say: Callable[[str], None],
    ) -> Turn:
        """One exchange. Raises ModelFailed."""
        try:
            import anthropic
            import httpx2

            client = await self._opened()
        except ImportError:
            raise ModelFailed("unreachable") from None
        meter.begun = True
        try:
            stream = await client.messages.create(
                model=self._name,
                max_tokens=OUTPUT_TOKENS,
                system=system,
                messages=list(messages),
                tools=list(tools),
                stream=True,
            )
            async with stream:
                return await _taken_apart(stream, meter, say)
        except ModelFailed:
            raise
        except anthropic.APIStatusError as error:
            # An error inside of a stream is told after the head of an answer, and what came before it was work.
            meter.begun = meter.input_tokens is not None
            raise ModelFailed(_why(error)) from None
        except anthropic.APIConnectionError as error:
            meter.begun = not isinstance(error.__cause__, (httpx2.ConnectError, httpx2.ConnectTimeout))
            raise ModelFailed(_why_broken(error.__cause__ or error)) from None
        except Exception as error:  # noqa: BLE001 - what the other side sends may break the SDK in any way
            raise ModelFailed(_why_broken(error)) from None

    async def _opened(self) -> Any:
        async with self._opening:
            if self._client is None:
                self._client = await asyncio.to_thread(self._open)
            return self._client

    def _open(self) -> Any:
        import anthropic
        import httpx2

        # Its debug lines hold what people wrote.
        logging.getLogger("anthropic").setLevel(logging.WARNING)
        times = self._timings
        timeout = httpx2.Timeout(times.silence_s, connect=times.connect_s, pool=times.connect_s)
        return anthropic.AsyncAnthropic(
            api_key=self._api_key,
            base_url=self._base_url,
            max_retries=0,
            timeout=timeout,
            open_telemetry=False,
            http_client=anthropic.DefaultAsyncHttpxClient(
                timeout=timeout,
                # The key goes where the settings say and nowhere else.
                follow_redirects=False,
                trust_env=False,
                event_hooks={"response": [_bound]},
            ),
        )

    async def stop(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None


class _TooMuch(Exception):
    """More was sent than any answer has."""


class _Bounded:
    """A body that ends with an error where it has no end; a line without one would fill the memory."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        async for piece in self._inner:
            seen += len(piece)
            if seen > TOLD_BYTES:
                raise _TooMuch
            yield piece

    async def aclose(self) -> None:
        """Close what is below."""
        await self._inner.aclose()


async def _bound(response: Any) -> None:
    import httpx2

    class Bounded(_Bounded, httpx2.AsyncByteStream):
        """As the library wants it."""

    response.stream = Bounded(response.stream)


def _why(error: Any) -> Why:
    status = error.status_code
    kind = getattr(error, "type", None)
    if status in (401, 403) or kind in ("authentication_error", "permission_error"):
        return "wrong_key"
    if status == 429 or kind == "rate_limit_error":
        return "limited"
    if status == 529 or kind == "overloaded_error":
        return "overloaded"
    return "unreachable" if status >= 500 or kind == "api_error" else "refused"


def _why_broken(error: BaseException) -> Why:
    import httpx2

    if isinstance(error, httpx2.TimeoutException):
        return "timeout"
    return "unreachable" if isinstance(error, httpx2.TransportError) else "malformed"


async def _taken_apart(stream: Any, meter: Meter, say: Callable[[str], None]) -> Turn:
    """The events of one message. Raises ModelFailed for anything that does not fit together."""
    turn, partial = Turn(), ""
    begun = ended = False
    async for event in stream:
        kind = event.type
        if kind == "message_start":
            begun = True
            meter.input_tokens = _input_tokens(event.message.usage)
            meter.output_tokens = _count(event.message.usage.output_tokens)
        elif kind == "content_block_start" and begun:
            turn.blocks.append(_block(event.content_block))
            partial = ""
        elif kind == "content_block_delta" and begun:
            if event.index != len(turn.blocks) - 1:
                raise ModelFailed("malformed")
            partial = _grown(turn.blocks[-1], event.delta, partial, meter, say)
        elif kind == "content_block_stop" and begun:
            if turn.blocks[event.index]["type"] == "tool_use":
                turn.blocks[event.index]["input"] = _arguments(partial)
        elif kind == "message_delta" and begun:
            turn.stop_reason = event.delta.stop_reason
            meter.output_tokens = _count(event.usage.output_tokens)
        elif kind == "message_stop" and begun:
            ended = True
        elif not begun:
            raise ModelFailed("malformed")
    if not ended or turn.stop_reason is None:
        # It broke off: what is missing could be the half that mattered.
        raise ModelFailed("malformed")
    # It goes back to the model as JSON: half a surrogate pair, which only an escape brings in, fails here and not there.
    encode(turn.blocks)
    return turn


def _block(block: Any) -> dict[str, Any]:
    if block.type == "text":
        return {"type": "text", "text": ""}
    if block.type == "tool_use":
        if not isinstance(block.id, str) or not isinstance(block.name, str):
            raise ModelFailed("malformed")
        return {"type": "tool_use", "id": block.id, "name": block.name, "input": {}}
    if block.type == "thinking":
        return {"type": "thinking", "thinking": "", "signature": ""}
    if block.type == "redacted_thinking":
        return {"type": "redacted_thinking", "data": block.data}
    raise ModelFailed("malformed")


def _grown(block: dict[str, Any], delta: Any, partial: str, meter: Meter, say: Callable[[str], None]) -> str:
    """The block with what came; the arguments of a tool are gathered apart."""
    if delta.type == "text_delta" and block["type"] == "text":
        block["text"] += delta.text
        meter.said_chars += len(delta.text)
        say(delta.text)
    elif delta.type == "input_json_delta" and block["type"] == "tool_use":
        partial += delta.partial_json
        meter.said_chars += len(delta.partial_json)
    elif delta.type == "thinking_delta" and block["type"] == "thinking":
        block["thinking"] += delta.thinking
        meter.said_chars += len(delta.thinking)
    elif delta.type == "signature_delta" and block["type"] == "thinking":
        block["signature"] += delta.signature
    elif delta.type != "citations_delta":
        raise ModelFailed("malformed")
    if meter.said_chars > BLOCK_CHARS:
        raise ModelFailed("malformed")
    return partial


def _arguments(text: str) -> object:
    try:
        return json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        raise ModelFailed("malformed") from None


def _input_tokens(usage: Any) -> int:
    cached = (getattr(usage, "cache_creation_input_tokens", 0), getattr(usage, "cache_read_input_tokens", 0))
    return _count(usage.input_tokens) + sum(one for one in cached if isinstance(one, int))


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_TOKENS:
        raise ModelFailed("malformed")
    return value
