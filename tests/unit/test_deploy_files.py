"""The recipes of `deploy/` say what the code knows: its variables, its commands, its probes; and nothing of them is open by default."""

import importlib.metadata
import re
import shlex
import tomllib
from dataclasses import fields
from functools import cache

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from typer.main import get_command

from paiid.cli.commands import app
from paiid.cli.serve import GRACE_S, LAST_RESORT_S, LEAVE_S
from paiid.core.settings import Settings
from tests.deploy_recipes import (
    DEPLOY,
    ROOT,
    SECRET,
    Recipe,
    dockerfile,
    fly,
    image,
    recipes,
    render,
    seconds,
)

SETTINGS = {one.name.upper() for one in fields(Settings)}
_NOT_OURS = {"PATH", "PYTHONDONTWRITEBYTECODE"}
_RECIPES = recipes()
by_recipe = pytest.mark.parametrize("recipe", _RECIPES, ids=lambda one: one.name)


# -- the lock of the image --------------------------------------------------------------------------


@cache
def locked(name: str) -> dict[str, frozenset[str]]:
    """Requirement line to its hashes."""
    found: dict[str, frozenset[str]] = {}
    for block in re.split(r"\n(?=\S)", (ROOT / name).read_text(encoding="utf-8").strip()):
        head, *rest = block.splitlines()
        hashes = frozenset(re.findall(r"--hash=(sha256:[0-9a-f]{64})", "\n".join(rest)))
        found[head.removesuffix("\\").strip()] = hashes
    return found


def needed() -> set[str]:
    """The names of every package that `paiid[otel]` needs in this environment, from what the installed ones say of themselves."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting = [Requirement(one) for one in project["dependencies"] + project["optional-dependencies"]["otel"]]
    seen: set[tuple[str, str]] = set()
    names: set[str] = set()
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        names.add(name)
        for extra in ("", *one.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for text in importlib.metadata.requires(name) or ():
                further = Requirement(text)
                if further.marker is None or further.marker.evaluate(
                    {**default_environment(), "extra": extra}
                ):
                    waiting.append(further)
    return names


def test_the_runtime_lock_is_part_of_the_whole_lock_with_the_same_versions_and_hashes() -> None:
    whole, runtime = locked("requirements.lock"), locked("requirements-runtime.lock")
    assert {line: hashes for line, hashes in runtime.items() if whole.get(line) != hashes} == {}
    assert all(runtime.values()), "each has a hash"
    assert "://" not in (ROOT / "requirements-runtime.lock").read_text(encoding="utf-8")


def test_the_runtime_lock_has_exactly_what_the_service_needs_with_traces() -> None:
    here = {
        canonicalize_name(one.name)
        for one in map(Requirement, locked("requirements-runtime.lock"))
        if one.marker is None or one.marker.evaluate()
    }
    assert here == needed()


# -- the image --------------------------------------------------------------------------------------


def test_the_image_runs_without_rights_and_is_built_of_locked_wheels_alone() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    arguments, build, last = dockerfile(text)
    version = re.fullmatch(r"PYTHON_IMAGE=python:(\d+\.\d+)-slim", dict(arguments)["ARG"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert version is not None
    assert SpecifierSet(project["requires-python"]).contains(version[1])
    (install,) = [rest for name, rest in build if name == "RUN" and "install" in rest]
    assert {"--require-hashes", "--only-binary", "--no-cache-dir"} <= set(shlex.split(install))
    assert "-r requirements-runtime.lock" in install
    names = [name for name, _ in last]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", dict(last)["USER"]), (
        "by number, so that hosts can tell it is not root"
    )
    assert names.index("USER") > max(i for i, name in enumerate(names) if name in {"RUN", "COPY"})
    # PID 1 is the server itself: the forms with brackets have no shell, and there is nothing before the command.
    assert "ENTRYPOINT" not in names
    assert image()["cmd"] == ["paiid", "serve"]
    assert not re.search(r"\b(curl|wget|apt-get|ADD)\b", text)


def test_the_image_listens_to_others_and_keeps_everything_in_one_place() -> None:
    env = image()["env"]
    assert (env["HOST"], env["DATA_DIR"]) == ("0.0.0.0", "/data")
    assert ("VOLUME", '["/data"]') in image()["instructions"]
    assert set(env) <= SETTINGS | _NOT_OURS
    assert not any(SECRET.search(name) for name in env)


def test_the_builder_is_given_what_it_copies_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    stages = dockerfile((DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
    copied = {
        rest.split()[0]
        for stage in stages
        for name, rest in stage
        if name == "COPY" and not rest.startswith("--from")
    }
    assert rules[0] == "*"
    assert allowed == copied
    assert all((ROOT / one).exists() for one in copied)


# -- all recipes ------------------------------------------------------------------------------------


@by_recipe
def test_every_variable_of_a_recipe_is_a_setting(recipe: Recipe) -> None:
    assert set(recipe.environ) - _NOT_OURS <= SETTINGS


@by_recipe
def test_a_recipe_asks_for_what_several_replicas_need_and_has_no_secret_of_its_own(recipe: Recipe) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "JWT_SECRET_KEY", "OWNER_EMAIL", "OWNER_PASSWORD"):
        assert recipe.environ[name] is None, name
    told = {name for name, value in recipe.environ.items() if value is not None}
    assert not any(SECRET.search(name) for name in told)
    assert recipe.environ["HOST"] == "0.0.0.0"
    # Without it every client behind the balancer would share one throttle.
    assert recipe.environ["TRUSTED_PROXIES"]


@by_recipe
def test_the_probe_of_a_recipe_is_a_health_route(recipe: Recipe) -> None:
    assert recipe.probe == "/api/health/ready"


def exists(command: list[str]) -> bool:
    """Whether `paiid` has this command, with these options."""
    found = get_command(app)
    if command[0] != "paiid":
        return False
    for word in command[1:]:
        if word.startswith("--"):
            if not any(word in one.opts for one in found.params):
                return False
        elif word in getattr(found, "commands", {}):
            found = found.commands[word]  # type: ignore[attr-defined]
        else:
            return not hasattr(found, "commands")
    return True


@by_recipe
def test_the_commands_of_a_recipe_exist(recipe: Recipe) -> None:
    assert recipe.serve == ["paiid", "serve"]
    assert recipe.migrate == ["paiid", "migrate"]
    assert exists(recipe.serve)
    assert exists(recipe.migrate)
    assert not exists(["paiid", "migrates"])
    assert not exists(["paiid", "serve", "--forever"])


def test_every_command_of_ours_in_the_page_exists() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    told = {
        match[1]
        for match in re.finditer(
            r"(?:`|^|exec paiid-1 |paiid:\S+ )(paiid [a-z][a-z -]*[a-z])", page, re.MULTILINE
        )
    }
    assert len(told) >= 4
    assert [one for one in told if not exists(one.split())] == []


# -- Render, Fly.io ---------------------------------------------------------------------------------

_WEB_KEYS = {
    "type", "name", "runtime", "dockerfilePath", "dockerContext", "plan", "numInstances", "autoDeployTrigger", "preDeployCommand",
    "healthCheckPath", "maxShutdownDelaySeconds", "envVars",
}  # fmt: skip


def test_the_blueprint_of_render_has_known_keys_and_what_it_refers_to() -> None:
    found = render()
    assert set(found) == {"databases", "services"}
    (database,) = found["databases"]
    bus, web = found["services"]
    assert set(database) == {"name", "plan", "postgresMajorVersion", "databaseName", "user", "ipAllowList"}
    assert set(bus) == {"type", "name", "plan", "maxmemoryPolicy", "ipAllowList"}
    assert set(web) == _WEB_KEYS
    assert (bus["type"], web["type"], web["runtime"]) == ("keyvalue", "web", "docker")
    assert database["ipAllowList"] == bus["ipAllowList"] == []
    assert (ROOT / web["dockerfilePath"]).is_file()
    assert web["numInstances"] == 2
    assert 1 <= web["maxShutdownDelaySeconds"] <= 300
    assert web["maxShutdownDelaySeconds"] > LAST_RESORT_S
    assert web["autoDeployTrigger"] == "off", "unquoted, YAML reads a boolean"
    variables = {one["key"]: one for one in web["envVars"]}
    assert variables["DATABASE_URL"]["fromDatabase"] == {
        "name": database["name"],
        "property": "connectionString",
    }
    assert variables["REDIS_URL"]["fromService"] == {
        "type": "keyvalue", "name": bus["name"], "property": "connectionString",
    }  # fmt: skip
    for one in variables.values():
        assert len(set(one) & {"value", "generateValue", "sync", "fromDatabase", "fromService"}) == 1, one
    # 256 random bits in base64: long enough for the key, short enough for a password.
    assert (
        variables["JWT_SECRET_KEY"]["generateValue"] is variables["OWNER_PASSWORD"]["generateValue"] is True
    )


_FLY_KEYS = {
    "": {"app", "primary_region", "kill_signal", "kill_timeout", "build", "deploy", "env", "http_service", "vm"},
    "build": {"dockerfile"},
    "deploy": {"release_command", "strategy", "max_unavailable"},
    "http_service": {
        "internal_port", "force_https", "auto_stop_machines", "auto_start_machines", "min_machines_running", "concurrency", "checks",
    },
}  # fmt: skip


def test_the_configuration_of_fly_has_known_keys_and_rolls_one_after_the_other() -> None:
    found = fly()
    assert set(found) == _FLY_KEYS[""]
    assert {name: set(found[name]) for name in _FLY_KEYS if name} == {n: k for n, k in _FLY_KEYS.items() if n}
    assert (DEPLOY / found["build"]["dockerfile"]).is_file(), "beside the file itself"
    assert (found["kill_signal"], found["deploy"]["strategy"]) == ("SIGTERM", "rolling")
    assert seconds(found["kill_timeout"]) > LAST_RESORT_S
    service = found["http_service"]
    assert service["force_https"] is True
    assert service["min_machines_running"] == 2
    assert service["auto_stop_machines"] == "off", "a machine that sleeps looks after no order"
    assert str(service["internal_port"]) == found["env"]["PORT"]
    (check,) = service["checks"]
    assert set(check) == {"method", "path", "interval", "timeout", "grace_period"}
    comment = (DEPLOY / "fly.toml").read_text(encoding="utf-8").split("app =")[0]
    for name in ("DATABASE_URL", "REDIS_URL", "JWT_SECRET_KEY", "OWNER_EMAIL", "OWNER_PASSWORD"):
        assert name in comment


def test_a_balancer_that_looks_every_half_a_second_sees_a_replica_leave_before_it_has_left() -> None:
    assert 2 * 0.5 <= LEAVE_S < GRACE_S < LAST_RESORT_S
