"""One loop over conditions and episodes: every query is asked, scored, and counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

from llm.generation import generate
from llm.prompt import Answer, Location, Prompter, Question
from llm.scoring import Pace, first_location, likeliest, score
from tasks.grid import SIDE
from tasks.task import CURRICULA, ROTATIONS

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from data import Encoder
    from flags.config import Config
    from runs.records import Job

EPISODES_AT_ONCE = 4
EXTRA_TOKENS = 8  # that a generation may have beyond the longest answer


@dataclass
class Asked:
    """A question of an episode and what became of it, by scoring: whether (first, second) coordinate are right."""

    question: Question
    right: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)  # for people to read


def conditions(config: Config) -> list[tuple[str, str]]:
    """Rotation and context curriculum of each condition: all eight, unless flags name one or the other."""
    rotations = [config.pt_rot_cond] if config.pt_rot_cond else ROTATIONS
    return list(product(rotations, [config.pt_cond] if config.pt_cond else CURRICULA["grid"]))


def locations_of(rotation: str) -> list[Location]:
    """The places that an answer of the condition can name."""
    side = SIDE if rotation == "unrotated" else 2 * SIDE - 1
    return list(product(range(side), repeat=2))


def samples(config: Config, encoder: Encoder, prompter: Prompter) -> list[list[Answer]]:
    """Return an answer to every question of the first episode of each condition, by condition."""
    found = []
    for rotation, curriculum in conditions(config):
        episodes = encoder.episodes(config.seed, "validation", rotation, curriculum, 1)
        found.append([prompter.answers(question, locations_of(rotation)[-1:])[0] for question in prompter.questions(episodes, 0)])
    return found


def different_answers(config: Config, encoder: Encoder, prompter: Prompter) -> list[Answer]:
    """Return all answers that the first question could have."""
    rotation, curriculum = conditions(config)[-1]
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
    for rotation, curriculum in conditions(config):
        episodes = encoder.episodes(config.seed, "validation", rotation, curriculum, config.n_val)
        x, y = locations_of(rotation)[-1]
        texts = [f"{asked.prompt} {x} {y}" for i in range(config.n_val) for asked in prompter.questions(episodes, i)]
        longest = max(longest, room + max(map(len, prompter.ids(texts))))
    return longest


def preview(config: Config, encoder: Encoder, prompter: Prompter) -> str:
    """Return what would be asked: conditions, sizes, and the first prompt."""
    chosen = conditions(config)
    episodes = encoder.episodes(config.seed, "validation", *chosen[0], 1)
    questions = prompter.questions(episodes, 0)
    answer = prompter.answers(questions[0], [questions[0].location])[0]
    return "\n".join(
        [
            f"{len(chosen)} conditions of {config.n_val} episodes with {len(questions)} questions each, scored by {config.scoring}",
            f"{len(answer.ids)} tokens a question, {len(answer.ids) - answer.start} of them its answer",
            f"The job's folder: {config.out_dir}",
            "",
            f"{questions[0].prompt} → {_text(questions[0].location)}",
        ]
    )


def evaluate(
    config: Config,
    encoder: Encoder,
    prompter: Prompter,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pace: Pace,
    job: Job,
) -> None:
    """Ask the model every condition's episodes, from where the job was saved last."""
    done, total = int(job.state.get("done", 0)), len(conditions(config)) * config.n_val
    if "frame" in job.state:  # the chat template may write another date by now
        prompter.frame = job.state["frame"]
    job.start("in-context test", total, done)
    while done < total:
        number, first = divmod(done, config.n_val)
        rotation, curriculum = conditions(config)[number]
        n = min(EPISODES_AT_ONCE, config.n_val - first)
        episodes = encoder.episodes(config.seed, "validation", rotation, curriculum, first + n)
        questions = [prompter.questions(episodes, first + i) for i in range(n)]
        asked = ask(questions, rotation, config, prompter, model, tokenizer, pace)
        for i, of_episode in enumerate(asked):
            key = (config.model_label, rotation, curriculum, first + i)
            job.write("llm_accuracy", accuracy_rows(key, of_episode, episodes.subsets, config.scorings))
            if "generate" in config.scorings:
                job.write("llm_generated", generated_rows(key, of_episode))
        if first == 0:
            job.write_text(f"prompts/{rotation}_{curriculum}.txt", readable(asked[0]))
        done += n
        right = [all(one.right[config.scorings[0]]) for of_episode in asked for one in of_episode]
        job.tick({config.scorings[0]: sum(right) / len(right)}, n)
        job.save({}, {"phase": "llm", "done": done, "frame": prompter.frame})
    if pace.seconds:
        ratio = (
            f"; {pace.flat_tokens / pace.tokens:.1f} times as many if each were a sequence of its own" if pace.flat_tokens else ""
        )
        job.say(f"{pace.tokens:,} tokens, {pace.tokens / pace.seconds:,.0f} a second{ratio}")


def ask(
    questions: list[list[Question]],
    rotation: str,
    config: Config,
    prompter: Prompter,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pace: Pace,
) -> list[list[Asked]]:
    """Ask the questions of some episodes of one rotation, and score them in every way asked for."""
    asked = [[Asked(question) for question in of_episode] for of_episode in questions]
    flat = [one for of_episode in asked for one in of_episode]
    if {"argmax", "candidates"} & set(config.scorings):
        _by_probability(asked, rotation, config, prompter, model, pace)
    if "generate" in config.scorings:
        answers = [prompter.answers(one.question, locations_of(rotation)[-1:])[0] for one in flat]
        n_new = max(len(answer.ids) - answer.start for answer in answers) + EXTRA_TOKENS
        prompts = prompter.ids([one.question.prompt for one in flat])
        for one, text in zip(flat, generate(model, tokenizer, prompts, n_new, config.num_beams, pace), strict=True):
            first, second = first_location(text)
            one.right["generate"] = (first == one.question.location[0], second == one.question.location[1])
            one.said["generate"] = text
    return asked


def _by_probability(
    asked: list[list[Asked]], rotation: str, config: Config, prompter: Prompter, model: PreTrainedModel, pace: Pace
) -> None:
    everywhere = "candidates" in config.scorings
    places = {id(one): locations_of(rotation) if everywhere else [one.question.location] for row in asked for one in row}
    answers = [[prompter.answers(one.question, places[id(one)]) for one in of_episode] for of_episode in asked]
    scores = score(model, [[answer for one in of_episode for answer in one] for of_episode in answers], pace)
    for of_episode, its_answers, its_scores in zip(asked, answers, scores, strict=True):
        rest = iter(its_scores)
        for one, candidates in zip(of_episode, its_answers, strict=True):
            scored = [next(rest) for _ in candidates]
            right = places[id(one)].index(one.question.location)
            if "argmax" in config.scorings:
                one.right["argmax"] = halves(candidates[right], scored[right].top)
                its_own = candidates[right].start - candidates[right].scored
                one.said["argmax"] = " ".join(f"{p:.2f}" for p in scored[right].log_p[its_own:])
            if everywhere:
                best = likeliest(places[id(one)], scored)
                one.right["candidates"] = tuple(a == b for a, b in zip(best, one.question.location, strict=True))
                one.said["candidates"] = f"{best[0]} {best[1]}"


def halves(answer: Answer, top: np.ndarray) -> tuple[bool, bool]:
    """Return for each coordinate if all of its tokens are the most likely ones; a token that carries both counts for both.

    top [T]: for each scored token, whether it is the most likely one.
    """
    first = top[answer.start - answer.scored : answer.first_end - answer.scored]
    return bool(first.all()), bool(top[answer.second - answer.scored :].all())


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
