"""A job's episodes and model in Python, to be asked, changed and trained by hand. See docs/extend.md, "From Python"."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence

import numpy as np
import torch

import models
from data import Episodes, check_episodes
from engine.attention import Weights
from engine.ensemble import Batch, Ensemble
from episodes.loaded import episodes_of
from flags.checks import check
from flags.command_line import parse
from tasks import check_task


class Lab:
    """The episodes and the model of a job, on the CPU.

    `flags` are those of main.py. With `--load_model_from FOLDER` task, model and weights are those of that job. Raises BadInput for
    flags that do not work, SystemExit for a line that cannot be read.
    """

    def __init__(self, flags: str):
        self.config = parse(shlex.split(flags))
        check(self.config)
        check_task(self.config)
        self.encoder = episodes_of(self.config)  # words to ids, and back
        check_episodes(self.config, self.encoder)
        self.model = models.model_of(self.config, self.encoder)
        self._loaded = models.loaded_weights(self.config, self.model)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds of the job, in order."""
        return self.config.seeds

    def episodes(
        self, n: int, split: str = "test", rotation: str = "unrotated", curriculum: str = "blocked", seed: int | None = None
    ) -> Episodes:
        """Draw the first n episodes of a condition; of the first seed, unless another one is named.

        split is metalearning, validation or test. Returns context [n, C], queries [n, Q, L], answers [n, Q, T].
        """
        return self.encoder.episodes(self.seeds[0] if seed is None else seed, split, rotation, curriculum, n)

    def weights(self, seed: int) -> Weights:
        """Return the weights of a seed by name: the loaded ones, or those that its training would start from."""
        return self._loaded.get(seed) or models.initial_weights(self.model, self.config, self.encoder, seed)

    def ensemble(self, seeds: Sequence[int] = (), learning_rate: float = 1e-3) -> Ensemble:
        """Return an ensemble with a member for each seed, of all seeds unless some are named, and a fresh Adam."""
        weights = [self.weights(seed) for seed in seeds or self.seeds]
        return Ensemble(self.model, weights, learning_rate, self.encoder.causal, torch.device("cpu"))

    def batch(self, *episodes: Episodes) -> Batch:
        """Return what an ensemble is asked or trained on: all queries of some episodes for each member.

        Its logits are [N, E, Q, T, V], the losses of a step [N, E, Q], for N members.
        """
        arrays = (np.stack([getattr(e, part) for e in episodes]) for part in ("context", "queries", "answers"))
        return Batch.of_arrays(*arrays, torch.device("cpu"))

    def texts(self, ids: np.ndarray) -> np.ndarray:
        """Return rows of ids [..., L] as texts [...]."""
        return np.array([self.encoder.text(row) for row in ids.reshape(-1, ids.shape[-1])], dtype=object).reshape(ids.shape[:-1])

    def answers(self, ensemble: Ensemble, *episodes: Episodes) -> np.ndarray:
        """Return the most likely answers of each member to all queries of episodes of its own, as texts [N, E, Q]."""
        with torch.no_grad():
            return self.texts(ensemble.logits(self.batch(*episodes)).argmax(-1).numpy())

    def attention(self, weights: Weights, episodes: Episodes, query: int) -> np.ndarray:
        """Return where a query of the first episode attends when it is answered: [layers, heads, T, C + L], each row sums to 1.

        Computed by transformers' own class, on the context and the one query.
        """
        architecture = models.architecture_of(self.config, self.encoder)
        plain = models.with_attention("eager", self.config.model_name, **architecture)
        plain.load_state_dict(weights)
        flat = np.concatenate([episodes.context[0], episodes.queries[0, query]]).astype(np.int64)
        end = len(flat) - int(self.encoder.causal)
        with torch.no_grad():
            found = plain(input_ids=torch.from_numpy(flat)[None], output_attentions=True).attentions
        return torch.cat(found)[:, :, end - episodes.answers.shape[2] : end].numpy()


def without_item(episodes: Episodes, examples: np.ndarray, item: int) -> Episodes:
    """Return episodes whose contexts lack a study item and its separator. examples [C] is `Encoder.examples` of them.

    Raises ValueError for the first item, which the preface belongs to, and for one that the context does not have."""
    (own,) = np.nonzero(examples == item)
    if item == 0 or not len(own):
        raise ValueError(f"item {item} cannot be left out; choose 1 to {examples.max()}")
    kept = np.delete(np.arange(len(examples)), [*own, own[-1] + 1])
    return dataclasses.replace(episodes, context=episodes.context[:, kept])


def with_answers_swapped(episodes: Episodes, examples: np.ndarray, item: int, other: int) -> Episodes:
    """Return episodes in whose contexts two study items have each other's answers; the queries and their answers stay."""
    n_answer, context = episodes.answers.shape[2], episodes.context.copy()
    ends = [np.nonzero(examples == i)[0][-n_answer:] for i in (item, other)]
    context[:, [*ends[0], *ends[1]]] = context[:, [*ends[1], *ends[0]]]
    return dataclasses.replace(episodes, context=context)
