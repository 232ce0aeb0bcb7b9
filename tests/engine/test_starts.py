"""Initial weights that look back, against Hugging Face's own attention."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import models
from engine.streams import stream
from tests.conftest import built, configured, encoded

WIDE = "--task category --n_layers 2 --n_heads 64 --d_model 512 --d_ff 64 --weight_init looking_back --init_scale 0.1"


def initial(flags: str, seed: int = 1, start: int = 0):
    config, encoder = configured(flags), encoded(flags)
    model = built(config, encoder)
    return model, models.initial_weights(model, config, encoder, seed, start), encoder


def first_attention(model, weights, tokens: torch.Tensor) -> torch.Tensor:
    """The weights of the first layer's attention, [H, S, S], as Hugging Face computes them."""
    plain = LlamaForCausalLM(LlamaConfig(**{**model.config.to_diff_dict(), "attn_implementation": "eager"}))
    plain.load_state_dict(weights)
    with torch.no_grad():
        return plain(tokens[None], output_attentions=True).attentions[0][0]


@pytest.mark.parametrize(
    ("flags", "places"),
    [
        (WIDE, [2, 3]),  # an item is two symbols, a colon and a label
        (f"{WIDE} --rope_theta 100", [2, 3]),
        (WIDE.replace("category", "grid"), [2, 3, 4]),  # colour, animal, colon, and two digits
        (f"{WIDE} --lm_task causal", [1, 2, 3]),  # an answer is predicted a token before its place
    ],
)
def test_each_head_of_the_first_layer_looks_back_by_its_number_of_tokens(flags, places):
    model, weights, encoder = initial(flags)
    tokens = torch.from_numpy(stream("any tokens").integers(1, encoder.vocab_size, 60))
    attention = first_attention(model, weights, tokens)
    for head in range(64):
        back = places[head % len(places)]
        of_distance = torch.stack([attention[head].diagonal(-distance)[15 - distance :].mean() for distance in range(16)])
        assert of_distance.argmax() == back, head


def test_layers_above_match_and_the_readout_is_the_drawn_one():
    model, weights, _ = initial(f"{WIDE} --n_layers 3")
    drawn = models.draw_weights(model, 1, 0.1)
    for layer in (1, 2):
        query, key, value, output = (weights[f"model.layers.{layer}.self_attn.{part}_proj.weight"] for part in "qkvo")
        assert torch.equal(key, query)
        assert torch.equal(output, value.T)
        assert torch.equal(query, 2 * drawn[f"model.layers.{layer}.self_attn.q_proj.weight"])
    for name in ("lm_head.weight", "model.layers.0.self_attn.v_proj.weight", "model.layers.1.mlp.up_proj.weight"):
        assert torch.equal(weights[name], drawn[name])


def test_heads_pass_on_alike_what_they_find_in_causal_mode():
    """Heads 0 to 3 look back by 1 to 4 tokens, heads 4 to 7 too, and the last two by 1 and 2; each is 8 wide."""
    flags = WIDE.replace("category", "grid").replace("--n_heads 64 --d_model 512", "--n_heads 10 --d_model 80")
    _, masked, _ = initial(flags)
    _, causal, _ = initial(f"{flags} --lm_task causal")
    for name, axis in (("v", 0), ("o", 1)):
        drawn, shared = (weights[f"model.layers.0.self_attn.{name}_proj.weight"].split(8, axis) for weights in (masked, causal))
        for head, first in enumerate([0, 0, 0, 0, 4, 4, 4, 4, 8, 8]):
            assert torch.equal(shared[head], drawn[first]), (name, head)


def test_all_embeddings_have_a_component_in_common():
    """Beside a drawn part of scale .1 each has .05 times the same N(0, 1)."""
    model, weights, _ = initial(WIDE)
    added = weights["model.embed_tokens.weight"] - models.draw_weights(model, 1, 0.1)["model.embed_tokens.weight"]
    torch.testing.assert_close(added, added[:1].expand_as(added), atol=1e-6, rtol=0)
    assert float(added[0].std()) == pytest.approx(0.05, rel=0.15)  # 512 draws: standard error 3 %


def test_they_are_a_function_of_seed_and_start():
    small = WIDE.replace("512", "128")
    (_, one, _), (_, again, _), (_, other, _), (_, later, _) = (initial(small, *of) for of in ((1,), (1,), (2,), (1, 1)))
    name = "model.layers.0.self_attn.q_proj.weight"
    assert all(torch.equal(one[n], again[n]) for n in one)
    assert not torch.equal(one[name], other[name])
    assert not torch.equal(one[name], later[name])
