"""Ports for servers of our own: free, each given once, and never one of those that outgoing connections get."""

import socket
from pathlib import Path

import pytest

from cluster import ports
from cluster.ports import free_port, free_ports


def test_a_port_is_given_once_and_lies_below_those_of_outgoing_connections(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kernel = tmp_path / "range"
    kernel.write_text("11500\t60999\n")
    monkeypatch.setattr(ports, "_KERNEL", kernel)
    given = [free_port() for _ in range(300)]
    assert len(set(given)) == 300
    assert all(10_000 <= port < 11_500 for port in given)


@pytest.mark.parametrize("text", ["", "nonsense", "1024 65535"])
def test_a_kernel_that_does_not_say_or_keeps_all_for_connections_still_leaves_ports(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    kernel = tmp_path / "range"
    kernel.write_text(text)
    monkeypatch.setattr(ports, "_KERNEL", kernel)
    assert 10_000 <= free_port() <= 32_767
    monkeypatch.setattr(ports, "_KERNEL", tmp_path / "none")
    assert 10_000 <= free_port() <= 32_767


def test_ports_in_a_row_are_all_free(monkeypatch: pytest.MonkeyPatch) -> None:
    first = free_ports(5)
    monkeypatch.setattr(ports, "_given", set())
    monkeypatch.setattr(ports, "_FIRST", first)
    monkeypatch.setattr(ports, "_last_port", lambda: first + 4)
    with socket.socket() as taken:
        # Only bound: whoever asks by connecting finds it free.
        taken.bind(("127.0.0.1", first + 1))
        assert free_ports(2) in (first + 2, first + 3)


def test_where_there_are_not_so_many_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setattr(ports, "_given", set())
    monkeypatch.setattr(ports, "_FIRST", port)
    monkeypatch.setattr(ports, "_last_port", lambda: port)
    monkeypatch.setattr(ports, "_TRIES", 20)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        with pytest.raises(RuntimeError, match="no 1 free ports"):
            free_port()
