"""All figures of this process in Prometheus' text format 0.0.4; imported when it is first asked for.

What is told is a list of `core/figures.Figure`, and this file alone knows the format. The lines are written here: the library takes ten
times as long for each, and all of that is time in which the event loop does nothing else.
"""

import asyncio
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import structlog
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.process_collector import ProcessCollector

from paiid.core.figures import Figure, Histogram, Tally

__all__ = ["CONTENT_TYPE", "exposed"]

_log = structlog.get_logger("paiid.metrics")
_NAMESPACE = "paiid"
_FAILED = ("paiid_scrape_failures_total", "Figures that could not be read at this scrape or at one before.")
_ONE_BREATH = 500
"""Lines written before others get a turn."""
_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


async def exposed(figures: Sequence[Figure], failures: Tally) -> bytes:
    """All of them as they are now. One that cannot be read is left out and counted, for the others are wanted all the more then."""
    lines: list[str] = []
    for figure in figures:
        own: list[str] = []
        try:
            for line in _lines(figure):
                own.append(line)
                if (len(lines) + len(own)) % _ONE_BREATH == 0:
                    await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001 - a part that is half there must not hide the others
            failures.add()
            _log.warning("figure_unreadable", figure=figure[0], error=type(error).__name__)
            continue
        lines += own
    lines += _lines((*_FAILED, failures))
    return "\n".join([*lines, ""]).encode() + _of_process()


def _lines(figure: Figure) -> Iterator[str]:
    name, words, source = figure
    yield f"# HELP {name} {words}"
    if isinstance(source, Histogram):
        yield f"# TYPE {name} histogram"
        for labels, buckets, total in source.items():
            pairs = _pairs(source.names, labels)
            front = f"{name}_bucket{{{pairs}{',' if pairs else ''}le="
            for bound, count in buckets:
                yield f'{front}"{bound}"}} {count!r}'
            shown = f"{{{pairs}}}" if pairs else ""
            yield f"{name}_count{shown} {buckets[-1][1]!r}"
            yield f"{name}_sum{shown} {_number(total)}"
        return
    # A gauge may read what a part counts by itself.
    kind = "counter" if isinstance(source, Tally) or name.endswith("_total") else "gauge"
    yield f"# TYPE {name} {kind}"
    for labels, value in source.items():
        pairs = _pairs(source.names, labels)
        yield f"{name}{{{pairs}}} {_number(value)}" if pairs else f"{name} {_number(value)}"


def _pairs(names: Sequence[str], labels: Sequence[str]) -> str:
    """By name, as the library has them. Raises ValueError for labels that are not those declared."""
    pairs = sorted(zip(names, labels, strict=True))
    return ",".join([f'{name}="{label.translate(_ESCAPED)}"' for name, label in pairs])


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


class _These:
    """A registry of metrics that are there already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """As the library asks for them."""
        return self._metrics


def _of_process() -> bytes:
    """Memory, processor time and files of the process, which the library knows to find."""
    collector = ProcessCollector(namespace=_NAMESPACE, registry=None)
    return generate_latest(cast(CollectorRegistry, _These(collector.collect())))
