"""Episodes drawn for people to read: the text, and the grid or plane with groups and the order of the context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data import Encoder, group_names
from tasks import ROTATIONS, entry_of

if TYPE_CHECKING:
    from flags.config import Config
    from tasks.task import Items


def show_episodes(config: Config, encoder: Encoder) -> str:
    """The first `--show` metalearning episodes of the first seed; of a language model's job, episodes that it is asked."""
    # A language model has no metalearning, and its conditions may be unset: then all are asked, this one first.
    split = "validation" if config.experiment == "llm" else "metalearning"
    rotation, curriculum = config.pt_rot_cond or ROTATIONS[0], config.pt_cond or encoder.task.curricula[0]
    condition = (config.seed, split, rotation, curriculum)
    n = min(config.show, encoder.n_episodes(split))
    items, episodes = encoder.task.draw(*condition, n), encoder.episodes(*condition, n)
    parts = []
    for i in range(n):
        parts += [
            f"Episode {i} · {config.task} · {rotation} · {curriculum} context · seed {config.seed}",
            "",
            encoder.text(episodes.context[i]),
            *(f"  {encoder.text(query)}  →  {encoder.text(answer)}" for query, answer in _some_queries(episodes, i, items.n_study)),
            "",
            sketch(items, i, encoder.task.plane),
            "",
        ]
    parts.append(
        "A1, B7: study items of group A and B, numbered by their position in the context.  " + entry_of(config.task).legend
    )
    return "\n".join(parts)


def _some_queries(episodes, i: int, n_study: int):
    """The first study query and the first two novel ones."""
    for q in (0, n_study, n_study + 1):
        yield episodes.queries[i, q], episodes.answers[i, q]


def sketch(items: Items, i: int, plane: int) -> str:
    """Episode i's items at their places, the origin at the lower left."""
    groups = group_names(4)
    cells = {}
    for item, ((x, y), group) in enumerate(zip(items.place[i], items.group[i], strict=True)):
        if item < items.n_study:
            cells[x, y] = f"{groups[group]}{item + 1}"
        else:
            cells[x, y] = groups[group].lower() if group >= 0 else "·"
    side = plane if any(max(place) > plane // 2 for place in cells) else plane // 2 + 1
    rows = [f"{y} │" + "".join(f"{cells.get((x, y), ''):>4}" for x in range(side)) for y in reversed(range(side))]
    return "\n".join([*rows, "  └" + "─" * (4 * side), "   " + "".join(f"{x:>4}" for x in range(side))])
