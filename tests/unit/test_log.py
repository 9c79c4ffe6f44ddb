"""No secret in any log, however it gets there."""

import io
import json
import logging

import pytest
import structlog

from paiid.core import log

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ0ZXN0In0.c2lnbmF0dXJlLXRlc3Q"
API_TOKEN = "pd_01abcdef_" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "event",
    [
        {"password": "hunter22"},
        {"Authorization": "hunter22"},
        {"nested": {"refresh_token": "hunter22"}},
        {"jwt_secret_key": "hunter22"},
        {"event": f"got Bearer {TOKEN}"},
        {"event": TOKEN},
        {"event": API_TOKEN},
        {"items": [{"api_key": "hunter22"}, API_TOKEN]},
        {"url": "postgresql://user:hunter22@host/db"},
    ],
)
def test_a_secret_is_hidden_wherever_it_stands(event: dict[str, object]) -> None:
    shown = json.dumps(log.redact(None, "info", dict(event)))
    assert "hunter22" not in shown
    assert TOKEN not in shown
    assert API_TOKEN not in shown
    assert log.HIDDEN in shown


def test_a_librarys_log_goes_through_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    root = logging.getLogger()
    kept = (root.handlers[:], root.level)
    try:
        log.configure("INFO")
        logging.getLogger("some.package").warning("signed in with %s", f"Bearer {TOKEN}")
        structlog.get_logger("paiid").info("hello", password="hunter22")
    finally:
        root.handlers, root.level = kept
        structlog.reset_defaults()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 2
    assert TOKEN not in stream.getvalue()
    assert "hunter22" not in stream.getvalue()
