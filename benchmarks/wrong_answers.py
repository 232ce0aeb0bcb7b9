"""Tell where a metalearned category model is wrong: in which episodes, by dimension or not, and how the context's order counts.

python benchmarks/wrong_answers.py results/paper/category_icl_iwl/unrotated_blocked/seed_4        3 minutes a folder
"""

from __future__ import annotations

import dataclasses
import itertools
import shlex
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from data import Episodes  # noqa: E402
from engine.streams import stream  # noqa: E402
from lab import Lab  # noqa: E402

N_EPISODES, N_WORST, AT_ONCE = 1200, 40, 20
SHAPE = (4, 8, 5)  # of a context without its preface: blocks, items of a block, tokens of an item and its separator


def accuracies(lab: Lab, episodes: Episodes) -> np.ndarray:
    """The share of right answers to all queries of each episode, [E]."""
    found, ensemble = [], lab.ensemble()
    for first in range(0, len(episodes), AT_ONCE):
        some = episodes.rows(slice(first, first + AT_ONCE))
        found.append((lab.answers(ensemble, some)[0] == lab.texts(some.answers)).mean(-1))
    return np.concatenate(found)


def relevant_dimension(lab: Lab, episodes: Episodes, episode: int) -> int:
    """The dimension whose values below the middle all have one label."""
    words = [text.split() for text in lab.texts(episodes.queries[episode])]
    symbols = np.array([[word.split("_")[1:] for word in item if word.startswith("symbol")] for item in words], dtype=int)
    answers = episodes.answers[episode, :, 0]
    for dimension, values in symbols.transpose(1, 2, 0):
        if len(set(answers[values <= np.median(values)])) == 1:
            return int(dimension[0])
    raise ValueError("no dimension of this episode gives its labels: it is rotated, or of another task")


def alike(accuracy: np.ndarray, dimensions: Sequence[int]) -> tuple[float, int]:
    """The correlation of accuracies over all pairs of episodes with the same relevant dimension, and how many there are."""
    groups = defaultdict(list)
    for dimension, value in zip(dimensions, accuracy - accuracy.mean(), strict=True):
        groups[dimension].append(value)
    products = [a * b for values in groups.values() for a, b in itertools.combinations(values, 2)]
    return float(np.mean(products) / accuracy.var()), len(products)


def moved(contexts: np.ndarray, what: str) -> np.ndarray:
    """Contexts with the blocks in another order, or the items in each block."""
    draw = stream("benchmark", "wrong answers", what)
    items = contexts[:, 1 : 1 + np.prod(SHAPE)].reshape(-1, *SHAPE).copy()
    for episode, blocks in enumerate(items):
        if what == "blocks":
            items[episode] = blocks[draw.permutation(SHAPE[0])]
        else:
            items[episode] = [block[draw.permutation(SHAPE[1])] for block in blocks]
    return np.concatenate([contexts[:, :1], items.reshape(len(items), -1), contexts[:, 1 + np.prod(SHAPE) :]], axis=1)


def main() -> None:
    if not sys.argv[1:]:
        sys.exit(__doc__)
    for folder in sys.argv[1:]:
        lab = Lab(f"--load_model_from {shlex.quote(folder)}")
        for split, n in (("validation", 100), ("metalearning", N_EPISODES)):
            episodes = lab.episodes(n, split)
            accuracy = accuracies(lab, episodes)
            print(f"{folder}, {n} episodes of {split}: {accuracy.mean():.3f}; below .95 in {(accuracy < 0.95).mean():.2f} of them")
        dimensions = [relevant_dimension(lab, episodes, i) for i in range(N_EPISODES)]
        print("  correlation of two episodes with one relevant dimension: {:.3f} ({} pairs)".format(*alike(accuracy, dimensions)))
        ends = np.argsort(accuracy)[:N_WORST], np.argsort(-accuracy)[:N_WORST]
        for name, rows in zip(("worst", "best"), ends, strict=True):
            print(f"  {N_WORST} {name}: {accuracy[rows].mean():.3f}", end="")
            for what in ("blocks", "items"):
                some = episodes.rows(rows)
                other = dataclasses.replace(some, context=moved(some.context, what))
                print(f", {what} in another order {accuracies(lab, other).mean():.3f}", end="")
            print()


if __name__ == "__main__":
    main()
