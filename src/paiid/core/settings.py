"""The settings: read once from the environment, checked together, frozen, passed down."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import urlsplit

from paiid.core import variables as var
from paiid.core.db.connect import is_postgres

_KEY_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_LIVE_TOKEN = 32
_PASSWORD = (8, 128)


class SettingsError(Exception):
    """The environment does not add up; the text has one line for each problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def _secret() -> str | None:
    found: str | None = field(default=None, repr=False, metadata={"secret": True})
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


_VARIABLES: tuple[tuple[str, Callable[[str], object], str], ...] = (
    ("DATA_DIR", Path, "name a directory"),
    (
        "DATABASE_URL",
        var.database_url,
        "use postgresql://user:password@host/name or sqlite:///path/to/file.db",
    ),
    ("HOST", var.host, "name an address, such as 127.0.0.1"),
    ("PORT", var.integer(1, 65535), "give a port number, such as 8000"),
    ("LOG_LEVEL", var.one_of(*_LEVELS, upper=True), "use INFO if in doubt"),
    ("TESTING", var.boolean, "use true or false"),
    ("LIVE_TRADING", var.boolean, "use true or false"),
    ("API_TOKEN", var.header_secret, "use a random text of letters and digits"),
    ("JWT_SECRET_KEY", str, "give a random text"),
    ("JWT_SECRET_KEY_PREVIOUS", str, "give the key that was used before"),
    ("OWNER_PASSWORD", str, "give a password"),
    ("DEFAULT_ACCOUNT", var.account_id, "use an id that GET /api/accounts shows"),
    ("JWT_ALGORITHM", var.one_of(*_KEY_BYTES, upper=True), "use HS256 if in doubt"),
    ("JWT_ACCESS_TOKEN_EXPIRE_MINUTES", var.integer(1, 1440), "give minutes, such as 15"),
    ("JWT_REFRESH_TOKEN_EXPIRE_DAYS", var.integer(1, 365), "give days, such as 7"),
    ("IDMP_TTL_SECONDS", var.integer(1, 31_536_000), "give seconds, such as 600"),
    (
        "ALLOW_ORIGIN",
        var.origins,
        "list exact origins such as https://app.example.com, comma separated, no path",
    ),
    ("OWNER_EMAIL", var.email, "give an address such as owner@example.com"),
    ("TRUSTED_PROXIES", var.proxies, "list addresses or networks such as 10.0.0.0/8, comma separated"),
    ("BROKER", var.one_of("paper"), "this version trades on the built-in venue: use paper, or leave it out"),
    (
        "MARKET_DATA",
        var.one_of("simulated"),
        "this version has the simulated market: use simulated, or leave it out",
    ),
    ("SIM_SEED", var.integer(0, 2**63 - 1), "give a whole number, such as 1"),
    ("SIM_HOURS", var.one_of("always", "exchange"), "use always or exchange"),
)


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Settings from the environment. Raises SettingsError with one line for each problem.

    An empty variable counts as not set. Blanks around a value are dropped, except around a password.
    """
    problems: list[str] = []
    values: dict[str, object] = {}
    for name, parse, mend in _VARIABLES:
        raw = environ.get(name, "")
        text = raw if name == "OWNER_PASSWORD" else raw.strip()
        if not text:
            continue
        try:
            text.encode()
            values[name.lower()] = parse(text)
        except UnicodeEncodeError:
            problems.append(f"{name}: has bytes that are not UTF-8; {mend}")
        except ValueError as error:
            problems.append(f"{name}: {error}; {mend}")
    settings = Settings(**values)  # type: ignore[arg-type]
    problems += [f"{name}: {what}; {mend}" for name, what, mend in _contradictions(settings)]
    if problems:
        raise SettingsError(problems)
    return settings


def _contradictions(s: Settings) -> list[tuple[str, str, str]]:
    """(variable, what is wrong, how to mend it) of what only shows when variables are seen together."""
    found = _about_keys(s)
    if s.live_trading and s.testing:
        found.append(("TESTING", "is true together with LIVE_TRADING", "set one of them to false"))
    if s.live_trading and "*" in s.allow_origin:
        found.append(("ALLOW_ORIGIN", "is * together with LIVE_TRADING", "list the exact origins"))
    if s.live_trading and s.api_token is not None and len(s.api_token) < _LIVE_TOKEN:
        what = f"is shorter than {_LIVE_TOKEN} characters with LIVE_TRADING"
        found.append(("API_TOKEN", what, "use a longer random text"))
    if s.owner_password is not None and not _PASSWORD[0] <= len(s.owner_password) <= _PASSWORD[1]:
        found.append(("OWNER_PASSWORD", "is not 8 to 128 characters long", "choose another"))
    return found


def _about_keys(s: Settings) -> list[tuple[str, str, str]]:
    found = []
    least = _KEY_BYTES[s.jwt_algorithm]
    for name, key in (
        ("JWT_SECRET_KEY", s.jwt_secret_key),
        ("JWT_SECRET_KEY_PREVIOUS", s.jwt_secret_key_previous),
    ):
        if key is not None and len(key.encode()) < least:
            what = f"is shorter than the {least} bytes that {s.jwt_algorithm} needs"
            found.append((name, what, "use a longer random text"))
    if s.jwt_secret_key is None and s.on_postgres:
        what = "is not set, but DATABASE_URL is PostgreSQL"
        found.append(("JWT_SECRET_KEY", what, "set the same random text on every replica"))
    elif s.jwt_secret_key is None and s.live_trading:
        what = "is not set, but LIVE_TRADING is true"
        found.append(("JWT_SECRET_KEY", what, f"set a random text of {least} bytes or more"))
    if s.jwt_secret_key is not None and s.jwt_secret_key == s.jwt_secret_key_previous:
        what = "is the same as JWT_SECRET_KEY"
        found.append(("JWT_SECRET_KEY_PREVIOUS", what, "leave it out until the key changes"))
    return found


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
        elif isinstance(value, bool):
            text = str(value).lower()
        else:
            text = "not set" if value is None else str(value)
        shown.append((one.name.upper(), text))
    return shown


def known_secrets(settings: Settings) -> tuple[str, ...]:
    """Every secret of the settings, for the log to hide; the database's password included."""
    found = [getattr(settings, one.name) for one in fields(settings) if one.metadata.get("secret")]
    if settings.on_postgres:
        found.append(urlsplit(settings.database).password)
    return tuple(one for one in found if one)


def mask_url(url: str) -> str:
    """The URL without user, password and query."""
    parts = urlsplit(url)
    if not parts.hostname:
        return f"{parts.scheme}://{parts.path}"
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"
