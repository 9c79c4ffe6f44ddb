"""The alert rules and the dashboard as files: whole, understood, and each alert leads to an entry of the runbook."""

import re

import pytest
import yaml

from tests.exposition_world import ROOT, alerts, dashboard, queries
from tests.promql import NotUnderstood, Selector, named

_RUNBOOK = "docs/runbook.md#"
_TEMPLATE = re.compile(
    r"\{\{ (\$labels\.(?P<label>[a-z_]+)|\$value(?: \| humanize(?:Duration|Percentage|1024)?)?) \}\}"
)
_FOR = re.compile(r"\d+[smh]\Z")
_ROWS = ["Overview", "Orders", "Halts", "Market data", "Streams", "Brokers", "Database", "Process", "Around"]


def _anchors() -> set[str]:
    """Of the headings of the runbook, as GitHub makes them."""
    text = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def test_each_alert_says_how_urgent_it_is_what_happens_and_where_to_read_on() -> None:
    anchors = _anchors()
    rules = alerts()
    assert len({rule["alert"] for rule in rules}) == len(rules) > 25
    for rule in rules:
        name = rule["alert"]
        words = re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, name
        assert rule["labels"]["severity"] in ("page", "ticket"), name
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}, name
        assert rule["annotations"]["runbook"] == f"{_RUNBOOK}alert-{words}", name
        assert f"alert-{words}" in anchors, f"{name} has no entry in docs/runbook.md"
        assert _FOR.match(rule.get("for", "0s")), name


def test_what_an_alert_says_is_about_labels_that_its_expression_keeps() -> None:
    for rule in alerts():
        found = named(rule["expr"])
        kept = {label for labels, _ in found.grouped for label in labels}
        # What is not aggregated keeps all labels; the labels of each metric are compared with a scrape elsewhere.
        aggregated = any(metrics for _, metrics in found.grouped)
        for text in (rule["annotations"]["summary"], rule["annotations"]["description"]):
            assert "{{" not in _TEMPLATE.sub("", text), (rule["alert"], text)
            for match in _TEMPLATE.finditer(text):
                if match["label"] is not None and aggregated and match["label"] != "instance":
                    assert match["label"] in kept, (rule["alert"], match["label"])


def test_the_dashboard_has_its_rows_and_no_two_panels_in_one_place() -> None:
    board = dashboard()
    assert [panel["title"] for panel in board["panels"] if panel["type"] == "row"] == _ROWS
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len(list(queries())) > 90


def test_a_counter_is_only_looked_at_by_its_rise_and_a_quantile_is_of_buckets() -> None:
    for where, expression in [(r["alert"], r["expr"]) for r in alerts()] + [(p, e) for p, e, _ in queries()]:
        for one in named(expression).selectors:
            counts_up = one.metric.endswith(("_total", "_bucket", "_sum", "_count"))
            assert counts_up == (one.within in ("rate", "increase")), (where, one.metric)
        for inner in re.findall(r"histogram_quantile\([^,]+, (sum by \([^)]*\))", expression):
            assert "le" in re.findall(r"[a-z_]+", inner), (where, "a quantile needs le")


def test_the_scrape_asks_each_replica_by_its_token() -> None:
    found = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = found["scrape_configs"]
    assert (job["job_name"], job["metrics_path"]) == ("paiid", "/metrics")
    assert list(job["authorization"]) == ["credentials_file"], "no token stands in the file"
    assert found["rule_files"] == ["/etc/prometheus/alerts.yaml"]


@pytest.mark.parametrize(
    "wrong",
    [
        "sum by (x (a)", "a{b='c'}", "rate(paiid_x_total)", "paiid_x_total[5m]", "summ(paiid_x)", "a{b=c}", "sum(a) by (x)", "a ! b",
    ],
)  # fmt: skip
def test_the_reader_of_expressions_refuses_what_is_wrong(wrong: str) -> None:
    with pytest.raises(NotUnderstood):
        named(wrong)


def test_the_reader_of_expressions_finds_metrics_matchers_and_groups() -> None:
    found = named(
        'histogram_quantile(0.99, sum by (le, stage) (rate(a_bucket{stage=~"x|y",b!="c"}[5m]))) > 1 or on (i) max(d) == 0'
    )
    assert found.selectors == [
        Selector("a_bucket", (("stage", "=~", "x|y"), ("b", "!=", "c")), "rate", True),
        Selector("d"),
    ]
    assert found.grouped == [(("le", "stage"), ["a_bucket"]), (("i",), []), ((), ["d"])]
