"""`paiid doctor` and settings about Alpaca, a recording and Redis, as processes: one clear line for keys, an address or a file that
will not do, and never a secret."""

from pathlib import Path

import pytest

from cluster.ports import free_port
from paiid.sim.alpaca.accounts import DEFAULT_KEY_ID
from tests.e2e.doctoring import answering, found, line_of
from tests.e2e.processes import paiid

WRONG = "test-secret-which-is-wrong"


def doctor(tmp_path: Path, url: str, down: str = "market data, alpaca") -> tuple[int, str, str]:
    """Exit code, the line about Alpaca, and everything that was told."""
    data = tmp_path / "data"
    assert paiid(data, "migrate").returncode == 0
    done = paiid(
        data, "doctor", ALPACA_PAPER_API_KEY=DEFAULT_KEY_ID, ALPACA_PAPER_SECRET_KEY=WRONG, ALPACA_API_BASE_URL=url
    )  # fmt: skip
    told = done.stdout + done.stderr
    assert WRONG not in told
    assert DEFAULT_KEY_ID not in told
    assert "Traceback" not in told
    assert done.stderr.splitlines() == [f"down: {down}"]
    (line,) = [one for one in done.stdout.splitlines() if one.startswith("alpaca ")]
    return done.returncode, line, told


def test_doctor_asks_the_source_of_market_data_that_is_configured(tmp_path: Path) -> None:
    quote = b'{"t":"2026-11-27T20:59:59Z","bp":659.06,"bs":1,"ap":659.09,"as":2}'
    with answering(200, b'{"SPY":{"latestQuote":%s}}' % quote) as url:
        keys = {"ALPACA_PAPER_API_KEY": DEFAULT_KEY_ID, "ALPACA_PAPER_SECRET_KEY": WRONG}
        told = found(tmp_path, ALPACA_API_BASE_URL=url, **keys)["market data"]
    assert (told.status, told.detail) == ("up", "alpaca: SPY 659.06 x 659.09")


ROWS = "time_et,symbol,bid,bid_size,ask,ask_size\n2013-10-08T09:30:00,SPY,166.95,1,{},1\n2013-10-08T10:30:00,SPY,166.95,1,167,1\n"


def test_doctor_looks_through_the_recording(tmp_path: Path) -> None:
    file = tmp_path / "recorded.csv"
    for ask, status, detail in (
        ("167", "up", "replay: 2 quotes of 1 symbols, which play for 0:01:00"),
        ("high", "down", "REPLAY_FILE: line 2: ask is not a number from 0 to 10000000"),
    ):
        file.write_text(ROWS.format(ask))
        told = found(tmp_path, MARKET_DATA="replay", REPLAY_FILE=str(file), REPLAY_SPEED="60")["market data"]
        assert (told.status, told.detail) == (status, detail)


def test_a_recording_that_cannot_be_played_stops_the_start_with_one_line(tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "recorded.csv"
    file.write_text(ROWS.format("high"))
    done = paiid(data, "serve", "--migrate", MARKET_DATA="replay", REPLAY_FILE=str(file))
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("REPLAY_FILE: line 2: ask is not a number")
    assert not data.exists()


def test_doctor_says_whether_redis_carries_our_words(tmp_path: Path, valkey_url: str) -> None:
    told = found(tmp_path, REDIS_URL=valkey_url)["redis"]
    assert (told.status, told.detail) == ("up", f"{valkey_url} carries our words")
    assert found(tmp_path)["redis"].detail == "REDIS_URL is not set: not used"


def test_doctor_says_in_one_line_that_redis_is_away_and_hides_its_password(tmp_path: Path) -> None:
    port = free_port()
    done = paiid(tmp_path / "data", "doctor", REDIS_URL=f"redis://:{WRONG}@127.0.0.1:{port}/0")
    status, detail = line_of("redis", done.stdout).split(maxsplit=1)
    assert (status, detail.split()[0]) == ("down", f"redis://127.0.0.1:{port}/0")
    assert WRONG not in done.stdout + done.stderr
    assert done.returncode == 1
    assert done.stderr.strip().endswith(", redis, broker")


def test_doctor_says_in_one_line_that_the_keys_are_not_taken(tmp_path: Path) -> None:
    with answering(401, b'{"message":"unauthorized."}', WWW_Authenticate="Basic") as url:
        code, line, told = doctor(tmp_path, url)
    assert code == 1
    assert f"{url} does not take the keys: check ALPACA_*_API_KEY and secret" in line
    assert f"{url}: Alpaca does not give us these market data with our keys (401)" in line_of(
        "market data", told
    )


def test_doctor_follows_no_redirect(tmp_path: Path) -> None:
    with answering(200, b"{}") as elsewhere, answering(307, b"", Location=elsewhere) as url:
        code, line, _ = doctor(tmp_path, url)
    assert code == 1
    assert "redirect" in line or "307" in line, line


def test_doctor_says_in_one_line_that_nobody_is_there(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    code, line, _ = doctor(tmp_path, url)
    assert (code, f"{url} cannot be reached" in line) == (1, True), line


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("ALPACA_API_BASE_URL", "http://paper-api.alpaca.markets"),
        ("ALPACA_API_BASE_URL", "http://127.0.0.1.example.com"),
        ("ALPACA_API_BASE_URL", "ftp://127.0.0.1"),
        ("ALPACA_STREAM_URL", "ws://paper-api.alpaca.markets/stream"),
    ],
)
def test_an_address_that_is_neither_encrypted_nor_of_this_machine_stops_the_start(
    name: str, url: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    done = paiid(
        data, "serve", "--migrate", ALPACA_PAPER_API_KEY=DEFAULT_KEY_ID, ALPACA_PAPER_SECRET_KEY=WRONG, **{name: url}
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"{name}:")
    assert WRONG not in line
    assert not data.exists()
