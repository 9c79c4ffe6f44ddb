"""compose.yaml and nginx.conf: locked down, nothing open by default, and a balancer that sends nothing twice."""

import ipaddress
import re

import yaml

from paiid.cli.serve import KEEP_ALIVE_S, LAST_RESORT_S
from tests.deploy_recipes import DEPLOY, ROOT, SECRET, Block, compose, nginx, recipes, seconds

# -- compose ----------------------------------------------------------------------------------------

_SERVICE_KEYS = {
    "image", "build", "command", "entrypoint", "environment", "env_file", "depends_on", "healthcheck", "networks", "ports", "profiles",
    "read_only", "cap_drop", "security_opt", "restart", "secrets", "shm_size", "stop_grace_period", "stop_signal", "tmpfs", "ulimits",
    "user", "volumes",
}  # fmt: skip


def test_compose_has_the_keys_of_its_specification_and_every_name_it_uses() -> None:
    found = compose()
    services = found["services"]
    assert {key for key in found if not key.startswith("x-")} == {
        "name",
        "services",
        "networks",
        "volumes",
        "secrets",
    }
    for name, service in services.items():
        assert set(service) <= _SERVICE_KEYS, name
        assert set(service["networks"]) <= set(found["networks"])
        assert set(service.get("depends_on", {})) <= set(services)
        assert set(service.get("secrets", ())) <= set(found["secrets"])
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), source
                assert mount.endswith(":ro")
            else:
                assert source in found["volumes"]
        for waited in service.get("depends_on", {}).values():
            assert waited["condition"] in {
                "service_started",
                "service_healthy",
                "service_completed_successfully",
            }


def test_every_container_is_locked_down() -> None:
    for name, service in compose()["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "/tmp" in service["tmpfs"], name
        # Ours has its user in the image.
        if not service["image"].startswith("paiid:"):
            assert re.fullmatch(r"[1-9]\d*:\d+", service["user"]), name
            assert re.fullmatch(r"[a-z/]+:v?\d+[\w.-]*", service["image"]), name


def test_only_the_balancer_can_be_reached_and_nothing_but_from_this_host_unless_told() -> None:
    found = compose()
    ports = {name: service["ports"] for name, service in found["services"].items() if "ports" in service}
    assert ports.pop("nginx") == ["${LISTEN:-127.0.0.1:8080}:8080"]
    assert all(port.startswith("127.0.0.1:") for listed in ports.values() for port in listed)
    assert all(found["services"][name]["profiles"] == ["monitoring"] for name in ports)
    assert found["networks"]["data"] == {"internal": True}
    assert [name for name in ("postgres", "valkey") if found["services"][name]["networks"] != ["data"]] == []


def test_two_replicas_start_after_the_migration_and_share_no_directory() -> None:
    services = compose()["services"]
    first, second = services["paiid-1"], services["paiid-2"]
    assert first["environment"] == second["environment"] == services["migrate"]["environment"]
    assert first["volumes"] != second["volumes"]
    for replica in (first, second):
        assert replica["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        assert int(replica["stop_grace_period"].removesuffix("s")) > LAST_RESORT_S
    assert services["migrate"]["restart"] == "no"
    assert services["migrate"]["depends_on"]["postgres"] == {"condition": "service_healthy"}
    assert set(services["nginx"]["depends_on"]) == {"paiid-1", "paiid-2"}


def test_nothing_starts_without_its_secrets_and_the_example_has_every_variable() -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    asked = set(re.findall(r"\$\{(\w+)", text))
    example = dict(
        line.split("=", 1)
        for line in (DEPLOY / "env.example").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    )
    assert set(example) == asked
    for name in asked:
        if SECRET.search(name) or name.startswith("OWNER"):
            assert example[name] == ""
            assert len(re.findall(rf"\$\{{{name}:\?", text)) == len(re.findall(rf"\$\{{{name}\b", text)), name
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"deploy/.env", "deploy/paiid.env", "deploy/metrics-token"} <= set(ignored)


def test_prometheus_asks_each_replica_and_grafana_finds_prometheus() -> None:
    services = compose()["services"]
    (job,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))[
        "scrape_configs"
    ]
    (source,) = yaml.safe_load(
        (DEPLOY / "grafana" / "provisioning" / "datasources" / "paiid.yaml").read_text(encoding="utf-8")
    )["datasources"]
    port = services["paiid-1"]["environment"]["PORT"]
    assert [one for listed in job["static_configs"] for one in listed["targets"]] == [
        f"paiid-1:{port}",
        f"paiid-2:{port}",
    ]
    assert job["authorization"]["credentials_file"] == "/run/secrets/metrics_token"
    assert source["url"] == "http://prometheus:9090"
    assert services["prometheus"]["secrets"] == ["metrics_token"]


# -- nginx ------------------------------------------------------------------------------------------


def location(server: Block, path: str) -> Block:
    """Which of the locations takes this path, by nginx's own order."""
    of = [(one.words[1:], one) for one in server.all("location") if not one.words[1].startswith("@")]
    for words, one in of:
        if words[0] == "=" and words[1] == path:
            return one
    for words, one in of:
        if words[0] == "~" and re.search(words[1], path):
            return one
    prefixes = [(len(words[0]), one) for words, one in of if len(words) == 1 and path.startswith(words[0])]
    return max(prefixes, key=lambda found: found[0])[1]


def test_nginx_names_the_replicas_of_compose_and_is_the_only_proxy_they_believe() -> None:
    found = compose()
    services, edge = (
        found["services"],
        ipaddress.ip_network(found["networks"]["edge"]["ipam"]["config"][0]["subnet"]),
    )
    addresses = {
        name: services[name]["networks"]["edge"]["ipv4_address"] for name in ("paiid-1", "paiid-2", "nginx")
    }
    assert all(ipaddress.ip_address(one) in edge for one in addresses.values())
    servers = [one.words[1] for one in nginx().one("http", "upstream").all("server")]
    assert servers == [f"{addresses[name]}:8000" for name in ("paiid-1", "paiid-2")]
    trusted = next(one for one in recipes() if one.name == "compose").environ["TRUSTED_PROXIES"]
    assert trusted == addresses["nginx"]
    example = (DEPLOY / "env.example").read_text(encoding="utf-8")
    assert f"TRUSTED_PROXIES={trusted}\n" in example


def test_nginx_sends_no_order_twice_and_tells_whose_request_it_is() -> None:
    http = nginx().one("http")
    assert http.says("proxy_next_upstream") == ["error", "timeout"], (
        "non_idempotent would send an order again"
    )
    headers = {one.words[1]: one.words[2] for one in http.all("proxy_set_header")}
    assert headers["X-Forwarded-For"] == "$proxy_add_x_forwarded_for"
    assert headers["Host"] == "$http_host"
    # A block that sets one header of its own would lose all of these.
    server = http.one("server")
    assert not any(one.all("proxy_set_header") for one in (server, *server.all("location")))


def test_nginx_passes_sockets_and_streams_through_as_they_come() -> None:
    http = nginx().one("http")
    server = http.one("server")
    headers = {one.words[1]: one.words[2] for one in http.all("proxy_set_header")}
    assert http.says("proxy_http_version") == ["1.1"]
    assert (headers["Upgrade"], headers["Connection"]) == ("$http_upgrade", "$connection_upgrade")
    for path in ("/api/ws", "/api/stream/prices", "/api/stream/positions", "/api/ai/chat"):
        found = location(server, path)
        assert found.says("proxy_buffering") == ["off"], path
        # Heartbeats come every 15 s.
        assert seconds(found.says("proxy_read_timeout")[0]) >= 45, path
    assert location(server, "/api/trading/execute").words == ["location", "/"]
    assert location(server, "/api/wsx").words == ["location", "/"]


def test_nginx_waits_as_long_as_the_service_may_take_and_closes_idle_connections_first() -> None:
    http = nginx().one("http")
    # The whole of an execute has 20 s (E4).
    assert seconds(http.says("proxy_read_timeout")[0]) > 20
    assert seconds(http.one("upstream").says("keepalive_timeout")[0]) < KEEP_ALIVE_S
    for path in ("/api/github/webhook", "/api/monitor/webhook"):
        found = location(http.one("server"), path)
        assert found.says("client_max_body_size") == ["26m"]
        assert found.says("proxy_request_buffering") == ["off"]


def test_nginx_shows_no_figures_and_logs_no_query() -> None:
    found = nginx()
    assert location(found.one("http", "server"), "/metrics").says("return") == ["404"]
    written = found.one("http").says("log_format")[1]
    assert not re.search(r"\$(request|request_uri|args|query_string|http_\w+)\b(?!_)", written)
    assert found.says("error_log") == ["/dev/stderr", "crit"]
