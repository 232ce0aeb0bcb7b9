import numpy as np
import pytest
import torch

import models
from engine.attention import answer_logits
from tests.conftest import encoded
from tests.test_models import paper_model


def plain_logits(model, context, queries, n_answer, causal):
    """The slow path: one flat sequence for each query, through Hugging Face's own attention and causal mask."""
    batch, n_queries, _ = queries.shape
    flat = torch.cat([context[:, None].expand(-1, n_queries, -1), queries], dim=2).flatten(0, 1)
    logits = model(input_ids=flat).logits
    end = flat.shape[1] - int(causal)
    return logits[:, end - n_answer : end].reshape(batch, n_queries, n_answer, -1)


@pytest.mark.usefixtures("norms_in_full_precision")
@pytest.mark.parametrize(("task", "ks"), [("grid", (1, 5, 25)), ("category", (1, 2, 4, 8, 16, 32, 64))])
@pytest.mark.parametrize("lm_task", ["masked", "causal"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_shared_context_equals_flat_sequences(task, ks, lm_task, dtype, tolerance):
    causal = lm_task == "causal"
    encoder = encoded(f"--task {task} --lm_task {lm_task} --n_train 2")
    episodes = encoder.episodes(0, "metalearning", "unrotated", "blocked", 2)
    model = paper_model(task, f"--lm_task {lm_task}").to(dtype)
    model.load_state_dict(models.draw_weights(model, 0, 0.1))
    plain = paper_model(task, f"--lm_task {lm_task}").to(dtype)
    plain.load_state_dict(model.state_dict())
    plain.set_attn_implementation("sdpa")  # Hugging Face's eager attention computes its softmax in fp32
    for k in ks:
        chosen = np.random.default_rng(k).permutation(episodes.queries.shape[1])[:k]  # study and novel ones
        context = torch.from_numpy(episodes.context).long()
        queries = torch.from_numpy(episodes.queries[:, chosen]).long()
        answers = torch.from_numpy(episodes.answers[:, chosen]).long()
        gradients, logits = [], []
        for net, call in ((model, answer_logits), (plain, plain_logits)):
            net.zero_grad()
            logits.append(call(net, context, queries, answers.shape[2], causal))
            torch.nn.functional.cross_entropy(logits[-1].flatten(0, 2), answers.flatten()).backward()
            gradients.append({name: p.grad.clone() for name, p in net.named_parameters()})
        scale = logits[1].abs().max()
        assert scale > 0.5
        assert (logits[0] - logits[1]).abs().max() < tolerance * max(1, scale)
        for name, gradient in gradients[1].items():
            assert (gradients[0][name] - gradient).abs().max() <= tolerance * gradient.abs().max(), name


def test_queries_do_not_see_each_other():
    model = paper_model("grid", "--n_layers 2")
    model.load_state_dict(models.draw_weights(model, 0, 0.1))
    ids = torch.arange(30).remainder(24)
    context, queries = ids[None, :10], ids[10:].reshape(1, 4, 5)
    changed = queries.clone()
    changed[0, 1] = 3
    a, b = (answer_logits(model, context, q, 2, causal=False)[0] for q in (queries, changed))
    assert torch.equal(a[[0, 2, 3]], b[[0, 2, 3]])
    assert not torch.equal(a[1], b[1])
