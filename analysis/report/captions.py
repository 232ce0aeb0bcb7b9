"""Captions of the report's figures: what a figure shows. findings.py makes the sentences about its numbers."""

IN_CONTEXT = (
    "Upper left: accuracy on novel items, answered from the context alone before any weight is changed (few-shot). Upper right:"
    " accuracy on study items after finetuning, blocked (one group after the other) or interleaved. Below: accuracy and "
    "training loss over the updates of finetuning, a column a rotation and curriculum; the context comes in the same order as "
    "the updates."
)

IN_WEIGHTS = (
    "Models that were not metalearned. Upper left: accuracy on novel items before finetuning. Upper right: accuracy on study "
    "items after finetuning, blocked or interleaved. Below: accuracy and training loss over the updates of finetuning."
)

TRADE_OFF = (
    "In-context learning is ablated by degrees while a metalearned model is finetuned, and when it is tested (base: {bases}). From "
    "left to right: generalisation, few-shot accuracy on novel items, by the level at the test; learning, accuracy on study "
    "items tested at the level trained at, over updates, a line a level; errors, the training loss, likewise; retention, "
    "accuracy on study items at the end, tested at the highest level trained at. Rule-like tasks, interleaved contexts and "
    "updates. Bars and whiskers: mean and 95 % t interval over {units}."
)

CONTEXTS = (
    "Accuracy on novel items before any update, by the order of the study items in the context. Blocked and aligned contexts "
    "show one row and one column after the other, so that one coordinate stays while the other changes; interleaved and "
    "misaligned ones do not."
)

CONTEXT_STEP = (
    "Accuracy on study items after training, with the order in the context (places) and over weight updates (colours) set apart."
)

EMERGENCE = "Accuracy on the novel items of held-out validation episodes over the updates of metalearning, a line a seed."

RESTARTED = " A line that falls back to chance is of a seed that started again, from other initial weights."

LANGUAGE_MODELS = (
    "Causal language models answer the novel items of grid episodes from the context alone: {models}. Left: blocked and "
    "interleaved contexts; right: aligned and misaligned ones; above: rule-like, below: rotated tasks. Bars are whole answers; "
    "the published ones (hatched) were graded on the second digit alone."
)

OURS = " Ours was metalearned here on the grid task alone; it is no pretrained language model."

STROKE = " A stroke: a stage begins. Accuracy is on the stage's own task, so that a line may fall where a harder one begins."

FEW_SHOT = "Accuracy on novel items, answered from the context alone before any weight is changed. These models were not finetuned."

PUBLISHED = " Diamonds: published means, at the size of the paper, with a 95 % t interval where each seed was published."


def notes(n_seeds: int, with_published: bool) -> str:
    """Say what the marks of a figure are."""
    marks = (
        "Whiskers and bands: 95 % t interval over seeds; dots: seeds" if n_seeds > 1 else "Whiskers: 95 % t interval over episodes"
    )
    return f" {marks}." + (PUBLISHED if with_published else "")
