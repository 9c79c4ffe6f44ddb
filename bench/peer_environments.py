"""Virtual environments for the pricing peers that are not among our own dependencies, made from lock files of their own.

Each has one because they exclude each other: `vollib` is today's name of py_vollib, and py_vollib_vectorized works only with the
py_vollib and py_lets_be_rational of 2017, whose functions it replaces while it is imported.
"""

import subprocess
import sys
from pathlib import Path

from bench.figures import Say
from bench.processes import ROOT

HOME = ROOT / ".venv-bench"
"""Git does not look at it."""
LOCKS = {"vollib": "peers_vollib.lock", "vectorized": "peers.lock"}
MOST_S = 300.0


def python_of(name: str) -> Path | None:
    """The interpreter of an environment that was installed whole, or None."""
    home = HOME / name
    return home / "bin" / "python" if (home / ".ready").exists() else None


def install(say: Say) -> None:
    """Make every environment that is not there. What does not install is said, and its rows are left out."""
    for name, lock in LOCKS.items():
        if python_of(name) is not None:
            continue
        home = HOME / name
        uv = (str(Path(sys.executable).with_name("uv")), "--quiet")
        lock_file = str(ROOT / "bench" / lock)
        steps = (
            [*uv, "venv", "--clear", "--python", sys.executable, str(home)],
            [*uv, "pip", "sync", "--python", str(home / "bin" / "python"), "--require-hashes", lock_file],
        )
        try:
            for step in steps:
                subprocess.run(step, check=True, capture_output=True, text=True, timeout=MOST_S)
        except (OSError, subprocess.SubprocessError) as problem:
            told = (getattr(problem, "stderr", None) or str(problem)).strip()
            say(f"  {name} does not install: {told.splitlines()[-1] if told else problem}")
        else:
            (home / ".ready").touch()
