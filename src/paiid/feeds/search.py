"""Finding tickers by symbol or name, the same way in every feed that knows its instruments by heart."""

from collections.abc import Iterable, Sequence

from paiid.domain.instruments import Instrument

_NO_MATCH = 4


def best_matches(instruments: Iterable[Instrument], text: str, limit: int) -> Sequence[Instrument]:
    """The symbol itself, symbols that begin with the text, names with a word that begins so, names that have it somewhere; in each group
    by symbol. Upper and lower case are the same; an empty text matches nothing."""
    wanted = " ".join(text.split()).casefold()
    if not wanted or limit <= 0:
        return []
    ranked = [(rank, one.symbol, one) for one in instruments if (rank := _rank(one, wanted)) < _NO_MATCH]
    return [one for _, _, one in sorted(ranked, key=lambda each: each[:2])[:limit]]


def _rank(instrument: Instrument, wanted: str) -> int:
    symbol, name = instrument.symbol.casefold(), instrument.name.casefold()
    if symbol == wanted:
        return 0
    if symbol.startswith(wanted):
        return 1
    if f" {name}".find(f" {wanted}") >= 0:
        return 2
    return 3 if wanted in name else _NO_MATCH
