"""Models: built from a configuration, initialised from a key, read from weight files and written to them."""

from __future__ import annotations

import dataclasses
import io
import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors.torch
import torch
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from engine import starts
from engine.attention import ATTENTION, Weights
from engine.decoder import check_shares_context
from engine.ensemble import is_stacked
from engine.streams import stream
from flags.base import NoBase, find_base
from flags.config import BadInput
from flags.decoders import DECODERS
from prompts import PAD
from runs.checkpoint import Damaged
from runs.files import write_atomically
from runs.terminal import say

if TYPE_CHECKING:
    from data import Encoder
    from flags.config import Config

GROWN_SCALE = 0.02  # of the weights of layers that come on top
PUBLISHED_PREFIX = "model."  # the published code wraps the Llama in a module of its own


def build(name: str = "llama2", /, **architecture) -> PreTrainedModel:
    """Return the model of a name, with our attention, from the keys of its configuration, on the CPU, in fp32. Its weights are to
    be replaced (see `draw_weights`).

    Raises ValueError for a key that the configuration does not know; the class itself would take it and ignore it. Raises it also
    for a decoder that does not use our attention.
    """
    model = with_attention(ATTENTION, name, **architecture)
    if not is_stacked(model):
        check_shares_context(model)
    return model


def with_attention(attention: str, name: str, /, **architecture) -> PreTrainedModel:
    """Build the model with an attention of transformers ("sdpa", "eager"), for flat sequences alone."""
    config = configuration(name, **architecture, use_cache=False, attn_implementation=attention)
    with torch.random.fork_rng(devices=[]):  # the class draws weights of its own; leave no trace of that
        return MODEL_FOR_CAUSAL_LM_MAPPING[type(config)](config).eval()


def configuration(name: str, /, **keys) -> PreTrainedConfig:
    """The configuration of a name. Raises ValueError for a key that it does not know."""
    kind = type(AutoConfig.for_model(DECODERS[name].model_type))
    unknown = set(keys) - {field.name for field in dataclasses.fields(kind)} - {"attn_implementation"}
    if unknown:
        raise ValueError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
    return kind(**keys)


def model_of(config: Config, encoder: Encoder) -> PreTrainedModel:
    """The model that a job's flags describe."""
    return build(config.model_name, **architecture_of(config, encoder))


def architecture(config: Config, vocab_size: int, pad: int | None = 0) -> dict:
    """The keys of the configuration of the model that the flags describe. What is not named keeps the class's default, for a Llama:
    SiLU, untied embeddings, no biases, no dropout, as many key-value heads as heads. `pad` is the id of `<pad>`, whose
    embedding is never trained."""
    of_flags = DECODERS[config.model_name].keys(config)
    return {"vocab_size": vocab_size, **of_flags, "pad_token_id": pad, "bos_token_id": None, "eos_token_id": None}


def draw_weights(model: PreTrainedModel, seed: int, scale: float, start: int = 0) -> Weights:
    """Independent initial weights of a seed, on the CPU wherever the model is: N(0, scale²) for every matrix, zeros for
    biases, ones for the norms. A function of the arguments; others for each time that a seed starts, from 0."""
    weights, times = {}, (start,) if start else ()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            weights[name] = torch.zeros(parameter.shape, dtype=parameter.dtype)
        elif parameter.dim() == 1:
            weights[name] = torch.ones(parameter.shape, dtype=parameter.dtype)
        else:
            draws = stream(seed, "weights", name, *times).standard_normal(tuple(parameter.shape), dtype=np.float32)
            weights[name] = torch.from_numpy(draws * np.float32(scale)).to(parameter.dtype)
    return weights


def initial_weights(model: PreTrainedModel, config: Config, encoder: Encoder, seed: int, start: int = 0) -> Weights:
    """Return the weights that a seed's metalearning starts from (--weight_init, --init_scale, --readout_steps).

    Without metalearning they are those that finetuning starts from (--iwl_init_scale).
    """
    if not config.n_epochs:
        return draw_weights(model, seed, config.iwl_init_scale, start)
    weights = draw_weights(model, seed, config.init_scale, start)
    if config.weight_init == "matching":
        starts.match(weights, model.config)
    if config.weight_init == "looking_back":
        component = stream(seed, "shared component", *((start,) if start else ())).standard_normal(model.config.hidden_size)
        # An answer's place is two tokens after an item's last word. In causal mode it is predicted at the token before it.
        places = range(1 if encoder.causal else 2, encoder.item_length(seed))
        starts.look_back(weights, model.config, config.init_scale, component, places, share=encoder.causal)
    if config.readout_steps:
        weights[readout_of(model)].zero_()
    return weights


def readout_of(model: PreTrainedModel) -> str:
    """The name of the weight that turns the last layer's output into logits."""
    readout = model.get_output_embeddings().weight
    return next(name for name, parameter in model.named_parameters() if parameter is readout)


def name_of(model: PreTrainedModel) -> str:
    """The --model_name of a model."""
    return next(name for name, decoder in DECODERS.items() if decoder.model_type == model.config.model_type)


def grown(weights: Weights, model: PreTrainedModel, seed: int, start: int = 0) -> Weights:
    """The weights of a model with fewer layers as weights of `model`, which answers alike.

    The layers that come on top write nothing into the residual stream until they are trained.

    After Gong et al. (2019), "Efficient training of BERT by progressively stacking", and Chen et al. (2016), "Net2Net".
    """
    fresh = draw_weights(model, seed, GROWN_SCALE, start)
    for name in fresh.keys() - weights.keys():
        if name.endswith(DECODERS[name_of(model)].writes):
            fresh[name].zero_()
    return {name: weights.get(name, tensor).clone() for name, tensor in fresh.items()}


class ForeignWeights(Exception):
    """A weight file that cannot be read, or is of another model."""


def load_weights(path: Path, model: PreTrainedModel) -> Weights:
    """Weights of a safetensors file, or of a `.pt` file of the published code, in which every name has one more
    `model.` in front. Raises ForeignWeights if they are not those of a model of this shape. It also does so if the file
    holds anything but tensors; no code in it is run."""
    try:
        if path.suffix == ".pt":
            state = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
                raise ValueError("it holds no state_dict")
            prefix = PUBLISHED_PREFIX if all(name.startswith(PUBLISHED_PREFIX) for name in state) else ""
            weights = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        else:
            weights = safetensors.torch.load_file(path)
        found = {name: tensor.shape for name, tensor in weights.items()}
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, AttributeError, safetensors.SafetensorError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ForeignWeights(f"cannot be read as weights ({reason})") from None
    wanted = {name: parameter.shape for name, parameter in model.named_parameters()}
    for name in sorted({*wanted, *found}):
        if wanted.get(name) != found.get(name):
            there, here = (tuple(shapes[name]) if name in shapes else "nothing" for shapes in (found, wanted))
            raise ForeignWeights(f"does not fit the model of the flags: {name} is {there} in the file, {here} in the model")
    return {name: weights[name].to(parameter.dtype) for name, parameter in model.named_parameters()}


def published_bytes(weights: Weights) -> bytes:
    """A `.pt` file with a `state_dict` that the published code can load."""
    file = io.BytesIO()
    torch.save({PUBLISHED_PREFIX + name: tensor for name, tensor in weights.items()}, file)
    return file.getvalue()


def architecture_of(config: Config, encoder: Encoder) -> dict:
    """The keys of the configuration for a job: those of the flags, and the size of its vocabulary."""
    return architecture(config, encoder.vocab_size, encoder.vocabulary.get(PAD))


def write_published(config: Config, folder: Path) -> None:
    """Write the kept weights of each seed to the file that --model_path asks for. An existing file is left alone, with a warning
    if it holds other weights: another job was asked for the same file. Raises Damaged if the kept weights cannot be read,
    OSError."""
    for path, seed in zip(config.published_paths, config.seeds, strict=False):
        kept = folder / "checkpoints" / f"best_seed{seed}.safetensors"
        try:
            weights = safetensors.torch.load_file(kept)
        except safetensors.SafetensorError as error:
            raise Damaged(f"{kept} cannot be read as weights ({error}); pass --no_resume to start anew") from None
        if not path.exists():
            write_atomically(path, published_bytes(weights), shared=True)
        elif not _holds(path, weights):
            say(f"main.py: --model_path: {path} holds other weights and is left alone; those of this job are in {kept}")


def _holds(path: Path, weights: Weights) -> bool:
    """Return True if a `.pt` file holds these weights."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, AttributeError, OSError):
        return False
    named = {PUBLISHED_PREFIX + name: tensor for name, tensor in weights.items()}
    return isinstance(found, dict) and found.keys() == named.keys() and all(torch.equal(found[n], named[n]) for n in named)


def loaded_weights(config: Config, model: PreTrainedModel) -> dict[int, Weights]:
    """Return the weights of each seed that --load_model_from names; none if it is not passed."""
    if config.load_model_from is None:
        return {}
    try:
        files = find_base(Path(config.load_model_from), config.base_seed, config.n_runs).weights
        files = files * config.n_runs if len(files) == 1 else files  # a file without a job serves every seed
        return {seed: load_weights(file, model) for seed, file in zip(config.seeds, files, strict=True)}
    except (NoBase, ForeignWeights) as error:
        raise BadInput("load_model_from", config.load_model_from, str(error)) from None
