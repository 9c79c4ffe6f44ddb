"""The endpoints of the market data stream, and how many sockets an account has on each feed."""

from typing import Any

from starlette.responses import JSONResponse
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from paiid.sim.alpaca.accounts import SimAccount
from paiid.sim.alpaca.marketdata.channels import FAMILIES, Family
from paiid.sim.alpaca.marketdata.side import DataSide
from paiid.sim.alpaca.marketdata.socket import DataSocket
from paiid.sim.alpaca.marketdata.tape import Tape

__all__ = ["DataStream"]


class DataStream:
    """`/v2/{feed}` for shares, `/v1beta1/{feed}` for options."""

    def __init__(self, side: DataSide) -> None:
        self.side = side
        self.tape = Tape(side)
        self._sockets: set[DataSocket] = set()
        self._held: dict[tuple[str, str], list[float]] = {}
        self._count = 0

    def routes(self) -> list[WebSocketRoute]:
        """One for each family of feeds."""
        return [
            WebSocketRoute("/v2/{feed}", self._endpoint(FAMILIES["stocks"])),
            WebSocketRoute("/v1beta1/{feed}", self._endpoint(FAMILIES["options"])),
        ]

    @property
    def connections(self) -> dict[str, dict[str, int]]:
        """Authenticated sockets by account and feed."""
        counts: dict[str, dict[str, int]] = {}
        for one in self._sockets:
            if one.account is not None:
                feeds = counts.setdefault(one.account.number, {})
                feeds[one.feed] = feeds.get(one.feed, 0) + 1
        return counts

    def close_all(self) -> None:
        """End every socket with a farewell."""
        for one in list(self._sockets):
            one.say_goodbye()

    def disconnect(self, account: str | None = None) -> int:
        """Cut the sockets of one account, or all, off; how many that were."""
        cut = [one for one in self._sockets if account in (None, one.account_number)]
        for one in cut:
            one.cut()
        return len(cut)

    # -- places -------------------------------------------------------------------------------------

    def has_place(self, account: SimAccount, feed: str) -> bool:
        """Whether the account may have one socket more on this feed."""
        now_s = self.side.exchange.clock.monotonic_s()
        held = [one for one in self._held.pop((account.number, feed), []) if one > now_s]
        if held:
            self._held[account.number, feed] = held
        taken = self.connections.get(account.number, {}).get(feed, 0) + len(held)
        return taken < self.side.options.max_connections

    def _left(self, socket: DataSocket) -> None:
        """A socket is gone; a fault may keep its place taken for a while."""
        account = socket.account
        if account is None:
            return
        fault = self.side.faults.draw("hangup", account.number)
        if fault is not None:
            self.side.faults.tell(fault, account=account.number, connection=socket.number)
            until_s = self.side.exchange.clock.monotonic_s() + fault.params["hold_ms"] / 1000
            self._held.setdefault((account.number, socket.feed), []).append(until_s)

    # -- serving ------------------------------------------------------------------------------------

    def _endpoint(self, family: Family) -> Any:
        async def endpoint(websocket: WebSocket) -> None:
            feed = websocket.path_params["feed"]
            if feed not in family.feeds:
                await websocket.send_denial_response(JSONResponse({"message": "not found"}, 404))
                return
            self._count += 1
            ledger = self.side.exchange.ledger
            ledger.append("data_connect", connection=self._count, feed=feed)
            socket = DataSocket(self, self.side, websocket, self._count, family, feed)
            self._sockets.add(socket)
            try:
                await socket.serve()
            finally:
                self._sockets.discard(socket)
                self.tape.leave(socket)
                self._left(socket)
                ledger.append("data_end", connection=socket.number, feed=feed, account=socket.account_number)

        return endpoint
