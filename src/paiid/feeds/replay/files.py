"""The files of one recording: quotes that are played, chains that stand still, and daily bars beside them; told apart by their headers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from paiid.feeds.replay.chain_recording import (
    CHAIN_HEADER,
    DAYS_HEADER,
    RecordedChain,
    RecordedDays,
    read_chain,
    read_days,
)
from paiid.feeds.replay.recording import Contents, ReplayError, header_of, look_through

MOST_FILES = 64
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Recordings:
    """What the files hold. `quotes` and what is in it (`contents`) are there together or not at all."""

    quotes: Path | None
    contents: Contents | None
    chains: tuple[RecordedChain, ...]
    days: tuple[RecordedDays, ...]


def paths_of(named: Path) -> tuple[Path, ...]:
    """`REPLAY_FILE` is one file, or several with commas between them."""
    if "," not in str(named) or _is_file(named):
        return (named,)
    return tuple(Path(one.strip()) for one in str(named).split(",") if one.strip())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # Many names in one are longer than a name may be.
        return False


def recordings_in(named: Path) -> Recordings:
    """Reads or looks through them all. Raises ReplayError, which names the file where there are several."""
    paths = paths_of(named)
    if not 0 < len(paths) <= MOST_FILES:
        raise ReplayError(f"a recording is 1 to {MOST_FILES} files")
    many = len(paths) > 1
    quotes: Path | None = None
    contents: Contents | None = None
    chains: dict[str, RecordedChain] = {}
    days: dict[str, RecordedDays] = {}
    for path in paths:
        header = _from(path, many, header_of)
        if header == CHAIN_HEADER:
            chain = _from(path, many, read_chain)
            _once(path, chain.symbol, chains)
            chains[chain.symbol] = chain
        elif header == DAYS_HEADER:
            bars = _from(path, many, read_days)
            _once(path, bars.symbol, days)
            days[bars.symbol] = bars
        elif quotes is not None:
            raise ReplayError(
                f"{path.name}: one file of quotes can be played, and {quotes.name} is there already"
            )
        else:
            quotes, contents = path, _from(path, many, look_through)
    played = frozenset(() if contents is None else contents.symbols)
    if both := sorted(played & chains.keys()):
        raise ReplayError(
            f"{both[0]} has quotes that are played and a chain of one instant; they do not go together"
        )
    if alone := sorted(days.keys() - chains.keys()):
        raise ReplayError(f"the daily bars of {alone[0]} are there for a chain, and there is none")
    return Recordings(quotes, contents, tuple(chains.values()), tuple(days.values()))


def _once(path: Path, symbol: str, known: dict[str, _T]) -> None:
    if symbol in known:
        raise ReplayError(f"{path.name}: there is another file of {symbol}")


def _from(path: Path, many: bool, read: Callable[[Path], _T]) -> _T:
    try:
        return read(path)
    except ReplayError as error:
        raise ReplayError(f"{path.name}: {error}") if many else error from None
