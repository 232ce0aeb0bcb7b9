"""Tables as people read them: numbers in three decimals, an interval in one cell, words for missing values."""

from __future__ import annotations

import pandas as pd

from analysis.statistics.effects import OF_INTERVAL, counted

LEVELS = ("test_level", "training_level")  # of an ablation: whole or short numbers
SMALLEST_P = 2.2e-16  # R prints no smaller one


def _number(value: object) -> str:
    """Return a cell for people: three decimals, small p's as powers of ten, nothing for a missing value."""
    if isinstance(value, float):
        if value != value:
            return "–"
        if value == int(value) and abs(value) >= 2:
            return f"{value:g}"
        return f"{value:.1e}" if 1e-12 < abs(value) < 0.001 else _three(value)
    return "–" if value is None else str(value)


def _p(value: object) -> str:
    """A p for people; one too small for a double's rounding as R prints it."""
    if not isinstance(value, float) or value != value:
        return _number(value)
    return "< 2.2e-16" if value < SMALLEST_P else f"{value:.1e}" if value < 0.001 else _three(value)


def _three(value: float) -> str:
    """Return three decimals, four if they were zeros, and no minus before a zero."""
    n_decimals = 3 if round(value, 3) or not round(value, 4) else 4
    return f"{round(value, n_decimals) + 0.0:.{n_decimals}f}" if round(value, n_decimals) else "0.000"


def _interval(low: float, high: float, alike: object = False) -> str:
    if alike:
        return "all alike"
    return "–" if pd.isna(low) else f"{_three(low)} to {_three(high)}"


def for_people(table: pd.DataFrame) -> pd.DataFrame:
    """A table as it is read: an interval in one cell, what it is over beside its number, words for numbers."""
    table = table.copy()
    if {"low", "high", "n", "over", "alike"} <= set(table.columns):
        place = list(table.columns).index("low")
        rows = [table[name] for name in ("low", "high", "alike")]
        table.insert(place, "95 % interval", [_interval(*row) for row in zip(*rows, strict=True)])
        table.insert(place + 1, "over", [counted(n, over) for n, over in zip(table.n, table.pop("over"), strict=True)])
        table = table.drop(columns=["low", "high", "n", "alike"])
    for name in table.columns:
        if name in ("p", "p published"):
            table[name] = table[name].map(_p)
        elif name in LEVELS:
            table[name] = [f"{value:g}" for value in table[name]]
        elif table[name].dtype == bool:
            table[name] = table[name].map({True: "yes", False: "no"})
    return table.map(_number).rename(columns=lambda name: str(name).replace("_", " "))


def of_claims(found: pd.DataFrame) -> pd.DataFrame:
    """The claims' table as it opens the page."""
    shown = for_people(found[["ours", *OF_INTERVAL]])
    rows = {
        "what": found.task + " (" + found["size"] + "): " + found.what,
        "ours": shown.ours,
        "95 % interval": shown["95 % interval"],
        "over": shown.over,
    }
    if (found.kind == "effect").all():
        rows |= {"does the claim hold here?": found.holds.replace("", "–"), "published": found.published.replace("", "–")}
    else:
        spreads = [
            f"{mean} (SD {sd:.3f})" if sd == sd else mean or "–"
            for mean, sd in zip(found.published, found.published_sd, strict=True)
        ]
        less = [_number(value) for value in found.difference]
        between = [_interval(*row) for row in zip(found.difference_low, found.difference_high, strict=True)]
        rows |= {
            "published": spreads,
            "ours − published": [one if other == "–" else f"{one} ({other})" for one, other in zip(less, between, strict=True)],
            "agrees?": found.agrees.replace("", "–"),
        }
    return pd.DataFrame(rows)
