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
    config, encoder = configured(flags := "--task grid --n_layers 2 --init_scale 0.1 --weight_init matching"), encoded(flags)
    model = built(config, encoder)
    plain, weights = models.draw_weights(model, 1, 0.1), models.initial_weights(model, config, encoder, 1)
    changed = {name for name in weights if not torch.equal(weights[name], plain[name])}
    attention = {f"model.layers.{layer}.self_attn.{part}_proj.weight" for layer in (0, 1) for part in "ko"}
    assert changed == attention | {"lm_head.weight"}
    layer, x = model.model.layers[1].self_attn, torch.randn(64, generator=torch.Generator().manual_seed(0))
    model.load_state_dict(weights)
    torch.testing.assert_close(layer.q_proj(x), layer.k_proj(x))
    passed_on = layer.o_proj(layer.v_proj(x))
    torch.testing.assert_close(passed_on @ x, layer.v_proj(x).square().sum())  # x · VᵀV x = |V x|²
    assert torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)


def test_weights_of_another_shape_are_refused(tmp_path):
    from runs.checkpoint import write_weights

    write_weights(tmp_path / "w.safetensors", models.draw_weights(paper_model("grid", "--n_layers 1"), 0, 0.1))
    with pytest.raises(models.ForeignWeights, match="does not fit the model"):
        models.load_weights(tmp_path / "w.safetensors", paper_model("grid", "--n_layers 2"))
