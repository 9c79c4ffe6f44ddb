"""What QuantLib says an option is worth: closed form, its boundary method, and its finite differences with cash dividends."""

import QuantLib as ql

from tests.oracle.case import Case

TODAY = ql.Date(2, 1, 2024)
_DAYS = ql.Actual365Fixed()


def _process(case: Case) -> ql.BlackScholesMertonProcess:
    ql.Settings.instance().evaluationDate = TODAY

    def flat(rate: float) -> ql.YieldTermStructureHandle:
        return ql.YieldTermStructureHandle(ql.FlatForward(TODAY, rate, _DAYS))

    volatility = ql.BlackConstantVol(TODAY, ql.NullCalendar(), case.volatility, _DAYS)
    return ql.BlackScholesMertonProcess(
        ql.QuoteHandle(ql.SimpleQuote(case.spot)),
        flat(case.dividend_yield),
        flat(case.rate),
        ql.BlackVolTermStructureHandle(volatility),
    )


def _option(case: Case) -> ql.VanillaOption:
    if case.days != int(case.days):
        raise ValueError("QuantLib counts whole days")
    last = TODAY + int(case.days)
    exercise = ql.AmericanExercise(TODAY, last) if case.american else ql.EuropeanExercise(last)
    right = ql.Option.Call if case.call else ql.Option.Put
    return ql.VanillaOption(ql.PlainVanillaPayoff(right, case.strike), exercise)


def european(case: Case) -> dict[str, float]:
    """Price and Greeks in closed form, without cash dividends, in the units of `terms.Values`."""
    option = _option(case.but(american=False))
    option.setPricingEngine(ql.AnalyticEuropeanEngine(_process(case)))
    return {
        "price": option.NPV(),
        "delta": option.delta(),
        "gamma": option.gamma(),
        "theta": option.theta() / 365.0,
        "vega": option.vega() / 100.0,
        "rho": option.rho() / 100.0,
    }


def american(case: Case) -> float:
    """Without cash dividends: the fixed point of the exercise boundary in the high precision scheme (Andersen, Lake and Offengenden).
    Raises RuntimeError where the engine has no answer (two exercise boundaries, and numbers it cannot take)."""
    option = _option(case)
    option.setPricingEngine(
        ql.QdFpAmericanEngine(_process(case), ql.QdFpAmericanEngine.highPrecisionScheme())
    )
    return float(option.NPV())


def american_fast(case: Case) -> float:
    """The same in the scheme QuantLib calls fast, for the benchmark."""
    option = _option(case)
    option.setPricingEngine(ql.QdFpAmericanEngine(_process(case), ql.QdFpAmericanEngine.fastScheme()))
    return float(option.NPV())


def finite_differences(case: Case, time_steps: int, price_nodes: int) -> float:
    """Either style, with cash dividends in the spot model. The exercise is looked at once a time step, so an American price errs by
    something in proportion to the step."""
    option = _option(case)
    dividends = ql.DividendVector(
        [TODAY + day for day, _ in case.dividends], [amount for _, amount in case.dividends]
    )
    engine = ql.FdBlackScholesVanillaEngine(
        _process(case),
        dividends,
        time_steps,
        price_nodes,
        0,
        ql.FdmSchemeDesc.Douglas(),
        False,
        -ql.nullDouble(),
        ql.FdBlackScholesVanillaEngine.Spot,
    )
    option.setPricingEngine(engine)
    return float(option.NPV())


def extrapolated(case: Case, size: int = 800) -> float:
    """`finite_differences` twice, the second with twice the steps and nodes, extrapolated: by the first order of the step for American
    options, by the second for European ones. Good to about 1e-4 dollars at a spot of 100."""
    coarse, fine = finite_differences(case, size, size), finite_differences(case, 2 * size, 2 * size)
    return 2.0 * fine - coarse if case.american else (4.0 * fine - coarse) / 3.0
