"""What a cluster keeps in its directory: its secrets, its database, who runs, and the lock that there is one of it."""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

ORPHANS_S = 6.0
"""For what an earlier cluster has left, to end by itself."""


class ClusterError(Exception):
    """The cluster cannot run; the text says what to do."""


class Home:
    """The directory of one cluster, for our user alone."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    def prepare(self) -> None:
        """Make it and take its lock. Raises ClusterError where another cluster has it."""
        try:
            (self.path / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ClusterError(f"{self.path} cannot be used: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            pid = self.state().get("pid", "?")
            raise ClusterError(
                f"a cluster is running in {self.path} (process {pid}); stop it first, or set DATA_DIR to another directory"
            ) from None

    def release(self) -> None:
        """Another may run here."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def secret(self, name: str) -> str:
        """A random text that is made once and kept in a file of this name, mode 0600."""
        path = self.path / name
        if not path.exists() or not path.read_text().strip():
            _write_whole(path, secrets.token_urlsafe(48) + "\n")
        return path.read_text().strip()

    def log(self, name: str) -> Path:
        """Where a child writes; what it wrote in the run before is kept beside."""
        return self.path / "logs" / f"{name}.log"

    def turn_logs(self) -> None:
        """Begin new logs."""
        for one in (self.path / "logs").glob("*.log"):
            one.replace(one.with_suffix(".old"))

    def cut_logs(self, most_bytes: int) -> None:
        """Begin a log anew that has grown beyond this; who writes to it goes on at its end."""
        for one in (self.path / "logs").glob("*.log"):
            if one.stat().st_size > most_bytes:
                shutil.copyfile(one, one.with_suffix(".old"))
                os.truncate(one, 0)

    def database(self, as_nobody: bool) -> Path:
        """Where PostgreSQL's files are. It runs as nobody where we are root, who may not look into directories that are closed
        to others: then they are in /var/tmp, and a link in this directory says where."""
        own = self.path / "postgres"
        if own.is_symlink() and not own.exists():
            own.unlink()
        if own.exists() or not as_nobody or all(_open_to_all(one) for one in own.parents):
            return own.resolve()
        elsewhere = Path(tempfile.mkdtemp(prefix="paiid-cluster-", dir="/var/tmp"))
        elsewhere.chmod(0o711)
        own.symlink_to(elsewhere / "postgres")
        (elsewhere / "postgres").mkdir(mode=0o700)
        return elsewhere / "postgres"

    def remove_database(self) -> None:
        """Delete PostgreSQL's files, wherever they are; for clusters of a test or a benchmark."""
        own = self.path / "postgres"
        shutil.rmtree(own.resolve().parent if own.is_symlink() else own, ignore_errors=True)

    # -- who runs -----------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What the cluster here has last told of itself."""
        try:
            found = json.loads((self.path / "cluster.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def tell(self, state: Mapping[str, Any]) -> None:
        """Write it down, whole or not at all."""
        _write_whole(self.path / "cluster.json", json.dumps(state, indent=2) + "\n")

    def tell_environ(self, environ: Mapping[str, str]) -> None:
        """What `paiid` needs to reach this database: `set -a; . env; set +a`."""
        lines = [f"{name}='{value}'" for name, value in environ.items() if "'" not in value]
        _write_whole(self.path / "env", "\n".join(lines) + "\n")

    def end_orphans(self) -> list[str]:
        """End what a cluster that was killed has left running; their names. Only processes that it has written down, told apart from
        others that got their id since by the instant of their start."""
        left = {}
        for name, (pid, created) in self.state().get("children", {}).items():
            with contextlib.suppress(psutil.Error, TypeError, ValueError):
                found = psutil.Process(pid)
                if abs(found.create_time() - created) < 0.01 and found.status() != psutil.STATUS_ZOMBIE:
                    left[name] = found
        for name, found in left.items():
            with contextlib.suppress(psutil.Error):
                # PostgreSQL waits for its clients on SIGTERM; on SIGINT it sends them away.
                found.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
        _, stubborn = psutil.wait_procs(list(left.values()), timeout=ORPHANS_S)
        for found in stubborn:
            with contextlib.suppress(psutil.Error):
                found.send_signal(signal.SIGQUIT if found is left.get("postgres") else signal.SIGKILL)
        psutil.wait_procs(stubborn, timeout=2.0)
        return list(left)


def identity(pid: int) -> tuple[int, float]:
    """A process id with the instant of its start, so that it means one process for ever."""
    try:
        return pid, psutil.Process(pid).create_time()
    except psutil.Error:
        return pid, 0.0


def is_running(state: Mapping[str, Any]) -> bool:
    """Whether the cluster that has told this still runs."""
    pid, created = state.get("pid"), state.get("created")
    if not isinstance(pid, int) or not isinstance(created, float):
        return False
    return identity(pid)[1] == created


def _open_to_all(directory: Path) -> bool:
    try:
        return bool(directory.stat().st_mode & 0o001)
    except OSError:
        return False


def _write_whole(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(path)
