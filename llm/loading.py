"""A pretrained causal language model and its tokenizer, from a folder, a GGUF file, or the hub."""

from __future__ import annotations

from contextlib import nullcontext, redirect_stderr
from functools import lru_cache
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from flags.config import BadInput, Config
from llm.chat import first_line

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

TOKENIZER_FILES = ("tokenizer*", "vocab*", "merges.txt", "*.model", "*.tiktoken", "tekken.json", "special_tokens_map.json")


def name_of(config: Config) -> tuple[str, str, str]:
    """The flag that names the model, its value, and the folder or name to load."""
    if config.llm:
        return "llm", config.llm, config.llm
    return "llama2_size", config.llama2_size, str(Path(config.cache_dir or "") / f"Llama-2-{config.llama2_size}-hf")


def is_gguf(path: str) -> bool:
    """Return True for a file of llama.cpp's format, by its name."""
    return path.lower().endswith(".gguf")


def source(config: Config) -> tuple[str, dict[str, str | bool | None]]:
    """Return where transformers finds the model: a folder or name, and the options that go with it."""
    path = name_of(config)[2]
    options: dict[str, str | bool | None] = {"cache_dir": config.cache_dir, "trust_remote_code": False}
    if is_gguf(path):
        return str(Path(path).parent), options | {"gguf_file": Path(path).name}
    return path, options


def _check_file(flag: str, value: str) -> None:
    """Raise BadInput if a GGUF file cannot be read here."""
    if not Path(value).is_file():
        raise BadInput(flag, value, "does not exist")
    if find_spec("gguf") is None:
        raise BadInput(flag, value, "takes the package gguf: pip install -r requirements-llm.txt")


@lru_cache  # a GGUF file takes seconds
def _read_config(place: str, **options: str | bool | None) -> PretrainedConfig:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(place, **options)


def load_config(config: Config) -> PretrainedConfig:
    """Return the model's configuration. Raises BadInput for a missing model, and for one that does not predict the next token."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING
    from transformers.utils import logging

    logging.set_verbosity_error()  # what matters is checked, and told in a line
    logging.disable_progress_bar()
    flag, value, path = name_of(config)
    here = Path(path)
    if is_gguf(path):
        _check_file(flag, path)
    elif (config.llama2_size or here.is_absolute() or path.startswith(".")) and not here.is_dir():
        raise BadInput(flag, value, f"folder {path} does not exist")
    if here.is_dir() and not (here / "config.json").exists():
        files = sorted(here.glob("*.gguf"))
        hint = f"; name a file in it: --{flag} {files[0]}" if files else ""
        raise BadInput(flag, value, f"{path} holds no model (config.json){hint}")
    place, options = source(config)
    try:
        found = _read_config(place, **options)
    except Exception as error:  # whatever may be wrong in a file of another program
        raise _not_loaded(flag, value, "", error) from None
    if type(found) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise BadInput(flag, value, f"is no causal language model (its config.json names {found.model_type or 'none'})")
    return found


def load_tokenizer(config: Config) -> PreTrainedTokenizerBase:
    """Return the model's tokenizer. Raises BadInput for a missing model or tokenizer."""
    from transformers import AutoTokenizer

    flag, value, path = name_of(config)
    load_config(config)
    if Path(path).is_dir() and not any(any(Path(path).glob(pattern)) for pattern in TOKENIZER_FILES):
        raise BadInput(flag, value, f"{path} holds no tokenizer (tokenizer.json, tokenizer.model, or vocab.json with merges.txt)")
    place, options = source(config)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, **options)
    except Exception as error:
        raise _not_loaded(flag, value, "its tokenizer ", error) from None
    if config.chat_template and not tokenizer.chat_template:
        raise BadInput("chat_template", "", f"the tokenizer of {path} has none; leave the flag out")
    return tokenizer


def load_model(config: Config) -> PreTrainedModel:
    """The model, ready to be asked: on all GPUs with --use_cuda if the machine has any, else on the CPU. Raises BadInput if it
    is no causal language model, or its weights cannot be read or are not all there."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GenerationConfig

    from engine.memory import is_out_of_memory

    flag, value, _ = name_of(config)
    load_config(config)
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[config.model_dtype]
    place, options = source(config)
    options |= {"dtype": dtype, "generation_config": GenerationConfig()}  # instead of the one in the model's folder
    if config.use_cuda and torch.cuda.is_available():
        options["device_map"] = "auto"
    if config.use_quant:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
    try:
        with redirect_stderr(StringIO()) if "gguf_file" in options else nullcontext():  # a bar that cannot be turned off
            model, report = AutoModelForCausalLM.from_pretrained(place, output_loading_info=True, **options)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise _not_loaded(flag, value, "", error) from None
    if missing := sorted(report["missing_keys"]):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BadInput(flag, value, f"its weights lack {missing[0]}{more}, which would be random")
    model.config.return_dict = True
    return model.eval()


def _not_loaded(flag: str, value: str, what: str, error: Exception) -> BadInput:
    if "trust_remote_code" in str(error):
        return BadInput(flag, value, f"{what}needs code of its own, which is not run; name a model that transformers knows")
    return BadInput(flag, value, f"{what}cannot be loaded ({first_line(error)})")


def check_quantisation(config: Config) -> None:
    """Raise BadInput if --use_quant cannot work here."""
    if not config.use_quant:
        return
    import torch

    if not torch.cuda.is_available():
        raise BadInput("use_quant", "", "4 bits take a GPU, and this machine has none; leave the flag out")
    if not config.use_cuda:
        raise BadInput("use_quant", "", "4 bits take a GPU; pass --use_cuda as well")
    if find_spec("bitsandbytes") is None:
        raise BadInput("use_quant", "", "4 bits take bitsandbytes: pip install bitsandbytes")
