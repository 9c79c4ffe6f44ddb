"""What an app that has traded tells Prometheus, against everything that names it: the table of metrics, the dashboard, the alerts."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from paiid.core.figures import Gauge, Tally
from paiid.system.exposition import exposed
from paiid.system.market_figures import stream_figures
from tests.conftest import MakeApp
from tests.exposition_world import OF_PROMETHEUS, alerts, documented, kind_of, queries, read, series_of
from tests.promql import named
from tests.world import PASSWORD, TEST_KEY, App
from tests.ws_world import served, until

MARK = "zzmarkzz"
"""Put wherever a caller may put a text of his own."""
_HIGH_NUMBER = 300
"""More series than any metric of ours has with one account at one broker."""
_IF_CONFIGURED = {"paiid_error_reports_total", "paiid_spans_total"}
"""Told only where there is somebody to report to."""


@pytest.fixture
def db_url(sqlite_url: str) -> str:
    """One database will do: PostgreSQL's own figures have a test of their own."""
    return sqlite_url


@pytest.fixture
async def app(make_app: MakeApp) -> AsyncIterator[App]:
    """One that has traded, refused, cancelled, halted and been asked for nonsense."""
    app = await make_app({"api_token": f"test-token-{MARK}-0123456789abcdef"})
    owner = await app.owner()
    filled = await owner.execute(
        {"symbol": "AAPL", "side": "buy", "qty": 1, "type": "market"}, key=f"{MARK}-0001"
    )
    await owner.wait_filled(filled.json()["orders"][0]["id"])
    resting = await owner.execute(
        {"symbol": "AAPL", "side": "buy", "qty": 1, "type": "limit", "limit_price": 1.5}
    )
    await owner.delete(f"/api/trading/orders/{resting.json()['orders'][0]['id']}")
    await owner.execute({"symbol": MARK.upper()[:5], "side": "buy", "qty": 1, "type": "market"})
    await owner.get(f"/api/trading/orders/{MARK}?{MARK}={MARK}", headers={"x-request-id": MARK, MARK: MARK})
    await owner.get(f"/{MARK}/{MARK}")
    await owner.request(MARK.upper(), "/api/health")
    await app.anonymous.post("/auth/login", json={"email": f"{MARK}@example.com", "password": MARK * 2})
    await owner.post("/api/admin/kill", json={"halt": True, "reason": MARK})
    epoch = (await owner.get("/api/admin/kill")).json()["epoch"]
    await owner.post("/api/admin/kill", json={"halt": False, "reason": MARK, "epoch": epoch})
    await app.state.ledger_watch.look()
    await until(lambda: app.state.upstream.state.status == "up")
    return app


async def scrape(app: App) -> str:
    answer = await app.anonymous.get("/metrics")
    assert answer.status_code == 200
    return answer.text


async def test_all_that_is_told_is_in_the_table_and_all_in_the_table_is_told(app: App) -> None:
    told = read(await scrape(app), app.state.figures)
    rows = documented()
    assert set(rows) - _IF_CONFIGURED == set(told)
    for name, one in told.items():
        assert rows[name] == (one.kind, one.labels), name
    assert {name for name, _, _ in app.state.figures} <= set(told), "a figure that is registered is told"
    assert {figure[0]: kind_of(figure) for figure in app.state.figures}.items() <= {
        name: one.kind for name, one in told.items()
    }.items()


async def test_the_dashboard_and_the_alerts_name_only_what_is_told(app: App) -> None:
    series = series_of(read(await scrape(app), app.state.figures))
    # Whether a scrape succeeded is known to Prometheus alone.
    asked = [(where, expression) for where, expression, _ in queries()]
    asked += [(rule["alert"], rule["expr"]) for rule in alerts()]
    used: set[str] = set()
    for where, expression in asked:
        found = named(expression)
        for one in found.selectors:
            if one.metric == "up":
                continue
            assert one.metric in series, (where, one.metric)
            metric, labels = series[one.metric]
            used.add(metric.name)
            for label, sign, value in one.matchers:
                assert label in labels | OF_PROMETHEUS, (where, one.metric, label)
                if label == "le":
                    assert sign == "="
                    assert value in {sample[1].get("le") for sample in metric.samples}, (where, value)
        for group, metrics in found.grouped:
            for metric_name in metrics:
                if metric_name != "up":
                    assert set(group) <= series[metric_name][1] | OF_PROMETHEUS, (where, group, metric_name)
    for panel, expression, legend in queries():
        kept = {label for one in named(expression).selectors for label in series[one.metric][1]}
        for label in re.findall(r"\{\{([a-z_]+)\}\}", legend):
            assert label in kept | OF_PROMETHEUS, (panel, label)
    unseen = {
        name for name in series_of(read(await scrape(app))) if name not in used and "_bucket" not in name
    }
    assert unseen  # Not everything has a panel, but what an operator looks at first has one.
    assert {"paiid_order_outcomes_total", "paiid_halts_active", "paiid_ready"} <= used


async def test_names_units_and_words_are_as_prometheus_wants_them(app: App) -> None:
    text = await scrape(app)
    told = read(text, app.state.figures)
    assert text.endswith("\n")
    for name, one in told.items():
        assert re.fullmatch(r"paiid(_[a-z0-9]+)+", name), name
        assert one.words.endswith("."), name
        assert (one.kind == "counter") == name.endswith("_total"), name
        base = name.removesuffix("_total")
        assert not re.search(r"_(ms|millis|milliseconds|us|minutes|kb|mb|percent|pct)\b", base), name
        if one.kind == "histogram":
            assert base.endswith(("_seconds", "_calls", "_bytes")), name
            ends = [labels["le"] for sample, labels, _ in one.samples if sample.endswith("_bucket")]
            assert not ends or ends[-1] == "+Inf", name
        assert not {"le", "quantile", "job", "instance"} & one.labels, name
        assert len(one.samples) < _HIGH_NUMBER * (20 if one.kind == "histogram" else 1), name
        keys = [(sample, tuple(sorted(labels.items()))) for sample, labels, _ in one.samples]
        assert len(set(keys)) == len(keys), f"{name} has a series twice"


async def test_what_has_happened_is_counted(app: App) -> None:
    wanted = {
        'paiid_order_outcomes_total{broker="paper",state="ACCEPTED"} 2.0',
        'paiid_order_intents_total{result="claimed"} 2.0',
        'paiid_order_intents_total{result="refused"} 1.0',
        'paiid_order_cancels_total{broker="paper",outcome="ACCEPTED"} 1.0',
        'paiid_order_stage_seconds_count{stage="send"} 2.0',
        'paiid_order_alarms_total{what="order.corrected"} 0.0',
        'paiid_orders_unsettled{state="UNKNOWN"} 0.0',
        'paiid_accounts{books="agrees",broker="paper"} 1.0',
        'paiid_auth_sign_ins_total{result="ok",what="login"} 1.0',
        'paiid_auth_sign_ins_total{result="invalid-credentials",what="login"} 1.0',
        'paiid_halt_changes_total{change="armed"} 1.0',
        'paiid_halt_changes_total{change="resumed"} 1.0',
        'paiid_halt_arm_seconds_count{reached="effective"} 1.0',
        'paiid_halt_arm_seconds_count{reached="drained"} 1.0',
        'paiid_halts_active{mode="halted",scope="global"} 0.0',
        "paiid_halt_epoch 2.0",
        "paiid_halt_latched 0.0",
        'paiid_http_requests_total{method="POST",route="/auth/login",status="2xx"} 1.0',
        'paiid_http_requests_total{method="POST",route="/auth/login",status="4xx"} 1.0',
        'paiid_http_requests_total{method="POST",route="/api/trading/execute",status="2xx"} 3.0',
        'paiid_http_requests_total{method="GET",route="unmatched",status="4xx"} 1.0',
        'paiid_http_requests_total{method="other",route="/api/health",status="4xx"} 1.0',
        'paiid_http_request_seconds_count{method="DELETE",route="/api/trading/orders/{order_id}"} 1.0',
        'paiid_feed_up{source="simulated"} 1.0',
        'paiid_leases_held{lease="updates:paper"} 1.0',
        "paiid_ready 1.0",
        'paiid_dependency_up{check="database"} 1.0',
        "paiid_scrape_failures_total 0.0",
    }
    end_s = asyncio.get_running_loop().time() + 20
    # The books are compared in the background, and again soon after they have changed; a lease is taken there as well.
    while (
        missing := wanted - set((await scrape(app)).splitlines())
    ) and asyncio.get_running_loop().time() < end_s:
        await app.state.ledger_watch.look()
        await asyncio.sleep(0.1)
    assert missing == set()


async def test_no_text_of_a_caller_and_no_secret_is_in_any_label(app: App) -> None:
    owner = await app.owner()

    async def asked(which: str) -> set[str]:
        for n in range(10):
            await owner.get(f"/{MARK}/{which}/{n}")
            await owner.get(f"/api/trading/orders/{MARK}{which}{n}")
            await owner.get(f"/api/portfolio/positions/{MARK}{which}{n}")
            await app.anonymous.request(f"{which}{n}", f"/{n}")
        return {line.rpartition(" ")[0] for line in (await scrape(app)).splitlines()}

    first = await asked("M")
    for which in "NOPQRSTUV":
        # What the service does of its own accord for the first time may come in between.
        before, first = first, await asked(which)
        if first == before:
            break
    else:
        raise AssertionError("what is asked for adds series")
    text = "\n".join(first)
    for secret in (MARK, MARK.upper(), PASSWORD, TEST_KEY, str(app.settings.api_token), owner.token or ""):
        assert secret not in text
    assert "owner@example.com" not in text
    assert "usr_" not in text
    assert "/tmp" not in text


async def test_a_part_that_cannot_be_read_costs_its_own_figures_and_no_others(app: App) -> None:
    def broken() -> float:
        raise LookupError("half-started")

    before = read(await scrape(app))
    app.state.figures.insert(0, ("paiid_test_broken", "Never told.", Gauge(broken)))
    after = read(await scrape(app))
    assert set(after) == set(before)
    assert after["paiid_scrape_failures_total"].samples[0][2] == 1
    await scrape(app)
    assert read(await scrape(app))["paiid_scrape_failures_total"].samples[0][2] == 3
    del app.state.figures
    assert "paiid_scrape_failures_total 3.0" in await scrape(app), (
        "a process that only begins tells what there is"
    )


async def test_a_scrape_asks_the_database_nothing(app: App) -> None:
    counted = app.state.db.counted()
    await app.state.ledger_watch.stop()
    await app.state.db.stop()
    text = await scrape(app)
    assert "paiid_ready" in text
    assert 'paiid_orders_unsettled{state="UNKNOWN"} 0.0' in text, "as it was at the last look"
    assert counted.commits.items()
    assert "paiid_scrape_failures_total 0.0" in text


async def test_streams_are_counted_by_what_was_written_and_have_no_duration(app: App) -> None:
    owner = await app.owner()
    async with served(app) as streams:
        figures = stream_figures(streams.hub, streams.service.clients)
        async with (
            streams.socket("/api/ws", owner.token) as socket,
            streams.events("/api/stream/prices?symbols=AAPL", owner.token) as events,
        ):
            await socket.opened()
            await socket.say(type="subscribe", channels=["quotes"], symbols=["AAPL"])
            await socket.hear("subscription_confirmed")
            streams.quotes.say("AAPL", price=1)
            await socket.hear("market_data")
            await events.hear("market_data")
            told = read((await exposed(figures, Tally())).decode(), figures)
            values = {
                (name, *labels.values()): value
                for one in told.values()
                for name, labels, value in one.samples
            }
            for kind in ("websocket", "events"):
                assert values["paiid_stream_clients", kind] == values["paiid_stream_opened_total", kind] == 1
            for style in ("frames", "sse"):
                assert values["paiid_stream_events_total", style] >= 2
                assert values["paiid_stream_sent_bytes_total", style] > 50
            assert values["paiid_stream_slowest_client_seconds",] == 0
        await until(lambda: not list(streams.service.clients))
    text = await scrape(app)
    assert 'paiid_http_requests_total{method="WEBSOCKET",route="/api/ws",status="1xx"} 1.0' in text
    assert 'paiid_http_requests_total{method="GET",route="/api/stream/prices",status="2xx"} 1.0' in text
    assert 'paiid_http_request_seconds_count{method="GET",route="/api/stream/prices"}' not in text
