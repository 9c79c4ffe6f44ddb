"""The app in a test's hands: settings, sign-in, users, orders."""

import asyncio
import secrets
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
from fastapi import FastAPI

from paiid.core.settings import Settings

OWNER_EMAIL = "owner@example.com"
PASSWORD = "correct horse battery"
TEST_KEY = "test-key-test-key-test-key-test-key-test-key"


def make_settings(database_url: str, data_dir: Path, **changes: Any) -> Settings:
    """Settings for a test over a database; keywords change single ones."""
    base: dict[str, Any] = {
        "data_dir": data_dir,
        "database_url": database_url,
        "jwt_secret_key": TEST_KEY,
        "owner_email": OWNER_EMAIL,
        "owner_password": PASSWORD,
        "testing": True,
    }
    return Settings(**{**base, **changes})


def fresh_key() -> str:
    """An idempotency key nobody has used."""
    return f"test-{secrets.token_hex(8)}"


class Client:
    """One caller with its credential."""

    def __init__(self, http: httpx2.AsyncClient, token: str | None) -> None:
        self._http = http
        self.token = token

    async def request(self, method: str, path: str, **kw: Any) -> httpx2.Response:
        """Any request, with the token unless the headers bring their own."""
        headers = dict(kw.pop("headers", {}) or {})
        if self.token is not None and "Authorization" not in headers:
            headers["Authorization"] = f"Bearer {self.token}"
        return await self._http.request(method, path, headers=headers, **kw)

    async def get(self, path: str, **kw: Any) -> httpx2.Response:
        """GET."""
        return await self.request("GET", path, **kw)

    async def post(self, path: str, **kw: Any) -> httpx2.Response:
        """POST."""
        return await self.request("POST", path, **kw)

    async def delete(self, path: str, **kw: Any) -> httpx2.Response:
        """DELETE."""
        return await self.request("DELETE", path, **kw)

    async def execute(self, *orders: dict[str, Any], key: str | None = None, **body: Any) -> httpx2.Response:
        """POST /api/trading/execute with a fresh key unless one is given."""
        return await self.post(
            "/api/trading/execute",
            json={"orders": list(orders), **body},
            headers={"Idempotency-Key": key or fresh_key()},
        )

    async def wait_filled(self, order_id: str, timeout_s: float = 20.0) -> dict[str, Any]:
        """The order once its status is terminal."""
        end = asyncio.get_running_loop().time() + timeout_s
        while True:
            order: dict[str, Any] = (await self.get(f"/api/trading/orders/{order_id}")).json()
            if order["status"] in ("FILLED", "CANCELED", "EXPIRED", "REJECTED"):
                return order
            assert asyncio.get_running_loop().time() < end, order
            await asyncio.sleep(0.02)


class App:
    """A running app and ways to call it."""

    def __init__(self, application: FastAPI, settings: Settings) -> None:
        self.application = application
        self.settings = settings
        self.state = application.state
        transport = httpx2.ASGITransport(
            app=application, raise_app_exceptions=False, client=("127.0.0.1", 50000)
        )
        self.http = httpx2.AsyncClient(transport=transport, base_url="http://testserver", timeout=30)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

    @property
    def anonymous(self) -> Client:
        """A caller without a credential."""
        return Client(self.http, None)

    async def sign_in(self, email: str = OWNER_EMAIL, password: str = PASSWORD) -> Client:
        """A signed-in caller."""
        answer = await self.http.post("/auth/login", json={"email": email, "password": password})
        assert answer.status_code == 200, answer.text
        return Client(self.http, answer.json()["access_token"])

    async def owner(self) -> Client:
        """The owner, signed in."""
        return await self.sign_in()

    async def user(self, role: str, email: str | None = None) -> Client:
        """A new user of this role, signed in."""
        owner = await self.sign_in()
        address = email or f"{role}-{secrets.token_hex(3)}@example.com"
        made = await owner.post("/api/users", json={"email": address, "password": PASSWORD, "role": role})
        assert made.status_code in (200, 201), made.text
        return await self.sign_in(address)
