"""Rules that join several flags of any task: each failure is a BadInput, raised before anything is computed or written."""

from __future__ import annotations

from urllib.parse import urlsplit

import tasks
from flags.ablations import ABLATIONS
from flags.config import BadInput, Config
from flags.presets import EXPERIMENT_VALUES, TRADE_OFFS, without_effect


def check(config: Config) -> None:
    """Raise BadInput for the first flag that cannot work with the others."""
    _check_model(config)
    _check_llm(config)
    if config.show and config.load_data_from:
        raise BadInput(
            "show", config.show, "draws episodes made from the flags; those of --load_data_from are readable as they are"
        )
    if config.experiment == "iwl_only" and (config.n_epochs or config.load_model_from):
        flag, value = ("n_epochs", config.n_epochs) if config.n_epochs else ("load_model_from", config.load_model_from)
        raise BadInput(flag, value, "--experiment iwl_only starts from random weights, without metalearning")
    for name, why in without_effect(vars(config)).items():
        if getattr(config, name):
            raise BadInput(name, getattr(config, name), f"{why}; leave the flag out")
    if config.stage_steps and not config.stages:
        raise BadInput("stage_steps", config.stage_steps, "these flags have no stage before the last; leave the flag out")
    _check_ablation(config)
    if not config.n_epochs and config.pretrain_steps:
        raise BadInput("pretrain_steps", config.pretrain_steps, "--n_epochs 0 turns metalearning off; leave the flag out")
    if config.n_epochs and config.pretrain_bs < config.queries_per_episode:
        raise BadInput(
            "pretrain_bs", config.pretrain_bs, f"must hold at least the --queries_per_episode {config.queries_per_episode}"
        )


def _check_model(config: Config) -> None:
    if config.model_dtype != "fp32" and config.experiment != "llm":
        raise BadInput(
            "model_dtype",
            config.model_dtype,
            "is for pretrained language models; training from scratch needs fp32: in 16 bits Adam's small updates round to nothing",
        )
    if config.model_name != "llama2":
        if config.weight_init != "normal":
            why = f"is made for llama2; with --model_name {config.model_name} pass --weight_init normal"
            raise BadInput("weight_init", config.weight_init, why)
        if config.model_path:
            raise BadInput("model_path", config.model_path, "is for the published code, which has llama2 alone; leave the flag out")
    if config.d_model % config.n_heads:
        raise BadInput("n_heads", config.n_heads, f"must divide --d_model {config.d_model}")
    if config.d_model // config.n_heads % 2:
        width = config.d_model // config.n_heads
        raise BadInput(
            "n_heads",
            config.n_heads,
            f"makes heads of width {width} from --d_model {config.d_model}; rotary positions need an even width",
        )


def _check_llm(config: Config) -> None:
    """The experiment with a pretrained language model, and flags that only it has."""
    if config.experiment != "llm":
        for name in ("llm", "llama2_size", "llm_api", "use_quant", "chat_template", "llm_study", "test_gen"):
            if getattr(config, name):
                shown = "" if name == "llm_api" else getattr(config, name)
                raise BadInput(name, shown, f"is for --experiment llm, and this is {config.experiment}")
        return
    if bool(config.llm) == bool(config.llama2_size):
        what = "both are passed; leave one out" if config.llm else "--experiment llm takes a model: --llm NAME_OR_PATH"
        raise BadInput("llm", config.llm or "", what)
    if config.llama2_size and not config.cache_dir:
        raise BadInput("cache_dir", "", f"unset; name the folder that holds Llama-2-{config.llama2_size}-hf")
    for name, value, right in (
        ("task", tasks.ASKED, tasks.ASKED),
        ("lm_task", "causal", "causal"),
        ("n_epochs", 0, 0),
        ("ablation", None, "no ablation"),
    ):
        if getattr(config, name) != value:
            raise BadInput(name, getattr(config, name), f"--experiment llm takes {right}")
    _check_server(config)
    if config.n_runs > 1:
        raise BadInput("n_runs", config.n_runs, "a pretrained model has no seeds; for more episodes pass --n_val")
    for flag in ("load_model_from", "load_data_from", "model_path"):
        if getattr(config, flag):
            raise BadInput(flag, getattr(config, flag), "is not for --experiment llm")
    if config.save_data_to and not (config.pt_rot_cond and config.pt_cond):
        raise BadInput("save_data_to", config.save_data_to, "writes one condition; name it with --pt_rot_cond and --pt_cond")
    for word in config.scorings:
        if word not in ("argmax", "candidates", "generate"):
            raise BadInput("scoring", config.scoring, f"{word!r} is none of argmax, candidates, generate")


def _check_server(config: Config) -> None:
    """The address of a server, and flags that are of a model that is loaded here."""
    if config.llm_api is None:
        return
    if set("@?#") & set(config.llm_api):  # what may be a secret is not told
        raise BadInput("llm_api", "", "must be an address without a name, password or query; a key goes into OPENAI_API_KEY")
    try:
        parts = urlsplit(config.llm_api)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise BadInput("llm_api", config.llm_api, "is no address; it has the form http://HOST:PORT/v1")
    if not config.llm:
        raise BadInput("llm_api", config.llm_api, "needs --llm, the model's name on that server")
    for name, usual in (("use_cuda", False), ("use_quant", False), ("model_dtype", "fp32"), ("num_beams", 1)):
        if getattr(config, name) != usual:
            raise BadInput(name, getattr(config, name), "is for a model that is loaded here; leave it out with --llm_api")


def _check_ablation(config: Config) -> None:
    of_experiment = EXPERIMENT_VALUES[config.experiment].get("ablation", config.ablation)
    if config.ablation != of_experiment:
        raise BadInput("ablation", config.ablation, f"--experiment {config.experiment} takes --ablation {of_experiment}")
    if config.ablation is None:
        return
    if config.experiment in TRADE_OFFS:
        if config.pt_rot_cond == "rotated":
            raise BadInput("pt_rot_cond", "rotated", "a trade-off is measured on rule-like, unrotated tasks")
        if config.with_iwl_only:
            raise BadInput("with_iwl_only", "", "a trade-off has metalearned models alone; leave the flag out")
        if config.step_cond == "blocked":
            raise BadInput("step_cond", "blocked", "a trade-off is measured on interleaved updates")
        if not config.n_finetuning_steps:
            raise BadInput("n_blocks", config.n_blocks, "a trade-off needs finetuning, of at least a block and a step")
    if config.is_sweep and config.model_path:
        raise BadInput("model_path", config.model_path, "a trade-off at all levels has the weights of its base; leave the flag out")
    low, high = config.test_ablation_level_min, config.test_ablation_level_max
    if low > high:
        raise BadInput("test_ablation_level_min", low, f"must be at most --test_ablation_level_max {high}")
    if not ABLATIONS[config.ablation].is_bounded:
        return
    for name, level in (("ablation_level", config.ablation_level), ("test_ablation_level_max", high)):
        if level is not None and level > 1:
            raise BadInput(name, level, f"is a probability with --ablation {config.ablation}: at most 1")
