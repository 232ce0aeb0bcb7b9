"""The independent slow path of ablations: single flat sequences, Hugging Face's own attention mask and cache."""

import numpy as np
import torch
from transformers import DynamicCache

import models
from ablate import Ablation, make_ablation, values_shape
from data import Encoder
from engine.ensemble import Batch, Ensemble
from tasks import make_task
from tests.conftest import built, configured

CPU = torch.device("cpu")
SIZES = "--n_layers 2 --n_heads 2 --d_model 16 --d_ff 16 --n_test 2"
SMALL = "--n_train 60 --n_val 3 --n_task_dims 20 --n_symbols 4 --n_in_context 8"
TASKS = {
    "grid": f"--task grid --real_words {SIZES}",
    "grid with prefaces": f"--task grid --preface_id 1 --test_preface_id 2 --sep_id 2 --template_id 3 {SIZES} --max_len 250",
    "category": f"--task category {SMALL} {SIZES}",
    "category causal": f"--task category --lm_task causal {SMALL} {SIZES}",
}


class Setting:
    """Two test episodes, and a Llama of ours and a plain one with the same weights, in fp64."""

    def __init__(self, flags):
        self.config = configured(flags)
        self.encoder = Encoder(self.config, make_task(self.config))
        self.model = built(self.config, self.encoder).to(torch.float64)
        self.weights = [{n: w.double() for n, w in models.draw_weights(self.model, s, 0.3).items()} for s in (0, 1)]
        architecture = models.architecture(self.config, self.encoder.vocab_size)
        self.plain = models.with_attention("sdpa", self.config.model_name, **architecture).to(torch.float64)
        self.plain_member = None
        self.episodes = [self.encoder.episodes(s, "test", "unrotated", "blocked", 2).one(0) for s in (0, 1)]
        self.examples = self.encoder.examples(self.episodes[0])

    def ablation(self, kind) -> Ablation:
        return make_ablation(kind, self.examples, values_shape(self.model.config))

    def ours(self, kind, draws, levels, n_queries=3):
        """Logits [2, A, Q, T, V] of two members, at A variants of the context; and the ensemble."""
        ensemble = Ensemble(self.model, self.weights, 1e-3, self.encoder.causal, CPU)
        context, queries, answers = (
            np.concatenate([getattr(e, part) for e in self.episodes]) for part in ("context", "queries", "answers")
        )
        n_variants = len(levels)
        chosen = np.broadcast_to(queries[:, None, :n_queries], (2, n_variants, n_queries, queries.shape[2]))
        contexts, own, changed = self.ablation(kind).batch(context, chosen, draws, np.array(levels))
        asked = np.broadcast_to(answers[:, None, :n_queries], (2, n_variants, n_queries, answers.shape[2]))
        batch = Batch.of_arrays(contexts, own, asked.reshape(*own.shape[:3], -1), CPU, **changed)
        return ensemble.logits(batch).unflatten(1, (-1,)).reshape(2, n_variants, n_queries, answers.shape[2], -1), ensemble

    def slowly(self, kind, member, draw, level, query):
        """The same for one member, variant and query: logits [T, V], with the plain model and one flat sequence."""
        if self.plain_member != member:
            self.plain.load_state_dict(self.weights[member])
            self.plain_member = member
        e = self.episodes[member]
        context, asked = e.context[0].astype(int), e.queries[0, query].astype(int)
        n, length, n_answer = len(context), len(asked), e.answers.shape[2]
        low = torch.finfo(torch.float64).min
        if kind == "mask":
            mask = torch.full((n + length, n + length), low, dtype=torch.float64)
            for i in range(n + length):
                for j in range(i + 1):
                    example = self.examples[j] if j < n else -1
                    hidden = example >= 0 and draw[example] < np.float32(level)
                    same = i < n and self.examples[i] == example
                    if not hidden or same:
                        mask[i, j] = 0
            ids = torch.from_numpy(np.concatenate([context, asked]))[None]
            logits = self.plain(
                input_ids=ids, attention_mask=mask[None, None], position_ids=torch.arange(n + length)[None], use_cache=False
            ).logits[0]
        else:
            cache = DynamicCache()
            ids = torch.from_numpy(context[:-1])[None]
            before = torch.full((n - 1, n - 1), low, dtype=torch.float64).triu(1)[None, None]
            self.plain(
                input_ids=ids,
                attention_mask=before,
                position_ids=torch.arange(n - 1)[None],
                past_key_values=cache,
                use_cache=True,
            )
            for layer, drawn in zip(cache.layers, draw, strict=True):  # drawn: [heads, C - 1, width]
                changed = torch.from_numpy(drawn)
                if kind == "gaussian":
                    layer.values = layer.values + (changed * np.float32(level))[None]
                else:
                    layer.values = layer.values * (changed >= np.float32(level))[None]
            ids = torch.from_numpy(np.concatenate([context[-1:], asked]))[None]
            after = torch.zeros(length + 1, n + length, dtype=torch.float64)
            after[:, n - 1 :] = torch.full((length + 1, length + 1), low, dtype=torch.float64).triu(1)
            logits = self.plain(
                input_ids=ids,
                attention_mask=after[None, None],
                position_ids=torch.arange(n - 1, n + length)[None],
                past_key_values=cache,
                use_cache=True,
            ).logits[0]
        shift = int(self.encoder.causal)
        return logits[len(logits) - n_answer - shift : len(logits) - shift]


def draw_of(draws, kind, member, variant):
    return draws[member, variant] if kind == "mask" else draws[member][:, :, variant]
