"""Reads the recipes of `deploy/`: the Dockerfile's instructions, nginx's blocks, and which commands and variables each recipe uses."""

import json
import re
import shlex
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|_KEY$|DSN")
"""In the names of variables that have no place in a recipe."""


def dockerfile(text: str) -> list[list[tuple[str, str]]]:
    """The stages, each as its instructions; what stands before the first FROM is stage 0. Comments and line breaks are gone."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    stages: list[list[tuple[str, str]]] = [[]]
    for line in filter(str.strip, joined.splitlines()):
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, rest.strip()))
    return stages


def image() -> dict[str, Any]:
    """What the last stage says of how the image runs: `env`, `cmd`, `healthcheck`, `user`, and all `instructions`."""
    last = dockerfile((DEPLOY / "Dockerfile").read_text(encoding="utf-8"))[-1]
    found = dict(last)
    env = dict(pair.split("=", 1) for name, rest in last if name == "ENV" for pair in shlex.split(rest))
    health = json.loads(found["HEALTHCHECK"].partition("CMD ")[2])
    return {
        "instructions": last,
        "env": env,
        "cmd": json.loads(found["CMD"]),
        "healthcheck": health,
        "user": found["USER"],
    }


def compose() -> dict[str, Any]:
    """compose.yaml, anchors and merges resolved, variables not."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return found


def render() -> dict[str, Any]:
    """render.yaml."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "render.yaml").read_text(encoding="utf-8"))
    return found


def fly() -> dict[str, Any]:
    """fly.toml."""
    return tomllib.loads((DEPLOY / "fly.toml").read_text(encoding="utf-8"))


def seconds(text: str) -> int:
    """A time such as `30s`."""
    return int(text.removesuffix("s"))


@dataclass
class Block:
    """A directive of nginx with what stands in its braces."""

    words: list[str]
    inside: list["Block"] = field(default_factory=list)

    def all(self, name: str) -> list["Block"]:
        """The directives of this name, directly inside."""
        return [one for one in self.inside if one.words[0] == name]

    def one(self, *names: str) -> "Block":
        """The only one of that name, however deep the names lead."""
        found = self
        for name in names:
            (found,) = found.all(name)
        return found

    def says(self, name: str) -> list[str]:
        """The arguments of the only directive of that name."""
        return self.one(name).words[1:]


_TOKEN = re.compile(r"""#[^\n]*|"[^"]*"|'[^']*'|[{};]|[^\s{};]+""")


def nginx() -> Block:
    """nginx.conf. Raises ValueError where braces or semicolons are missing."""
    stack = [Block(["main"])]
    words: list[str] = []
    for token in _TOKEN.findall((DEPLOY / "nginx.conf").read_text(encoding="utf-8")):
        if token.startswith("#"):
            continue
        if token == ";":
            stack[-1].inside.append(Block(words))
            words = []
        elif token == "{":
            stack.append(Block(words))
            words = []
        elif token == "}":
            if words or len(stack) == 1:
                raise ValueError(f"a semicolon or a brace is missing before {words}")
            inner = stack.pop()
            stack[-1].inside.append(inner)
        else:
            words.append(token.strip("\"'"))
    if words or len(stack) != 1:
        raise ValueError("the file ends in the middle")
    return stack[0]


@dataclass(frozen=True)
class Recipe:
    """How one host runs the service: its variables (None is a secret it gets elsewhere), its commands, the path it asks."""

    name: str
    environ: dict[str, str | None]
    serve: list[str]
    migrate: list[str]
    probe: str


def recipes() -> list[Recipe]:
    """All of them. Variables of the image count, where a recipe does not set them anew."""
    built = image()
    base: dict[str, str | None] = {
        name: value for name, value in built["env"].items() if not value.startswith("${")
    }
    services = compose()["services"]
    one = services["paiid-1"]
    web = next(one for one in render()["services"] if one["type"] == "web")
    machine = fly()
    return [
        Recipe(
            "compose",
            base | {name: _default(value) for name, value in one["environment"].items()},
            one["command"],
            services["migrate"]["command"],
            _path(one["healthcheck"]["test"][1:]),
        ),
        Recipe(
            "render",
            base | {one["key"]: one.get("value") for one in web["envVars"]},
            built["cmd"],
            shlex.split(web["preDeployCommand"]),
            web["healthCheckPath"],
        ),
        Recipe(
            "fly",
            base
            | machine["env"]
            | dict.fromkeys(("DATABASE_URL", "REDIS_URL", "JWT_SECRET_KEY", "OWNER_EMAIL", "OWNER_PASSWORD")),
            built["cmd"],
            shlex.split(machine["deploy"]["release_command"]),
            machine["http_service"]["checks"][0]["path"],
        ),
    ]


def _default(value: str) -> str | None:
    """What compose puts in when the variable is not set; None where it then refuses to start."""
    if ":?" in value:
        return None
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def _path(command: list[str]) -> str:
    """The path that a health check in Python asks for."""
    found = re.search(r"'GET', '([^']+)'", command[-1])
    assert found is not None, command
    return found[1]
