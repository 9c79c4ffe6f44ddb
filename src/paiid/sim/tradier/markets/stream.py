"""The market stream: its sessions, who has one, and the endpoints of both ways to listen (tradier.md, sections 9.1 to 9.3)."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from paiid.sim.engine.connection import connection_of
from paiid.sim.tradier.accounts import SimUser
from paiid.sim.tradier.gate import BusinessError, TradierError, params_of
from paiid.sim.tradier.markets.http_stream import streamed
from paiid.sim.tradier.markets.listener import Listener
from paiid.sim.tradier.markets.sessions import Sessions
from paiid.sim.tradier.markets.side import MarketSide
from paiid.sim.tradier.markets.socket import serve
from paiid.sim.tradier.markets.tape import Tape
from paiid.sim.tradier.markets.wanted import BadPayload, Payload, Wanted, payload_of_params
from paiid.sim.tradier.shapes import Told

__all__ = ["MarketStream"]

PATH = "/v1/markets/events"
NO_SESSION = "invalid session"
TOO_MANY = "too many sessions requested"


class MarketStream:
    """`/v1/markets/events`. A user has one stream at a time; his first account names him."""

    def __init__(self, side: MarketSide) -> None:
        self.side = side
        self.tape = Tape(side)
        self._sessions = Sessions(side.exchange.clock)
        self._listeners: set[Listener] = set()
        self._count = 0

    def routes(self) -> list[BaseRoute]:
        """Without a token: the id of the session is enough."""
        return [
            WebSocketRoute(PATH, self._socket),
            Route(PATH, self._http, methods=["GET", "POST"]),
        ]

    @property
    def connections(self) -> dict[str, int]:
        """Who streams, by account."""
        counts: dict[str, int] = {}
        for one in self._listeners:
            if one.account is not None:
                counts[one.account] = counts.get(one.account, 0) + 1
        return counts

    def close_all(self) -> None:
        """End everything with a farewell."""
        for one in list(self._listeners):
            one.end()

    def disconnect(self, account: str | None = None) -> int:
        """Cut the streams of one account, or all, off; how many that were."""
        cut = [one for one in self._listeners if account in (None, one.account)]
        for one in cut:
            one.cut()
        return len(cut)

    # -- sessions -----------------------------------------------------------------------------------

    async def create_session(self, side: MarketSide, user: SimUser, request: Request) -> Told:
        """`POST /v1/markets/events/session`. Raises TradierError in a sandbox, BusinessError while the user streams."""
        account = user.accounts[0].number
        if not side.streams:
            raise TradierError(403, "Market streaming is not available in the sandbox.")
        fault = side.faults.draw("connect", account, event="session")
        if fault is not None:
            side.faults.tell(fault, account=account)
        if fault is not None or (self.streams(account) and not side.options.renew_while_streaming):
            side.exchange.ledger.append("market_session", account=account, outcome=TOO_MANY)
            raise BusinessError(TOO_MANY, status=400)
        session = self._sessions.create(account, side.options.session_s)
        side.exchange.ledger.append("market_session", account=account, outcome="created")
        url = request.url.replace(path=PATH, query="")
        return Told({"stream": {"url": str(url), "sessionid": session}})

    async def delete_session(self, side: MarketSide, user: SimUser, request: Request) -> Told:
        """`DELETE /v1/markets/events/session`, which one client sends: ids that were not used are good no more; a stream goes on."""
        self._sessions.forget(user.accounts[0].number)
        return Told({"stream": {"status": "ok"}})

    def streams(self, account: str) -> bool:
        """Whether the user streams now."""
        return account in self.connections

    # -- one client ---------------------------------------------------------------------------------

    def admit(self, listener: Listener, payload: Payload) -> bool:
        """Let a client hear what it wants, in place of what it wanted before. False: its session is not good, and it is told so."""
        refusal = self._refusal(listener, payload.session)
        if refusal is not None:
            self._note("data_refused", listener, outcome=refusal)
            listener.refuse(refusal, final=True)
            return False
        listener.wanted, unknown = Wanted.of(payload, self._knows)
        self._note(
            "data_subscribe",
            listener,
            symbols=len(listener.wanted.symbols),
            unknown=len(unknown),
            filter=sorted(payload.events),
        )
        for name in unknown:
            listener.refuse(f"{name} is not a valid symbol", final=False)
        self.tape.subscribed(listener)
        return True

    def _refusal(self, listener: Listener, session: str) -> str | None:
        """Why this session gives no right to listen; else the listener has its account."""
        account = self._sessions.find(session)
        if account is None or listener.account not in (None, account):
            return NO_SESSION
        if listener.account is not None:
            return None
        fault = self.side.faults.draw("connect", account, event="stream")
        if fault is not None:
            self.side.faults.tell(fault, account=account, connection=listener.number)
            return NO_SESSION
        if self.streams(account):
            return TOO_MANY
        listener.account = account
        return None

    def _knows(self, symbol: str) -> bool:
        return self.side.looks.look(symbol) is not None

    def join(self, listener: Listener, way: str) -> None:
        """A connection is open."""
        self._listeners.add(listener)
        self._note("data_connect", listener, way=way)

    def leave(self, listener: Listener) -> None:
        """A connection has ended."""
        listener.gone()
        self._listeners.discard(listener)
        self.tape.leave(listener)
        self._note("data_end", listener)

    def _note(self, kind: str, listener: Listener, **more: object) -> None:
        self.side.exchange.ledger.append(kind, connection=listener.number, account=listener.account, **more)

    # -- endpoints ----------------------------------------------------------------------------------

    def _listener(self, scope: object) -> Listener:
        self._count += 1
        assert isinstance(scope, dict)
        return Listener(self._count, connection_of(scope), self.side.options.max_queue)

    async def _socket(self, websocket: WebSocket) -> None:
        if not self.side.streams:
            await websocket.send_denial_response(Response("Not Found", 404, media_type="text/plain"))
            return
        await serve(self, self.side, websocket, self._listener(websocket.scope))

    async def _http(self, request: Request) -> Response:
        if not self.side.streams:
            return Response("Not Found", 404, media_type="text/plain")
        try:
            payload = payload_of_params(await params_of(request))
        except TradierError as error:
            return Response(error.text, error.status, media_type="text/plain")
        except BadPayload as error:
            return Response(f"Invalid parameter, {error}.", 400, media_type="text/plain")
        return streamed(self, self.side, self._listener(request.scope), payload)
