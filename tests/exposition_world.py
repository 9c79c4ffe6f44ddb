"""What the service tells Prometheus, in a test's hands: each metric with its type, its labels, and its samples."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from paiid.core.figures import Figure, Histogram, Tally

ROOT = Path(__file__).parents[1]
OF_PROMETHEUS = frozenset({"instance", "job"})
"""Labels that every sample gets when it is scraped."""
_KIND = re.compile(r"^# TYPE (\S+) (\S+)$", re.MULTILINE)
_HELP = re.compile(r"^# HELP (\S+) (.*)$", re.MULTILINE)
_ROW = re.compile(
    r"^\| `(paiid_[a-z0-9_]+)` \| (counter|gauge|histogram) \|([^|]*)\| ([^|]+) \|$", re.MULTILINE
)


@dataclass(slots=True)
class Told:
    """One metric of a scrape."""

    name: str
    kind: str
    words: str
    samples: list[tuple[str, dict[str, str], float]] = field(default_factory=list)
    labels: frozenset[str] = frozenset()


def read(text: str, figures: Sequence[Figure] = ()) -> dict[str, Told]:
    """Each metric by its name. The labels of one without samples are those that the part has declared."""
    words = dict(_HELP.findall(text))
    found = {name: Told(name, kind, words.get(name, "")) for name, kind in _KIND.findall(text)}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = next(one for one in (sample.name, family.name) if one in found)
            found[name].samples.append((sample.name, dict(sample.labels), sample.value))
    declared = {name: frozenset(source.names) for name, _, source in figures}
    for one in found.values():
        seen = {frozenset(labels) - {"le"} for _, labels, _ in one.samples}
        assert len(seen) < 2, f"{one.name} has samples of different labels: {seen}"
        one.labels = seen.pop() if seen else declared.get(one.name, frozenset())
        if one.name in declared:
            assert one.labels == declared[one.name], one.name
    return found


def series_of(told: dict[str, Told]) -> dict[str, tuple[Told, frozenset[str]]]:
    """What may be named in a query: the name of each series, its metric, and its labels."""
    found: dict[str, tuple[Told, frozenset[str]]] = {}
    for one in told.values():
        if one.kind == "histogram":
            for suffix, more in (("_bucket", {"le"}), ("_sum", set[str]()), ("_count", set[str]())):
                found[one.name + suffix] = (one, one.labels | more)
        else:
            found[one.name] = (one, one.labels)
    return found


def kind_of(figure: Figure) -> str:
    """As Prometheus calls it."""
    name, _, source = figure
    if isinstance(source, Histogram):
        return "histogram"
    return "counter" if isinstance(source, Tally) or name.endswith("_total") else "gauge"


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """The rows of docs/metrics.md: type and labels of each."""
    rows = _ROW.findall((ROOT / "docs" / "metrics.md").read_text(encoding="utf-8"))
    found = {name: (kind, frozenset(re.findall(r"`([a-z_]+)`", labels))) for name, kind, labels, _ in rows}
    assert len(found) == len(rows), "a metric has two rows"
    return found


def alerts() -> list[dict[str, Any]]:
    """All alert rules."""
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text(encoding="utf-8"))
    return [rule for group in rules["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    found: dict[str, Any] = json.loads(
        (ROOT / "deploy" / "grafana" / "paiid.json").read_text(encoding="utf-8")
    )
    return found


def queries() -> Iterator[tuple[str, str, str]]:
    """Each query of the dashboard: its panel, the expression with Grafana's variables put in, and its legend."""
    board = dashboard()
    shown = [*board["panels"], *board["annotations"]["list"]]
    for panel in shown:
        for target in panel.get("targets", [panel] if "expr" in panel else []):
            expression = target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")
            yield panel.get("title") or panel["name"], expression, target.get("legendFormat", "")
