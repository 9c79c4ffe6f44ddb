"""P7: implied volatility and five Greeks of 5,000 European contracts on one core, beside QuantLib, vollib and py_vollib_vectorized."""

import json
import math
import time
from pathlib import Path
from statistics import median

import numpy as np
import QuantLib as ql

from bench.figures import Say, Series, goal, ratio, ratio_row, row
from bench.p7_european import DIVIDEND_YIELD, RATE, SPOT, chain, ours
from bench.peer_environments import python_of
from bench.processes import Process, cores, pinned
from paiid.domain.pricing import european

COUNT = 5000
GOAL_MS = 5.0
PEERS = {"vollib": "vollib (py_vollib's new name)", "vectorized": "py_vollib_vectorized 0.1.1, numba"}


class _Peer:
    """One in an environment of its own."""

    def __init__(self, kind: str, process: Process) -> None:
        self.series = Series(PEERS[kind], "ms")
        self._process = process
        self.told: dict[str, float] = {}
        self.greeks_off: dict[str, float] = {}

    def spell(self, seconds: float) -> None:
        answer = json.loads(self._process.ask(str(seconds)))
        self.series.add(answer["ms"])
        self.told = {"volatility": answer["volatility_off"]}
        self.greeks_off = answer["greeks_off"]


def _write_chain(file: Path) -> None:
    contracts, market, price = chain(COUNT)
    implied, values = european.imply_and_value(contracts, market, price)
    np.savez(
        file,
        call=contracts.call,
        strike=contracts.strike,
        years=contracts.years,
        price=price,
        spot=SPOT,
        rate=RATE,
        dividend_yield=DIVIDEND_YIELD,
        volatility=implied.volatility,
        delta=values.delta,
        gamma=values.gamma,
        theta=values.theta,
        vega=values.vega,
        rho=values.rho,
    )


def quantlib(count: int, seconds: float) -> float:
    """Milliseconds for `count` contracts by its functions for one: the implied deviation of a forward's option, and a calculator's Greeks."""
    contracts, _, price = chain(count)
    rows = list(
        zip(
            *(one.tolist() for one in (contracts.call, contracts.strike, contracts.years, price)), strict=True
        )
    )
    runs: list[float] = []
    ends_at = time.perf_counter() + seconds
    while not runs or time.perf_counter() < ends_at:
        begun_at = time.perf_counter()
        for call, strike, years, paid in rows:
            kind = ql.Option.Call if call else ql.Option.Put
            kept, discount = math.exp(-DIVIDEND_YIELD * years), math.exp(-RATE * years)
            forward = SPOT * kept / discount
            try:
                deviation = ql.blackFormulaImpliedStdDevLiRS(kind, strike, forward, paid, discount)
            except RuntimeError:
                continue
            told = ql.BlackCalculator(ql.PlainVanillaPayoff(kind, strike), forward, deviation, discount)
            told.delta(SPOT), told.gamma(SPOT), told.theta(SPOT, years), told.vega(years), told.rho(years)
        runs.append((time.perf_counter() - begun_at) * 1e3)
    return median(runs)


def run(say: Say, directory: Path, seconds: float, rounds: int) -> bool:
    """Print the figures; whether the goal is reached."""
    on, _ = cores()
    say(f"P7 European chain of {COUNT:,} contracts, implied volatility and five Greeks, on one core")
    file = directory / "chain.npz"
    _write_chain(file)
    mine, theirs = Series("ours", "ms"), Series(f"QuantLib {ql.__version__}", "ms")
    peers: list[_Peer] = []
    processes: list[Process] = []
    try:
        for kind, words in PEERS.items():
            python = python_of(kind)
            if python is None:
                say(f"  peer   {words:<46} not installed; --peers installs it")
                continue
            arguments = ["bench/pricing_peer.py", kind, str(file)]
            processes.append(
                Process(f"p7-{kind}", arguments, directory, on=on, program=str(python), talks=True)
            )
            peers.append(_Peer(kind, processes[-1]))
        for peer in peers:
            peer.spell(0.0)
            peer.series.values.clear()
        with pinned(on):
            for _ in range(rounds):
                mine.add(ours(COUNT, seconds))
                theirs.add(quantlib(COUNT, seconds))
                for peer in peers:
                    peer.spell(seconds)
    finally:
        for process in processes:
            process.stop()
    row(say, "ours", mine.name, mine)
    row(say, "peer", theirs.name, theirs)
    for peer in peers:
        row(say, "peer", peer.series.name, peer.series)
    for other in (theirs, *(peer.series for peer in peers)):
        ratio_row(say, ratio(f"{other.name} / ours", other.values, mine.values))
    for peer in peers:
        off = ", ".join(f"{name} {value:.0e}" for name, value in peer.greeks_off.items())
        say(
            f"  {peer.series.name} differs from ours by at most: volatility {peer.told['volatility']:.0e}, {off}"
        )
    return goal(say, "milliseconds a chain on one core", mine, GOAL_MS, at_most=True)
