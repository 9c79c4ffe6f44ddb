"""The three kinds of bearer text: access tokens, refresh tokens, API tokens. Pure: no database, no waiting.

An access token is a JWT of type `at+jwt` (RFC 9068) with `iss, aud, sub, sid, iat, nbf, exp, jti`; its algorithm
is our setting and nothing the token says (contract A1). A refresh token is derived from secret, family and
generation, so that it can be said again but not guessed (A2). An API token is 256 random bits behind its id (A4).
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import Any

import jwt

from paiid.domain.errors import Code, Problem

ISSUER = "paiid"
AUDIENCE = "paiid-api"
SKEW_S = 5
"""How far the clocks of two replicas may differ."""
KEY_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
_HEADER_FIELDS = {"typ", "alg", "kid"}
_CLAIMS = ("iss", "aud", "sub", "sid", "iat", "nbf", "exp", "jti")
_REFRESH = re.compile(r"pr_(ses_[0-9a-z]{26})_([1-9][0-9]{0,8})_[A-Za-z0-9_-]{43}")
_API = re.compile(r"pd_([0-9a-z]{26})_[0-9a-f]{64}")
_MOST_CHARACTERS = 2048


@dataclass(frozen=True, slots=True)
class Access:
    """What a verified access token says; instants in seconds."""

    user_id: str
    session_id: str
    expires_at_s: int


@dataclass(frozen=True, slots=True)
class RefreshClaim:
    """What a refresh token claims to be; the hash in the database decides."""

    session_id: str
    generation: int


def invalid_token(why: str = "The token is not valid or has expired; sign in again.") -> Problem:
    """The one answer to every bad bearer token."""
    return Problem(Code.INVALID_TOKEN, why)


def digest(token: str) -> str:
    """What is stored of a random token; it needs no salt, for nobody can try 256 bits."""
    return hashlib.sha256(token.encode()).hexdigest()


def same(left: str, right: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(left.encode(), right.encode())


class _Key:
    """One signing secret and what is derived of it."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self.refresh = hmac.new(secret, b"paiid refresh", "sha256").digest()
        self.kid = hmac.new(secret, b"paiid kid", "sha256").hexdigest()[:16]


class TokenMaker:
    """Makes and reads tokens with the current key, and reads those of the previous one."""

    def __init__(self, algorithm: str) -> None:
        self._algorithm = algorithm
        self._keys: list[_Key] = []

    def use_keys(self, key: str, previous: str | None) -> None:
        """Before anything else. Raises ValueError for a key that is shorter than the hash."""
        secrets = [text.encode() for text in (key, previous) if text is not None]
        least = KEY_BYTES[self._algorithm]
        if any(len(secret) < least for secret in secrets):
            raise ValueError(f"a key for {self._algorithm} has at least {least} bytes")
        self._keys = [_Key(secret) for secret in secrets]

    # -- access tokens ------------------------------------------------------------------------------

    def access(self, user_id: str, session_id: str, issued_at_s: int, expires_at_s: int, jti: str) -> str:
        """A signed access token: the same text for the same arguments."""
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user_id,
            "sid": session_id,
            "iat": issued_at_s,
            "nbf": issued_at_s,
            "exp": expires_at_s,
            "jti": jti,
        }
        key = self._keys[0]
        return jwt.encode(claims, key.secret, self._algorithm, headers={"typ": "at+jwt", "kid": key.kid})

    def read_access(self, token: str, now_s: int) -> Access:
        """Raises Problem (401) unless it is ours, well formed, and in force."""
        if len(token) > _MOST_CHARACTERS:
            raise invalid_token()
        claims = self._verified(token)
        texts = (claims["sub"], claims["sid"], claims["jti"])
        times = (claims["iat"], claims["nbf"], claims["exp"])
        if any(type(text) is not str or not text for text in texts):
            raise invalid_token()
        if any(type(time) is not int for time in times):
            raise invalid_token()
        if claims["iat"] > now_s + SKEW_S or claims["nbf"] > now_s + SKEW_S or claims["exp"] <= now_s:
            raise invalid_token()
        return Access(claims["sub"], claims["sid"], claims["exp"])

    def _verified(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            if header.keys() - _HEADER_FIELDS or header.get("typ") != "at+jwt":
                raise invalid_token()
            if header.get("alg") != self._algorithm:
                raise invalid_token()
            kid = header.get("kid")
            for key in self._keys:
                if kid is not None and kid != key.kid:
                    continue
                try:
                    return self._decode(token, key)
                except jwt.InvalidSignatureError:
                    continue
        except jwt.PyJWTError:
            raise invalid_token() from None
        raise invalid_token()

    def _decode(self, token: str, key: _Key) -> dict[str, Any]:
        # Times are checked by the caller, against the service's own clock.
        claims: dict[str, Any] = jwt.decode(
            token,
            key.secret,
            algorithms=[self._algorithm],
            issuer=ISSUER,
            audience=AUDIENCE,
            options={
                "require": list(_CLAIMS),
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "strict_aud": True,
            },
        )
        return claims

    # -- refresh tokens -----------------------------------------------------------------------------

    def refresh(self, session_id: str, generation: int) -> str:
        """The refresh token of a generation, under the current key."""
        return self._refresh(self._keys[0], session_id, generation)

    def refresh_matching(self, session_id: str, generation: int, stored_hash: str) -> str | None:
        """The refresh token of a generation that has this hash, under whichever key it was made."""
        for key in self._keys:
            token = self._refresh(key, session_id, generation)
            if same(digest(token), stored_hash):
                return token
        return None

    def is_refresh(self, token: str, claim: RefreshClaim) -> bool:
        """Whether we made it once: only then may its reuse end the family, for ids of sessions are no secret."""
        return any(same(token, self._refresh(key, claim.session_id, claim.generation)) for key in self._keys)

    @staticmethod
    def _refresh(key: _Key, session_id: str, generation: int) -> str:
        mac = hmac.new(key.refresh, f"{session_id}\0{generation}".encode(), "sha256").digest()
        return f"pr_{session_id}_{generation}_{urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def read_refresh(token: str) -> RefreshClaim:
    """Raises Problem (401) for anything that has not the form of a refresh token."""
    match = _REFRESH.fullmatch(token)
    if match is None:
        raise invalid_token("The refresh token is not valid; sign in again.")
    return RefreshClaim(match[1], int(match[2]))


def make_api_token(token_id: str, secret: bytes) -> str:
    """`pd_<id>_<64 hex>` for an id `tok_…` and 32 random bytes."""
    return f"pd_{token_id.removeprefix('tok_')}_{secret.hex()}"


def api_token_id(token: str) -> str | None:
    """The id `tok_…` of a text that has the form of an API token."""
    match = _API.fullmatch(token)
    return None if match is None else "tok_" + match[1]
