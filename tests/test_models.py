import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

import models
from data import Encoder
from tasks import make_task
from tests.conftest import built, configured, encoded


def paper_model(task: str, flags: str = "") -> LlamaForCausalLM:
    config = configured(f"--task {task} {flags}")
    return built(config, Encoder(config, make_task(config)))


@pytest.mark.parametrize(("task", "count"), [("grid", 496_192), ("category", 370_112)])
def test_parameters(task, count):
    assert sum(p.numel() for p in paper_model(task).parameters()) == count


def test_unknown_key_is_an_error():
    with pytest.raises(ValueError, match="LlamaConfig has no hidden_dropout_prob"):
        models.build(vocab_size=24, hidden_dropout_prob=0.1)


def test_settings_in_force():
    config = paper_model("grid", "--rope_theta 100").config
    assert config.hidden_act == "silu"
    assert config.rms_norm_eps == 1e-6
    assert config.rope_parameters["rope_theta"] == 100.0
    assert config.tie_word_embeddings is False
    assert config.num_key_value_heads == 8
    assert config.attention_dropout == 0.0


def test_building_and_drawing_leave_the_global_generators_alone():
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    models.draw_weights(paper_model("grid"), 0, 0.02)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()


def test_initial_weights():
    model = paper_model("category")
    weights = models.draw_weights(model, 1, 0.02)
    for name, tensor in weights.items():
        if tensor.dim() == 1:
            assert (tensor == 1).all()
        else:
            assert abs(tensor.std().item() - 0.02) < 0.0012, name  # 4096 draws at least: standard error 0.0002
            assert abs(tensor.mean().item()) < 0.002
    again, other = models.draw_weights(model, 1, 0.02), models.draw_weights(model, 2, 0.02)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert not torch.equal(weights["lm_head.weight"], other["lm_head.weight"])


def test_matching_initial_weights():
    model = paper_model("grid", "--n_layers 2")
    plain, weights = models.draw_weights(model, 1, 0.1), models.draw_weights(model, 1, 0.1, "matching")
    changed = {name for name in weights if not torch.equal(weights[name], plain[name])}
    attention = {f"model.layers.{layer}.self_attn.{part}_proj.weight" for layer in (0, 1) for part in "ko"}
    assert changed == attention | {"lm_head.weight"}
    layer, x = model.model.layers[1].self_attn, torch.randn(64, generator=torch.Generator().manual_seed(0))
    model.load_state_dict(weights)
    torch.testing.assert_close(layer.q_proj(x), layer.k_proj(x))
    passed_on = layer.o_proj(layer.v_proj(x))
    torch.testing.assert_close(passed_on @ x, layer.v_proj(x).square().sum())  # x · VᵀV x = |V x|²
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)


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
        for net, call in ((model, models.answer_logits), (plain, plain_logits)):
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
    a, b = (models.answer_logits(model, context, q, 2, causal=False)[0] for q in (queries, changed))
    assert torch.equal(a[[0, 2, 3]], b[[0, 2, 3]])
    assert not torch.equal(a[1], b[1])


def test_weights_of_another_shape_are_refused(tmp_path):
    from runs.checkpoint import write_weights

    write_weights(tmp_path / "w.safetensors", models.draw_weights(paper_model("grid", "--n_layers 1"), 0, 0.1))
    with pytest.raises(models.ForeignWeights, match="does not fit the model"):
        models.load_weights(tmp_path / "w.safetensors", paper_model("grid", "--n_layers 2"))
