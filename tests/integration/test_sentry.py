"""Errors reach a Sentry without anybody's secret, and never at anybody's expense: against a receiver on a socket."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import httpx2
import pytest

from paiid import __version__
from paiid.core.clock import SystemClock
from paiid.core.log import _reporting
from paiid.core.settings import Settings
from paiid.system.sentry import ErrorReports, start_reports
from tests.collector import Collector
from tests.e2e.processes import Server
from tests.fake_clock import FakeClock

_API_TOKEN = "test-static-token-000000000000000000001"
_JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c3JfMSJ9.c2lnbmF0dXJlLXRlc3Q"
_SECRETS = (
    _API_TOKEN, _JWT, "test-alpaca-secret-77", "pw-of-postgres-9", "testpublickey0001", "pd_01abc_" + "0f" * 16,
    "test-password-in-a-frame",
)  # fmt: skip


def settings(dsn: str, **more: Any) -> Settings:
    return Settings(
        testing=True, sentry_dsn=dsn, sentry_environment="tests", build_id="build-7", api_token=_API_TOKEN,
        alpaca_paper_secret_key="test-alpaca-secret-77", database_url="postgresql://u:pw-of-postgres-9@127.0.0.1/x", **more,
    )  # fmt: skip


def reports_to(collector: Collector) -> ErrorReports:
    made = start_reports(settings(collector.dsn), SystemClock())
    assert made is not None
    return made


def broken(password: str) -> Exception:
    """An exception whose text has what nobody should read, and a frame that holds a password."""
    try:
        try:
            raise ValueError(f"Bearer {_API_TOKEN} and {_JWT} to postgresql://u:pw-of-postgres-9@127.0.0.1/x")
        except ValueError as inner:
            raise RuntimeError(f"keys test-alpaca-secret-77, pd_01abc_{'0f' * 16}") from inner
    except RuntimeError as error:
        return error


def test_an_error_arrives_with_release_environment_and_request_and_without_any_secret() -> None:
    with Collector() as collector:
        reports = reports_to(collector)
        line = {
            "event": "crash",
            "request_id": "req-1",
            "authorization": f"Bearer {_API_TOKEN}",
            "token": _JWT,
        }
        reports.report(line, broken("test-password-in-a-frame"))
        # Before it is closed, which gives what waits a second only.
        collector.wait()
        reports.close()
        (event,) = collector.events()
        everything = b"".join(body for _, body in collector.bodies).decode()
    assert event["release"] == f"paiid@{__version__}+build-7"
    assert event["environment"] == "tests"
    assert event["tags"] == {"request_id": "req-1"}
    assert [one["type"] for one in event["exception"]["values"]] == ["ValueError", "RuntimeError"]
    frames = event["exception"]["values"][1]["stacktrace"]["frames"]
    assert frames[-1]["function"] == "broken"
    assert all("vars" not in frame for frame in frames)
    # The public key of the DSN goes in the envelope's own header, as the protocol wants it.
    told = everything.replace(collector.dsn, "")
    assert [secret for secret in _SECRETS if secret in told] == []
    assert not {"request", "user", "breadcrumbs", "server_name", "extra"} & event.keys()


@pytest.mark.parametrize("trouble", ["refuses", "says 429", "says 500", "hangs"])
def test_a_receiver_in_trouble_costs_the_caller_nothing(trouble: str) -> None:
    with Collector({"says 429": 429, "says 500": 500}.get(trouble, 200)) as collector:
        if trouble == "hangs":
            collector.held.set()
        dsn = "http://testpublickey0001@127.0.0.1:9/42" if trouble == "refuses" else collector.dsn
        # The minute must not turn while they are reported.
        reports = start_reports(settings(dsn), FakeClock())
        assert reports is not None
        for _ in range(70):
            reports.report({"event": "crash"}, broken(""))
        # Sixty a minute are worked out; the rest are counted, and whatever cannot be sent is lost in silence.
        assert reports.counts.of("sent") == 60
        assert reports.counts.of("dropped") == 10
        reports.close()


def test_another_minute_has_its_own_reports() -> None:
    clock = FakeClock()
    reports = ErrorReports(None, clock)
    for _ in range(61):
        # Without a client nothing can be worked out: which must not raise either.
        reports.report({}, ValueError())
    clock.advance(61)
    reports.report({}, ValueError())
    assert reports.counts.of("dropped") == 62


def test_without_a_dsn_and_while_testing_beyond_loopback_there_are_none() -> None:
    assert start_reports(Settings(), SystemClock()) is None
    assert start_reports(settings("https://testpublickey0001@sentry.example.com/42"), SystemClock()) is None


def test_only_errors_with_an_exception_are_handed_on() -> None:
    heard: list[tuple[str, str]] = []
    hand_on = _reporting(lambda event, error: heard.append((event["event"], type(error).__name__)))
    error = ValueError("x")
    hand_on(None, "error", {"event": "crash", "exc_info": error})
    hand_on(None, "error", {"event": "triple", "exc_info": (ValueError, error, None)})
    hand_on(None, "error", {"event": "alarm"})
    hand_on(None, "warning", {"event": "lost", "exc_info": error})
    hand_on(None, "error", {"event": "nothing is being handled", "exc_info": True})
    try:
        raise error
    except ValueError:
        hand_on(None, "error", {"event": "handled", "exc_info": True})
    assert heard == [("crash", "ValueError"), ("triple", "ValueError"), ("handled", "ValueError")]


def test_a_crash_of_a_running_service_is_reported_once_and_its_caller_told_the_id(tmp_path: Path) -> None:
    with Collector() as collector:
        server = Server(tmp_path / "data", "--migrate", SENTRY_DSN=collector.dsn, API_TOKEN=_API_TOKEN)
        url = f"http://127.0.0.1:{server.port}/api/order-templates"
        headers = {"authorization": f"Bearer {_API_TOKEN}"}
        try:
            server.wait_until_ready()
            assert httpx2.get(url, headers=headers).status_code == 200
            with sqlite3.connect(tmp_path / "data" / "paiid.db", timeout=10) as db:
                db.execute("DROP TABLE order_templates")
            answer = httpx2.get(url, headers=headers)
            assert answer.status_code == 500, answer.text
            mine: list[str] = []
            while not mine:
                # Another error may have been reported before it.
                seen = len(collector.bodies)
                told = [one["tags"].get("request_id") for one in collector.events()]
                mine = [one for one in told if one == answer.json()["request_id"]]
                if not mine:
                    collector.wait(seen + 1)
            assert len(mine) == 1
            assert _API_TOKEN not in json.dumps(collector.events())
            # Nor does a receiver that has stopped answering keep the service from ending.
            collector.held.set()
            assert httpx2.get(url, headers=headers).status_code == 500
            assert server.end() == 0
        finally:
            server.kill()
