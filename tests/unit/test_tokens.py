"""The three kinds of bearer text, without a database: what is accepted, and everything that is not."""

import base64
import json
from typing import Any

import jwt
import pytest

from paiid.auth.tokens import (
    TokenMaker,
    api_token_id,
    digest,
    make_api_token,
    read_refresh,
)
from paiid.domain.errors import Code, Problem

KEY = "k" * 64
OLD = "o" * 64
SID = "ses_" + "0" * 26
NOW = 1_800_000_000


def maker(key: str = KEY, previous: str | None = None, algorithm: str = "HS256") -> TokenMaker:
    made = TokenMaker(algorithm)
    made.use_keys(key, previous)
    return made


def claims(**changes: Any) -> dict[str, Any]:
    base = {
        "iss": "paiid",
        "aud": "paiid-api",
        "sub": "usr_1",
        "sid": SID,
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + 900,
        "jti": "j",
    }
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def signed(payload: dict[str, Any], key: str = KEY, algorithm: str = "HS256", **headers: Any) -> str:
    return jwt.encode(payload, key, algorithm, headers={"typ": "at+jwt", **headers})


def refused(tokens: TokenMaker, token: str, now_s: int = NOW) -> None:
    with pytest.raises(Problem) as told:
        tokens.read_access(token, now_s)
    assert told.value.code is Code.INVALID_TOKEN


def test_A01_an_access_token_has_exactly_the_promised_header_and_claims() -> None:
    token = maker().access("usr_1", SID, NOW, NOW + 900, "j")
    header, payload, _ = (part + "=" * (-len(part) % 4) for part in token.split("."))
    assert json.loads(base64.urlsafe_b64decode(header)).keys() == {"typ", "alg", "kid"}
    assert json.loads(base64.urlsafe_b64decode(header))["typ"] == "at+jwt"
    assert json.loads(base64.urlsafe_b64decode(payload)) == claims()
    assert maker().read_access(token, NOW).user_id == "usr_1"


def test_A01_the_hand_made_token_that_the_refusals_vary_is_itself_accepted() -> None:
    assert maker().read_access(signed(claims()), NOW).session_id == SID


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "sid", "iat", "nbf", "exp", "jti"])
def test_A01_a_token_without_a_claim_is_refused(name: str) -> None:
    refused(maker(), signed(claims(**{name: None})))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "other"},
        {"aud": "other"},
        {"aud": ["paiid-api"]},
        {"sid": 7},
        {"sid": ""},
        {"jti": 7},
        {"exp": str(NOW + 900)},
        {"exp": NOW + 900.5},
        {"exp": True},
        {"iat": NOW + 60},
        {"nbf": NOW + 60},
        {"exp": NOW},
    ],
)
def test_A01_a_token_with_a_wrong_claim_is_refused(changes: dict[str, Any]) -> None:
    refused(maker(), signed(claims(**changes)))


@pytest.mark.parametrize(
    "header",
    [{"typ": "JWT"}, {"typ": None}, {"jku": "https://x.example"}, {"crit": ["exp"]}, {"kid": "other"}],
)
def test_A01_a_token_with_another_header_is_refused(header: dict[str, Any]) -> None:
    refused(maker(), signed(claims(), **header))


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_A01_the_algorithm_is_our_setting_and_nothing_the_token_says(algorithm: str) -> None:
    refused(maker(), signed(claims(), algorithm=algorithm))
    assert maker(algorithm=algorithm).read_access(signed(claims(), algorithm=algorithm), NOW)


def test_A01_an_unsigned_token_is_refused() -> None:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    head, body = part({"typ": "at+jwt", "alg": "none"}), part(claims())
    for token in (f"{head}.{body}.", f"{part({'typ': 'at+jwt', 'alg': 'HS256'})}.{body}."):
        refused(maker(), token)


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b.c", "é.é.é", "x" * 5000, "eyJhbGciOiJIUzI1NiJ9..", "\x00"]
)
def test_A01_rubbish_is_refused(token: str) -> None:
    refused(maker(), token)


def test_A01_the_previous_key_still_verifies_and_the_one_before_does_not() -> None:
    token = maker(OLD).access("usr_1", SID, NOW, NOW + 900, "j")
    assert maker(KEY, OLD).read_access(token, NOW).user_id == "usr_1"
    refused(maker(KEY), token)
    fresh = maker(KEY, OLD).access("usr_1", SID, NOW, NOW + 900, "j")
    assert maker(KEY).read_access(fresh, NOW)


@pytest.mark.parametrize(("algorithm", "length"), [("HS256", 31), ("HS384", 47), ("HS512", 63)])
def test_A01_a_key_shorter_than_the_hash_is_refused(algorithm: str, length: int) -> None:
    with pytest.raises(ValueError, match="at least"):
        maker("k" * length, algorithm=algorithm)
    with pytest.raises(ValueError, match="at least"):
        maker(KEY, "k" * length, algorithm=algorithm)
    maker("k" * (length + 1), algorithm=algorithm)


def test_A02_a_refresh_token_is_derived_from_secret_family_and_generation() -> None:
    tokens = maker()
    first = tokens.refresh(SID, 1)
    assert first == maker().refresh(SID, 1)
    others = {tokens.refresh(SID, 2), tokens.refresh("ses_" + "1" * 26, 1), maker(OLD).refresh(SID, 1)}
    assert first not in others
    assert len(others) == 3
    claim = read_refresh(first)
    assert (claim.session_id, claim.generation) == (SID, 1)
    assert tokens.is_refresh(first, claim)
    assert maker(OLD, KEY).refresh_matching(SID, 1, digest(first)) == first
    assert maker(OLD).refresh_matching(SID, 1, digest(first)) is None


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1], lambda t: t + "A", lambda t: t.replace("_1_", "_01_"), str.upper]
)
def test_A02_what_has_not_the_form_of_a_refresh_token_is_refused(change: Any) -> None:
    with pytest.raises(Problem) as told:
        read_refresh(change(maker().refresh(SID, 1)))
    assert told.value.code is Code.INVALID_TOKEN


def test_A02_a_guessed_refresh_token_is_not_taken_for_ours() -> None:
    tokens = maker()
    mine = tokens.refresh(SID, 3)
    forged = mine[:-4] + "AAAA"
    assert not tokens.is_refresh(forged, read_refresh(forged))


def test_A04_an_api_token_carries_its_id_and_256_bits() -> None:
    text = make_api_token("tok_" + "7" * 26, bytes(range(32)))
    assert text == "pd_" + "7" * 26 + "_" + bytes(range(32)).hex()
    assert api_token_id(text) == "tok_" + "7" * 26
    assert api_token_id(text + "0") is None
    assert api_token_id("pd_" + "7" * 25 + "_" + "0" * 64) is None
