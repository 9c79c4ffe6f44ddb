"""Our service as a run needs it: a process of its own, users signed in, and ready-made requests."""

import http.client
import itertools
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.load import MakeRequest
from bench.processes import START_S, Process
from bench.servers import TEST_KEY
from cluster.ports import free_port

OWNER = {"email": "owner@example.com", "password": "correct horse battery"}
ORDER: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "qty": 1, "time_in_force": "ioc"}
BRACKETS: dict[str, dict[str, Any]] = {
    "buy": {"take_profit": {"limit_price": 420}, "stop_loss": {"stop_price": 120}, "time_in_force": "day"},
    "sell": {"take_profit": {"limit_price": 120}, "stop_loss": {"stop_price": 420}, "time_in_force": "day"},
}
"""What makes the order a bracket, on either side, wherever the simulated AAPL stands."""
LITTLE: dict[str, Any] = {**ORDER, "qty": 0.01, "time_in_force": "day"}
"""So little that thousands are paid for out of one account."""
ACCEPTED = b'"accepted":true'
_RUN = secrets.token_hex(4)
_keys = itertools.count(1)


class Service:
    """One process of ours over one database, listening and ready to trade."""

    def __init__(
        self,
        name: str,
        database_url: str,
        directory: Path,
        *,
        broker: str = "instant",
        on: set[int] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        data = directory / f"{name}-data"
        data.mkdir()
        self.process = Process(
            name,
            ["-m", "bench.servers", "ours", str(self.port)],
            directory,
            {
                "DATABASE_URL": database_url,
                "DATA_DIR": str(data),
                "JWT_SECRET_KEY": TEST_KEY,
                "JWT_ACCESS_TOKEN_EXPIRE_MINUTES": "1440",
                "OWNER_EMAIL": OWNER["email"],
                "OWNER_PASSWORD": OWNER["password"],
                "TESTING": "true",
                "BENCH_BROKER": broker,
                **(environ or {}),
            },
            on,
        )

    def wait_ready(self) -> None:
        """Raises RuntimeError."""
        self.process.wait_listening(self.port)
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self._ask("GET", "/api/health/ready")[0] == 200:
                return
            time.sleep(0.1)
        raise RuntimeError(f"{self.process.name} is not ready: {self.process.output()}")

    def sign_in(self, email: str = OWNER["email"]) -> str:
        """An access token. Raises RuntimeError."""
        return str(self._asked("POST", "/auth/login", {**OWNER, "email": email})["access_token"])

    def traders(self, count: int) -> list[str]:
        """Tokens of that many new traders, each with a paper account of his own."""
        owner = self.sign_in()
        tokens = []
        for _ in range(count):
            email = f"trader-{secrets.token_hex(4)}@example.com"
            self._asked("POST", "/api/users", {**OWNER, "email": email, "role": "trader"}, owner)
            tokens.append(self.sign_in(email))
        return tokens

    def settled(self, symbol: str = "AAPL") -> None:
        """Wait until the simulated market shows the symbol."""
        token = self.sign_in()
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self._ask("GET", f"/api/market/quotes?symbols={symbol}", None, token)[0] == 200:
                return
            time.sleep(0.1)
        raise RuntimeError("there is no quote")

    def _asked(self, method: str, path: str, body: Any, token: str | None = None) -> dict[str, Any]:
        status, answer = self._ask(method, path, body, token)
        if status not in (200, 201):
            raise RuntimeError(f"{method} {path}: {status} {answer!r}")
        found: dict[str, Any] = json.loads(answer)
        return found

    def _ask(self, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            headers = {"Content-Type": "application/json"}
            if token is not None:
                headers["Authorization"] = f"Bearer {token}"
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def get(path: str, token: str | None = None) -> MakeRequest:
    """Always the same GET."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    request = ("\r\n".join(lines) + "\r\n\r\n").encode()
    return lambda: request


def post(path: str, body: dict[str, Any], token: str) -> MakeRequest:
    """Always the same POST."""
    head, payload = _post(path, body, token)
    request = head + b"\r\n" + payload
    return lambda: request


def execute(token: str, *, bracket: bool = False) -> MakeRequest:
    """An execute of one order, or of one bracket, each time under a fresh key; buys and sells in turn, so that cash
    and position stay where they are."""
    return _executing(
        token, [{**ORDER, "side": side, **(BRACKETS[side] if bracket else {})} for side in ("buy", "sell")]
    )


def buy_a_little(token: str) -> MakeRequest:
    """An execute of a small purchase: a real venue, and ours, refuses a sale beside an open purchase as a wash trade."""
    return _executing(token, [LITTLE])


def _executing(token: str, orders: Sequence[dict[str, Any]]) -> MakeRequest:
    in_turn = itertools.cycle([_post("/api/trading/execute", {"orders": [one]}, token) for one in orders])

    def make() -> bytes:
        head, payload = next(in_turn)
        return b"%bIdempotency-Key: bench-%b-%d\r\n\r\n%b" % (head, _RUN.encode(), next(_keys), payload)

    return make


def dry_run(token: str) -> MakeRequest:
    """The same order as a dry run."""
    return post("/api/trading/execute", {"dryRun": True, "orders": [ORDER]}, token)


def _post(path: str, body: dict[str, Any], token: str) -> tuple[bytes, bytes]:
    payload = json.dumps(body).encode()
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        f"Content-Length: {len(payload)}",
    )
    return ("\r\n".join(lines) + "\r\n").encode(), payload
