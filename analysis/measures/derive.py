"""The paper's measures, from the tables of finetuning: a row an episode and subset, with counts.

Every function takes rows of `finetune_accuracy` of one size and task, as `load.Sweep.table` gives them. The rows that it
returns have at least seed, episode, rotation, context_curriculum, n_correct and n_queries. Means over them weight rows alike.
"""

from __future__ import annotations

import pandas as pd

from tasks.task import CRITERION

EPISODE = ["seed", "rotation", "context_curriculum", "step_curriculum", "episode"]
CONDITION = ["rotation", "context_curriculum", "step_curriculum"]


def metalearned(rows: pd.DataFrame, rotation: str = "unrotated", curriculum: str = "blocked") -> pd.DataFrame:
    """Rows of the models that were metalearned on this condition (`icl_iwl`), plain, without ablation."""
    chosen = (rows.experiment == "icl_iwl") & (rows.init != "random") & (rows.test_level == 0.0)
    return rows[chosen & (rows.pt_rotation == rotation) & (rows.pt_curriculum == curriculum)]


def iwl_only(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the models that were not metalearned, from the experiment `iwl_only`.

    Seeds and conditions that it lacks come from the random models that jobs finetune beside metalearned ones. These models
    are the same whatever was metalearned.
    """
    random = rows[(rows.init == "random") & rows.experiment.isin(["iwl_only", "icl_iwl"])]
    if "test_level" in random:
        random = random[random.test_level == 0.0]
    by = ["seed", *CONDITION]
    source = random.loc[random.step > 0, [*by, "experiment", "job"]].drop_duplicates()  # jobs that finetune
    source["is_beside"] = source.experiment != "iwl_only"
    first = source.sort_values(["is_beside", "job"]).drop_duplicates(by)
    return random.merge(first[[*by, "job"]], on=[*by, "job"])


def few_shot(rows: pd.DataFrame) -> pd.DataFrame:
    """Novel queries before any update. They are the same for both step curricula, and counted once."""
    first = rows[(rows.step == 0) & (rows.subset == "novel")]
    return first.drop_duplicates(["job", "seed", "init", "rotation", "context_curriculum", "episode", "test_level"])


def after_training(rows: pd.DataFrame) -> pd.DataFrame:
    """Study queries at the last step, a row a group: their mean weights groups alike, whatever their size."""
    return _at_the_end(rows[rows.subset != "novel"])


def novel_after_training(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the novel queries at the last step."""
    return _at_the_end(rows[rows.subset == "novel"])


def _at_the_end(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of each job's last step; none of a job that was not finetuned."""
    return rows[(rows.step > 0) & (rows.step == rows.groupby("job").step.transform("max"))]


def items_alike(rows: pd.DataFrame) -> pd.DataFrame:
    """The groups of each episode added up, so that means over rows weight items alike: on the grid's 5 + 4, another mean."""
    by = ["job", *EPISODE, "init", "step"]
    return rows.groupby(by, observed=True)[["n_correct", "n_queries"]].sum().reset_index()


def congruent(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows whose steps follow the same curriculum as their context, with a column `curriculum`."""
    same = rows[rows.context_curriculum.astype(str) == rows.step_curriculum.astype(str)]
    return same.assign(curriculum=same.step_curriculum.astype(str), rotation=same.rotation.astype(str))


def learning_curves(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of each condition, subset and step by seed: columns CONDITION, subset, step, seed, value."""
    by = [*CONDITION, "subset", "step", "seed"]
    accuracy = (rows.n_correct / rows.n_queries).groupby([rows[name] for name in by], observed=True).mean()
    return accuracy.rename("value").reset_index()


def losses(rows: pd.DataFrame) -> pd.DataFrame:
    """The training loss (nats a token) of each condition and step by seed, from rows of `finetune_loss`."""
    by = [*CONDITION, "step", "seed"]
    return rows.groupby(by, observed=True).loss.mean().rename("value").reset_index()


def forgetting(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what a block leaves of the block before, a row a switch.

    before, after: accuracy of the trained group at the end of its block and at the end of the next. Columns EPISODE, block
    (that ends), group, before, after.
    """
    blocked = rows[(rows.step_curriculum == "blocked") & (rows.step > 0) & (rows.subset != "novel")]
    last = blocked[blocked.step == blocked.groupby(["job", "block"]).step.transform("max")]
    last = last.assign(value=last.n_correct / last.n_queries, group=last.subset.astype(str).str.removeprefix("study_"))
    key = ["job", *EPISODE, "group"]
    own = last[last.group == last.trained_group.astype(str)].set_index([*key, "block"]).value.rename("before")
    later = last.assign(block=last.block - 1).set_index([*key, "block"]).value.rename("after")
    return pd.concat([own, later], axis=1, join="inner").reset_index()


def criterion(rows: pd.DataFrame, rotation: str = "unrotated") -> pd.Series:
    """Few-shot accuracy of each seed on blocked contexts, from rows of one metalearning condition.

    Episodes are unrotated (rule-like), or rotated for models metalearned on rotated ones. Seeds above CRITERION meet it.
    """
    first = few_shot(rows)
    first = first[(first.rotation == rotation) & (first.context_curriculum == "blocked")]
    return (first.n_correct / first.n_queries).groupby(first.seed).mean()


def meet_criterion(rows: pd.DataFrame, rotation: str = "unrotated") -> tuple[pd.DataFrame, list[int], list[int]]:
    """The rows of the seeds that meet it; which these are, and which are left out."""
    accuracy = criterion(rows, rotation)
    kept = sorted(accuracy.index[accuracy > CRITERION])
    left_out = sorted(set(rows.seed.unique()) - set(kept))
    return rows[rows.seed.isin(kept)], [int(s) for s in kept], [int(s) for s in left_out]


def composite(rows: pd.DataFrame) -> pd.DataFrame:
    """The paper's data set for ICL + IWL: few-shot on rule-like tasks, after training on rotated ones; congruent."""
    first, last = congruent(few_shot_by_steps(rows)), congruent(after_training(rows))
    return pd.concat([first[first.rotation == "unrotated"], last[last.rotation == "rotated"]], ignore_index=True)


def few_shot_by_steps(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `few_shot` with the step curriculum that is the context's (blocked for the contexts that are no step
    curricula)."""
    first = few_shot(rows)
    context = first.context_curriculum.astype(str)
    steps = context.where(context.isin(["blocked", "interleaved"]), "blocked")
    return first.assign(step_curriculum=steps)


def by_seed(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Accuracy of each seed in each condition: columns `by`, seed, value."""
    value = (rows.n_correct / rows.n_queries).groupby([rows[name].astype(str) for name in by] + [rows.seed]).mean()
    return value.rename("value").reset_index()


def meeting(rows: pd.DataFrame, rotation: str) -> tuple[pd.DataFrame, list[str]]:
    """The rows of the seeds that meet the .9 criterion, and a word on the others; all if none does."""
    kept, seeds, left_out = meet_criterion(rows, rotation)
    what = f"few-shot above {CRITERION:g} on {'rule-like' if rotation == 'unrotated' else 'rotated'}, blocked contexts"
    if not seeds:
        return rows, [f"No seed meets the criterion ({what}); shown all the same: {_listed(left_out)}."]
    out = f"left out: {_listed(left_out)}" if left_out else "none is left out"
    return kept, [f"The criterion ({what}) is met by {_listed(seeds)}; {out}."]


def _listed(seeds: list[int]) -> str:
    return ("seed " if len(seeds) == 1 else "seeds ") + ", ".join(map(str, seeds))
