"""`paiid doctor` on disks, and on what is not needed to trade: reached or not, never asked, no secret shown."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from paiid.cli.doctor_around import disks
from tests.e2e.doctoring import found
from tests.world import make_settings

KEY = "test-key-of-a-model-which-nobody-may-see"
DSN_KEY = "testkeyoferrors0000000000000000"


@pytest.fixture
def listening() -> Iterator[int]:
    """The port of something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_what_is_not_set_is_not_missed(tmp_path: Path) -> None:
    told = found(tmp_path)
    for name in ("ai", "sentry", "traces"):
        assert (told[name].status, "not set" in told[name].detail) == ("up", True), told[name]


def test_what_is_set_is_reached_or_not_and_its_secret_is_never_shown(tmp_path: Path, listening: int) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        for port, status in ((listening, "up"), (closed.getsockname()[1], "warning")):
            told = found(
                tmp_path,
                ANTHROPIC_API_KEY=KEY,
                ANTHROPIC_BASE_URL=f"http://127.0.0.1:{port}",
                SENTRY_DSN=f"http://{DSN_KEY}@127.0.0.1:{port}/1",
                OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
            )
            for name in ("ai", "sentry", "traces"):
                assert told[name].status == status, told[name]
                assert f"127.0.0.1:{port}" in told[name].detail
            for finding in told.values():
                assert KEY not in finding.detail
                assert DSN_KEY not in finding.detail


def test_the_disks_are_told_with_their_room(tmp_path: Path) -> None:
    settings = make_settings(f"sqlite:///{tmp_path}/db/paiid.db", tmp_path / "data")
    assert disks(settings).status == "warning", "nothing is there yet"
    for name in ("db", "data"):
        (tmp_path / name).mkdir()
    finding = disks(settings)
    assert finding.detail.count("MiB free") == 2
    assert finding.status == "up", finding
    assert os.listdir(tmp_path / "db") == []
