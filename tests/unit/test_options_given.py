"""What the owner says of rates and dividends: read, interpolated, and refused with one clear line for each problem."""

from pathlib import Path

import pytest

from paiid.core.settings import Settings, SettingsError, describe, load_settings
from paiid.domain.dividend_table import parse_dividends, parse_yields
from paiid.domain.rate_curve import RateCurve, TableError, parse_rate_curve
from paiid.options.given import given_by
from paiid.options.records import Assumed

CURVE = "days,percent\n# bills\n30,4\n\n365,5\n"
DIVIDENDS = "symbol,ex_date,amount\naapl,2027-02-05,0.26\nAAPL,2026-11-06,0.25\nBRK.B,2027-01-01,0\n"


def test_a_curve_is_straight_between_its_points_and_flat_beyond() -> None:
    curve = parse_rate_curve(CURVE)
    assert curve == RateCurve((30.0, 365.0), (4.0, 5.0))
    found = [curve.rate(days / 365) for days in (0, 30, 197.5, 365, 9999)]
    assert found == pytest.approx([0.04, 0.04, 0.045, 0.05, 0.05])
    assert parse_rate_curve("\ufeffDays,Percent\r\n7,-0.5\r\n").rate(3.0) == -0.005


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["is empty; the first line must be days,percent"]),
        ("30,4\n", ["line 1: the first line must be days,percent"]),
        ("days,percent\n", ["has no points"]),
        ("days,percent\n30\n", ["line 2: must have 2 values"]),
        ("days,percent\n30,4\n30,5\n7,x\n", ["line 3: days does not grow", "line 4: days does not grow"]),
        ("days,percent\n-1,4\n", ["line 2: days is not a number from 0 to 36525"]),
        ("days,percent\nnan,4\n", ["line 2: days is not a number from 0 to 36525"]),
        ("days,percent\n30,inf\n40,51\n", ["line 2: percent is not a number from -10 to 50", "line 3: percent is not a number from -10 to 50"]),
        ('days,percent\n"30,4\n', ["line 2: must have 2 values"]),
        ("days,percent\n" + "".join(f"{day},1\n" for day in range(1001)), ["has more than 1000 lines"]),
    ],
)  # fmt: skip
def test_a_bad_curve_is_refused_with_a_line_for_each_problem(text: str, problems: list[str]) -> None:
    with pytest.raises(TableError) as refused:
        parse_rate_curve(text)
    assert refused.value.problems == problems


def test_dividends_are_by_ticker_and_day_and_nothing_is_a_word_too() -> None:
    found = parse_dividends(DIVIDENDS)
    assert [(str(one.ex_date), str(one.amount)) for one in found["AAPL"]] == [
        ("2026-11-06", "0.25"),
        ("2027-02-05", "0.26"),
    ]
    assert found["BRK.B"] == ()


def test_bad_dividends_are_refused_with_a_line_for_each_problem() -> None:
    lines = [
        "symbol,ex_date,amount",
        "A1,2027-01-04,1",
        "AAPL,2027-02-30,1",
        "AAPL,2027-01-04,-1",
        "AAPL,2027-01-04,NaN",
    ]
    lines += ["AAPL,2027-01-04,1", "AAPL,2027-01-04,2", "AAPL,2027-01-04"]
    with pytest.raises(TableError) as refused:
        parse_dividends("\n".join(lines))
    assert [one.partition(":")[0] for one in refused.value.problems] == [
        "line 8", "line 2", "line 3", "line 4", "line 5", "line 7",
    ]  # fmt: skip


def test_yields_are_percent_by_ticker() -> None:
    assert parse_yields(["SPY=1.3", "brk.b = 0.5"]) == pytest.approx({"SPY": 0.013, "BRK.B": 0.005})
    for bad in (
        ["SPY"],
        ["SPY="],
        ["=1"],
        ["SPY=x"],
        ["SPY=nan"],
        ["SPY=101"],
        ["SPY=-0.5"],
        ["SPY=1", "spy=2"],
    ):
        with pytest.raises(ValueError, match="entry"):
            parse_yields(bad)


def test_settings_take_rates_dividends_and_yields(tmp_path: Path) -> None:
    curve, dividends = tmp_path / "rates.csv", tmp_path / "dividends.csv"
    curve.write_text(CURVE, encoding="utf-8")
    dividends.write_text(DIVIDENDS, encoding="utf-8")
    environ = {
        "RATE_CURVE_FILE": str(curve),
        "DIVIDENDS_FILE": str(dividends),
        "DIVIDEND_YIELDS": "spy=1.3, QQQ=0.6",
    }
    settings = load_settings(environ)
    given = given_by(settings)
    assert given.rate == parse_rate_curve(CURVE)
    assert given.yields == pytest.approx({"SPY": 0.013, "QQQ": 0.006})
    assert set(given.dividends) == {"AAPL", "BRK.B"}
    assert ("DIVIDEND_YIELDS", "SPY=1.3, QQQ=0.6") in describe(settings)
    fixed = load_settings(environ | {"RISK_FREE_RATE": "-0.25"})
    assert given_by(fixed).rate == Assumed(-0.0025, "setting")
    assert given_by(Settings()).rate is None


def test_each_problem_of_them_stops_the_start_with_a_line_of_its_own(tmp_path: Path) -> None:
    bad, binary, huge = tmp_path / "bad.csv", tmp_path / "binary.csv", tmp_path / "huge.csv"
    bad.write_text("days,percent\nsecret,4\n5,x\n", encoding="utf-8")
    binary.write_bytes(b"\xff\xfe\x00")
    huge.write_bytes(b"days,percent\n" + b"#" * (4 * 1024 * 1024))
    for environ, lines in (
        ({"RISK_FREE_RATE": "lots"}, ["RISK_FREE_RATE: is not a number from -10 to 50; give percent a year, such as 4.25"]),
        ({"RISK_FREE_RATE": "51"}, ["RISK_FREE_RATE: is not a number from -10 to 50; give percent a year, such as 4.25"]),
        ({"DIVIDEND_YIELDS": "SPY"}, ["DIVIDEND_YIELDS: entry 1 is not a ticker, = and percent; list tickers with percent a year, such as SPY=1.3,QQQ=0.6"]),
        ({"RATE_CURVE_FILE": str(tmp_path)}, ["RATE_CURVE_FILE: is no file; name a CSV file with the columns days,percent"]),
        ({"DIVIDENDS_FILE": str(binary)}, ["DIVIDENDS_FILE: cannot be read as UTF-8 text; name a CSV file with the columns symbol,ex_date,amount"]),
        ({"RATE_CURVE_FILE": str(huge)}, ["RATE_CURVE_FILE: is larger than 4194304 bytes; shorten it"]),
        (
            {"RATE_CURVE_FILE": str(bad)},
            [
                "RATE_CURVE_FILE: line 2: days is not a number from 0 to 36525; mend the file",
                "RATE_CURVE_FILE: line 3: percent is not a number from -10 to 50; mend the file",
            ],
        ),
    ):  # fmt: skip
        with pytest.raises(SettingsError) as refused:
            load_settings(environ)
        assert refused.value.problems == lines
