"""What one process has, for those parts that look at all the others."""

from collections.abc import Mapping
from dataclasses import dataclass

from paiid.accounts.service import AccountService
from paiid.app.streams import Streams
from paiid.auth.service import AuthService
from paiid.brokers import Broker
from paiid.core.accounting import Accounting
from paiid.core.bus import Bus
from paiid.core.clock import Clock
from paiid.core.db import Database
from paiid.core.leases import Leases
from paiid.core.settings import Settings
from paiid.core.shared import Shared
from paiid.feeds import Feed
from paiid.market.service import MarketService
from paiid.market.upstream import Upstream
from paiid.options.pool import PricingPool
from paiid.options.service import OptionsService
from paiid.portfolio.service import PortfolioService
from paiid.system.skew import Skew
from paiid.trading.desk import Desk
from paiid.trading.environment import EnvironmentAccounts
from paiid.trading.halt import HaltService
from paiid.trading.ledger import LedgerService
from paiid.wires.governor import Governors


@dataclass(frozen=True, slots=True)
class Wired:
    """Made by `parts` once all services stand."""

    settings: Settings
    clock: Clock
    accounting: Accounting
    db: Database
    leases: Leases
    bus: Bus
    shared: Shared
    governors: Governors
    brokers: Mapping[str, Broker]
    feed: Feed
    market: MarketService
    upstream: Upstream
    streams: Streams
    desk: Desk
    halts: HaltService
    pool: PricingPool
    auth: AuthService
    accounts: AccountService
    options: OptionsService
    portfolio: PortfolioService
    ledger: LedgerService
    environment: EnvironmentAccounts
    skew: Skew
