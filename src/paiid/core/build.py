"""What this build is called: the name it was given, or a hash of the code that is installed."""

import hashlib
from functools import cache
from pathlib import Path

from paiid import __version__
from paiid.core.settings import Settings

__all__ = ["build_id", "release"]


def build_id(settings: Settings) -> str:
    """The same on two replicas exactly if they run the same build."""
    return settings.build_id or _hash_of_code()


def release(settings: Settings) -> str:
    """Version and build, as error tracking names a release."""
    return f"paiid@{__version__}+{build_id(settings)}"


@cache
def _hash_of_code() -> str:
    """Over names and bytes of every module: some milliseconds, once a process."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
