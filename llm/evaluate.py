"""One loop over conditions and episodes: every query is asked, scored, and counted."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol

from flags import conditions
from llm.grading import Asked
from llm.prompt import Answer, Location, Prompter, Question
from tasks.grid import SIDE

if TYPE_CHECKING:
    from data import Encoder
    from flags.config import Config
    from runs.records import Recorder

EXTRA_TOKENS = 8  # that a generation may have beyond the longest answer


def locations_of(rotation: str) -> list[Location]:
    """The places that an answer of the condition can name."""
    side = SIDE if rotation == "unrotated" else 2 * SIDE - 1
    return list(product(range(side), repeat=2))


def first_questions(config: Config, encoder: Encoder, prompter: Prompter) -> dict[tuple[str, str], list[Question]]:
    """Return the questions of the first episode of each condition."""
    return {of: prompter.questions(encoder.episodes(config.seed, "validation", *of, 1), 0) for of in conditions.asked(config)}


def samples(config: Config, encoder: Encoder, prompter: Prompter) -> list[list[Answer]]:
    """Return an answer to every question of the first episode of each condition, by condition."""
    return [
        [prompter.answers(question, locations_of(rotation)[-1:])[0] for question in questions]
        for (rotation, _), questions in first_questions(config, encoder, prompter).items()
    ]


def different_answers(config: Config, encoder: Encoder, prompter: Prompter) -> list[Answer]:
    """Return all answers that the first question could have."""
    rotation, curriculum = conditions.asked(config)[-1]
    episodes = encoder.episodes(config.seed, "validation", rotation, curriculum, 1)
    return prompter.answers(prompter.questions(episodes, 0)[0], locations_of(rotation))


def longest_sequence(config: Config, encoder: Encoder, prompter: Prompter, limit: int | None) -> int:
    """Return the tokens of the longest sequence, with room for what is generated.

    Looked at are the first episodes of each condition; all of them, if those come near the limit.
    """
    room = EXTRA_TOKENS if "generate" in config.scorings else 0
    longest = room + max(len(answer.ids) for of_condition in samples(config, encoder, prompter) for answer in of_condition)
    if limit is None or not 0.8 * limit < longest <= limit:
        return longest
    for rotation, curriculum in conditions.asked(config):
        episodes = encoder.episodes(config.seed, "validation", rotation, curriculum, config.n_val)
        x, y = locations_of(rotation)[-1]
        texts = [f"{asked.prompt} {x} {y}" for i in range(config.n_val) for asked in prompter.questions(episodes, i)]
        longest = max(longest, room + max(map(len, prompter.ids(texts))))
    return longest


def longest_question(config: Config, encoder: Encoder, prompter: Prompter) -> Question:
    """Return the question with the longest text, of the first episode of each condition."""
    asked = first_questions(config, encoder, prompter).values()
    return max(itertools.chain.from_iterable(asked), key=lambda question: len(question.prompt))


def preview(config: Config, encoder: Encoder, prompter: Prompter) -> str:
    """Return what would be asked: conditions, sizes, and the first prompt."""
    chosen = conditions.asked(config)
    episodes = encoder.episodes(config.seed, "validation", *chosen[0], 1)
    questions = prompter.questions(episodes, 0)
    if config.llm_api:
        asks = f"{len(chosen) * config.n_val * len(questions):,} questions to {config.llm_api}, which was not asked yet"
    else:
        answer = prompter.answers(questions[0], [questions[0].location])[0]
        asks = f"{len(answer.ids)} tokens a question, {len(answer.ids) - answer.start} of them its answer"
    return "\n".join(
        [
            f"{len(chosen)} conditions of {config.n_val} episodes with {len(questions)} questions each, scored by {config.scoring}",
            asks,
            f"The job's folder: {config.out_dir}",
            "",
            f"{questions[0].prompt} → {_text(questions[0].location)}",
        ]
    )


class Asker(Protocol):
    """A source of answers: a model that is loaded here, or a server's."""

    episodes_at_once: int

    def ask(self, asked: list[list[Asked]], rotation: str, keep: Callable[[], None]) -> None:
        """Score the questions without answers of some episodes of one rotation; calls `keep` now and then to save them."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs beside the answers."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a saved state; of a new job it is empty."""
        ...

    def spent(self) -> str:
        """Return the cost in words, for people; empty if nothing was asked."""
        ...


def evaluate(config: Config, encoder: Encoder, prompter: Prompter, asker: Asker, recorder: Recorder) -> None:
    """Ask the model every condition's episodes, from where the job was saved last."""
    done, total = int(recorder.state.get("done", 0)), len(conditions.asked(config)) * config.n_val
    if "frame" in recorder.state:  # the chat template may write another date by now
        prompter.frame = recorder.state["frame"]
    asker.restore(recorder.state)
    answered = recorder.state.get("answered", [])
    recorder.start("in-context test", total, done)
    while done < total:
        number, first = divmod(done, config.n_val)
        rotation, curriculum = conditions.asked(config)[number]
        n = min(asker.episodes_at_once, config.n_val - first)
        episodes = encoder.episodes(config.seed, "validation", rotation, curriculum, first + n)
        asked = [[Asked(question) for question in prompter.questions(episodes, first + i)] for i in range(n)]
        flat = [one for of_episode in asked for one in of_episode]
        for one, (right, said) in zip(flat, answered, strict=False):
            one.right, one.said = {name: (first, second) for name, (first, second) in right.items()}, said

        def state(flat: list[Asked], done: int) -> dict[str, Any]:
            answered = [(one.right, one.said) for one in flat]  # {} for a question without an answer yet
            return {"phase": "llm", "done": done, "frame": prompter.frame, "answered": answered, **asker.state()}

        asker.ask(asked, rotation, lambda flat=flat, done=done: recorder.save({}, state(flat, done)))
        for i, of_episode in enumerate(asked):
            key = (config.model_label, rotation, curriculum, first + i)
            recorder.write("llm_accuracy", accuracy_rows(key, of_episode, episodes.subsets, config.scorings))
            if "generate" in config.scorings:
                recorder.write("llm_generated", generated_rows(key, of_episode))
        if first == 0:
            recorder.write_text(f"prompts/{rotation}_{curriculum}.txt", readable(asked[0]))
        done, answered = done + n, []
        right = [all(one.right[config.scorings[0]]) for one in flat]
        recorder.note(**{config.scorings[0]: sum(right) / len(right)})
        recorder.tick(n)
        recorder.save({}, state([], done))
    if words := asker.spent():
        recorder.say(words)


def accuracy_rows(key: tuple, asked: list[Asked], subsets: tuple[str, ...], scorings: tuple[str, ...]) -> list[tuple]:
    """Counts of an episode, a row a subset × scoring."""
    rows = []
    for subset in subsets:
        there = [one for one in asked if one.question.subset == subset]
        for scoring in scorings if there else ():
            right = [one.right[scoring] for one in there]
            counts = (sum(map(all, right)), sum(first for first, _ in right), sum(second for _, second in right))
            rows.append((*key, subset, scoring, *counts, len(there)))
    return rows


def generated_rows(key: tuple, asked: list[Asked]) -> list[tuple]:
    """Return what was generated, a row a question; a line's end is written as \\n or \\r, so that a row is a line."""
    rows = []
    for item, one in enumerate(asked):
        said = one.said["generate"].replace("\n", "\\n").replace("\r", "\\r")
        rows.append((*key, item, one.question.subset, _text(one.question.location), said))
    return rows


def readable(asked: list[Asked]) -> str:
    """The first question in full, then every question of the episode with its answer and what was found."""
    lines = [asked[0].question.prompt, "", "-" * 80]
    for one in asked:
        said = "; ".join(f"{name} {'right' if all(one.right[name]) else 'wrong'}: {one.said[name]!r}" for name in one.right)
        lines.append(f"{one.question.subset}: {one.question.cue.strip()} {_text(one.question.location)}   {said}")
    return "\n".join(lines) + "\n"


def _text(location: Location) -> str:
    return f"{location[0]} {location[1]}"
