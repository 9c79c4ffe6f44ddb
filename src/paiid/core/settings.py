"""The settings: read once from the environment, checked together, frozen, passed down."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

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
    tradier_api_key: str | None = _secret()
    tradier_account_id: str | None = None
    tradier_api_base_url: str = "https://api.tradier.com/v1"
    tradier_stream_url: str = "wss://ws.tradier.com/v1"
    replay_file: Path | None = None
    replay_speed: float = 1.0
    risk_free_rate: float | None = None
    rate_curve_file: Path | None = None
    dividends_file: Path | None = None
    dividend_yields: tuple[str, ...] = ()
    anthropic_api_key: str | None = _secret()
    anthropic_base_url: str = "https://api.anthropic.com"
    ai_model: str = "claude-sonnet-5-5"
    ai_daily_tokens: int = 200_000
    ai_daily_usd: float = 2.0
    github_webhook_secret: str | None = _secret()
    sentry_dsn: str | None = _secret()
    sentry_environment: str = "development"
    otel_exporter_otlp_endpoint: str | None = None
    otel_traces_sampler_arg: float = 1.0
    build_id: str | None = None

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
    def tradier_environment(self) -> Literal["live", "sandbox", "simulated"]:
        """Where the token belongs, by the host: the sandbox, a simulator on this machine, or real money."""
        if var.on_loopback(self.tradier_api_base_url):
            return "simulated"
        return "sandbox" if urlsplit(self.tradier_api_base_url).hostname == var.TRADIER_SANDBOX else "live"

    @property
    def asks_tradier(self) -> bool:
        """Whether market data may be read with the token; from a live host too."""
        return not self.testing and self.tradier_api_key is not None

    @property
    def trades_at_tradier(self) -> bool:
        """Whether orders may go there: to the account of a live token with LIVE_TRADING only."""
        return self.asks_tradier and (self.tradier_environment != "live" or self.live_trading)

    @property
    def providers(self) -> tuple[str, ...]:
        """The real sources of market data in the order in which they are preferred; the next takes over where one is down.
        Quotes of the sandbox are 15 minutes late, so that others come before it."""
        found = [
            name
            for name, there in (("tradier", self.asks_tradier), ("alpaca", self.trades_at_alpaca))
            if there
        ]
        late = self.tradier_environment == "sandbox"
        found.sort(key=lambda name: (name != self.market_data, name == "tradier" and late))
        return tuple(found)

    @property
    def asks_anthropic(self) -> bool:
        """Whether a model may be asked; with TESTING only one on this machine."""
        return self.anthropic_api_key is not None and (
            not self.testing or var.on_loopback(self.anthropic_base_url)
        )

    @property
    def traces(self) -> bool:
        """Whether spans are recorded and sent; with TESTING only to this machine."""
        endpoint = self.otel_exporter_otlp_endpoint
        return endpoint is not None and (not self.testing or var.on_loopback(endpoint))

    @property
    def reports_errors(self) -> bool:
        """Whether errors go to Sentry; with TESTING only to one on this machine."""
        return self.sentry_dsn is not None and (not self.testing or var.on_loopback(self.sentry_dsn))

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
    (
        "BROKER",
        var.one_of("paper", "alpaca", "tradier"),
        "use paper for the built-in venue, or alpaca, or tradier",
    ),
    (
        "MARKET_DATA",
        var.one_of("simulated", "tradier", "alpaca", "replay"),
        "use simulated, tradier, alpaca or replay, or leave it out",
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
    ("TRADIER_API_KEY", var.header_secret, "copy the access token as Tradier shows it"),
    (
        "TRADIER_ACCOUNT_ID",
        var.account_number,
        "copy the account number as Tradier shows it, such as VA00000001",
    ),
    (
        "TRADIER_API_BASE_URL",
        var.versioned_endpoint("https", "http"),
        "use https://sandbox.tradier.com/v1, or the simulator's such as http://127.0.0.1:8791/v1, or leave it out",
    ),
    (
        "TRADIER_STREAM_URL",
        var.versioned_endpoint("wss", "ws"),
        "use wss://ws.tradier.com/v1, or leave it out: it follows TRADIER_API_BASE_URL",
    ),
    ("ANTHROPIC_API_KEY", var.header_secret, "copy the key as Anthropic shows it"),
    (
        "ANTHROPIC_BASE_URL",
        var.plain_endpoint,
        "use https://api.anthropic.com, or leave it out",
    ),
    ("AI_MODEL", var.model_name, "name a model as Anthropic does, such as claude-sonnet-5-5"),
    ("AI_DAILY_TOKENS", var.integer(0, 1_000_000_000), "give tokens a user and day, such as 200000"),
    ("AI_DAILY_USD", var.number(0, 100_000), "give dollars a user and day, such as 2"),
    ("GITHUB_WEBHOOK_SECRET", var.webhook_secret, "use a random text of at least 16 characters"),
    ("SENTRY_DSN", var.dsn, "copy it as Sentry shows it"),
    ("SENTRY_ENVIRONMENT", var.word, "use a word such as production"),
    (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        var.collector,
        "name the collector's base URL, such as http://127.0.0.1:4318",
    ),
    ("OTEL_TRACES_SAMPLER_ARG", var.number(0, 1), "give the share of requests to trace, such as 0.1"),
    ("BUILD_ID", var.word, "use the commit or the image's tag"),
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
    if "broker" not in values and not settings.testing:
        settings = replace(settings, broker=_default_broker(settings))
    if "market_data" not in values and settings.providers:
        settings = replace(settings, market_data=settings.providers[0])
    problems += [f"{name}: {what}; {mend}" for name, what, mend in contradictions(settings)]
    if problems:
        raise SettingsError(problems)
    return settings


def _followed(values: dict[str, object]) -> None:
    """Addresses that follow another where they are not named: a simulator has everything on one port, and its keys must
    not be sent to the real one."""
    tradier = str(values.get("tradier_api_base_url", ""))
    if tradier and "tradier_stream_url" not in values:
        if var.on_loopback(tradier):
            values["tradier_stream_url"] = "ws" + tradier.removeprefix("http")
        elif urlsplit(tradier).hostname == var.TRADIER_SANDBOX:
            values["tradier_stream_url"] = "wss://sandbox-ws.tradier.com/v1"
    base = str(values.get("alpaca_api_base_url", ""))
    if base and "alpaca_stream_url" not in values:
        values["alpaca_stream_url"] = "ws" + base.removeprefix("http") + "/stream"
    if base and "alpaca_data_base_url" not in values and var.on_loopback(base):
        values["alpaca_data_base_url"] = base


def _default_broker(settings: Settings) -> str:
    """Where paper keys are; never at a live account, which has to be named."""
    if settings.alpaca_paper_api_key is not None:
        return "alpaca"
    return "tradier" if settings.asks_tradier and settings.tradier_environment != "live" else "paper"


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
    """Every secret of the settings, for the log to hide, in each form that a text may have it in: the database's password
    as it is in the address and as it is meant, all of them as Python and JSON would write them."""
    found = [getattr(settings, one.name) for one in fields(settings) if one.metadata.get("secret")]
    if settings.on_postgres:
        found.append(urlsplit(settings.database).password)
    if settings.redis_url is not None:
        found.append(urlsplit(settings.redis_url).password)
    if settings.sentry_dsn is not None:
        found.append(urlsplit(settings.sentry_dsn).username)
    plain = {form for one in found if one for form in (one, unquote(one))}
    return tuple({form for one in plain for form in _written(one)})


def _written(secret: str) -> tuple[str, ...]:
    # Exceptions tell what they are about as `repr` writes it.
    quoted = json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]
    return secret, repr(secret)[1:-1], repr(secret.encode())[2:-1], *quoted, quote(secret, safe="")


def mask_url(url: str) -> str:
    """The URL without user, password and query."""
    parts = urlsplit(url)
    if not parts.hostname:
        return f"{parts.scheme}://{parts.path}"
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"
