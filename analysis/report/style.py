"""Style of all figures: colours that colour-blind readers and grey printers can tell apart."""

from __future__ import annotations

import contextlib
import io
import itertools
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import tasks
from runs.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito's palette for curricula, Paul Tol's muted one for groups: no colour means both. The lightness of the first two of each
# differs, so they stay apart in grey.
CURRICULUM_COLORS = {"blocked": "#0072B2", "interleaved": "#E69F00", "aligned": "#56B4E9", "misaligned": "#D55E00"}
GROUP_COLORS = {"study_A": "#882255", "study_B": "#44AA99", "study_C": "#DDCC77", "study_D": "#332288", "novel": "#555555"}
OF_NEW_CURRICULA = ("#009E73", "#CC79A7", "#F0E442", "#999999")
SUBSET_LABELS = {"study_A": "study, group A", "study_B": "study, group B", "study_C": "study, group C",
                 "study_D": "study, group D", "novel": "novel"}  # fmt: skip
ROTATION_LABELS = {"unrotated": "unrotated\n(rule-like)", "rotated": "rotated"}
INIT_LABELS = {"metalearned": "ICL + IWL", "random": "IWL only", "loaded": "ICL + IWL"}

RC = {
    "figure.dpi": 120,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "pdf.fonttype": 42,
    "svg.hashsalt": "report",  # equal figures give equal files
}

PUBLISHED = {"marker": "D", "s": 26, "facecolor": "white", "edgecolor": "black", "linewidth": 1.0, "zorder": 6}
PUBLISHED_LABEL = "published mean"
INTERVAL = "whiskers, bands: 95 % t interval over seeds"


@contextlib.contextmanager
def ours() -> Iterator[None]:
    """Draw and save figures in the same way everywhere: whatever a user's matplotlibrc or style says has no effect here."""
    import matplotlib
    import matplotlib.pyplot as plt

    with plt.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


def curriculum_colors() -> dict[str, str]:
    """Return the colour of each context curriculum that a task has, in the order in which people are shown them."""
    new = (name for name in tasks.curricula() if name not in CURRICULUM_COLORS)
    return CURRICULUM_COLORS | dict(zip(new, itertools.cycle(OF_NEW_CURRICULA), strict=False))


def of_seeds(n: int) -> str:
    """Say what a figure's dots, bars and bands are, for its title."""
    return f"{n} seeds (dots); {INTERVAL}" if n > 1 else "1 seed; whiskers: 95 % t interval over episodes"


def title(figure: Figure, text: str, size: float) -> None:
    """Write the title of a figure, its lines broken where they would be wider than the figure. size: of the font, in points."""
    width = int(figure.get_figwidth() * 72 / (0.56 * size))  # characters: one is about .56 of its size wide
    figure.suptitle("\n".join(textwrap.fill(line, width) for line in text.splitlines()), fontsize=size)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PDF and SVG, which stay sharp, and as PNG, named as `path` with these endings."""
    import matplotlib.pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})  # equal figures give equal files
    figure.set_layout_engine("none")  # the places are found: to find them again takes as long as to draw
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"))
    plt.close(figure)


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    import matplotlib.pyplot as plt

    content = io.BytesIO()
    figure.savefig(content, format="png")
    plt.close(figure)
    write_atomically(path, content.getvalue(), shared=True)
