"""`python -m cluster` as a user runs it: it comes up, refuses what cannot be, ends in order, and touches nothing that is not its own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from cluster.home import ClusterError, Home, identity
from cluster.ports import free_ports

ROOT = Path(__file__).parents[2]
WITHIN_S = 60.0


def environ(data: Path, port: int) -> dict[str, str]:
    """As a shell would have it."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    return {**kept, "DATA_DIR": str(data), "PORT": str(port), "TESTING": "true", "LOG_LEVEL": "WARNING"}


def run(data: Path, port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One that ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "cluster", *arguments],
        env=environ(data, port), cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=False,
    )  # fmt: skip


async def test_a_cluster_comes_up_by_one_command_refuses_a_second_and_leaves_no_process(
    tmp_path: Path,
) -> None:
    port = free_ports(2)
    with (tmp_path / "out").open("wb") as out:
        cluster = subprocess.Popen(
            [sys.executable, "-m", "cluster", "--replicas", "1"],
            env=environ(tmp_path / "data", port), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
        )  # fmt: skip
    home = tmp_path / "data" / "cluster"
    try:
        async with asyncio.timeout(WITHIN_S), httpx2.AsyncClient(verify=False, trust_env=False) as client:
            while "serves on" not in (tmp_path / "out").read_text():
                assert cluster.poll() is None, (tmp_path / "out").read_text()
                await asyncio.sleep(0.05)
            owner = {"email": "owner@localhost", "password": (home / "owner-password").read_text().strip()}
            answer = await client.post(f"http://127.0.0.1:{port}/auth/login", json=owner)
            assert answer.status_code == 200, answer.text
        same_home = await asyncio.to_thread(run, tmp_path / "data", port)
        assert (same_home.returncode, "a cluster is running in" in same_home.stderr) == (1, True)
        same_port = await asyncio.to_thread(run, tmp_path / "other", port)
        assert same_port.returncode == 1
        assert f"port {port}: it is in use; set PORT" in same_port.stderr
        assert all(one.stat().st_mode & 0o077 == 0 for one in home.iterdir() if not one.is_symlink())
        children = json.loads((home / "cluster.json").read_text())["children"]
        assert set(children) == {"replica-1", "postgres", "valkey"}
    finally:
        cluster.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(cluster.wait, 30)
    assert code == 0, (tmp_path / "out").read_text()
    assert [name for name, (pid, created) in children.items() if identity(pid) == (pid, created)] == []
    # What is kept is enough to go on with.
    assert {"postgres", "jwt-secret", "owner-password"} <= {one.name for one in home.iterdir()}
    Home(home).remove_database()


def test_wrong_calls_say_what_is_wrong(tmp_path: Path) -> None:
    wrong = run(tmp_path, 8000, "--replicas", "0")
    assert (wrong.returncode, "replicas are 1 to" in wrong.stderr) == (2, True)
    nobody = run(tmp_path, 8000, "roll")
    assert (nobody.returncode, "no cluster is running" in nobody.stderr) == (1, True)
    no_port = run(tmp_path, 65535)
    assert (no_port.returncode, "PORT: '65535'" in no_port.stderr) == (1, True)


def test_what_a_killed_cluster_has_left_is_ended_and_nobody_elses_process_is(tmp_path: Path) -> None:
    mine, other = (subprocess.Popen(["sleep", "60"]) for _ in range(2))
    try:
        home = Home(tmp_path)
        home.prepare()
        # The other one's id was once that of a child of ours, which began at another instant.
        told: dict[str, Any] = {
            "replica-1": identity(mine.pid),
            "replica-2": (other.pid, identity(other.pid)[1] - 9),
        }
        home.tell({"children": told})
        assert home.end_orphans() == ["replica-1"]
        assert not psutil.pid_exists(mine.pid)
        assert other.poll() is None
        with pytest.raises(ClusterError, match="a cluster is running"):
            Home(tmp_path).prepare()
        home.release()
    finally:
        for one in (mine, other):
            one.kill()
            one.wait()
