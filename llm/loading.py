"""A pretrained causal language model and its tokenizer, from a folder or the hub."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from flags.config import BadInput, Config

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def name_of(config: Config) -> tuple[str, str, str]:
    """The flag that names the model, its value, and the folder or name to load."""
    if config.llm:
        return "llm", config.llm, config.llm
    return "llama2_size", config.llama2_size, str(Path(config.cache_dir or "") / f"Llama-2-{config.llama2_size}-hf")


def load_tokenizer(config: Config) -> PreTrainedTokenizerBase:
    """The model's tokenizer. Raises BadInput if there is no such model, or no tokenizer beside it."""
    from transformers import AutoConfig, AutoTokenizer

    flag, value, path = name_of(config)
    here = Path(path)
    if (config.llama2_size or here.is_absolute() or path.startswith(".")) and not here.is_dir():
        raise BadInput(flag, value, f"there is no folder {path}")
    if here.is_dir() and not (here / "config.json").exists():
        raise BadInput(flag, value, f"{path} holds no model (config.json)")
    try:
        AutoConfig.from_pretrained(path, cache_dir=config.cache_dir)
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
        raise BadInput(flag, value, f"cannot be loaded ({_first_line(error)})") from None
    if here.is_dir() and not any(here.glob("tokenizer*")):
        raise BadInput(flag, value, f"{path} holds no tokenizer (tokenizer.json, or tokenizer.model)")
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, cache_dir=config.cache_dir)
    except Exception as error:  # whatever a file of a tokenizer may be wrong in
        raise BadInput(flag, value, f"its tokenizer cannot be loaded ({_first_line(error)})") from None
    if config.chat_template and not tokenizer.chat_template:
        raise BadInput("chat_template", "", f"the tokenizer of {path} has none; leave the flag out")
    return tokenizer


def load_model(config: Config) -> PreTrainedModel:
    """The model, ready to be asked: on all GPUs with --use_cuda where there are any, else on the CPU. Raises BadInput if it
    is no causal language model or its weights cannot be read."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    from transformers.utils import logging

    flag, value, path = name_of(config)
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[config.model_dtype]
    options = {"dtype": dtype, "cache_dir": config.cache_dir}
    if config.use_cuda and torch.cuda.is_available():
        options["device_map"] = "auto"
    if config.use_quant:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
    logging.disable_progress_bar()
    try:
        return AutoModelForCausalLM.from_pretrained(path, **options).eval()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BadInput(flag, value, f"cannot be loaded ({_first_line(error)})") from None


def check_quantisation(config: Config) -> None:
    """Raise BadInput if --use_quant cannot work here."""
    if not config.use_quant:
        return
    import torch

    if not torch.cuda.is_available():
        raise BadInput("use_quant", "", "4 bits take a GPU, and there is none here; leave the flag out")
    if not config.use_cuda:
        raise BadInput("use_quant", "", "4 bits take a GPU; pass --use_cuda as well")
    if find_spec("bitsandbytes") is None:
        raise BadInput("use_quant", "", "4 bits take bitsandbytes: pip install bitsandbytes")


def check_length(config: Config, longest: int) -> None:
    """Raise BadInput if the longest sequence does not fit the model's positions."""
    from transformers import AutoConfig

    flag, value, path = name_of(config)
    limit = getattr(AutoConfig.from_pretrained(path, cache_dir=config.cache_dir), "max_position_embeddings", None)
    if limit is not None and longest > limit:
        raise BadInput(flag, value, f"has {limit} positions; a context with a query and its answer takes {longest}")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
