"""Who we are at a provider, as the settings say."""

from paiid.core.settings import Settings
from paiid.wires.tradier.keys import TradierKeys


def tradier_keys(settings: Settings) -> TradierKeys:
    """The token with the addresses of its environment. Raises ValueError where there is none."""
    if settings.tradier_api_key is None:
        raise ValueError("there is no token of Tradier")
    return TradierKeys(
        settings.tradier_api_key,
        settings.tradier_api_base_url,
        settings.tradier_stream_url,
        settings.tradier_account_id,
    )
