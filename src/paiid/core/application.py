"""The ASGI application: our edge is its outermost layer, and the framework's own layers are those that are needed.

FastAPI puts a crash handler, its telemetry and a body limit of its own around whatever an app adds. The edge does all
that is promised here (crash handler, limits, one log line), and each layer around it costs every request.
"""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send


class Application(FastAPI):
    """`wrap` puts a layer around everything there is so far, HTTP and WebSocket; the last one is the outermost."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._outermost: ASGIApp = super().__call__

    def wrap(self, layer: Callable[[ASGIApp], ASGIApp]) -> None:
        """One more layer around the app."""
        self._outermost = layer(self._outermost)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        if scope["type"] in ("http", "websocket"):
            await self._outermost(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """Without the framework's crash handler: it would answer before the edge could, and raise all the same."""
        handlers = {
            key: value for key, value in self.exception_handlers.items() if key not in (500, Exception)
        }
        return ExceptionMiddleware(AsyncExitStackMiddleware(self.router), handlers=handlers, debug=False)
