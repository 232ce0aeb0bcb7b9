"""Accuracy over updates to look into: condition and seed by choice, groups by the legend, values under the pointer.

A Vega-Lite chart made by Altair, with its library within the page: nothing is fetched. The static figure stays above it for who has
scripts switched off.
"""

from __future__ import annotations

import json

import altair as alt
import pandas as pd

from analysis.measures import derive
from analysis.report import style

MEAN = "mean of all"
COLUMNS = ["condition", "seed", "group", "updates", "accuracy"]


def curves(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each seed, and their mean, in congruent conditions, from rows of `finetune_accuracy`: COLUMNS."""
    found = derive.learning_curves(derive.congruent(rows))
    task = found.rotation.astype(str).map({"unrotated": "rule-like", "rotated": "rotated"})
    found = found.assign(
        condition=task + ", " + found.step_curriculum.astype(str),
        seed=found.seed.astype(str),
        group=found.subset.astype(str).map(style.SUBSET_LABELS),
        updates=found.step,
        accuracy=found.value,
    )[COLUMNS]
    means = found.groupby(["condition", "group", "updates"], as_index=False).accuracy.mean().assign(seed=MEAN)
    found = pd.concat([means[COLUMNS], found]) if found.seed.nunique() > 1 else found
    return found.round({"accuracy": 3}).reset_index(drop=True)


def chart(data: pd.DataFrame, source: alt.Data | None = None) -> alt.LayerChart:
    """The chart of `curves`. source: where it reads them, if not from within itself."""
    conditions, seeds = list(dict.fromkeys(data.condition)), list(dict.fromkeys(data.seed))
    groups = [label for label in style.SUBSET_LABELS.values() if (data.group == label).any()]
    colors = [style.GROUP_COLORS[subset] for subset, label in style.SUBSET_LABELS.items() if label in groups]
    condition = alt.param(name="condition", value=conditions[0], bind=alt.binding_select(options=conditions, name="condition "))
    seed = alt.param(name="seed", value=seeds[0], bind=alt.binding_select(options=seeds, name="seed "))
    of_legend = alt.selection_point(fields=["group"], bind="legend", name="group")
    near = alt.selection_point(nearest=True, on="pointermove", clear="pointerout", encodings=["x"], empty=False, name="near")
    shown = (
        alt.Chart(source or alt.Data(values=data.to_dict("records")))  # a table of more than 5,000 rows is refused
        .transform_filter((alt.datum.condition == condition) & (alt.datum.seed == seed))
        .encode(
            x=alt.X("updates:Q", title="updates"),
            y=alt.Y("accuracy:Q", scale=alt.Scale(domain=[0, 1])),
            color=alt.Color(
                "group:N", scale=alt.Scale(domain=groups, range=colors), legend=alt.Legend(title="click to single out")
            ),
            opacity=alt.when(of_legend).then(alt.value(1)).otherwise(alt.value(0.1)),
        )
    )
    lines = shown.mark_line(strokeWidth=1.6).add_params(condition, seed, of_legend)
    points = shown.mark_point(filled=True, size=45).encode(
        opacity=alt.when(near).then(alt.value(1)).otherwise(alt.value(0)),
        tooltip=["group:N", "updates:Q", alt.Tooltip("accuracy:Q", format=".3f")],
    )
    return alt.layer(lines, points.add_params(near)).properties(width="container", height=280).configure(background="#fff")


def script(data: pd.DataFrame) -> str:
    """The chart of `curves` as JSON within a script. Altair checks every value that it is given, so the curves are added here."""
    found = chart(data, alt.Data(name="curves")).to_dict() | {"datasets": {"curves": data.to_dict("records")}}
    return json.dumps(found, allow_nan=False, separators=(",", ":")).replace("</", "<\\/")


def library() -> str:
    """The scripts that make charts: `vegaEmbed` and what it needs."""
    import vl_convert

    return vl_convert.javascript_bundle(vl_version=".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2]))
