"""Verdicts of an interval: does a claim hold here, and do our means agree with the published ones?"""

from __future__ import annotations

from typing import Literal

import numpy as np

from analysis.statistics.effects import Interval

MARGIN = 0.05  # differences of accuracy within it are of no account
Expected = Literal["more", "less", "alike"]


def holds(found: Interval, expected: Expected) -> str:
    """Return `yes`, `no` or `not settled` for a claim that a difference is above 0, below 0, or within MARGIN of it.

    A sign is settled if the interval lies on one side of 0; likeness if it lies wholly inside or wholly outside of the margin.
    Where all units are alike the value itself is judged. Without an interval nothing is settled.
    """
    low, high = (found.value, found.value) if found.alike else (found.low, found.high)
    if np.isnan(low):
        return "not settled"
    if expected == "alike":
        inside, outside = low >= -MARGIN and high <= MARGIN, low > MARGIN or high < -MARGIN
        return "yes" if inside else "no" if outside else "not settled"
    low, high = (low, high) if expected == "more" else (-high, -low)
    if found.alike:
        return "yes" if low > 0 else "no"
    return "yes" if low > 0 else "no" if high < 0 else "not settled"


def agrees(ours_less_theirs: Interval) -> str:
    """Return `agrees`, `differs` or `not settled` for the difference of our mean and the published one.

    It agrees if the interval lies inside of MARGIN, and differs if it excludes 0 and does not.
    """
    found = ours_less_theirs
    low, high = (found.value, found.value) if found.alike else (found.low, found.high)
    if np.isnan(low):
        return "not settled"
    if low >= -MARGIN and high <= MARGIN:
        return "agrees"
    return "differs" if low > 0 or high < 0 else "not settled"
