"""Does once what each process of tests would do at the same time: pytest's rewriting of the assertions of every test file.

In a fresh checkout that is half of what it costs to collect the tests, in each of the processes. It is pytest's own cache that is filled, by
its own functions; they are no promise of its, so whatever goes wrong here leaves the work to the processes.
"""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
_SHARES = 2


def fill_the_cache(config: pytest.Config) -> None:
    """Fill it, in two processes."""
    if sys.dont_write_bytecode or not hasattr(os, "fork"):
        return
    files = sorted(path for path in ROOT.rglob("*.py") if path.name.startswith("test_"))
    child = os.fork()
    if child == 0:
        try:
            _rewrite(files[1::_SHARES], config)
        finally:
            os._exit(0)
    _rewrite(files[0::_SHARES], config)
    os.waitpid(child, 0)


def _rewrite(files: list[Path], config: pytest.Config) -> None:
    try:
        from _pytest.assertion import rewrite

        state = config.stash[rewrite.assertstate_key]
        for path in files:
            directory = rewrite.get_cache_dir(path)
            kept = directory / (path.name[:-3] + rewrite.PYC_TAIL)
            if rewrite._read_pyc(path, kept) is None and rewrite.try_makedirs(directory):
                found, code = rewrite._rewrite_test(path, config)
                rewrite._write_pyc(state, code, found, kept)
    except Exception as error:
        sys.stderr.write(f"the cache of rewritten tests was not filled: {type(error).__name__}\n")
