"""Signs in, keeps the tokens fresh, and turns answers into results or errors."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx2

from paiid.client.errors import ApiError, FieldProblem, SignedOut, Unreachable
from paiid.client.orders import decode, encode

TIMEOUT_S = 30.0
"""Of one request: longer than the service takes for the longest execute."""


class Session:
    """One user's session, or an API token. Tokens live in memory only."""

    def __init__(
        self, base_url: str, token: str | None = None, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._http = httpx2.AsyncClient(
            base_url=self.base_url, timeout=TIMEOUT_S, follow_redirects=False, transport=transport
        )
        self._access = token
        self._refresh: str | None = None
        self._refreshing = asyncio.Lock()

    @property
    def access_token(self) -> str | None:
        """What goes into the Authorization header now."""
        return self._access

    async def sign_in(self, email: str, password: str) -> None:
        """Begin a session. Raises ApiError (401 for a wrong password), Unreachable."""
        answer = await self._send("POST", "/auth/login", {"email": email, "password": password}, {})
        self._take(checked(answer))

    async def refresh(self, instead_of: str | None) -> bool:
        """A new pair in place of the access token that was refused; one call at a time. False where there is nothing to refresh. Raises
        Unreachable: the old pair stays, and asking again is safe."""
        async with self._refreshing:
            if self._access != instead_of:
                return True
            if self._refresh is None:
                return False
            answer = await self._send("POST", "/auth/refresh", {"refresh_token": self._refresh}, {})
            if answer.status_code != 200:
                if answer.status_code in (400, 401, 403):
                    self._refresh = None
                return False
            self._take(answer)
            return True

    async def sign_out(self) -> None:
        """End all of the user's sessions."""
        checked(await self.request("POST", "/auth/logout"))
        self._access = self._refresh = None

    async def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """One request, once more after a refresh if the token was refused. Any status; raises Unreachable."""
        used = self._access
        answer = await self._send(method, path, body, headers or {})
        if answer.status_code == 401 and used is not None and await self.refresh(used):
            answer = await self._send(method, path, body, headers or {})
        return answer

    async def close(self) -> None:
        """Let the connections go."""
        await self._http.aclose()

    def _take(self, answer: httpx2.Response) -> None:
        found = decode(answer.content)
        self._access, self._refresh = found["access_token"], found["refresh_token"]

    async def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> httpx2.Response:
        sent = dict(headers)
        if self._access is not None:
            sent["authorization"] = f"Bearer {self._access}"
        content = None
        if body is not None:
            sent["content-type"] = "application/json"
            content = encode(body)
        try:
            return await self._http.request(method, path, content=content, headers=sent)
        except httpx2.HTTPError as error:
            raise Unreachable(f"{method} {path}: {type(error).__name__}") from error


def checked(answer: httpx2.Response) -> httpx2.Response:
    """The answer, if it is one. Raises ApiError."""
    if answer.status_code < 400:
        return answer
    code, detail, errors = "unreadable", f"HTTP {answer.status_code}", []
    try:
        found = decode(answer.content)
        code = str(found["type"]).rpartition(":")[2]
        detail = str(found["detail"])
        errors = [FieldProblem(one["field"], one["code"], one["message"]) for one in found.get("errors", ())]
    except (ValueError, TypeError, KeyError):
        # Somebody between us and the service has answered.
        pass
    kind = SignedOut if answer.status_code == 401 else ApiError
    raise kind(answer.status_code, code, detail, errors)
