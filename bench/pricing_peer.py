"""One pricing peer in an environment of its own: `python bench/pricing_peer.py NAME FILE`, asked by lines on stdin, answers in JSON.

It imports nothing of ours. FILE is an .npz of a European chain: call, strike, years, price, and the market's numbers.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np

NAMES = ("delta", "gamma", "theta", "vega", "rho")


def one_by_one(chain):  # type: ignore[no-untyped-def]
    """vollib: a call for each number of each contract."""
    from vollib.black_scholes_merton.greeks import analytical
    from vollib.black_scholes_merton.implied_volatility import implied_volatility

    functions = [getattr(analytical, name) for name in NAMES]
    spot, rate, paid = (float(chain[name]) for name in ("spot", "rate", "dividend_yield"))
    rows = [
        ("c" if call else "p", strike, years, price)
        for call, strike, years, price in zip(
            *(chain[name].tolist() for name in ("call", "strike", "years", "price")), strict=True
        )
    ]

    def work():  # type: ignore[no-untyped-def]
        volatility, greeks = [], []
        for flag, strike, years, price in rows:
            try:
                found = float(implied_volatility(price, spot, strike, years, rate, paid, flag))
            except Exception:  # it has a class of its own for each reason
                found = float("nan")
            volatility.append(found)
            greeks.append(
                [each(flag, spot, strike, years, rate, found, paid) for each in functions]
                if found > 0.0
                else [0.0] * 5
            )
        return np.array(volatility), np.array(greeks).T

    return work


def at_once(chain):  # type: ignore[no-untyped-def]
    """py_vollib_vectorized: arrays, compiled at the first call."""
    import py_vollib_vectorized as peer

    spot, rate, paid = (float(chain[name]) for name in ("spot", "rate", "dividend_yield"))
    flag = np.where(chain["call"], "c", "p")
    strike, years, price = chain["strike"], chain["years"], chain["price"]
    model = "black_scholes_merton"

    def work():  # type: ignore[no-untyped-def]
        found = peer.vectorized_implied_volatility(
            price, spot, strike, years, rate, flag, q=paid, model=model, return_as="numpy", on_error="ignore"
        )
        told = peer.get_all_greeks(
            flag, spot, strike, years, rate, found, q=paid, model=model, return_as="dict"
        )
        return np.asarray(found), np.array([told[name] for name in NAMES])

    return work


PEERS = {"vollib": one_by_one, "vectorized": at_once}


def main(name: str, file: str) -> None:
    """Answer each line (seconds to spend) with milliseconds a chain, and how far off it is."""
    with np.load(file) as stored:
        chain = dict(stored)
    work: Callable[[], tuple[np.ndarray, np.ndarray]] = PEERS[name](chain)
    volatility, greeks = work()
    identified = chain["vega"] > 1e-4
    with np.errstate(invalid="ignore"):
        apart = np.abs(volatility - chain["volatility"])[identified]
        off = {
            one: float(np.nanmax(np.abs(greeks[place] - chain[one])[identified]))
            for place, one in enumerate(NAMES)
        }
    for line in sys.stdin:
        runs = []
        ends_at = time.perf_counter() + float(line)
        while not runs or time.perf_counter() < ends_at:
            begun_at = time.perf_counter()
            work()
            runs.append((time.perf_counter() - begun_at) * 1e3)
        answer = {"ms": float(np.median(runs)), "volatility_off": float(np.nanmax(apart)), "greeks_off": off}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
