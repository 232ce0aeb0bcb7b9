"""What the report says under its figures: each explains its figure alone."""

IN_CONTEXT = (
    "Upper left: accuracy on novel items, answered from the context alone before any weight is changed (few-shot); a "
    "blocking advantage is a blue bar above the yellow one. Upper right: accuracy on study items after finetuning, blocked "
    "(one group after the other) or interleaved. A task that is solved in context survives blocked training; one that is "
    "not is learned in weights, and blocked training then forgets the groups that were not trained last. Below: accuracy "
    "and training loss over the updates of finetuning, a column a rotation and curriculum; the context comes in the same "
    "order as the updates."
)

IN_WEIGHTS = (
    "Models that were not metalearned: nothing is answered from the context (upper left). Finetuned on one task with "
    "interleaved items they learn all groups; with blocked ones each block is learned and those before are forgotten, so "
    "that after training only the group that came last is known (upper right, dashed line). Below: accuracy and training "
    "loss over the updates of finetuning."
)

TRADE_OFF = (
    "In-context learning is ablated by degrees while a metalearned model (of {base}) is finetuned, and when it is tested. "
    "From left to right: generalisation, few-shot accuracy on novel items, falls with the level at the test; learning and "
    "training loss over updates, a line a level: the weaker in-context learning, the more errors are made; retention, "
    "accuracy on study items at the end, tested at the highest level trained at, where little is left to learn from the "
    "context: the more errors were made, the more has come into the weights. Rule-like tasks, interleaved contexts and "
    "steps. Bars: mean and 95 % interval over {units} (1.96 standard errors)."
)

CONTEXTS = (
    "Accuracy on novel items before any update, by the order of the study items in the context. Blocked and aligned "
    "contexts show one row and one column after the other, so that one coordinate stays while the other changes; "
    "interleaved and misaligned ones do not."
)

CONTEXT_STEP = (
    "Accuracy on study items after training, with the order in the context (places) and over weight updates (colours) set "
    "apart. In rotated tasks the step curriculum decides: blocked steps are forgotten whatever the context. In rule-like "
    "tasks a blocked context makes up for blocked steps."
)

EMERGENCE = (
    "Accuracy on the novel items of held-out validation episodes over the updates of metalearning, a line a seed. In-"
    "context learning comes after a plateau at chance, at a time that differs between seeds, and in some does not come. A line "
    "that falls back to chance is of a seed that started again, from other initial weights."
)

LANGUAGE_MODELS = (
    "Pretrained language models answer the novel items of grid episodes from the context alone. Left: blocked and "
    "interleaved contexts; right: aligned and misaligned ones; above: rule-like, below: rotated tasks. Bars are whole "
    "answers; the published ones (hatched) were graded on the second digit alone."
)

PUBLISHED = " Diamonds: published means, at the size of the paper."


def notes(n_seeds: int, with_published: bool) -> str:
    """Say what the marks of a figure are."""
    intervals = " Bars and bands: 95 % interval over seeds (bootstrap); dots: seeds." if n_seeds > 1 else ""
    return intervals + (PUBLISHED if with_published else "")
