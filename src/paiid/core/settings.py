"""The settings: read once from the environment, checked together, frozen, passed down."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import urlsplit

from paiid.core.db.connect import is_postgres, sqlite_path

_KEY_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


class SettingsError(Exception):
    """The environment does not add up; the text has one line for each problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _secret(default: str | None = None) -> str | None:
    found: str | None = field(default=default, repr=False, metadata={"secret": True})
    return found


@dataclass(frozen=True, slots=True)
class Settings:
    """Every variable of the environment that this version reads; names are the variables' in lower case."""

    data_dir: Path = Path("data")
    database_url: str = field(default="", repr=False)
    host: str = "127.0.0.1"
    port: int = 8000
    log_level: str = "INFO"
    testing: bool = False
    live_trading: bool = False
    api_token: str | None = _secret()
    jwt_secret_key: str | None = _secret()
    jwt_secret_key_previous: str | None = _secret()
    jwt_algorithm: str = "HS256"
    jwt_access_token_expire_minutes: int = 15
    jwt_refresh_token_expire_days: int = 7
    idmp_ttl_seconds: int = 600
    allow_origin: tuple[str, ...] = ()
    owner_email: str = "owner@localhost"
    owner_password: str | None = _secret()
    trusted_proxies: tuple[str, ...] = ()
    broker: str = "paper"
    default_account: str | None = None
    market_data: str = "simulated"
    sim_seed: int = 1
    sim_hours: str = "always"

    @property
    def database(self) -> str:
        """The database's URL, or the SQLite file of the data directory."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'paiid.db').absolute()}"

    @property
    def on_postgres(self) -> bool:
        """Whether several replicas may share the database."""
        return is_postgres(self.database)


class _Reader:
    """Reads variables and gathers what is wrong with them; never repeats a value that may be a secret."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []
        self.values: dict[str, object] = {}

    def wrong(self, name: str, what: str, mend: str) -> None:
        self.problems.append(f"{name}: {what}; {mend}")

    def read(self, name: str, parse: Callable[[str], object], mend: str) -> None:
        raw = self._environ.get(name)
        if raw is None or raw.strip() == "":
            return
        try:
            self.values[name.lower()] = parse(raw.strip())
        except ValueError as error:
            self.wrong(name, str(error) or "is not valid", mend)


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("is neither true nor false")


def _integer(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text):
            raise ValueError("is not a whole number")
        if not least <= int(text) <= most:
            raise ValueError(f"is not between {least} and {most}")
        return int(text)

    return parse


def _one_of(*choices: str, upper: bool = False) -> Callable[[str], str]:
    def parse(text: str) -> str:
        value = text.upper() if upper else text.lower()
        if value not in choices:
            raise ValueError("is not one of " + ", ".join(choices))
        return value

    return parse


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(part.strip() for part in text.split(",") if part.strip())
    for origin in origins:
        if origin == "*":
            continue
        parts = urlsplit(origin)
        exact = f"{parts.scheme}://{parts.netloc}"
        if parts.scheme not in ("http", "https") or not parts.netloc or origin != exact:
            raise ValueError("has an entry that is not an exact origin")
    return origins


def _database_url(text: str) -> str:
    if is_postgres(text):
        if not urlsplit(text).hostname and "host=" not in text:
            raise ValueError("names no host")
        return text
    sqlite_path(text)
    return text


def _email(text: str) -> str:
    if not re.fullmatch(r"[^@\s]{1,64}@[^@\s]{1,190}", text):
        raise ValueError("is not an e-mail address")
    return text.lower()


def _proxies(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    for part in parts:
        ipaddress.ip_network(part, strict=False)
    return parts


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Settings from the environment. Raises SettingsError with one line for each problem."""
    reader = _Reader(environ)
    _read_all(reader)
    settings = Settings(**reader.values)  # type: ignore[arg-type]
    _check_together(reader, settings)
    if reader.problems:
        raise SettingsError(reader.problems)
    return settings


def _read_all(r: _Reader) -> None:
    r.read("DATA_DIR", Path, "name a directory")
    r.read(
        "DATABASE_URL", _database_url, "use postgresql://user:password@host/name or sqlite:///path/to/file.db"
    )
    r.read("HOST", str, "name an address, such as 127.0.0.1")
    r.read("PORT", _integer(1, 65535), "give a port number, such as 8000")
    r.read("LOG_LEVEL", _one_of(*_LEVELS, upper=True), "use INFO if in doubt")
    for name in ("TESTING", "LIVE_TRADING"):
        r.read(name, _boolean, "use true or false")
    for name in (
        "API_TOKEN",
        "JWT_SECRET_KEY",
        "JWT_SECRET_KEY_PREVIOUS",
        "OWNER_PASSWORD",
        "DEFAULT_ACCOUNT",
    ):
        r.read(name, str, "give a text")
    r.read("JWT_ALGORITHM", _one_of(*_KEY_BYTES, upper=True), "use HS256 if in doubt")
    r.read("JWT_ACCESS_TOKEN_EXPIRE_MINUTES", _integer(1, 1440), "give minutes, such as 15")
    r.read("JWT_REFRESH_TOKEN_EXPIRE_DAYS", _integer(1, 365), "give days, such as 7")
    r.read("IDMP_TTL_SECONDS", _integer(1, 31_536_000), "give seconds, such as 600")
    r.read(
        "ALLOW_ORIGIN",
        _origins,
        "list exact origins such as https://app.example.com, comma separated, no path",
    )
    r.read("OWNER_EMAIL", _email, "give an address such as owner@example.com")
    r.read("TRUSTED_PROXIES", _proxies, "list addresses or networks such as 10.0.0.0/8, comma separated")
    r.read(
        "BROKER", _one_of("paper"), "this version trades on the built-in venue: use paper, or leave it out"
    )
    r.read(
        "MARKET_DATA",
        _one_of("simulated"),
        "this version has the simulated market: use simulated, or leave it out",
    )
    r.read("SIM_SEED", _integer(0, 2**63 - 1), "give a whole number, such as 1")
    r.read("SIM_HOURS", _one_of("always", "exchange"), "use always or exchange")


def _check_together(r: _Reader, s: Settings) -> None:
    least = _KEY_BYTES[s.jwt_algorithm]
    for name, key in (
        ("JWT_SECRET_KEY", s.jwt_secret_key),
        ("JWT_SECRET_KEY_PREVIOUS", s.jwt_secret_key_previous),
    ):
        if key is not None and len(key.encode()) < least:
            r.wrong(
                name,
                f"is shorter than the {least} bytes that {s.jwt_algorithm} needs",
                "use a longer random text",
            )
    if s.jwt_secret_key is None and s.on_postgres:
        r.wrong(
            "JWT_SECRET_KEY",
            "is not set, but DATABASE_URL is PostgreSQL",
            "set the same random text on every replica",
        )
    if s.jwt_secret_key is None and s.live_trading:
        r.wrong(
            "JWT_SECRET_KEY", "is not set, but LIVE_TRADING is true", "set a random text of 32 bytes or more"
        )
    if s.live_trading and s.testing:
        r.wrong("TESTING", "is true together with LIVE_TRADING", "set one of them to false")
    if s.live_trading and "*" in s.allow_origin:
        r.wrong("ALLOW_ORIGIN", "is * together with LIVE_TRADING", "list the exact origins")
    if s.live_trading and s.api_token is not None and len(s.api_token) < 32:
        r.wrong("API_TOKEN", "is shorter than 32 characters with LIVE_TRADING", "use a longer random text")
    if s.api_token is not None and len(s.api_token) < 16:
        r.wrong("API_TOKEN", "is shorter than 16 characters", "use a longer random text")
    if s.owner_password is not None and not 8 <= len(s.owner_password) <= 128:
        r.wrong("OWNER_PASSWORD", "is not 8 to 128 characters long", "choose another")
    if s.default_account is not None and not re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", s.default_account):
        r.wrong("DEFAULT_ACCOUNT", "is not an account's id", "use an id that GET /api/accounts shows")


def describe(settings: Settings) -> list[tuple[str, str]]:
    """(VARIABLE, value) of the effective configuration, secrets masked."""
    shown: list[tuple[str, str]] = []
    for one in fields(settings):
        value = getattr(settings, one.name)
        if one.metadata.get("secret"):
            text = "not set" if value is None else "set (hidden)"
        elif one.name == "database_url":
            text = mask_url(settings.database)
        elif isinstance(value, tuple):
            text = ", ".join(value) or "none"
        else:
            text = "not set" if value is None else str(value)
        shown.append((one.name.upper(), text))
    return shown


def mask_url(url: str) -> str:
    """The URL without user, password and query."""
    parts = urlsplit(url)
    if not parts.hostname:
        return f"{parts.scheme}://{parts.path}"
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"
