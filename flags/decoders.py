"""The models that --model_name names: decoders of transformers, and how our sizes are written in their configurations. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flags.config import Config


@dataclass(frozen=True)
class Decoder:
    """A causal decoder of transformers.

    model_type   its name there: of `AutoConfig.for_model`, and `model_type` in a config.json
    keys         the keys of its configuration that follow from the flags; vocabulary and token ids are added to them
    writes       how the names of the parameters end by which a layer writes into the residual stream: they are 0 in layers that
                 come on top of a smaller model's
    """

    model_type: str
    keys: Callable[[Config], dict[str, Any]]
    writes: tuple[str, ...]


def sizes(config: Config) -> dict[str, Any]:
    """Return the sizes and the rotary positions, under the names that most configurations of transformers have for them."""
    return {
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "max_position_embeddings": config.max_len,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
    }


def _llama(config: Config) -> dict[str, Any]:
    return {**sizes(config), "rms_norm_eps": 1e-6}


def _qwen3(config: Config) -> dict[str, Any]:
    """Return a Llama whose queries and keys are normed, head by head."""
    heads = {"num_key_value_heads": config.n_heads, "head_dim": config.d_model // config.n_heads}
    return {**_llama(config), **heads, "tie_word_embeddings": False}


def _gpt_neox(config: Config) -> dict[str, Any]:
    """Return a decoder with LayerNorm, GELU and biases, whose attention and feed-forward layers work side by side."""
    rotary = {"rope_type": "default", "rope_theta": config.rope_theta, "partial_rotary_factor": 1.0}
    return {**sizes(config), "rope_parameters": rotary, "tie_word_embeddings": False}


DECODERS = {
    "llama2": Decoder("llama", _llama, ("o_proj.weight", "down_proj.weight")),
    "qwen3": Decoder("qwen3", _qwen3, ("o_proj.weight", "down_proj.weight")),
    "gpt_neox": Decoder(
        "gpt_neox",
        _gpt_neox,
        ("attention.dense.weight", "attention.dense.bias", "dense_4h_to_h.weight", "dense_4h_to_h.bias"),
    ),
}
