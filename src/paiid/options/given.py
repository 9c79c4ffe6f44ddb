"""What the owner says of rates and dividends, read once at the start from the settings and the files they name."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from paiid.core.settings import Settings
from paiid.domain.corporate import CorporateAction
from paiid.domain.dividend_table import parse_dividends, parse_yields
from paiid.domain.rate_curve import RateCurve, parse_rate_curve
from paiid.options.records import Assumed


@dataclass(frozen=True, slots=True)
class Given:
    """`rate` is a setting, a curve, or None where nothing was said. A ticker that `dividends` has pays those and no others."""

    rate: Assumed | RateCurve | None = None
    dividends: Mapping[str, tuple[CorporateAction, ...]] = field(default_factory=dict)
    yields: Mapping[str, float] = field(default_factory=dict)


def given_by(settings: Settings) -> Given:
    """What the settings say; a rate goes before a curve. Raises ValueError or OSError for files that `load_settings` would have refused."""
    rate: Assumed | RateCurve | None = None
    if settings.risk_free_rate is not None:
        rate = Assumed(settings.risk_free_rate / 100, "setting")
    elif settings.rate_curve_file is not None:
        rate = parse_rate_curve(settings.rate_curve_file.read_text(encoding="utf-8"))
    dividends: Mapping[str, tuple[CorporateAction, ...]] = {}
    if settings.dividends_file is not None:
        dividends = parse_dividends(settings.dividends_file.read_text(encoding="utf-8"))
    return Given(rate, dividends, parse_yields(settings.dividend_yields))
