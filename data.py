"""Episodes as the model sees them: encoded once, context and queries apart; and the batches that training takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import prompts
import tasks
from engine.streams import stream
from flags import conditions
from flags.checks import check
from flags.config import BadInput
from flags.stages import stages_of
from tasks.task import Items, Task, check_queries

if TYPE_CHECKING:
    from flags.config import Config


@dataclass(frozen=True)
class Episodes:
    """E episodes that share one shape, as token ids in the smallest whole-number type that holds them.

    context  [E, C]     preface and study items, each followed by the separator
    queries  [E, Q, L]  test preface and item; the last T tokens are the answer's place (`<mask>`, or in causal mode
                        the answer itself)
    answers  [E, Q, T]
    subset   [E, Q]     index into `subsets`
    subsets             ("study_A", "study_B", …, "novel")
    """

    context: np.ndarray
    queries: np.ndarray
    answers: np.ndarray
    subset: np.ndarray
    subsets: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.context)

    def one(self, episode: int) -> Episodes:
        """Return one episode, alone."""
        return self.rows(slice(episode, episode + 1))

    def first(self, n: int) -> Episodes:
        """Return the first n episodes. Raises ValueError if they are fewer."""
        if n > len(self):
            raise ValueError(f"{n} episodes asked for, of {len(self)}")
        return self.rows(slice(n))

    def rows(self, rows: slice | np.ndarray) -> Episodes:
        """Return the episodes at some places, in their order."""
        return Episodes(self.context[rows], self.queries[rows], self.answers[rows], self.subset[rows], self.subsets)

    @property
    def nbytes(self) -> int:
        """Return the bytes of all arrays."""
        return self.context.nbytes + self.queries.nbytes + self.answers.nbytes + self.subset.nbytes


def group_names(n_groups: int) -> tuple[str, ...]:
    """Return ("A", "B", …)."""
    return tuple("ABCD"[:n_groups])


def subset_names(n_groups: int) -> tuple[str, ...]:
    """Return ("study_A", "study_B", …, "novel")."""
    return (*(f"study_{group}" for group in group_names(n_groups)), "novel")


class Encoder:
    """Puts prefaces, separators and masks around a task's items.

    `vocabulary` maps every token to its id: in order of first occurrence after `<pad>`, unless one is given. Raises
    KeyError for a token that the given one lacks, unless --load_data_from replaces the episodes of the flags: then it has to have
    the tokens of the files alone. `vocab_size` is the number of ids that a model needs.
    """

    def __init__(self, config: Config, task: Task, vocabulary: dict[str, int] | None = None):
        self.task, self._config = task, config
        self.causal = config.lm_task == "causal"
        preface = prompts.tokens(prompts.PREFACES[config.preface_id])
        separator = prompts.SEPARATORS[config.sep_id]
        test_preface = prompts.tokens(prompts.TEST_PREFACES[config.test_preface_id])
        tokens = [prompts.PAD, *preface, *task.words, separator, *test_preface]
        if not self.causal:
            tokens.append(prompts.MASK)
        self.vocabulary = vocabulary or {token: i for i, token in enumerate(dict.fromkeys(tokens))}
        self.vocab_size = max(self.vocabulary.values()) + 1
        for token in tokens[1:] if not config.load_data_from else ():
            self.vocabulary[token]
        # The smallest signed type: torch has no unsigned 16-bit indexing.
        self.dtype = np.result_type(np.int8, np.min_scalar_type(-self.vocab_size))
        self._preface, self._separator, self._test_preface, self._words = (
            np.array([self.vocabulary.get(token, -1) for token in part], dtype=self.dtype)
            for part in (preface, [separator], test_preface, task.words)
        )

    def episodes(self, seed: int, split: str, rotation: str, curriculum: str, n: int) -> Episodes:
        """The first n episodes of a condition of a split (see `Task.draw`), encoded."""
        return self.encode(self.task.draw(seed, split, rotation, curriculum, n))

    def of(self, config: Config) -> Encoder:
        """Return an encoder, with these token ids, for flags that change the episodes alone, such as those of a stage."""
        return self if config == self._config else Encoder(config, tasks.make_task(config), self.vocabulary)

    def n_episodes(self, split: str) -> int:
        """Episodes of a split, and of a condition of the tests."""
        return {"metalearning": self._config.n_train, "validation": self._config.n_val, "test": self._config.n_test}[split]

    def encode(self, items: Items) -> Episodes:
        """Return a task's items as token ids: contexts, queries whose answers are masked (causal: given), answers and subsets."""
        cue, answer = self._words[items.cue], self._words[items.answer]  # [E, I, W], [E, I, T]
        n_episodes, n_items = cue.shape[:2]

        def everywhere(tokens: np.ndarray, *shape: int) -> np.ndarray:
            return np.broadcast_to(tokens, (*shape, len(tokens)))

        separator = everywhere(self._separator, n_episodes, n_items, 1)[:, :, 0]
        study = np.concatenate([cue, answer, separator], axis=2)[:, : items.n_study]
        context = np.concatenate([everywhere(self._preface, n_episodes), study.reshape(n_episodes, -1)], axis=1)
        hidden = answer if self.causal else np.full_like(answer, self.vocabulary[prompts.MASK])
        queries = np.concatenate([everywhere(self._test_preface, n_episodes, n_items), cue, hidden], axis=2)
        novel = self.task.n_groups
        subset = np.where(np.arange(n_items) < items.n_study, items.group, novel).astype(np.int8)
        return Episodes(context, queries, answer, subset, subset_names(self.task.n_groups))

    def sequence_length(self, seed: int) -> int:
        """Tokens of a context and one query: the same for every episode."""
        example = self.episodes(seed, "test", tasks.ROTATIONS[0], self.task.curricula[0], 1)
        return example.context.shape[1] + example.queries.shape[2]

    def item_length(self, seed: int) -> int:
        """Tokens of an item with its answer: the same for every item."""
        example = self.episodes(seed, "validation", tasks.ROTATIONS[0], self.task.curricula[0], 1)
        return example.queries.shape[2] - len(self._test_preface)

    def examples(self, episodes: Episodes) -> np.ndarray:
        """Return the study item of each position of the contexts, [C]: the preface belongs to the first, separators are -1.

        Known from the lengths, as a separator may also stand inside an item. Raises ValueError if the contexts (of
        files) are not as long as these flags write them, or have something else where a separator belongs.
        """
        n_context, length = episodes.context.shape[1], episodes.queries.shape[2]
        n_study = int((episodes.subset[0] < self.task.n_groups).sum())
        width = length - len(self._test_preface)
        example = np.repeat(np.arange(n_study), width + 1)
        example[width :: width + 1] = -1
        examples = np.concatenate([np.zeros(len(self._preface), dtype=int), example])
        if len(examples) != n_context or (episodes.context[:, examples == -1] != self._separator).any():
            raise ValueError("contexts are not written with these --preface_id, --sep_id and --test_preface_id")
        return examples

    def text(self, ids: np.ndarray) -> str:
        """The tokens of a row of ids, with one space between two."""
        tokens = {i: token for token, i in self.vocabulary.items()}
        return " ".join(tokens[i] for i in ids)


def metalearning_packs(
    seed: int, epoch: int, n_episodes: int, n_queries: int, per_episode: int, *stage: int
) -> tuple[np.ndarray, np.ndarray]:
    """The order of an epoch: the episode [P] and the queries [P, K] of each pack.

    An episode's queries are shuffled and dealt into packs of K = `per_episode`, which share its context in a sequence; the packs of
    all episodes are shuffled. Every query of every episode occurs once. A function of its arguments; `stage` is a further one.
    """
    rng = stream(seed, "metalearning batches", epoch, *stage)
    queries = np.tile(np.arange(n_queries, dtype=np.int16), (n_episodes, 1))
    dealt = rng.permuted(queries, axis=1).reshape(-1, per_episode)
    episode = np.repeat(np.arange(n_episodes, dtype=np.int32), n_queries // per_episode)
    order = rng.permutation(len(episode))
    return episode[order], dealt[order]


def n_batches(config: Config, n_episodes: int, n_queries: int) -> int:
    """Metalearning updates in an epoch."""
    packs = n_episodes * n_queries // config.queries_per_episode
    return -(-packs // packs_per_batch(config))


def packs_per_batch(config: Config) -> int:
    """Return the packs of a metalearning batch: as many as --pretrain_bs queries fill."""
    return config.pretrain_bs // config.queries_per_episode


def finetuning_batch(items: np.ndarray, batch_size: int, step: int, *key: int | str) -> np.ndarray:
    """The items trained on at a step (from 0) of a block: a function of its arguments.

    Each pass over the items is shuffled, by a stream of (key, pass), and cut into batches, the last one short.
    """
    per_pass = -(-len(items) // batch_size)
    order = stream(*key, step // per_pass).permutation(items)
    start = step % per_pass * batch_size
    return order[start : start + batch_size]


def check_episodes(config: Config, encoder: Encoder) -> None:
    """Raise BadInput if the episodes do not fit the model or the batches."""
    n_tokens = encoder.sequence_length(config.seed)
    if n_tokens > config.max_len:
        raise BadInput("max_len", config.max_len, f"a sequence has {n_tokens} tokens; pass at least that")
    if encoder.n_episodes("test") < config.n_test:
        raise BadInput("n_test", config.n_test, f"--load_data_from {config.load_data_from} has {encoder.n_episodes('test')}")
    example = encoder.episodes(config.seed, "validation", *config.condition, 1)
    if config.ablation:
        try:
            for rotation, curriculum in conditions.of_episodes(config.task):
                encoder.examples(encoder.episodes(config.seed, "test", rotation, curriculum, config.n_test))
        except ValueError as error:
            raise BadInput("ablation", config.ablation, f"{config.load_data_from}: {error}") from None
    n_queries = example.queries.shape[1]
    check_queries(config, n_queries)
    for stage in stages_of(config)[:-1]:
        try:
            check(stage.config)
            tasks.check_task(stage.config)
            check_queries(stage.config, n_queries)
        except BadInput as error:
            why = f"stage {stage.number} of the recipe does not fit these flags ({error}); pass --stage_steps 0 to do without"
            raise BadInput("stage_steps", "", why) from None
