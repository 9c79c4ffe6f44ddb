"""`paiid doctor` and settings about Tradier, as processes: one clear line for a token, an account or an address that will not do,
and never the token."""

import json
from pathlib import Path

import pytest

from cluster.ports import free_port
from paiid.sim.tradier.accounts import DEFAULT_ACCOUNT, DEFAULT_TOKEN
from tests.e2e.doctoring import answering, found, line_of
from tests.e2e.processes import paiid
from tests.e2e.walks import blocks_of, running

WRONG = "test-token-which-is-wrong"
FAULT = (
    b'{"fault":{"faultstring":"Invalid Access Token %s","detail":{"errorcode":"keymanagement.service.invalid_access_token"}}}'
    % WRONG.encode()
)
SECOND = "VA00000002"
SANDBOX = "https://sandbox.tradier.com/v1"


def profile(*accounts: dict[str, str]) -> bytes:
    """The profile of a token with these accounts, by the 0/1/n rule."""
    told = accounts[0] if len(accounts) == 1 else list(accounts)
    return json.dumps({"profile": {"id": "id-0", "account": told}}).encode()


def account(number: str, status: str = "active") -> dict[str, str]:
    return {"account_number": number, "status": status, "type": "margin"}


def doctor(tmp_path: Path, url: str, down: str, **environ: str) -> tuple[int, str, str]:
    """Exit code, the line about Tradier, and everything that was told."""
    data = tmp_path / "data"
    assert paiid(data, "migrate").returncode == 0
    done = paiid(data, "doctor", TRADIER_API_KEY=WRONG, TRADIER_API_BASE_URL=url, **environ)
    told = done.stdout + done.stderr
    assert WRONG not in told
    assert "Traceback" not in told
    assert done.stderr.splitlines() == [f"down: {down}"]
    return done.returncode, line_of("tradier", done.stdout), told


def test_doctor_says_that_token_account_and_market_data_are_there(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert paiid(data, "migrate").returncode == 0
    with running(blocks_of("With Tradier")[1][0], data) as simulator:
        url = f"http://127.0.0.1:{simulator.port}/v1"
        done = paiid(data, "doctor", TRADIER_API_KEY=DEFAULT_TOKEN, TRADIER_API_BASE_URL=url)
    assert (done.returncode, done.stderr) == (0, "")
    assert line_of("tradier", done.stdout).split(maxsplit=1) == [
        "up",
        f"paper account {DEFAULT_ACCOUNT} is active",
    ]
    status, detail = line_of("market data", done.stdout).split(maxsplit=1)
    assert (status, detail.startswith("tradier: SPY ")) == ("up", True), detail
    assert line_of("TRADIER_API_KEY", done.stdout) == "set (hidden)"
    assert DEFAULT_TOKEN not in done.stdout


def test_doctor_says_in_one_line_that_the_token_is_not_taken(tmp_path: Path) -> None:
    with answering(401, FAULT, Content_Type="application/json") as url:
        code, line, told = doctor(tmp_path, url, "market data, tradier")
    assert code == 1
    assert (
        f"{url}/v1 does not take the token: check TRADIER_API_KEY, and that TRADIER_API_BASE_URL is of its environment"
        in line
    )
    refused = f"{url}/v1: Tradier does not give us these market data with our token (401)"
    assert refused in line_of("market data", told)


def test_doctor_does_not_repeat_a_token_that_tradier_repeats(tmp_path: Path) -> None:
    with answering(400, f"Invalid parameter, token {WRONG}: is not valid.".encode()) as url:
        code, line, _ = doctor(tmp_path, url, "market data, tradier")
    assert (code, "refused: Invalid parameter, token [hidden]: is not valid." in line) == (1, True), line


def test_doctor_asks_for_the_account_where_the_token_has_several(tmp_path: Path) -> None:
    with answering(200, profile(account(DEFAULT_ACCOUNT), account(SECOND))) as url:
        code, line, _ = doctor(tmp_path, url, "tradier", MARKET_DATA="simulated")
    assert code == 1
    wanted = (
        f"several accounts ({DEFAULT_ACCOUNT}, {SECOND}): set TRADIER_ACCOUNT_ID to the one that is meant"
    )
    assert wanted in line


def test_doctor_says_which_accounts_there_are_where_the_one_named_is_not(tmp_path: Path) -> None:
    with answering(200, profile(account(DEFAULT_ACCOUNT))) as url:
        code, line, _ = doctor(tmp_path, url, "tradier", MARKET_DATA="simulated", TRADIER_ACCOUNT_ID=SECOND)
    assert code == 1
    assert f"no account {SECOND} (it has: {DEFAULT_ACCOUNT}): check TRADIER_ACCOUNT_ID" in line


def test_doctor_follows_no_redirect(tmp_path: Path) -> None:
    with answering(200, b"{}") as elsewhere, answering(307, b"", Location=elsewhere) as url:
        code, line, _ = doctor(tmp_path, url, "market data, tradier")
    assert code == 1
    assert "307" in line


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b'{"profile":null}', b"[]"])
def test_doctor_takes_nothing_for_an_account_that_is_none(body: bytes, tmp_path: Path) -> None:
    with answering(200, body) as url:
        code, line, _ = doctor(tmp_path, url, "market data, tradier")
    assert code == 1
    assert line.startswith(f"down    {url}/v1 "), line


def test_doctor_says_in_one_line_that_nobody_is_there(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    code, line, _ = doctor(tmp_path, url, "market data, tradier")
    assert (code, f"{url}/v1 cannot be reached" in line) == (1, True), line


def test_doctor_says_what_a_token_is_used_for(tmp_path: Path) -> None:
    assert found(tmp_path)["tradier"].detail == "no token is set: not used"
    # Nothing is asked of the live host here: the market is another's, and orders may not go there.
    live = found(tmp_path, TRADIER_API_KEY=WRONG, MARKET_DATA="simulated")["tradier"]
    assert (live.status, live.detail) == (
        "up",
        "market data alone: orders go to the live host with LIVE_TRADING=true only",
    )


@pytest.mark.parametrize(
    ("name", "environ"),
    [
        ("TRADIER_API_BASE_URL", {"TRADIER_API_BASE_URL": "http://sandbox.tradier.com/v1"}),
        ("TRADIER_API_BASE_URL", {"TRADIER_API_BASE_URL": "http://127.0.0.1.example.com/v1"}),
        ("TRADIER_API_BASE_URL", {"TRADIER_API_BASE_URL": "ftp://127.0.0.1/v1"}),
        ("TRADIER_STREAM_URL", {"TRADIER_API_BASE_URL": SANDBOX, "TRADIER_STREAM_URL": "ws://127.0.0.1/v1"}),
        ("TRADIER_STREAM_URL", {"TRADIER_STREAM_URL": "ws://ws.tradier.com/v1"}),
        ("TRADIER_API_KEY", {"TRADIER_API_KEY": f"{WRONG} twice"}),
        ("BROKER", {"BROKER": "tradier"}),
    ],
)
def test_what_cannot_be_right_stops_the_start_with_one_line(
    name: str, environ: dict[str, str], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    done = paiid(data, "serve", "--migrate", **{"TRADIER_API_KEY": WRONG, **environ})
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"{name}:")
    assert WRONG not in line
    assert not data.exists()


def test_a_broker_without_its_token_stops_the_start_with_one_line(tmp_path: Path) -> None:
    done = paiid(tmp_path / "data", "serve", "--migrate", BROKER="tradier")
    assert done.returncode == 2
    assert done.stderr.strip() == "BROKER: is tradier, but there is no token; set TRADIER_API_KEY"
