"""P9: the JSON of a priced chain of 5,000 contracts as it is served, first and from kept bytes, beside FastAPI's two usual ways."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response

from bench.figures import Say, Series, goal, ratio, ratio_row, row
from bench.p9_chain_json import model_of, priced
from bench.processes import cores, pinned
from paiid.core.compression import compress
from paiid.core.json import encode
from paiid.options.answers import Answer, Answers
from paiid.options.asked import Asked
from paiid.options.pool import PricingPool
from paiid.options.shapes import ChainView
from paiid.options.views import chain_view

COUNT = 5000
GOAL = 8.0


def _application(chain: Any, pool: PricingPool) -> FastAPI:
    """Routes with the same content, without authentication: from ready objects as the peers have them, and as ours is served."""
    app = FastAPI()
    body = chain_view(chain, Asked())
    content = msgspec.json.decode(body)
    ready = msgspec.json.decode(body, type=ChainView)
    answers = Answers(pool)

    @app.get("/plain")
    async def plain() -> Any:
        return content

    @app.get("/model", response_model=model_of())
    async def model() -> Any:
        return content

    @app.get("/ready")
    async def from_ready() -> Response:
        return Response(encode(ready), media_type="application/json")

    @app.get("/first")
    async def first(request: Request) -> Response:
        return await answers.reply(request, Answer(chain_view(chain, Asked()), chain))

    @app.get("/kept")
    async def kept(request: Request) -> Response:
        answer = answers.find("kept", chain)
        if answer is None:
            answer = Answer(chain_view(chain, Asked()), chain)
            answers.keep("kept", answer)
        return await answers.reply(request, answer)

    return app


def _call(app: FastAPI, path: str, encoding: bytes = b"identity") -> Callable[[], Awaitable[None]]:
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "method": "GET", "path": path, "raw_path": path.encode(),
        "query_string": b"", "headers": [(b"accept-encoding", encoding)], "http_version": "1.1", "scheme": "http",
        "server": ("bench", 80), "client": ("bench", 1), "root_path": "",
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message.get("status", 200) != 200:
            raise RuntimeError(f"{path} answers {message['status']}")

    async def once() -> None:
        await app(dict(scope), receive, send)

    return once


async def _spell(call: Callable[[], Awaitable[None]], seconds: float) -> float:
    """CPU milliseconds a call: nothing here waits for anything, and other processes on the machine do not count."""
    runs: list[float] = []
    ends_at = time.perf_counter() + seconds
    while not runs or time.perf_counter() < ends_at:
        begun_at = time.process_time()
        await call()
        runs.append((time.process_time() - begun_at) * 1e3)
    return median(runs)


def run(say: Say, directory: Path, seconds: float, rounds: int) -> bool:
    """Print the figures; whether the goal is reached."""
    chain = priced(COUNT)
    body = chain_view(chain, Asked())
    say(
        f"P9 the JSON of a chain of {len(chain):,} contracts: {len(body):,} bytes, zstd {len(compress(body, 'zstd')):,}; "
        "through FastAPI's routing, without authentication"
    )
    pool = PricingPool()
    app = _application(chain, pool)
    ways = {
        "ready": ("ours", "ours, ready objects to bytes", _call(app, "/ready")),
        "first": ("ours", "ours, first answer: arrays to bytes", _call(app, "/first")),
        "zstd": ("ours", "ours, first answer compressed (zstd)", _call(app, "/first", b"zstd")),
        "kept": ("ours", "ours, kept bytes", _call(app, "/kept")),
        "kept zstd": ("ours", "ours, kept compressed bytes", _call(app, "/kept", b"zstd")),
        "model": ("peer", "FastAPI response_model, ready objects", _call(app, "/model")),
        "plain": ("peer", "FastAPI plain dict, ready objects", _call(app, "/plain")),
    }
    found = {name: Series(words, "ms CPU") for name, (_, words, _) in ways.items()}
    on, _ = cores()
    with pinned(on), asyncio.Runner() as runner:
        for _, _, call in ways.values():
            runner.run(call())  # type: ignore[arg-type]
        # What the peers keep for themselves is not to be walked by the collector in our turns.
        gc.collect()
        gc.freeze()
        for _ in range(rounds):
            for name, (_, _, call) in ways.items():
                found[name].add(runner.run(_spell(call, seconds)))
        runner.run(pool.stop())
        gc.unfreeze()
    for name, (role, words, _) in ways.items():
        row(say, role, words, found[name])
    judged = ratio("response_model / ours, ready objects", found["model"].values, found["ready"].values)
    for figure in (
        judged,
        ratio("response_model / ours, arrays to bytes", found["model"].values, found["first"].values),
        ratio("response_model / ours, kept bytes", found["model"].values, found["kept"].values),
        ratio("plain dict / ours, ready objects", found["plain"].values, found["ready"].values),
    ):
        ratio_row(say, figure)
    return goal(say, "ready objects to bytes against response_model", judged, GOAL)
