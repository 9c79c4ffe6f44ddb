"""The settings: read once from the environment, checked together, frozen, passed down."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from urllib.parse import urlsplit

from paiid.core import variables as var
from paiid.core.contradictions import KEY_BYTES, contradictions
from paiid.core.db.connect import is_postgres
from paiid.domain.rate_curve import PERCENT

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


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
    redis_url: str | None = _secret()
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
    alpaca_paper_api_key: str | None = _secret()
    alpaca_paper_secret_key: str | None = _secret()
    alpaca_live_api_key: str | None = _secret()
    alpaca_live_secret_key: str | None = _secret()
    alpaca_api_base_url: str = "https://paper-api.alpaca.markets"
    alpaca_stream_url: str = "wss://paper-api.alpaca.markets/stream"
    alpaca_data_base_url: str = "https://data.alpaca.markets"
    replay_file: Path | None = None
    replay_speed: float = 1.0
    risk_free_rate: float | None = None
    rate_curve_file: Path | None = None
    dividends_file: Path | None = None
    dividend_yields: tuple[str, ...] = ()

    @property
    def database(self) -> str:
        """The database's URL, or the SQLite file of the data directory."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'paiid.db').absolute()}"

    @property
    def on_postgres(self) -> bool:
        """Whether several replicas may share the database."""
        return is_postgres(self.database)

    @property
    def alpaca_data_venue(self) -> str:
        """Which of Alpaca's data: `iex`, that of one exchange, unless the URL names another."""
        return var.data_venue(self.alpaca_data_base_url)[1]

    @property
    def alpaca_data_url(self) -> str:
        """Where market data are asked for."""
        return var.data_venue(self.alpaca_data_base_url)[0]

    @property
    def alpaca_data_stream_url(self) -> str:
        """Where they are listened to: at Alpaca a host of its own."""
        url, venue = var.data_venue(self.alpaca_data_base_url)
        scheme, _, host = url.partition("://")
        stream = f"stream.{host}" if host.startswith("data.") else host
        return f"{'wss' if scheme == 'https' else 'ws'}://{stream}/v2/{venue}"

    @property
    def trades_at_alpaca(self) -> bool:
        """Whether there are keys that may be used; with TESTING none may."""
        return not self.testing and (self.alpaca_paper_api_key is not None or self.trades_live_at_alpaca)

    @property
    def trades_live_at_alpaca(self) -> bool:
        """Whether live keys are there and LIVE_TRADING lets them be read."""
        return self.live_trading and self.alpaca_live_api_key is not None


_COPY = "copy it as Alpaca shows it"
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
    ("JWT_ALGORITHM", var.one_of(*KEY_BYTES, upper=True), "use HS256 if in doubt"),
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
    ("BROKER", var.one_of("paper", "alpaca"), "use paper for the built-in venue, or alpaca"),
    (
        "MARKET_DATA",
        var.one_of("simulated", "alpaca", "replay"),
        "use simulated, alpaca or replay, or leave it out",
    ),
    ("REPLAY_FILE", Path, "name a file of recorded quotes"),
    ("REPLAY_SPEED", var.number(0.01, 10_000), "give a factor, such as 1 or 60"),
    ("RISK_FREE_RATE", var.number(*PERCENT), "give percent a year, such as 4.25"),
    ("RATE_CURVE_FILE", Path, "name a CSV file with the columns days,percent"),
    ("DIVIDENDS_FILE", Path, "name a CSV file with the columns symbol,ex_date,amount"),
    ("DIVIDEND_YIELDS", var.yields, "list tickers with percent a year, such as SPY=1.3,QQQ=0.6"),
    ("REDIS_URL", var.redis_url, "use redis://:password@host:6379/0, or rediss:// with TLS"),
    ("SIM_SEED", var.integer(0, 2**63 - 1), "give a whole number, such as 1"),
    ("SIM_HOURS", var.one_of("always", "exchange"), "use always or exchange"),
    ("ALPACA_PAPER_API_KEY", var.header_secret, _COPY),
    ("ALPACA_PAPER_SECRET_KEY", var.header_secret, _COPY),
    ("ALPACA_LIVE_API_KEY", var.header_secret, _COPY),
    ("ALPACA_LIVE_SECRET_KEY", var.header_secret, _COPY),
    (
        "ALPACA_API_BASE_URL",
        var.endpoint("https", "http"),
        "use https://paper-api.alpaca.markets, or the simulator's such as http://127.0.0.1:8010, or leave it out",
    ),
    (
        "ALPACA_STREAM_URL",
        var.endpoint("wss", "ws"),
        "use wss://paper-api.alpaca.markets/stream, or leave it out: it follows ALPACA_API_BASE_URL",
    ),
    (
        "ALPACA_DATA_BASE_URL",
        var.data_endpoint,
        "use https://data.alpaca.markets, with /v2/sip behind it for the paid data, or leave it out",
    ),
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
    _followed(values)
    settings = Settings(**values)  # type: ignore[arg-type]
    if "broker" not in values and settings.alpaca_paper_api_key is not None and not settings.testing:
        settings = replace(settings, broker="alpaca")
    if "market_data" not in values and settings.trades_at_alpaca:
        settings = replace(settings, market_data="alpaca")
    problems += [f"{name}: {what}; {mend}" for name, what, mend in contradictions(settings)]
    if problems:
        raise SettingsError(problems)
    return settings


def _followed(values: dict[str, object]) -> None:
    """Addresses that follow another where they are not named: the simulator has all of Alpaca on one port, and its
    keys must not be sent to the real one."""
    base = str(values.get("alpaca_api_base_url", ""))
    if base and "alpaca_stream_url" not in values:
        values["alpaca_stream_url"] = "ws" + base.removeprefix("http") + "/stream"
    if base and "alpaca_data_base_url" not in values and var.on_loopback(base):
        values["alpaca_data_base_url"] = base


def describe(settings: Settings) -> list[tuple[str, str]]:
    """(VARIABLE, value) of the effective configuration, secrets masked."""
    shown: list[tuple[str, str]] = []
    for one in fields(settings):
        value = getattr(settings, one.name)
        if one.metadata.get("secret"):
            text = "not set" if value is None else "set (hidden)"
            if value is not None and one.name == "redis_url":
                text = mask_url(value)
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
    if settings.redis_url is not None:
        found.append(urlsplit(settings.redis_url).password)
    return tuple(one for one in found if one)


def mask_url(url: str) -> str:
    """The URL without user, password and query."""
    parts = urlsplit(url)
    if not parts.hostname:
        return f"{parts.scheme}://{parts.path}"
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"
