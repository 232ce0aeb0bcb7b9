"""The kinds of ablation as flags, checks and figures know them, without torch. What each does to a context is in ablate.py."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of ablation.

    label           what a level of it is, for the axis of a figure
    is_bounded      True if a level is a part of a whole: from 0 to 1
    own_contexts    True if each variant is a context of its own, False if all queries share one and find other values in it
    leaves_nothing  True if level 1 leaves nothing of the context, whatever is drawn: items of an update share one variant then
    experiment      the trade-off that varies it (--experiment); None without one
    highest, n      the highest level and the number of levels of this trade-off, from 0 on, evenly spaced
    """

    label: str
    is_bounded: bool = True
    own_contexts: bool = False
    leaves_nothing: bool = False
    experiment: str | None = None
    highest: float = 1
    n: int = 11


N_SMALL = 5  # levels of a trade-off of the demo's or the laptop's size

ABLATIONS = {
    "mask": Kind(
        "probability that an example is hidden",
        own_contexts=True,
        leaves_nothing=True,
        experiment="tradeoff_mask",
    ),
    "bernoulli": Kind("probability that a value is zeroed", leaves_nothing=True),
    "gaussian": Kind("standard deviation of the noise", is_bounded=False, experiment="tradeoff_noise", highest=8, n=9),
}


def trade_offs() -> dict[str, str]:
    """Return the ablation of each trade-off experiment."""
    return {kind.experiment: name for name, kind in ABLATIONS.items() if kind.experiment}
