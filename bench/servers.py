"""The HTTP servers that are measured, each in a process of its own, all under the product's uvicorn settings.

`python -m bench.servers KIND PORT`; ours is told the rest by the environment, as the product is.
"""

import os
import socket
import sys
from collections.abc import Callable
from typing import Annotated, Any

import jwt
import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel

from bench.broker import InstantBroker
from paiid.app import create_app
from paiid.cli.serve import BACKLOG, server_config
from paiid.core.log import configure
from paiid.core.migrate import migrate
from paiid.core.settings import known_secrets, load_settings

TEST_KEY = "test-key-test-key-test-key-test-key-test-key"


def raw_app() -> Any:
    """The limit: the least an ASGI server can do with a request."""
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"15")],
    }
    body = {"type": "http.response.body", "body": b'{"status":"ok"}'}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send(start)
        await send(body)

    return app


def bare_app() -> FastAPI:
    """A peer: FastAPI with one route and nothing else."""
    app = FastAPI()

    @app.get("/")
    async def read() -> dict[str, str]:
        return {"status": "ok"}

    return app


class _Order(BaseModel):
    symbol: str
    side: str
    qty: float
    type: str = "market"
    time_in_force: str = "day"


class _Body(BaseModel):
    dryRun: bool = False
    orders: list[_Order]


async def _caller(authorization: Annotated[str, Header()]) -> str:
    try:
        claims = jwt.decode(authorization.removeprefix("Bearer "), TEST_KEY, algorithms=["HS256"])
    except jwt.PyJWTError:
        raise HTTPException(401) from None
    return str(claims["sub"])


def jwt_app() -> FastAPI:
    """A peer: FastAPI as most people write it, a pydantic body and a token verified with each request."""
    app = FastAPI()

    @app.post("/execute")
    async def execute(body: _Body, user: Annotated[str, Depends(_caller)]) -> dict[str, object]:
        return {"accepted": True, "user": user, "orders": [order.model_dump() for order in body.orders]}

    return app


def our_app() -> FastAPI:
    """Ours, whole. BENCH_BROKER=instant: with a broker that takes no time."""
    settings = load_settings(os.environ)
    configure(settings.log_level, known_secrets(settings))
    migrate(settings.database)
    return create_app(settings, broker=InstantBroker() if os.environ["BENCH_BROKER"] == "instant" else None)


APPS: dict[str, Callable[[], Any]] = {"raw": raw_app, "bare": bare_app, "jwt": jwt_app, "ours": our_app}


def main() -> None:
    """Serve until SIGTERM."""
    kind, port = sys.argv[1:]
    app = APPS[kind]()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(port)))
    listener.listen(BACKLOG)
    uvicorn.Server(server_config(app)).run(sockets=[listener])


if __name__ == "__main__":
    main()
